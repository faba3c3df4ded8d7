//! C programs over WASI: what libc makes of streams, names and time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod support;

use std::time::{Duration, Instant};

use support::{Session, assert_outcome, outcome};

/// Runs a guest that prints one step a line and exits 0 if all went well.
fn assert_steps(session: Session, steps: usize) {
    let session = session.output("/dev/stdout", "sequential", 1 << 20);
    let report = session.run();
    let printed = String::from_utf8(session.content("/dev/stdout")).unwrap();
    assert_eq!(
        outcome(&report),
        ("exit".into(), "0".into()),
        "{printed}\n{report:#}"
    );
    assert!(
        printed.lines().all(|line| line.starts_with("ok ")),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), steps, "{printed}");
}

#[test]
fn streams_behave_as_libc_expects() {
    let session = Session::new("wasi_streams")
        .input("/dev/stdin", "sequential", b"stdin\n")
        .input("/dev/input", "random", b"0123456789")
        .output("/dev/output", "random", 1 << 20)
        .output("/dev/stderr", "sequential", 1 << 20);
    let output = session.folder.join("_dev_output");
    assert_steps(session, 28);
    assert_eq!(std::fs::read(output).unwrap(), b"hello WASI!\n");
}

#[test]
fn names_behave_as_posix_says() {
    assert_steps(Session::new("wasi_names"), 21);
}

#[test]
fn files_in_tmp_behave_as_posix_says() {
    assert_steps(Session::new("files_tmp"), 21);
}

#[test]
fn sleeping_takes_no_time_and_moves_the_clock() {
    let session = Session::new("wasi_time").output("/dev/stdout", "sequential", 1 << 20);
    let start = Instant::now();
    assert_outcome(&session.run(), "exit", "0");
    assert!(start.elapsed() < Duration::from_secs(15));
    let printed = String::from_utf8(session.content("/dev/stdout")).unwrap();
    let seconds: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.split('.').next())
        .collect();
    assert_eq!(
        seconds,
        [
            "start: 946684800",
            "sleep: 946944000",
            "poll: 946944001",
            "select: 946944001",
            "until: 947030400",
            "spin: 947030401"
        ]
    );
}
