//! What a session reports of guests that end by themselves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Session, assert_outcome};

#[test]
fn hello_is_staged_hashed_and_exits_0() {
    let session = Session::new("hello").output("/dev/stdout", "sequential", 1 << 20);
    let report = session.run();
    assert_outcome(&report, "exit", "0");
    let content = session.content("/dev/stdout");
    assert_eq!(content, b"hello\n");
    let channel = &report["channels"][0];
    assert_eq!(channel["write_bytes"], 6);
    assert_eq!(channel["size"], 6);
    assert_eq!(channel["blake3"], blake3::hash(&content).to_hex().as_str());
    assert_eq!(channel["md5"], "b1946ac92492d2347c6235b4d2611184");
    assert_eq!(report["version"], 1);
    assert_eq!(
        report["program_sha256"],
        session.manifest["program"]["sha256"]
    );
    assert!(report["memory_peak_bytes"].as_u64().unwrap() >= 65536);
}

#[test]
fn exit_codes_are_the_guests_own() {
    for code in ["0", "1", "77", "255"] {
        let report = Session::new("exit_code").args(&[code]).run();
        assert_outcome(&report, "exit", code);
    }
}

#[test]
fn traps_have_words() {
    for (arg, word) in [
        ("", "unreachable"),
        ("divide", "integer_divide_by_zero"),
        ("load", "memory_out_of_bounds"),
        ("call", "indirect_call"),
    ] {
        let report = Session::new("trap").args(&[arg]).run();
        assert_eq!(report["outcome"]["kind"], "trap", "{arg}: {report:#}");
        let code = report["outcome"]["code"].as_str().unwrap();
        // A compiler may turn a call through a wrong type into unreachable.
        let expected = code == word || (arg == "call" && code == "unreachable");
        assert!(expected, "{arg}: {report:#}");
        assert!(report["receipt"].is_string());
    }
}

#[test]
fn endless_recursion_ends_in_a_trap_at_the_same_depth_each_time() {
    let reports = [(); 2].map(|()| Session::new("recurse").run());
    for report in &reports {
        assert_outcome(report, "trap", "stack_overflow");
    }
    assert_eq!(reports[0]["receipt"], reports[1]["receipt"]);
    let report = Session::new("recurse").args(&["memory"]).run();
    assert_outcome(&report, "trap", "memory_out_of_bounds");
}

#[test]
fn stdin_is_counted_and_its_digest_is_of_what_was_delivered() {
    let data: Vec<u8> = (0..300_000u32).map(|n| (n >> 3) as u8).collect();
    let session = Session::new("cat")
        .input("/dev/stdin", "sequential", &data)
        .output("/dev/stdout", "sequential", 1 << 20);
    let report = session.run();
    assert_outcome(&report, "exit", "0");
    assert_eq!(session.content("/dev/stdout"), data);
    let digest = blake3::hash(&data).to_hex();
    let [input, output] = [&report["channels"][0], &report["channels"][1]];
    assert_eq!(input["read_bytes"], data.len());
    assert_eq!(input["size"], data.len());
    assert_eq!(input["blake3"], digest.as_str());
    assert_eq!(input["md5"], Value::Null);
    assert_eq!(output["blake3"], digest.as_str());
}

#[test]
fn a_pipe_as_stdin_gives_the_same_as_a_file() {
    let fifo = support::folder("fifo").join("pipe");
    let status = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(status.success());
    let writer = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::write(fifo, b"one\ntwo\n").unwrap())
    };
    let redirection = format!("<{}", fifo.display());
    let report = Session::new("count_bytes")
        .channel("/dev/stdin", "read", "sequential", redirection, u64::MAX)
        .output("/dev/stdout", "sequential", 100)
        .run();
    writer.join().unwrap();
    assert_outcome(&report, "exit", "0");
    let input = &report["channels"][0];
    assert_eq!(
        input["blake3"],
        blake3::hash(b"one\ntwo\n").to_hex().as_str()
    );
    assert_eq!(input["size"], 8);
}

#[test]
fn random_access_reads_and_writes_where_it_is_told() {
    let session = Session::new("seek_read")
        .args(&["6", "5", "-3", "2", "0", "1"])
        .input("/dev/input", "random", b"hello world!")
        .output("/dev/stdout", "sequential", 100);
    let report = session.run();
    assert_outcome(&report, "exit", "0");
    assert_eq!(session.content("/dev/stdout"), b"worldldh");
    assert_eq!(report["channels"][0]["blake3"], Value::Null);

    let session = Session::new("write_random")
        .args(&["4", "efg", "0", "ab"])
        .output("/dev/output", "random", 100);
    assert_outcome(&session.run(), "exit", "0");
    assert_eq!(session.content("/dev/output"), b"ab\0\0efg");
}

#[test]
fn undeclared_channels_read_empty_and_are_discarded() {
    let session = Session::new("count_bytes");
    let report = session.run();
    assert_outcome(&report, "exit", "0");
    assert_eq!(report["channels"], json!([]));
}

#[test]
fn the_end_of_stderr_is_kept_though_nothing_is_declared() {
    let report = Session::new("alloc_all").run();
    assert_outcome(&report, "exit", "3");
    let tail = report["stderr_tail"].as_str().unwrap();
    assert!(tail.starts_with("out of memory after "), "{tail}");
    assert_eq!(report["limits_reached"], json!(["memory_bytes"]));
}

#[test]
fn the_same_session_gives_the_same_receipt_and_another_one_does_not() {
    let session = |stdin: &[u8], seed: &str| {
        let mut session = Session::new("cat")
            .input("/dev/stdin", "sequential", stdin)
            .output("/dev/stdout", "sequential", 100);
        session.manifest["seed"] = json!(seed.repeat(32));
        session.run()["receipt"].as_str().unwrap().to_owned()
    };
    let receipt = session(b"abc", "5e");
    assert_eq!(receipt, session(b"abc", "5e"));
    assert_ne!(receipt, session(b"abd", "5e"));
    assert_ne!(receipt, session(b"abc", "5f"));
}

#[test]
fn the_receipt_knows_neither_job_nor_node() {
    let receipt = |job: &str| {
        let mut session = Session::new("hello");
        session.manifest["job"] = json!(job);
        session.manifest["node"] = json!(job);
        session.run()["receipt"].clone()
    };
    assert_eq!(receipt("a"), receipt("b"));
}
