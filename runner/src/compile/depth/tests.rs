use super::*;

use wasmtime::{Engine, Instance, Module, Store, Trap, Val};

use crate::determinism::Determinism;

/// Bytes of counted stack that a run is given.
const STACK_BYTES: u32 = 1 << 20;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Counted and instantiated, with so much stack.
fn instance(module: &[u8], stack_bytes: u32) -> (Store<()>, Instance) {
    let counted = count(module).unwrap();
    let engine = strict_engine();
    let module = Module::new(&engine, &counted).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(1 << 40).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let counter = instance.get_global(&mut store, STACK_EXPORT).unwrap();
    counter
        .set(&mut store, Val::I32(stack_bytes as i32))
        .unwrap();
    (store, instance)
}

fn strict_engine() -> Engine {
    engine::engine(u64::from(STACK_BYTES), Determinism::Strict).unwrap()
}

fn left(store: &mut Store<()>, instance: &Instance) -> i32 {
    let counter = instance.get_global(&mut *store, STACK_EXPORT).unwrap();
    counter.get(&mut *store).unwrap_i32()
}

/// What `f` of the module gives for `input`; the counter must be where it was.
fn answer(text: &str, input: i32) -> i32 {
    let (mut store, instance) = instance(&wat(text), STACK_BYTES);
    let f = instance
        .get_typed_func::<i32, i32>(&mut store, "f")
        .unwrap();
    let answer = f.call(&mut store, input).unwrap();
    assert_eq!(left(&mut store, &instance), STACK_BYTES as i32, "{text}");
    answer
}

/// How deep `f`, which counts its calls in the global `depth`, came until it ended.
fn deepest(text: &str, stack_bytes: u32) -> (i32, Trap, bool) {
    let (mut store, instance) = instance(&wat(text), stack_bytes);
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    let trap = f.call(&mut store, ()).unwrap_err().downcast().unwrap();
    let depth = instance.get_global(&mut store, "depth").unwrap();
    let depth = depth.get(&mut store).unwrap_i32();
    (depth, trap, left(&mut store, &instance) < 0)
}

#[test]
fn every_way_out_of_a_function_gives_back_what_it_took() {
    // Falling off the end, `return` at several depths, branches to the function
    // itself by each instruction that can, and a loop that goes round.
    let text = r#"(module (func (export "f") (param i32) (result i32)
        (block $a
          (block $b
            (block $c
              (block $d (br_table $d $c $b $a (local.get 0)))
              (return (i32.const 10)))
            (loop (if (i32.const 1) (then (return (i32.const 11))))))
          (br 1 (i32.const 12)))
        (drop (br_if 0 (i32.const 13) (i32.eq (local.get 0) (i32.const 3))))
        (loop $again
          (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
          (br_if $again (local.get 0)))
        (br_table 0 0 (i32.const 14) (local.get 0))))"#;
    let answers: Vec<i32> = (0..5).map(|input| answer(text, input)).collect();
    assert_eq!(answers, [10, 11, 12, 13, 14]);
}

#[test]
fn several_results_and_tail_calls_stay_what_they_were() {
    let text = r#"(module
        (type $pair (func (param i32) (result i32 i64)))
        (func $two (type $pair)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 1) (i64.const 2))))
          (i32.const 3) (i64.const 4))
        (func $count (param i32 i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
          (return_call $count (i32.sub (local.get 0) (i32.const 1))
                              (i32.add (local.get 1) (i32.const 1))))
        (func (export "f") (param i32) (result i32)
          (call $two (local.get 0)) i32.wrap_i64 i32.add
          (return_call $count (i32.const 1000000))))"#;
    // A million tail calls take no stack at all.
    assert_eq!(answer(text, 0), 1_000_003);
    assert_eq!(answer(text, 1), 1_000_007);
}

#[test]
fn depth_is_a_function_of_the_module_alone_and_the_counter_is_first() {
    // A plain frame; one of many locals that live across the call; one of many
    // operands; one of vectors; one of many results.
    let many = |n: usize, one: &str| one.repeat(n);
    let locals: String = (0..200)
        .map(|n| format!("(local.set {n} (global.get $depth))"))
        .collect();
    let sum: String = (0..200)
        .map(|n| format!("(global.set $sink (local.get {n}))"))
        .collect();
    let bodies = [
        ("", "(call $f)".to_owned(), 64),
        (
            "",
            format!(
                "{} (call $f) {}",
                many(100, "(global.get $depth)"),
                many(100, "global.set $sink ")
            ),
            64 + 8 * 102,
        ),
        (
            &format!("(local {})", many(200, "i32 ")) as &str,
            format!("{locals} (call $f) {sum}"),
            64 + 8 * 202,
        ),
        (
            "",
            format!(
                "{} (call $f) {}",
                many(50, "(i32x4.splat (global.get $depth))"),
                many(50, "i32x4.extract_lane 0 global.set $sink ")
            ),
            64 + 16 * 52,
        ),
    ];
    for (locals, body, at_most) in bodies {
        let text = format!(
            r#"(module (memory 1)
              (global $depth (export "depth") (mut i32) (i32.const 0))
              (global $sink (mut i32) (i32.const 0))
              (func $f (export "f") {locals}
                (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
                {body}))"#
        );
        let (depth, trap, counted) = deepest(&text, STACK_BYTES);
        assert_eq!(
            (trap, counted),
            (Trap::UnreachableCodeReached, true),
            "{depth}"
        );
        // So each frame weighs what it is said to, give or take the operands.
        let weight = STACK_BYTES / (depth as u32 + 1);
        assert!(weight <= at_most + 32, "{weight} for {at_most}");
        let (half, _, _) = deepest(&text, STACK_BYTES / 2);
        assert!((half * 2 - depth).abs() <= 2, "{half} of {depth}");
    }
}

