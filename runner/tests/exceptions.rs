//! Exceptions: setjmp, C++, and what the engine keeps for them.
//!
//! The values of exceptions lie in a heap of the engine's that is collected. It
//! counts as the guest's memory, its end is a limit like that of the memory, and
//! what it does depends on the guest alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod support;

use serde_json::{Value, json};
use support::{Session, assert_outcome, folder, zvm};

/// Runs a guest; its report and what it printed.
fn run(session: Session) -> (Value, String) {
    let session = session.output("/dev/stdout", "sequential", 1 << 20);
    let report = session.run();
    let printed = String::from_utf8(session.content("/dev/stdout")).unwrap();
    (report, printed)
}

fn jumps(args: &[&str]) -> Session {
    Session::new("jumps").args(args)
}

#[test]
fn longjmp_goes_through_frames_and_out_of_handlers() {
    let (report, printed) = run(jumps(&["nest"]));
    assert_outcome(&report, "exit", "0");
    assert_eq!(printed, "outer 1, inner seen 2 times\n");
}

#[test]
fn cpp_exceptions_unwind_and_are_caught_by_their_type() {
    let (report, printed) = run(Session::new("throws"));
    assert_outcome(&report, "exit", "0");
    assert_eq!(
        printed,
        "unwound risky 1\n1\nunwound kept\nunwound risky 3\nagain\nunwound kept\n\
         caught too much: 3\nnumber 42\ntotal 4999950000\n"
    );
}

#[test]
fn what_nobody_catches_is_a_trap_that_says_so() {
    let (report, printed) = run(jumps(&["stray"]));
    assert_outcome(&report, "trap", "uncaught_exception");
    assert_eq!(printed, "before\n");
    let message = report["outcome"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("an exception that nothing catches"),
        "{message}"
    );
    assert!(report["receipt"].is_string());
    let (report, printed) = run(Session::new("throws").args(&["uncaught"]));
    assert_outcome(&report, "trap", "uncaught_exception");
    assert!(printed.ends_with("total 4999950000\n"), "{printed}");
}

#[test]
fn a_handler_does_not_see_the_end_of_the_run() {
    let (report, printed) = run(jumps(&["leave"]));
    assert_outcome(&report, "exit", "9");
    assert_eq!(printed, "left\n");
}

#[test]
fn a_million_exceptions_need_no_more_memory_than_a_hundred() {
    let peak = |turns: &str| {
        let (report, printed) = run(jumps(&["loop", turns]));
        assert_outcome(&report, "exit", "0");
        let turns: u64 = turns.parse().unwrap();
        assert_eq!(printed, format!("{}\n", 7 * turns));
        report["memory_peak_bytes"].as_u64().unwrap()
    };
    let few = peak("100");
    assert_eq!(peak("1000000"), few);
    // The guest's own, and something for the exceptions.
    let (report, _) = run(jumps(&["loop", "0"]));
    let own = report["memory_peak_bytes"].as_u64().unwrap();
    assert!(few > own && few <= own + (1 << 20), "{few} {own}");
}

#[test]
fn runs_with_exceptions_are_equal() {
    let receipt = |variables: usize| {
        let mut session = jumps(&["loop", "200000"]);
        for number in 0..variables {
            session = session.environment(&format!("HOST_{number}"), "x");
        }
        let (report, _) = run(session);
        assert_outcome(&report, "exit", "0");
        report["receipt"].as_str().unwrap().to_owned()
    };
    let first = receipt(0);
    for variables in [0, 1, 50] {
        assert_eq!(receipt(variables), first);
    }
}

#[test]
fn an_exception_without_room_is_the_memory_limit() {
    let (report, _) = run(jumps(&["loop", "0"]));
    let own = report["memory_peak_bytes"].as_u64().unwrap();
    let session = jumps(&["loop", "1"]).limit("memory_bytes", json!(own));
    let (report, printed) = run(session);
    assert_outcome(&report, "limit", "memory_bytes");
    assert_eq!(
        report["outcome"]["message"],
        "no memory is left for an exception (memory_bytes)"
    );
    assert_eq!(printed, "");
    // What does not throw needs no room.
    let session = jumps(&["loop", "0"]).limit("memory_bytes", json!(own));
    assert_outcome(&run(session).0, "exit", "0");
}

/// A module of one function `_start`, with a tag and a table of exceptions.
fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (memory (export "memory") 1)
          (tag $oops)
          (table $kept 0 exnref)
          (func (export "_start") {body}))"#
    );
    wat::parse_str(text).unwrap()
}

/// Throws, catches, and keeps what was caught in the table, until that does not grow
/// any more.
const KEEP_ALL: &str = "
  (loop $again
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught) (throw $oops))
      unreachable)
    (table.grow $kept (i32.const 1))
    (br_if $again (i32.ge_s (i32.const 0))))";

