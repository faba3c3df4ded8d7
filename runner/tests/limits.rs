//! Each limit of a session, from both sides, by both ways to a VM: a process of its
//! own (`zvm session`) and the daemon (`zvm serve`). Limits of time are in
//! `limits_of_time`, those of compiling in `compile_limits`, the number of VMs in
//! `serve_crowd`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::daemon::Daemon;
use support::{Session, assert_outcome, lasting};

/// Both ways to a VM.
struct Both(Daemon);

impl Both {
    fn new() -> Self {
        Both(Daemon::start(&["--idle", "1"]))
    }

    /// The report of a session, which is the same by either way.
    fn run(&self, session: impl Fn() -> Session) -> Value {
        let (_, report) = self.run_as(session);
        report
    }

    /// The session that ran by the daemon as well.
    fn run_as(&self, session: impl Fn() -> Session) -> (Session, Value) {
        let alone = lasting(session().run());
        let served = session();
        let report = self.0.client().report(&served);
        assert_eq!(lasting(report), alone);
        (served, alone)
    }

    /// What a guest prints on standard output, and its report.
    fn printed(&self, session: impl Fn() -> Session) -> (String, Value) {
        let printing = || session().output("/dev/stdout", "sequential", 1000);
        let (served, report) = self.run_as(printing);
        assert_outcome(&report, "exit", "0");
        let text = String::from_utf8(served.content("/dev/stdout")).unwrap();
        (text, report)
    }
}

#[test]
fn memory_grows_to_the_limit_exactly_and_the_refusal_is_noted() {
    let both = Both::new();
    let peak = |limit: u64| {
        let grow = || Session::new("alloc_all").args(&["grow"]);
        let report = both.run(|| grow().limit("memory_bytes", json!(limit)));
        assert_outcome(&report, "exit", "3");
        assert_eq!(report["limits_reached"], json!(["memory_bytes"]));
        report["memory_peak_bytes"].as_u64().unwrap()
    };
    assert_eq!(peak(10 << 20), 10 << 20);
    // Memory comes in pages of 64 KiB.
    assert_eq!(peak((10 << 20) + 65535), 10 << 20);
    assert_eq!(peak((10 << 20) - 1), (10 << 20) - 65536);
    // Enough for all that it asks: nothing is noted.
    let report = both.run(|| Session::new("hello"));
    assert_eq!(report["limits_reached"], json!([]));
}

