//! The command line: each subcommand is one file, each returns an exit status.
//!
//! `session` and `compile` are for programs (JSON on standard output, stable
//! codes), `run` and `inspect` for people. Everything is decided by arguments; the
//! environment only says where a user's cache is.

pub(crate) mod args;
mod compile;
mod inspect;
mod run;
mod serve;
mod session;

#[cfg(feature = "compiler")]
pub use compile::parse_bounds;

use std::ffi::OsString;
use std::io::Write;

use crate::engine;
use crate::error::{Code, Error};
use crate::exit;
use crate::lockdown;
use crate::serve::zygote;

const HELP: &str = include_str!("help.txt");

/// Runs the command that `args` (without the program's name) asks for.
pub fn main(args: Vec<OsString>) -> u8 {
    let mut args = args.into_iter();
    let command = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match command.to_str() {
        Some("session" | "run" | "compile" | "inspect") if asks_for_help(&rest) => {
            print(HELP)
        }
        Some("session") => session::main(rest),
        Some("serve") => serve::main(rest),
        Some(zygote::COMMAND) => zygote::main(rest),
        Some("run") => run::main(rest),
        Some("compile") => compile::main(rest),
        Some("inspect") => inspect::main(rest),
        Some("--help" | "-h" | "help") => print(HELP),
        Some("--version" | "-V") => print(&version("zvm")),
        Some("version") => print(&(version("zvm") + &describe_lockdown())),
        _ => {
            let command = command.to_string_lossy();
            let message = match command.as_ref() {
                "" => "no command".to_owned(),
                command => format!("no command {command:?}"),
            };
            complain(&Error::refused(
                Code::Usage,
                format!("{message}; see zvm --help"),
            ));
            exit::USAGE
        }
    }
}

/// Whether help is the first thing asked for; later it is the program's word.
fn asks_for_help(words: &[OsString]) -> bool {
    matches!(
        words.first().and_then(|word| word.to_str()),
        Some("--help" | "-h")
    )
}

/// What isolates on this host, for `zvm version`.
fn describe_lockdown() -> String {
    lockdown::describe(&lockdown::Options::default())
}

/// The line of `--version`; `zvm` and `zvm-compile` that belong together differ in
/// their names alone.
pub fn version(program: &str) -> String {
    format!(
        "{program} {} (wasmtime {}, {})\n",
        env!("CARGO_PKG_VERSION"),
        engine::VERSION,
        env!("ZVM_TARGET")
    )
}

/// Writes `text` to standard output; a reader that went early is no failure.
fn print(text: &str) -> u8 {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    exit::OK
}

/// Says what went wrong, for a person.
fn complain(error: &Error) {
    let _ = writeln!(std::io::stderr(), "zvm: {error}");
}

/// Answers with an error as programs expect it: its document on standard output,
/// details of a failure in the log.
fn answer_error(error: &Error, command: &str) -> u8 {
    if let Error::Failure(message) = error {
        let _ = writeln!(
            std::io::stderr(),
            "event={command}_failed error={:?}",
            message.as_str()
        );
    }
    print(&(error.document() + "\n"));
    exit::of_error(error)
}