#[test]
fn exceptions_that_are_kept_end_at_the_memory_limit() {
    let keep = |memory_bytes: u64| {
        let session = Session::of_module("keep", &module(KEEP_ALL))
            .limit("memory_bytes", json!(memory_bytes));
        session.run()
    };
    let report = keep(4 << 20);
    assert_outcome(&report, "limit", "memory_bytes");
    let peak = report["memory_peak_bytes"].as_u64().unwrap();
    assert!(peak > 2 << 20 && peak <= 4 << 20, "{peak}");
    assert_eq!(keep(4 << 20)["receipt"], report["receipt"]);
    // With room for them all, the table is what ends first.
    let report = keep(512 << 20);
    assert_outcome(&report, "exit", "0");
    assert_eq!(report["limits_reached"], json!(["table_elements"]));
}

#[test]
fn throwing_nothing_is_a_trap() {
    let module = module("(throw_ref (ref.null exn))");
    let report = Session::of_module("null", &module).run();
    assert_outcome(&report, "trap", "null_reference");
}

/// Runs a strict session twice; its report and what it printed.
fn run_strict(session: Session) -> (Value, String) {
    let session = session.output("/dev/stdout", "sequential", 1 << 20);
    let report = session.run();
    let printed = String::from_utf8(session.content("/dev/stdout")).unwrap();
    std::fs::write(session.folder.join("_dev_stdout"), b"").unwrap();
    assert_eq!(session.run()["receipt"], report["receipt"]);
    (report, printed)
}

#[test]
fn strict_runs_count_the_stack_and_the_fuel_through_exceptions() {
    const FUEL: u64 = 1 << 32;
    let (report, printed) = run_strict(Session::strict("throws", FUEL));
    assert_outcome(&report, "exit", "0");
    assert!(printed.ends_with("total 4999950000\n"), "{printed}");
    // Frames that an exception leaves give back their share of the stack: else a
    // million jumps out of seven frames would be at its end.
    let jumps = |turns: &str| {
        let session = Session::strict("jumps", FUEL).args(&["loop", turns]);
        let (report, printed) = run_strict(session);
        assert_outcome(&report, "exit", "0");
        let turns: u64 = turns.parse().unwrap();
        assert_eq!(printed, format!("{}\n", 7 * turns));
        report["fuel_used"].as_u64().unwrap()
    };
    let (one, two) = (jumps("500000"), jumps("1000000"));
    // What callees used that never returned is counted: each turn costs the same.
    let turns = |fuel: u64| (fuel - jumps("0")) as f64;
    let ratio = turns(two) / turns(one);
    assert!((1.99..2.01).contains(&ratio), "{one} {two}");
    assert!(one / 500_000 > 100, "{one}");
}

/// What `zvm compile` says against a module.
fn refusal(name: &str, module: &[u8], options: &[&str]) -> (String, String) {
    let folder = folder(name);
    let path = folder.join("module.wasm");
    std::fs::write(&path, module).unwrap();
    let cache = folder.join("cache");
    let mut args = vec!["compile", "--cache", cache.to_str().unwrap()];
    args.extend(options);
    args.push(path.to_str().unwrap());
    let ended = zvm(&args, b"");
    assert_eq!(ended.status, Some(65), "{ended:?}");
    ended.error()
}

/// Asserts that both modes refuse a module, with these words.
fn assert_refused(name: &str, module: &[u8], words: &[&str]) {
    for options in [&[][..], &["--strict"]] {
        let (code, message) = refusal(name, module, options);
        assert_eq!(code, "invalid_module", "{name}: {message}");
        for word in words {
            assert!(message.contains(word), "{name}: {message}");
        }
    }
}

#[test]
fn exceptions_of_the_old_kind_are_refused_with_what_to_do() {
    // (try (catch_all)), which the text format has no words for any more.
    let mut module = module("(nop)(nop)(nop)(nop)");
    let nops = module.windows(4).position(|bytes| bytes == [1, 1, 1, 1]);
    let at = nops.unwrap();
    module[at..at + 4].copy_from_slice(&[0x06, 0x40, 0x19, 0x0b]);
    assert_refused("legacy", &module, &["legacy", "-wasm-use-legacy-eh=false"]);
}

#[test]
fn garbage_collected_types_stay_refused() {
    for (name, text) in [
        ("struct", "(type (struct))"),
        ("array", "(type (array i32))"),
        ("recursive", "(rec (type (func)) (type (func)))"),
        ("anyref", "(table 0 anyref)"),
        ("i31ref", "(func (param i31ref))"),
    ] {
        let text = format!(
            r#"(module {text} (memory (export "memory") 1) (func (export "_start")))"#
        );
        let module = wat::parse_str(text).unwrap();
        assert_refused(name, &module, &["gc", "are not run here"]);
    }
}
