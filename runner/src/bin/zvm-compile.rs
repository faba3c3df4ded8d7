//! `zvm-compile MEMORY_BYTES SECONDS OUTPUT_BYTES [OPTIONS]`: module on standard
//! input, artefact on standard output, the JSON of a refusal on standard error. The
//! options are those of the lock-down, as for `zvm compile`.
//!
//! Only `zvm compile` calls this, and it dies with it; it is a program of its own so
//! that the compiler is in no process that runs guests. `zvm-compile --version` says
//! which `zvm` it belongs to.

use std::ffi::OsString;
use std::process::ExitCode;

use rustix::process::Signal;
use zvm::cli;
use zvm::compile::compiler;
use zvm::error::Error;
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
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let bounds = cli::parse_bounds(words)?;
    weights::yield_to_storage();
    compiler::compile(&bounds)
}
