//! Strict mode: fuel to the unit, stack by count, NaNs of one form, and never an
//! artefact of the other mode.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Session, assert_outcome, finish, outcome};

/// More than any program here uses.
const PLENTY: u64 = 1_000_000_000;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// A command whose `_start` is `body`, with a memory of `pages`.
fn command(pages: u32, body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") {pages})
          (func (export "_start") {body}))"#
    ))
}

fn fuel_used(report: &Value) -> u64 {
    report["fuel_used"]
        .as_u64()
        .unwrap_or_else(|| panic!("{report:#}"))
}

/// Asserts that what `session` uses is enough, that one unit less is not, and that
/// each gives one receipt, whatever the time.
fn assert_exact(session: Session, kind: &str, code: &str) -> u64 {
    let session = session.limit("fuel", json!(PLENTY));
    let report = session.run();
    assert_outcome(&report, kind, code);
    assert_eq!(
        (&report["version"], &report["determinism"]),
        (&json!(2), &json!("strict"))
    );
    let used = fuel_used(&report);
    let session = session.limit("fuel", json!(used));
    let enough = session.run();
    assert_outcome(&enough, kind, code);
    assert_eq!(fuel_used(&enough), used);
    assert_ne!(
        enough["receipt"], report["receipt"],
        "the limit is in the receipt"
    );
    assert_eq!(enough["receipt"], session.run()["receipt"]);

    let session = session.limit("fuel", json!(used - 1));
    let short = session.run();
    assert_outcome(&short, "limit", "fuel");
    let message = format!("the limit is {} units (fuel)", used - 1);
    assert_eq!(short["outcome"]["message"], json!(message));
    assert_eq!(fuel_used(&short), used - 1);
    assert!(short["receipt"].is_string(), "{short:#}");
    assert_eq!(short["receipt"], session.run()["receipt"]);
    used
}

#[test]
fn fuel_is_exact_however_a_program_ends() {
    let ends = [
        ("returns", "nop", "exit", "0"),
        ("exits", "(call $exit (i32.const 7))", "exit", "7"),
        // After the last place at which the engine looks at its fuel.
        (
            "straight",
            "(drop (i32.add (i32.const 1) (i32.const 2)))",
            "exit",
            "0",
        ),
        (
            "loops",
            "(local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get 0) (i32.const 1000))))",
            "exit",
            "0",
        ),
        ("traps", "unreachable", "trap", "unreachable"),
    ];
    for (name, body, kind, code) in ends {
        let module = command(1, body);
        assert_exact(Session::strict_of_module(name, &module, 0), kind, code);
    }
}

#[test]
fn bulk_memory_costs_a_unit_a_byte_and_ends_to_the_unit() {
    let bytes = 48u64 << 20;
    let op = |name: &str, body: &str| {
        let module = command(1024, body);
        Session::strict_of_module(name, &module, 0)
    };
    let fill = format!("(memory.fill (i32.const 0) (i32.const 7) (i32.const {bytes}))");
    let used = assert_exact(op("fill", &fill), "exit", "0");
    assert!((bytes..bytes + 100).contains(&used), "{used}");
    let copy = format!(
        "(local i32) (local.set 0 (i32.const {bytes}))
         (memory.copy (i32.const 8) (i32.const 0) (local.get 0))"
    );
    let used = assert_exact(op("copy", &copy), "exit", "0");
    assert!((bytes..bytes + 100).contains(&used), "{used}");
}

#[test]
fn a_limit_of_fuel_comes_before_the_bytes_of_a_bulk_operation() {
    // What would be out of bounds is not even tried when there is no fuel for it.
    let body = "(memory.fill (i32.const 0) (i32.const 7) (i32.const -1))";
    let session = Session::strict_of_module("far", &command(1, body), 1 << 33);
    assert_outcome(&session.run(), "trap", "memory_out_of_bounds");
    let session = session.limit("fuel", json!(1u64 << 31));
    assert_outcome(&session.run(), "limit", "fuel");
}

#[test]
fn a_c_program_uses_the_same_fuel_every_time() {
    let session = |name: &str| Session::strict(name, 0).args(&["3"]);
    let hello = assert_exact(session("hello"), "exit", "0");
    assert!(hello > 100, "{hello}");
    let input = Session::strict("count_bytes", 0)
        .input("/dev/stdin", "sequential", &vec![b'x'; 3_000_000])
        .output("/dev/stdout", "sequential", 1 << 20);
    // An output has to be empty when a session starts.
    let used = fuel_used(&input.limit("fuel", json!(PLENTY)).run());
    assert!(used > 1000, "{used}");
}

#[test]
fn no_fuel_at_all_is_a_limit_that_is_met_at_once() {
    let session = Session::strict("hello", 0);
    assert_outcome(&session.run(), "limit", "fuel");
}

#[test]
fn an_endless_loop_ends_by_fuel_and_by_time_without_a_receipt() {
    let session = Session::strict("spin", 10_000_000);
    let report = session.run();
    assert_outcome(&report, "limit", "fuel");
    assert_eq!(report["receipt"], session.run()["receipt"]);
    let session = Session::strict("spin", 1 << 60).limit("wall_seconds", json!(0.4));
    let report = session.run();
    assert_outcome(&report, "limit", "wall_seconds");
    assert_eq!(report["receipt"], Value::Null);
    assert_eq!(report["fuel_used"], Value::Null);
}

