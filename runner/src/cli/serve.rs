//! `zvm serve`: the daemon of a storage node. Its log is standard error.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Code, Error};
use crate::exit;
use crate::lockdown;
use crate::serve::{self, Options};

use super::args::{Words, unknown, usage};

/// A variable that the C library reads when a process begins, and what it is to say:
/// keep no freed blocks back for a thread. Scattered over the pages that a crowd of
/// VMs needed, a few hundred of them would keep those from going back to the system.
const ALLOCATOR: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

pub fn main(words: Vec<OsString>) -> u8 {
    match parse(words).and_then(|options| {
        begin_again_thrifty();
        serve::run(options)
    }) {
        Ok(()) => exit::OK,
        Err(error) => {
            super::complain(&error);
            exit::of_error(&error)
        }
    }
}

/// Executes this program anew, as the same process, with [`ALLOCATOR`] set; not if the
/// variable is there. Where that cannot be done, the daemon only takes more memory.
fn begin_again_thrifty() {
    let (name, value) = ALLOCATOR;
    if !cfg!(target_env = "gnu") || std::env::var_os(name).is_some() {
        return;
    }
    let mut words = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(first) = words.next() {
        command.arg0(first);
    }
    let _ = command.args(words).env(name, value).exec();
}

fn parse(words: Vec<OsString>) -> Result<Options, Error> {
    let mut words = Words::new(words);
    let mut socket = None;
    let mut options = Options {
        socket: PathBuf::new(),
        slots: 1024,
        queue: 1024,
        idle: 4,
        programs: 16,
        drain_seconds: 60.0,
        peer_uids: Vec::new(),
        lockdown: lockdown::Options::default(),
    };
    while let Some(option) = words.option() {
        match option.as_str() {
            "--socket" => socket = Some(PathBuf::from(words.value(&option)?)),
            "--slots" => options.slots = number(&mut words, &option, 1, 100_000)?,
            "--queue" => options.queue = number(&mut words, &option, 0, 1_000_000)?,
            "--idle" => options.idle = number(&mut words, &option, 0, 1000)?,
            "--programs" => options.programs = number(&mut words, &option, 0, 1000)?,
            "--drain-seconds" => options.drain_seconds = words.seconds(&option)?,
            "--peer-uid" => {
                let uid = number(&mut words, &option, 0, u32::MAX as usize)?;
                options.peer_uids.push(uid as u32);
            }
            _ if words.lockdown(&option, &mut options.lockdown)? => {}
            _ => return Err(unknown(&option)),
        }
    }
    if !words.rest().is_empty() {
        return Err(usage("serve takes no operands".to_owned()));
    }
    options.socket = socket.ok_or_else(|| {
        Error::refused(Code::Usage, "--socket PATH is needed; see zvm --help")
    })?;
    Ok(options)
}

fn number(
    words: &mut Words,
    option: &str,
    low: usize,
    high: usize,
) -> Result<usize, Error> {
    let text = words.text(option)?;
    match text.parse() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(usage(format!(
            "{option} {text:?}: a number from {low} to {high} is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Options, Error> {
        parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_have_defaults_and_ranges() {
        let words = ["--socket", "/s", "--slots", "3", "--peer-uid", "7"];
        let options = parsed(&words).unwrap();
        assert_eq!(options.socket, PathBuf::from("/s"));
        assert_eq!((options.slots, options.queue), (3, 1024));
        assert_eq!(options.peer_uids, [7]);
        let error = parsed(&["--socket", "/s", "--slots", "0"]).unwrap_err();
        let text = "--slots \"0\": a number from 1 to 100000 is needed; see zvm --help";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_socket_is_needed_and_nothing_else_is_taken() {
        for words in [&[][..], &["--socket", "/s", "more"], &["--sock", "/s"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
