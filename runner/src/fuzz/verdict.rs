//! Which mode, how a process ended, the words of its ledger, what it said last.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::script::Script;
use crate::error::Error;
use crate::ledger::{HEAD_WORDS, Ledger, VERDICT_LENGTH, WORDS_PER_CHANNEL};
use crate::manifest::{self, Manifest};
use crate::outcome::Outcome;
use crate::serve::job::{self, Account};
use crate::session::outputs::Kept;
use crate::session::watch::Stopped;
use crate::session::{self, Ending};
use crate::sys::Ended;

const MANIFESTS: [&[u8]; 2] = [
    include_bytes!("../../tests/fixtures/manifest-full.json"),
    include_bytes!("../../tests/fixtures/manifest-strict.json"),
];
const STDERR_BYTES: usize = 64;
/// Whatever a VM's process left in its ledger becomes an answer of bounded length,
/// or a failure for the log; a process that the filter of system calls ended is
/// never believed.
pub fn verdict(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mode = script.byte();
    let manifest = manifest::parse(MANIFESTS[usize::from(mode & 1)], 8).unwrap();
    let channels = manifest.channels.len();
    let (ledger, file) = Ledger::new_file(channels, STDERR_BYTES).unwrap();
    let (ended, stopped) = ending(&mut script);
    fill(&file, &mut script, channels, mode & 2 == 0);
    let filtered = ended.signal == Some(libc::SIGSYS);
    match answer(&manifest, &ledger, ended, stopped) {
        Ok(answer) => {
            assert!(!filtered, "it was believed");
            // Each byte of text is at most six in JSON.
            assert!(answer.len() < 6 * (STDERR_BYTES + (16 << 10)) + (16 << 10));
            serde_json::from_slice::<serde_json::Value>(&answer).unwrap();
        }
        Err(Error::Refused { message, .. }) => super::check_message(&message),
        Err(Error::Failure(_)) => {}
    }
}

fn ending(script: &mut Script<'_>) -> (Ended, Option<Stopped>) {
    let (how, why) = (script.byte(), script.byte());
    let (status, signal) = match how {
        0..=127 => (Some(i32::from(how)), None),
        128.. => (None, Some(i32::from(how - 128))),
    };
    let ended = Ended {
        status,
        signal,
        cpu: Duration::from_micros(script.number(4)),
        resident_peak_bytes: script.number(4),
    };
    let stopped = match why % 8 {
        1 => Some(Stopped::Wall),
        2 => Some(Stopped::Cpu),
        3 => Some(Stopped::Told(i32::from(why / 8))),
        4 => Some(Stopped::NobodyListens),
        _ => None,
    };
    (ended, stopped)
}

/// Writes what a process could: any byte anywhere.
fn fill(file: &OwnedFd, script: &mut Script<'_>, channels: usize, honest: bool) {
    let mut words = Vec::new();
    for _ in 0..HEAD_WORDS + channels * WORDS_PER_CHANNEL {
        // Small ones, and those that overflow.
        let word = script.byte();
        words.push(match word {
            0..=250 => u64::from(word),
            251 => script.number(8),
            _ => u64::MAX - u64::from(word - 252),
        });
    }
    let text = script.rest();
    if honest {
        words[VERDICT_LENGTH] = text.len() as u64;
    }
    let mut memory: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    memory.extend(text);
    rustix::io::pwrite(file, &memory, 0).unwrap();
}

fn answer(
    manifest: &Manifest,
    ledger: &Ledger,
    ended: Ended,
    stopped: Option<Stopped>,
) -> Result<Vec<u8>, Error> {
    let outcome = session::conclude(manifest, ended, stopped, ledger)?;
    assert!(
        !matches!(outcome, Outcome::Failure(_)),
        "a failure as an outcome"
    );
    let account = Account::new(1, &ended, Duration::ZERO, ledger);
    let (wall, cpu) = (Duration::ZERO, ended.cpu);
    let ending = Ending { outcome, wall, cpu };
    let kept = |index| match index % 2 {
        0 => Kept::Stream,
        _ => Kept::Input(7),
    };
    let outputs: Vec<Kept> = (0..manifest.channels.len()).map(kept).collect();
    let report = session::report(manifest, ledger, ending, &outputs, &[])?;
    job::answer(&report, &account)
}
