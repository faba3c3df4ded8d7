//! Lets chance into the host layer, one source after another, and sees that the
//! programs of the determinism suite notice: without this, a suite that finds
//! nothing would prove nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::Command;

use support::programs::{Mode, PROGRAMS, Program, STRICT};
use support::{Session, finish};
use zvm::chance::{Source, VARIABLE};

/// Runs after which a difference must have shown. The coarsest source has two
/// values, so that this fails by chance once in 2^23.
const MOST_RUNS: usize = 24;
const RUNS_WITHOUT: usize = 6;
/// Standard input, among the descriptors of a session.
const STDIN: usize = 2;

/// Which programs notice which source, and in which mode.
fn witnesses(source: Source) -> (&'static [&'static str], Mode) {
    match source {
        Source::Clock => (&["probe", "clock_random", "python_world"], Mode::Default),
        Source::ClockResolution => (&["probe"], Mode::Default),
        Source::Seed => (&["probe", "clock_random", "python_world"], Mode::Default),
        Source::DirectoryOrder => (&["probe", "read_dir"], Mode::Default),
        Source::Inode => (&["probe", "python_world"], Mode::Default),
        Source::ModifiedTime => (&["probe"], Mode::Default),
        Source::FileSize => (&["probe"], Mode::Default),
        Source::ShortRead => (&["probe"], Mode::Default),
        // A pipe takes the place of its file.
        Source::ShortPipe => (&["probe"], Mode::Default),
        Source::DescriptorNumber => (&["probe"], Mode::Default),
        Source::EnvironmentOrder => {
            (&["probe", "args_env", "python_world"], Mode::Default)
        }
        Source::Errno => (&["probe"], Mode::Default),
        Source::Poll => (&["probe"], Mode::Default),
        Source::MemoryGrow => (&["probe", "alloc_all_grow"], Mode::Default),
        Source::NativeStack => (&["depth"], Mode::Default),
        // At the very unit that it needs.
        Source::Fuel => (&["hello"], STRICT),
        Source::ReadDigest => (&["cat", "hash_all"], Mode::Default),
        Source::WriteDigest => (&["hello", "cat"], Mode::Default),
    }
}

fn program(name: &str) -> &'static Program {
    PROGRAMS
        .iter()
        .find(|program| program.name == name)
        .unwrap()
}

fn session(source: Source, name: &str, mode: Mode) -> Session {
    let session = program(name).session(mode);
    match source {
        Source::ShortPipe => {
            let path = session.folder.join("pipe");
            let made = Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
            session.redirect(STDIN, format!("<{}", path.display()))
        }
        Source::Fuel => {
            let used = finish(session.start()).json()["fuel_used"].as_u64();
            session.limit("fuel", serde_json::json!(used.unwrap()))
        }
        _ => session,
    }
}

/// What stands behind a pipe while a session reads it: more than it asks for.
fn fill(session: &Session) -> Option<File> {
    let path = session.folder.join("pipe");
    let mut options = File::options();
    let mut pipe = options.read(true).write(true).open(path).ok()?;
    pipe.write_all(&[b'x'; 20_000]).unwrap();
    Some(pipe)
}

/// Receipt, outputs and end of one run.
fn run(session: &Session) -> String {
    session.clear_outputs();
    let _pipe = fill(session);
    let ended = finish(session.start());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = ended.json();
    let digest = |path: &str| blake3::hash(&session.content(path)).to_hex();
    format!(
        "{} {} {} {}",
        report["receipt"],
        report["outcome"],
        digest("/dev/stdout"),
        digest("/dev/output"),
    )
}

#[test]
fn chance_from_each_source_is_noticed() {
    for source in Source::ALL {
        let (names, mode) = witnesses(source);
        for name in names {
            let session = session(source, name, mode);
            let without: BTreeSet<String> =
                (0..RUNS_WITHOUT).map(|_| run(&session)).collect();
            assert_eq!(without.len(), 1, "{source:?}, {name}, without chance");
            let session = session.environment(VARIABLE, &format!("{source:?}"));
            let mut seen = BTreeSet::new();
            for _ in 0..MOST_RUNS {
                seen.insert(run(&session));
                if seen.len() > 1 {
                    break;
                }
            }
            assert!(
                seen.len() > 1,
                "{source:?} is not noticed by {name}: {seen:?}"
            );
        }
    }
}

#[test]
fn a_strict_run_does_not_notice_another_native_stack() {
    let session = session(Source::NativeStack, "depth", STRICT)
        .environment(VARIABLE, &format!("{:?}", Source::NativeStack));
    let seen: BTreeSet<String> = (0..MOST_RUNS).map(|_| run(&session)).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
}