#[test]
fn an_endless_recursion_ends_by_the_counter_of_depth() {
    let session = Session::strict("recurse", PLENTY);
    let report = session.run();
    assert_outcome(&report, "trap", "stack_overflow");
    let message = report["outcome"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("call stack exhausted (in "),
        "{message}"
    );
    assert!(report["receipt"].is_string());
    assert_eq!(report["receipt"], session.run()["receipt"]);
    // An `unreachable` of the program's own is another trap.
    let report =
        Session::strict_of_module("trap", &command(1, "unreachable"), PLENTY).run();
    assert_outcome(&report, "trap", "unreachable");
}

#[test]
fn the_stack_is_the_manifests_and_exact() {
    // Depth in bytes: each frame of this weighs 64 and 8 for each of 2 values.
    let module = wat(r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func $deep (param i32)
            (if (local.get 0)
              (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))
          (func (export "_start") (call $deep (i32.const 1000))))"#);
    let weight = 64 + 8 * 3;
    let start = 64 + 8;
    let needed = 1001 * weight + start;
    let session = Session::strict_of_module("deep", &module, PLENTY);
    let session = session.limit("stack_bytes", json!(needed));
    assert_outcome(&session.run(), "exit", "0");
    let session = session.limit("stack_bytes", json!(needed - 1));
    assert_outcome(&session.run(), "trap", "stack_overflow");
}

#[test]
fn nans_have_one_form() {
    // 0/0 gives a NaN with its sign set on x86-64, without it elsewhere.
    let body = "(f64.store (i32.const 0)
        (f64.div (f64.load (i32.const 64)) (f64.load (i32.const 64))))
      (if (i64.ne (i64.load (i32.const 0)) (i64.const 0x7ff8000000000000))
        (then (call $exit (i32.const 1))))";
    let module = command(1, body);
    let report = Session::strict_of_module("nan", &module, PLENTY).run();
    assert_outcome(&report, "exit", "0");
    if cfg!(target_arch = "x86_64") {
        // Without it there is something to be seen, so the test can fail.
        assert_outcome(&Session::of_module("nan", &module).run(), "exit", "1");
    }
}

#[test]
fn an_artefact_of_the_other_mode_is_refused() {
    let (status, code, message) = Session::new("hello").made_strict(PLENTY).refused();
    assert_eq!((status, &code as &str), (65, "bad_artefact"));
    let expected = "program: the artefact was made for mode default, not strict";
    assert_eq!(message, expected);
    let mut session = Session::strict("hello", PLENTY);
    session.manifest["version"] = json!(1);
    let manifest = session.manifest.as_object_mut().unwrap();
    manifest.remove("determinism");
    session.manifest["limits"]
        .as_object_mut()
        .unwrap()
        .remove("fuel");
    let (_, code, message) = session.refused();
    assert_eq!(code, "bad_artefact");
    assert_eq!(
        message,
        "program: the artefact was made for mode strict, not default"
    );
    // Both are in the cache at once, under names of their own.
    assert_outcome(&Session::strict("hello", PLENTY).run(), "exit", "0");
    assert_outcome(&Session::new("hello").run(), "exit", "0");
}

#[test]
fn a_start_function_runs_and_ends_as_in_the_default_mode() {
    let module = |body: &str| {
        wat(&format!(
            r#"(module
              (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1)
              (global $ran (mut i32) (i32.const 0))
              (func $init (global.set $ran (i32.const 5)) {body})
              (start $init)
              (func (export "_start") (call $exit (global.get $ran))))"#
        ))
    };
    for body in [
        "nop",
        "unreachable",
        "(call $init)",
        "(call $exit (i32.const 3))",
    ] {
        let usual = Session::of_module("start", &module(body)).run();
        let strict = Session::strict_of_module("start", &module(body), PLENTY).run();
        assert_eq!(outcome(&usual), outcome(&strict), "{body}");
    }
}

#[test]
fn zvm_run_is_strict_when_told_and_says_what_it_used() {
    let hello = support::guest("hello");
    let hello = hello.to_str().unwrap();
    let run = |options: &[&str]| {
        let mut words = vec!["run", "--json"];
        words.extend(options);
        words.push(hello);
        support::zvm(&words, b"")
    };
    let ended = run(&["--strict"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stderr).unwrap();
    let used = fuel_used(&report).to_string();
    assert_eq!(run(&["--fuel", &used]).status, Some(0));
    let less = (fuel_used(&report) - 1).to_string();
    let ended = run(&["--fuel", &less]);
    assert_eq!(ended.status, Some(134), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains(&format!("the limit is {less} units (fuel)"))
    );
    let ended = run(&["--fuel", "many"]);
    assert_eq!(ended.status, Some(125), "{ended:?}");
    assert!(
        ended.stderr.contains("--fuel \"many\": units of fuel"),
        "{ended:?}"
    );
    let report: Value = serde_json::from_str(&run(&[]).stderr).unwrap();
    assert_eq!(
        (&report["version"], &report["fuel_used"]),
        (&json!(1), &Value::Null)
    );
}

#[test]
fn fuel_in_a_default_manifest_and_strict_in_an_old_one_are_refused() {
    let (_, code, message) = Session::new("hello").limit("fuel", json!(5)).refused();
    assert_eq!(code, "bad_manifest");
    assert_eq!(message, "manifest: /limits/fuel is for strict runs only");
    let mut session = Session::strict("hello", 5);
    session.manifest["version"] = json!(1);
    let ended = finish(session.start());
    assert_eq!(ended.error().0, "bad_manifest");
}
