//! `zvm-template LAYER`: module on standard input, its template on standard
//! output; what it did, as JSON, on standard error.
//!
//! A tool of `tools/build_images`: no part of an installation.

use std::fs::File;
use std::io::{Write, stdin, stdout};
use std::process::ExitCode;

use zvm::compile;
use zvm::error::{Code, Error};
use zvm::exit;
use zvm::guest::tree::TarLayer;
use zvm::template;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(exit::of_error(&error))
        }
    }
}

fn run() -> Result<(), Error> {
    let mut words = std::env::args_os().skip(1);
    let (Some(path), None) = (words.next(), words.next()) else {
        let usage = "usage: zvm-template LAYER < MODULE > TEMPLATE";
        return Err(Error::refused(Code::Usage, usage));
    };
    let file = File::open(&path).map_err(|error| Error::failure("layer", error))?;
    let layer = TarLayer::open(&file, "image")
        .map_err(|error| Error::refused(Code::BadLayer, error.to_string()))?;
    let module = compile::read_module(stdin().lock())?;
    let made = template::make(&module, layer)?;
    let (readings, bytes) = (made.clock_readings, made.memory_bytes);
    eprintln!("{{\"clock_readings\": {readings}, \"memory_bytes\": {bytes}}}");
    stdout()
        .write_all(&made.module)
        .map_err(|error| Error::failure("write the template", error))
}
