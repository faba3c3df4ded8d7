//! `zvm-compile MEMORY_BYTES SECONDS`: module on standard input, artefact on
//! standard output, the JSON of a refusal on standard error.
//!
//! Only `zvm compile` calls this; it is a program of its own so that the compiler
//! is in no process that runs guests.

use std::process::ExitCode;

use zvm::compile::compiler;
use zvm::error::{Code, Error};
use zvm::exit;
use zvm::weights;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            match &error {
                Error::Refused { .. } => eprintln!("{}", error.document()),
                Error::Failure(message) => eprintln!("{message}"),
            }
            ExitCode::from(exit::of_error(&error))
        }
    }
}

fn run() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let (Some(memory_bytes), Some(seconds), None) =
        (args.next(), args.next(), args.next())
    else {
        return Err(usage());
    };
    let memory_bytes: u64 = memory_bytes.parse().map_err(|_| usage())?;
    let seconds: f64 = seconds.parse().map_err(|_| usage())?;
    weights::yield_to_storage();
    compiler::compile(memory_bytes, seconds)
}

fn usage() -> Error {
    Error::refused(
        Code::Usage,
        "usage: zvm-compile MEMORY_BYTES SECONDS < MODULE",
    )
}