#[test]
fn a_program_that_starts_with_more_memory_than_allowed_does_not_run() {
    let both = Both::new();
    let needed = both.run(|| Session::new("hello"))["memory_peak_bytes"]
        .as_u64()
        .unwrap();
    let run = |limit: u64| {
        let hello = || Session::new("hello").output("/dev/stdout", "sequential", 100);
        both.run_as(|| hello().limit("memory_bytes", json!(limit)))
    };
    let (session, report) = run(needed);
    assert_outcome(&report, "exit", "0");
    assert_eq!(session.content("/dev/stdout"), b"hello\n");
    let (session, report) = run(needed - 1);
    assert_outcome(&report, "limit", "memory_bytes");
    let limit = needed - 1;
    assert_eq!(
        report["outcome"]["message"],
        format!(
            "the program starts with {needed} bytes of memory; the limit is {limit} (memory_bytes)"
        )
    );
    assert_eq!(session.content("/dev/stdout"), b"");
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
    let both = Both::new();
    let run =
        |elements| both.run(|| Session::of_module("table", &module_with_table(elements)));
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
fn sequential_output_is_limited_to_the_byte() {
    let both = Both::new();
    let run = |limit| {
        both.run_as(|| Session::new("hello").output("/dev/stdout", "sequential", limit))
    };
    let (session, report) = run(6);
    assert_outcome(&report, "exit", "0");
    assert_eq!(session.content("/dev/stdout"), b"hello\n");
    let (session, report) = run(5);
    assert_outcome(&report, "limit", "output_bytes");
    assert_eq!(
        report["outcome"]["message"],
        "/dev/stdout: 6 bytes written; the limit is 5 (output_bytes)"
    );
    assert!(report["receipt"].is_string());
    // All of a write or nothing.
    assert_eq!(session.content("/dev/stdout"), b"");
}

#[test]
fn random_output_is_limited_to_its_last_byte() {
    let both = Both::new();
    let run = |limit| {
        let session = || Session::new("write_random").args(&["95", "hello", "0", "x"]);
        both.run_as(|| session().output("/dev/output", "random", limit))
    };
    let (session, report) = run(100);
    assert_outcome(&report, "exit", "0");
    assert_eq!(session.content("/dev/output").len(), 100);
    let (session, report) = run(99);
    assert_outcome(&report, "limit", "output_bytes");
    assert_eq!(
        report["outcome"]["message"],
        "/dev/output: 100 bytes written; the limit is 99 (output_bytes)"
    );
    assert_eq!(session.content("/dev/output"), b"");
}

#[test]
fn endless_output_is_ended_by_its_limit() {
    let both = Both::new();
    let session =
        || Session::new("endless_output").output("/dev/stdout", "sequential", 1 << 20);
    let report = both.run(session);
    assert_outcome(&report, "limit", "output_bytes");
    assert_eq!(report["channels"][0]["size"], 1 << 20);
}

#[test]
fn input_is_limited_to_the_byte() {
    let both = Both::new();
    for access in ["sequential", "random"] {
        let run = |limit: u64| {
            both.run(|| {
                let session = Session::new("count_bytes");
                let mut session = session.input("/dev/stdin", access, b"abc");
                session.manifest["channels"][0]["limit_bytes"] = json!(limit);
                session
            })
        };
        assert_outcome(&run(3), "exit", "0");
        let report = run(2);
        assert_outcome(&report, "limit", "input_bytes");
        assert_eq!(
            report["outcome"]["message"],
            "/dev/stdin: more than 2 bytes read (input_bytes)"
        );
    }
}

#[test]
fn calls_are_limited_to_the_call() {
    let both = Both::new();
    let run = |channel: usize, calls: u64| {
        both.run(|| {
            let mut session = Session::new("cat")
                .input("/dev/stdin", "sequential", b"abc")
                .output("/dev/stdout", "sequential", 100);
            session.manifest["channels"][channel]["limit_calls"] = json!(calls);
            session
        })
    };
    // One read that delivers, one that finds the end.
    let report = run(0, 2);
    assert_outcome(&report, "exit", "0");
    assert_eq!(report["channels"][0]["reads"], 2);
    let report = run(0, 1);
    assert_outcome(&report, "limit", "channel_calls");
    assert_eq!(
        report["outcome"]["message"],
        "/dev/stdin: more than 1 calls (channel_calls)"
    );
    // And one write.
    assert_outcome(&run(1, 1), "exit", "0");
    let report = run(1, 0);
    assert_outcome(&report, "limit", "channel_calls");
    assert_eq!(
        report["outcome"]["message"],
        "/dev/stdout: more than 0 calls (channel_calls)"
    );
}

#[test]
fn stderr_is_kept_to_the_byte_and_what_is_lost_is_noted() {
    let both = Both::new();
    let run = |written: &str, kept: u64| {
        let session = || Session::new("endless_stderr").args(&[written]);
        let report = both.run(|| session().limit("stderr_bytes", json!(kept)));
        assert_outcome(&report, "exit", "0");
        (
            report["stderr_tail"].clone(),
            report["limits_reached"].clone(),
        )
    };
    let whole = format!("b{}", "e".repeat(5000));
    assert_eq!(run("5001", 5001), (json!(whole), json!([])));
    let (tail, reached) = run("5001", 5000);
    assert_eq!(
        (tail, reached),
        (json!("e".repeat(5000)), json!(["stderr_bytes"]))
    );
    assert_eq!(run("0", 0), (json!(""), json!([])));
    assert_eq!(run("1", 0), (json!(""), json!(["stderr_bytes"])));
}

#[test]
fn endless_stderr_costs_no_memory_and_keeps_its_tail() {
    let report = Session::new("endless_stderr")
        .limit("wall_seconds", json!(0.5))
        .run();
    assert_outcome(&report, "limit", "wall_seconds");
    assert_eq!(report["stderr_tail"], "e".repeat(1024));
    assert_eq!(report["limits_reached"], json!(["stderr_bytes"]));
}

#[test]
fn bytes_in_tmp_are_limited_to_the_byte() {
    let both = Both::new();
    let run = |args: &[&str], limit: u64| {
        let session = || Session::new("fill_tmp").args(args);
        both.printed(|| session().limit("tmp_bytes", json!(limit)))
    };
    let (text, report) = run(&["100001"], 100_001);
    assert_eq!(text, "100001 bytes, errno 0 (Success)\n");
    assert_eq!(report["limits_reached"], json!([]));
    for args in [&["100002"][..], &[]] {
        let (text, report) = run(args, 100_001);
        assert!(
            text.starts_with("100001 bytes, errno 51 (No space"),
            "{text}"
        );
        assert_eq!(report["limits_reached"], json!(["tmp_bytes"]));
    }
    let (text, _) = run(&[], 0);
    assert!(text.starts_with("0 bytes, errno 51"), "{text}");
}

#[test]
fn names_in_tmp_are_limited_to_the_name() {
    let both = Both::new();
    // Of files, and of one file that has many.
    for guest in ["many_files", "many_names"] {
        let run = |most: &str| {
            let session = || Session::new(guest).args(&[most]);
            both.printed(|| session().limit("files", json!(20)))
        };
        let (text, report) = run("20");
        assert!(text.starts_with("20 "), "{text}");
        assert!(text.contains(", errno 0 "), "{text}");
        assert_eq!(report["limits_reached"], json!([]));
        for more in ["21", "1000000"] {
            let (text, report) = run(more);
            assert!(text.starts_with("20 "), "{text}");
            assert!(text.contains(", errno 51 (No space left"), "{text}");
            assert_eq!(report["limits_reached"], json!(["files"]));
        }
    }
}

#[test]
fn open_files_are_limited_to_the_descriptor() {
    let both = Both::new();
    let run = |most: &str| {
        let session = || Session::new("open_files").args(&[most]);
        both.printed(|| session().limit("files", json!(20)))
    };
    // Three standard ones and the root are open from the start.
    let (text, report) = run("16");
    assert_eq!(text, "16 open, errno 0 (Success)\n");
    assert_eq!(report["limits_reached"], json!([]));
    let (text, report) = run("17");
    assert!(
        text.starts_with("16 open, errno 41 (Too many open"),
        "{text}"
    );
    assert_eq!(report["limits_reached"], json!(["files"]));
}

#[test]
fn the_stack_ends_at_the_same_call_by_either_way() {
    let both = Both::new();
    let session = |stack: u64, depth: &str| {
        Session::new("recurse")
            .args(&[depth])
            .limit("stack_bytes", json!(stack))
    };
    let fits = |stack: u64, depth: u32| {
        let report = session(stack, &depth.to_string()).run();
        let code = report["outcome"]["code"].clone();
        assert!(code == 0 || code == "stack_overflow", "{report:#}");
        code == 0
    };
    let (mut deep, mut deeper) = (1u32, 1 << 16);
    assert!(fits(64 << 10, deep) && !fits(64 << 10, deeper));
    while deeper - deep > 1 {
        let middle = u32::midpoint(deep, deeper);
        match fits(64 << 10, middle) {
            true => deep = middle,
            false => deeper = middle,
        }
    }
    let report = both.run(|| session(64 << 10, &deep.to_string()));
    assert_outcome(&report, "exit", "0");
    let report = both.run(|| session(64 << 10, &deeper.to_string()));
    assert_outcome(&report, "trap", "stack_overflow");
    // Twice of it is enough for one more, and more than a shell's is had.
    let report = both.run(|| session(128 << 10, &deeper.to_string()));
    assert_outcome(&report, "exit", "0");
    let report = both.run(|| session(64 << 20, "200000"));
    assert_outcome(&report, "exit", "0");
    let report =
        both.run(|| Session::new("recurse").limit("stack_bytes", json!(64 << 20)));
    assert_outcome(&report, "trap", "stack_overflow");
}

#[test]
fn zvm_run_keeps_the_limits_that_it_is_given() {
    let guest = |name: &str| support::guest(name).to_str().unwrap().to_owned();
    let run = |options: &[&str], name: &str, args: &[&str]| {
        let program = guest(name);
        let words = [&["run"], options, &[&program], args].concat();
        let ended = support::zvm(&words, b"");
        (ended.status, ended.stdout, ended.stderr)
    };
    let output = support::folder("run").join("out");
    let out = format!("stdout={}", output.display());
    let written =
        |limit: &str| run(&["--out", &out, "--output-limit", limit], "hello", &[]);
    assert_eq!(written("6").0, Some(0));
    let (status, _, stderr) = written("5");
    assert_eq!(status, Some(134));
    assert!(
        stderr.contains("limit output_bytes: /dev/stdout: "),
        "{stderr}"
    );

    let filled = |tmp: &str| run(&["--tmp", tmp], "fill_tmp", &["1024"]).1;
    assert_eq!(filled("1K"), "1024 bytes, errno 0 (Success)\n");
    assert!(filled("1023").starts_with("1023 bytes, errno 51"));

    let (status, _, stderr) = run(&["--memory", "64K"], "hello", &[]);
    assert_eq!(status, Some(134));
    assert!(stderr.contains("limit memory_bytes: "), "{stderr}");
    assert_eq!(run(&["--memory", "4M"], "hello", &[]).0, Some(0));

    let deep = |stack: &str| run(&["--stack", stack], "recurse", &["20000"]);
    assert_eq!(deep("8M").0, Some(0));
    let (status, _, stderr) = deep("64K");
    assert_eq!(status, Some(134));
    assert!(stderr.contains("trap stack_overflow"), "{stderr}");

    for (option, name) in [("--wall", "wall_seconds"), ("--cpu", "cpu_seconds")] {
        let (status, _, stderr) = run(&[option, "0.2"], "spin", &[]);
        assert_eq!(status, Some(124));
        assert!(stderr.contains(&format!("limit {name}: ")), "{stderr}");
        assert_eq!(run(&[option, "20"], "hello", &[]).0, Some(0));
    }
}
