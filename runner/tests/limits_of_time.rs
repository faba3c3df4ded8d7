//! Limits of time end a VM wherever it is: in code, in one instruction that moves
//! gigabytes, in one call of the host, in a call that waits; by both ways to a VM.
//!
//! Never before the limit, and soon after it. How soon is the machine's affair: the
//! tests allow what a busy one needs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::fd::OwnedFd;

use serde_json::{Value, json};
use support::daemon::{Daemon, waiting};
use support::modules::{leb, module_of, name};
use support::{Session, assert_outcome, folder};

const WALL_SECONDS: f64 = 0.4;
const CPU_SECONDS: f64 = 0.2;
/// What may pass between a limit and the end.
const SOON_SECONDS: f64 = 1.5;

/// Asserts that the session is ended by either limit, and by either way to a VM.
fn assert_ended(daemon: &Daemon, make: impl Fn() -> Session) {
    for (limit, used, seconds) in [
        ("wall_seconds", "wall_seconds", WALL_SECONDS),
        ("cpu_seconds", "cpu_seconds", CPU_SECONDS),
    ] {
        let session = || make().limit(limit, json!(seconds));
        for report in [session().run(), daemon.client().report(&session())] {
            assert_outcome(&report, "limit", limit);
            let expected = format!("the limit is {seconds} s ({limit})");
            assert_eq!(report["outcome"]["message"], expected);
            assert_eq!(report["receipt"], Value::Null);
            let used = report[used].as_f64().unwrap();
            assert!((seconds..seconds + SOON_SECONDS).contains(&used), "{used}");
        }
    }
}

/// What is idle in the daemon would take the processor of what is measured.
fn daemon() -> Daemon {
    Daemon::start(&["--idle", "1", "--programs", "1"])
}

#[test]
fn an_endless_loop_is_ended() {
    assert_ended(&daemon(), || Session::new("spin"));
}

#[test]
fn one_call_of_the_host_is_ended_within() {
    let daemon = daemon();
    assert_ended(&daemon, || Session::new("long_call"));
    // It was in its first call, whose result nobody has seen.
    let session = || Session::new("long_call").limit("wall_seconds", json!(WALL_SECONDS));
    for report in [session().run(), daemon.client().report(&session())] {
        assert_eq!(report["stderr_tail"], "begun");
    }
}

/// A command that repeats one instruction without end, on 256 MiB of memory and a
/// table of 2^20 elements.
fn repeating(instruction: &[u8]) -> Vec<u8> {
    const LOOP: &[u8] = b"\x03\x40";
    const AGAIN: &[u8] = b"\x0c\x00\x0b\x0b";
    let code = [b"\0", LOOP, instruction, AGAIN].concat();
    let exports = [
        vec![2],
        name("_start"),
        vec![0, 0],
        name("memory"),
        vec![2, 0],
    ];
    let table = [vec![1, 0x70, 0], leb(1 << 20)].concat();
    let memory = [vec![1, 0], leb(4096)].concat();
    module_of(&[
        (1, vec![1, 0x60, 0, 0]),
        (3, vec![1, 0]),
        (4, table),
        (5, memory),
        (7, exports.concat()),
        (10, [vec![1], leb(code.len()), code].concat()),
    ])
}

/// `i32.const`, as signed LEB128 of five bytes.
fn constant(value: u32) -> Vec<u8> {
    let mut bytes = vec![0x41];
    bytes.extend((0..5u32).map(|n| {
        let more = if n < 4 { 0x80 } else { 0 };
        ((value >> (7 * n)) & 0x7f) as u8 | more
    }));
    bytes
}

#[test]
fn bulk_operations_on_memory_and_tables_are_ended_within() {
    const HALF: u32 = 128 << 20;
    let daemon = daemon();
    let operands = |three: [u32; 3]| three.map(constant).concat();
    for (name, instruction) in [
        (
            "memory.fill",
            [operands([0, 7, 2 * HALF]), b"\xfc\x0b\0".to_vec()].concat(),
        ),
        (
            "memory.copy",
            [operands([HALF, 0, HALF]), b"\xfc\x0a\0\0".to_vec()].concat(),
        ),
        (
            "memory.copy, overlapping",
            [operands([1, 0, 2 * HALF - 1]), b"\xfc\x0a\0\0".to_vec()].concat(),
        ),
        (
            "table.fill",
            [
                constant(0),
                b"\xd0\x70".to_vec(),
                constant(1 << 20),
                b"\xfc\x11\0".to_vec(),
            ]
            .concat(),
        ),
        (
            "table.copy",
            [operands([1, 0, (1 << 20) - 1]), b"\xfc\x0e\0\0".to_vec()].concat(),
        ),
    ] {
        let module = repeating(&instruction);
        let session = || Session::of_module(name, &module);
        let large = || session().limit("memory_bytes", json!(2 * HALF));
        assert_ended(&daemon, large);
    }
}

#[test]
fn waiting_costs_no_processor_time_and_is_ended_by_the_wall_limit() {
    let daemon = daemon();
    let limited = |session: Session| {
        session
            .limit("cpu_seconds", json!(CPU_SECONDS))
            .limit("wall_seconds", json!(2.0 * WALL_SECONDS))
    };
    let (alone, _alone): (Session, OwnedFd) = waiting();
    let (served, _served): (Session, OwnedFd) = waiting();
    let alone = limited(alone).run();
    let served = daemon.client().report(&limited(served));
    for report in [alone, served] {
        assert_outcome(&report, "limit", "wall_seconds");
        assert!(report["cpu_seconds"].as_f64().unwrap() < CPU_SECONDS);
    }
}

#[test]
fn an_output_that_nobody_reads_is_ended_by_the_wall_limit() {
    // A pipe, as between two programs of a shell; on a node outputs are files.
    let program = support::guest("endless_output");
    let path = folder("fifo").join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let held = std::fs::File::options().read(true).write(true).open(&path);
    let held = held.unwrap();
    let child = std::process::Command::new(support::ZVM)
        .args(["run", "--wall", "0.4", program.to_str().unwrap()])
        .env("XDG_CACHE_HOME", support::cache())
        .stdin(std::process::Stdio::null())
        .stdout(held.try_clone().unwrap())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let ended = support::finish(child);
    assert_eq!(ended.status, Some(124));
    assert!(ended.stderr.contains("limit wall_seconds: "), "{ended:?}");
}

#[test]
fn what_needs_less_than_its_limits_is_not_ended() {
    let daemon = daemon();
    let session = || {
        Session::new("long_call")
            .args(&["0"])
            .limit("wall_seconds", json!(5.0))
            .limit("cpu_seconds", json!(1.0))
    };
    for report in [session().run(), daemon.client().report(&session())] {
        assert_outcome(&report, "exit", "0");
        assert!(report["receipt"].is_string());
    }
}
