//! `zvm-template LAYER [--env=NAME=VALUE]... -- ARG...`: module on standard input, its
//! template on standard output; what it did, as JSON, on standard error. The arguments
//! (the first is the program's name) and the environment are for a run of the template,
//! which must end with status 0 and shows what runs write to.
//!
//! A tool of `tools/build_images`: no part of an installation.

use std::fs::File;
use std::io::{Write, stdin, stdout};
use std::process::ExitCode;

use zvm::compile;
use zvm::error::{Code, Error};
use zvm::exit;
use zvm::template::{self, Trial};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(exit::of_error(&error))
        }
    }
}

const USAGE: &str =
    "usage: zvm-template LAYER [--env=NAME=VALUE]... -- ARG... < MODULE > TEMPLATE";

fn run() -> Result<(), Error> {
    let (path, trial) = words().ok_or_else(|| Error::refused(Code::Usage, USAGE))?;
    let layer = File::open(path).map_err(|error| Error::failure("layer", error))?;
    let module = compile::read_module(stdin().lock())?;
    let made = template::make(&module, &layer, trial)?;
    let (readings, bytes) = (made.clock_readings, made.memory_bytes);
    let pages = made.written_pages;
    eprintln!(
        "{{\"clock_readings\": {readings}, \"memory_bytes\": {bytes}, \
         \"written_pages\": {pages}}}"
    );
    stdout()
        .write_all(&made.module)
        .map_err(|error| Error::failure("write the template", error))
}

/// The command line; none if it is not as it is to be.
fn words() -> Option<(String, Trial)> {
    let mut words = std::env::args().skip(1);
    let path = words.next()?;
    let mut env = Vec::new();
    loop {
        let word = words.next()?;
        if word == "--" {
            break;
        }
        let (name, value) = word.strip_prefix("--env=")?.split_once('=')?;
        env.push((name.to_owned(), value.to_owned()));
    }
    let args: Vec<String> = words.collect();
    (!args.is_empty()).then_some((path, Trial { args, env }))
}
