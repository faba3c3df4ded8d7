//! Each limit of a session, from both sides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Session, assert_outcome};

#[test]
fn an_endless_loop_is_killed_at_its_wall_limit() {
    let session = Session::new("spin").limit("wall_seconds", json!(0.4));
    let started = std::time::Instant::now();
    let report = session.run();
    assert_outcome(&report, "limit", "wall_seconds");
    assert_eq!(
        report["outcome"]["message"],
        "the limit is 0.4 s (wall_seconds)"
    );
    assert_eq!(report["receipt"], Value::Null);
    assert!(report["wall_seconds"].as_f64().unwrap() >= 0.4);
    assert!(started.elapsed().as_secs_f64() < 5.0);
}

#[test]
fn an_endless_loop_is_killed_at_its_cpu_limit() {
    let report = Session::new("spin").limit("cpu_seconds", json!(0.3)).run();
    assert_outcome(&report, "limit", "cpu_seconds");
    let used = report["cpu_seconds"].as_f64().unwrap();
    assert!((0.3..1.3).contains(&used), "{used}");
    assert_eq!(report["receipt"], Value::Null);
}

#[test]
fn waiting_costs_no_cpu_but_is_ended_by_the_wall_limit() {
    let fifo = support::folder("fifo").join("pipe");
    let status = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(status.success());
    // Opened for both, so that the shell does not wait for a writer.
    let report = Session::new("cat")
        .channel(
            "/dev/stdin",
            "read",
            "sequential",
            format!("<>{}", fifo.display()),
            u64::MAX,
        )
        .limit("cpu_seconds", json!(0.3))
        .limit("wall_seconds", json!(0.8))
        .run();
    assert_outcome(&report, "limit", "wall_seconds");
    assert!(report["cpu_seconds"].as_f64().unwrap() < 0.3);
}

#[test]
fn memory_grows_to_the_limit_exactly_and_the_refusal_is_noted() {
    let limit = 10u64 << 20;
    let session = Session::new("alloc_all").args(&["grow"]);
    let report = session.limit("memory_bytes", json!(limit)).run();
    assert_outcome(&report, "exit", "3");
    assert_eq!(report["memory_peak_bytes"], limit);
    assert_eq!(report["limits_reached"], json!(["memory_bytes"]));
    // Enough for all that it asks: nothing is noted.
    let report = Session::new("hello").run();
    assert_eq!(report["limits_reached"], json!([]));
}

#[test]
fn a_program_that_starts_with_more_memory_than_allowed_does_not_run() {
    let report = Session::new("hello")
        .limit("memory_bytes", json!(65536))
        .run();
    assert_outcome(&report, "limit", "memory_bytes");
    let message = report["outcome"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("bytes of memory; the limit is 65536"),
        "{message}"
    );
}

/// A command with a table of this many elements, as five bytes of LEB128.
fn module_with_table(elements: u32) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0".to_vec();
    module.extend(b"\x04\x08\x01\x70\0");
    module.extend((0..5u32).map(|n| {
        let more = if n < 4 { 0x80 } else { 0 };
        ((elements >> (7 * n)) & 0x7f) as u8 | more
    }));
    module.extend(b"\x05\x03\x01\0\x01\x07\x13\x02\x06_start\0\0\x06memory\x02\0");
    module.extend(b"\x0a\x04\x01\x02\0\x0b");
    module
}

#[test]
fn tables_are_limited_to_the_element() {
    let run = |elements| Session::of_module("table", &module_with_table(elements)).run();
    assert_outcome(&run(1 << 20), "exit", "0");
    let report = run((1 << 20) + 1);
    assert_outcome(&report, "limit", "table_elements");
    assert_eq!(
        report["outcome"]["message"],
        "the program's tables start with more than 1048576 elements (table_elements)"
    );
    assert_eq!(report["limits_reached"], json!(["table_elements"]));
}

#[test]
fn output_is_limited_to_the_byte() {
    let run = |limit_bytes| {
        let session = Session::new("hello");
        session
            .output("/dev/stdout", "sequential", limit_bytes)
            .run()
    };
    assert_outcome(&run(6), "exit", "0");
    let report = run(5);
    assert_outcome(&report, "limit", "output_bytes");
    assert_eq!(
        report["outcome"]["message"],
        "/dev/stdout: 6 bytes written; the limit is 5 (output_bytes)"
    );
    assert!(report["receipt"].is_string());
}

#[test]
fn endless_output_is_ended_by_its_limit() {
    let session =
        Session::new("endless_output").output("/dev/stdout", "sequential", 1 << 20);
    let report = session.run();
    assert_outcome(&report, "limit", "output_bytes");
    assert_eq!(report["channels"][0]["size"], 1 << 20);
}

#[test]
fn endless_stderr_costs_no_memory_and_keeps_its_tail() {
    let report = Session::new("endless_stderr")
        .limit("wall_seconds", json!(0.5))
        .run();
    assert_outcome(&report, "limit", "wall_seconds");
    assert_eq!(report["stderr_tail"], "e".repeat(1024));
}

#[test]
fn calls_are_limited_to_the_call() {
    let run = |calls: u64| {
        let mut session = Session::new("cat")
            .input("/dev/stdin", "sequential", b"abc")
            .output("/dev/stdout", "sequential", 100);
        session.manifest["channels"][0]["limit_calls"] = json!(calls);
        session.run()
    };
    // One read that delivers, one that finds the end.
    let report = run(2);
    assert_outcome(&report, "exit", "0");
    assert_eq!(report["channels"][0]["reads"], 2);
    let report = run(1);
    assert_outcome(&report, "limit", "channel_calls");
    assert_eq!(
        report["outcome"]["message"],
        "/dev/stdin: more than 1 calls (channel_calls)"
    );
}

#[test]
fn input_is_limited_to_the_byte() {
    let run = |limit_bytes: u64| {
        let mut session =
            Session::new("count_bytes").input("/dev/stdin", "sequential", b"abc");
        session.manifest["channels"][0]["limit_bytes"] = json!(limit_bytes);
        session.run()
    };
    assert_outcome(&run(3), "exit", "0");
    assert_outcome(&run(2), "limit", "input_bytes");
}

#[test]
fn the_stack_may_be_larger_than_the_shells_and_smaller_than_usual() {
    let memory = |stack_bytes: u64| {
        let report = Session::new("recurse")
            .limit("stack_bytes", json!(stack_bytes))
            .run();
        assert_outcome(&report, "trap", "stack_overflow");
    };
    memory(64 << 10);
    memory(64 << 20);
}
