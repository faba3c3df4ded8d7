//! `zvm`: one word of the command line chooses a command; see `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(zvm::cli::main(std::env::args_os().skip(1).collect()))
}