#[test]
fn one_frame_more_than_fits_is_one_too_many() {
    let text = r#"(module (func $f (export "f") (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (call $f (i32.sub (local.get 0) (i32.const 1))))
          (else (i32.const 7)))))"#;
    let run = |stack: u32, calls: i32| {
        let (mut store, instance) = instance(&wat(text), stack);
        let f = instance
            .get_typed_func::<i32, i32>(&mut store, "f")
            .unwrap();
        f.call(&mut store, calls).ok()
    };
    // One parameter and two operands.
    let frame = FRAME_BYTES + 3 * VALUE_BYTES;
    assert_eq!(run(frame * 10, 9), Some(7));
    assert_eq!(run(frame * 10 - 1, 9), None);
    assert_eq!(run(frame * 10, 10), None);
}

#[test]
fn the_start_function_waits_for_the_host() {
    let text = r#"(module (global $g (export "g") (mut i32) (i32.const 0))
        (func $init (global.set $g (i32.const 5))) (start $init))"#;
    let (mut store, instance) = instance(&wat(text), STACK_BYTES);
    let global = instance.get_global(&mut store, "g").unwrap();
    assert_eq!(global.get(&mut store).unwrap_i32(), 0);
    let start = instance.get_typed_func::<(), ()>(&mut store, START_EXPORT);
    start.unwrap().call(&mut store, ()).unwrap();
    assert_eq!(global.get(&mut store).unwrap_i32(), 5);
}

#[test]
fn sections_that_were_missing_are_put_in_their_place() {
    // Neither globals nor exports, but data and a custom section around them.
    let text = r#"(module (memory 1) (func) (data (i32.const 0) "x")
        (@custom "note" (after memory) "hello"))"#;
    let counted = count(&wat(text)).unwrap();
    Validator::new_with_features(engine::features())
        .validate_all(&counted)
        .unwrap();
    assert!(counted.windows(5).any(|bytes| bytes == b"hello"));
    // A module without anything is one, too.
    assert!(count(b"\0asm\x01\0\0\0").is_ok());
}

#[test]
fn names_of_ours_and_bad_modules_are_refused() {
    let text = |module: &[u8]| count(module).unwrap_err().to_string();
    for name in [STACK_EXPORT, START_EXPORT] {
        let module = wat(&format!(r#"(module (func (export "{name}")))"#));
        let expected = format!("invalid module: exports {name:?}, a name of zvm's");
        assert_eq!(text(&module), expected);
    }
    let module = wat("(module (func (result i32)))");
    assert!(text(&module).starts_with("invalid module: type mismatch"));
    let module = wat("(module (memory 1 1 shared))");
    assert!(text(&module).contains("threads"), "{}", text(&module));
    assert!(text(b"\0asm\x01\0\0\0\x01\xff").starts_with("invalid module"));
}

#[test]
fn an_exception_gives_back_what_those_took_whom_it_came_past() {
    // Each throw leaves 21 frames that never come to their end. It is caught in a
    // block, by the function itself, and by a loop; a counter that forgot any of
    // them would be spent long before the end.
    let text = r#"(module (tag $e (param i32))
        (func $throw (param i32)
          (if (i32.eqz (local.get 0)) (then (throw $e (i32.const 7))))
          (call $throw (i32.sub (local.get 0) (i32.const 1))))
        (func $direct (result i32)
          (try_table (catch $e 0) (call $throw (i32.const 20)))
          (i32.const 1))
        (func $looped (param $often i32) (result i32) (local $n i32)
          (i32.const 0)
          (loop $again (param i32) (result i32)
            drop
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (if (result i32) (i32.le_u (local.get $n) (local.get $often))
              (then (try_table (catch $e $again) (call $throw (i32.const 20)))
                (i32.const 0))
              (else (local.get $n)))))
        (func (export "f") (param $n i32) (result i32) (local $sum i32)
          (local.set $sum (call $looped (local.get $n)))
          (loop $again
            (local.set $sum (i32.add (local.get $sum)
              (block $caught (result i32)
                (try_table (catch $e $caught) (call $throw (i32.const 20)))
                (i32.const 0))))
            (local.set $sum (i32.add (local.get $sum) (call $direct)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $again (local.get $n)))
          (local.get $sum)))"#;
    let often = 20_000;
    assert!(often as u32 * 20 * FRAME_BYTES > 10 * STACK_BYTES);
    assert_eq!(answer(text, often), often + 1 + 14 * often);
}
