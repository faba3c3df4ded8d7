//! `zvm-compile MEMORY_BYTES SECONDS`: module on standard input, artefact on
//! standard output, the JSON of a refusal on standard error.
//!
//! Only `zvm compile` calls this, and it dies with it; it is a program of its own so
//! that the compiler is in no process that runs guests. `zvm-compile --version` says
//! which `zvm` it belongs to.

use std::process::ExitCode;

use rustix::process::Signal;
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
    if std::env::args().skip(1).eq(["--version".to_owned()]) {
        print!("{}", zvm::cli::version("zvm-compile"));
        return Ok(());
    }
    // `zvm compile` that is killed cannot end us itself.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| Error::failure("parent death signal", errno))?;
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
