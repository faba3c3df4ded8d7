use super::*;

use wasmparser::{Operator, Validator};
use wasmtime::{Engine, Instance, Store};

use crate::determinism::Determinism;
use crate::engine;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn is_valid(module: &[u8]) -> bool {
    let mut validator = Validator::new_with_features(engine::features());
    validator.validate_all(module).is_ok()
}

/// Calls of functions that the module defines itself.
fn calls(module: &[u8]) -> usize {
    let mut count = 0;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            for operator in body.get_operators_reader().unwrap() {
                count += usize::from(matches!(operator.unwrap(), Operator::Call { .. }));
            }
        }
    }
    count
}

fn engine() -> Engine {
    engine::engine(engine::DEFAULT_STACK_BYTES, Determinism::Default).unwrap()
}

/// What `f` gives for each input, or the trap's text.
fn answers(module: &[u8], inputs: &[i32]) -> Vec<Result<i32, String>> {
    let engine = engine();
    let module = wasmtime::Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance
        .get_typed_func::<i32, i32>(&mut store, "f")
        .unwrap();
    let answer = |input: &i32| {
        let result = f.call(&mut store, *input);
        result.map_err(|error| error.root_cause().to_string())
    };
    inputs.iter().map(answer).collect()
}

/// The module inlined, of which so many calls are left and which answers as before.
fn inlined(text: &str, left: usize) -> Vec<u8> {
    let before = wat(text);
    let after = inline(&before).unwrap_or_else(|| panic!("nothing to do: {text}"));
    assert!(is_valid(&after), "{text}");
    assert_eq!(calls(&after), left, "{text}");
    let inputs = [0, 1, 2, 3, 7, -1, i32::MIN, i32::MAX];
    assert_eq!(
        answers(&after, &inputs),
        answers(&before, &inputs),
        "{text}"
    );
    after
}

/// A module whose `f` calls `$small` as `call` says.
fn module(small: &str, call: &str) -> String {
    format!("(module {small} (func (export \"f\") (param i32) (result i32) {call}))")
}

#[test]
fn arguments_results_and_locals_are_those_of_a_call() {
    let twice = "(call $small (local.get 0) (i32.const 3))
                 (call $small (i32.const 5) (local.get 0)) (i32.mul)";
    inlined(
        &module(
            "(func $small (param i32 i32) (result i32)
               (i32.sub (local.get 0) (local.get 1)))",
            twice,
        ),
        0,
    );
    // Parameters are the function's own, and its locals begin with nothing each time.
    inlined(
        &module(
            "(func $small (param i32 i32) (result i32) (local i32 i64)
               (local.set 2 (i32.add (local.get 2) (local.get 0)))
               (local.set 0 (i32.const 9))
               (local.set 3 (i64.add (local.get 3) (i64.const 1)))
               (i32.add (i32.add (local.get 2) (local.get 1))
                 (i32.wrap_i64 (local.get 3))))",
            twice,
        ),
        0,
    );
    // Calls within the arguments of calls.
    inlined(
        &module(
            "(func $small (param i32 i32) (result i32)
               (i32.xor (local.get 0) (i32.shl (local.get 1) (i32.const 1))))",
            "(call $small (call $small (local.get 0) (i32.const 1))
               (call $small (i32.const 2) (call $small (local.get 0) (i32.const 4))))",
        ),
        0,
    );
}

#[test]
fn values_of_all_numeric_types_go_in_and_out() {
    for (ty, value, back) in [
        ("i64", "(i64.extend_i32_s (local.get 0))", "(i32.wrap_i64)"),
        (
            "f32",
            "(f32.convert_i32_s (local.get 0))",
            "(i32.trunc_sat_f32_s)",
        ),
        (
            "f64",
            "(f64.convert_i32_s (local.get 0))",
            "(i32.trunc_sat_f64_s)",
        ),
        (
            "v128",
            "(i32x4.splat (local.get 0))",
            "(i32x4.extract_lane 2)",
        ),
    ] {
        let small = format!(
            "(func $small (param i32 {ty} i32) (result {ty}) (local {ty} i32 {ty})
               (if (i32.eq (local.get 0) (local.get 4)) (then (return (local.get 3))))
               (local.set 5 (local.get 1)) (local.get 5))"
        );
        let call = format!(
            "(call $small (local.get 0) {value} (i32.const 1)) {back}
             (call $small (i32.const 1) {value} (i32.const 1)) {back} (i32.add)"
        );
        inlined(&module(&small, &call), 0);
    }
}

#[test]
fn every_way_out_of_a_function_is_one_out_of_its_block() {
    for body in [
        "(return (i32.const 4))",
        "(block (br_if 0 (local.get 0)) (return (i32.const 4))) (i32.const 5)",
        "(i32.const 6) (br_if 0 (local.get 0)) (drop) (i32.const 7)",
        "(i32.const 8) (br 0)",
        "(block (block (br_table 0 1 2 (i32.const 1) (local.get 0)) (drop))
           (return (i32.const 2))) (i32.const 3)",
        "(if (result i32) (local.get 0)
           (then (block (return (i32.const 1))) (i32.const 2)) (else (i32.const 3)))",
        "(unreachable)",
        "(i32.div_s (i32.const 100) (local.get 0))",
        "(return (i32.const 1)) (drop (i32.const 2)) (unreachable)",
    ] {
        let small = format!("(func $small (param i32) (result i32) {body})");
        let Ok(bytes) = wat::parse_str(module(&small, "(i32.const 0)")) else {
            panic!("{body}");
        };
        if is_valid(&bytes) {
            let calls = "(i32.add (call $small (local.get 0)) (i32.const 1000))";
            inlined(&module(&small, calls), 0);
            // Within blocks of the caller's, whose labels are not the function's.
            let within = format!("(block (result i32) (loop (result i32) {calls}))");
            inlined(&module(&small, &within), 0);
        }
    }
}

#[test]
fn a_function_without_results_and_one_that_calls_are_inlined_too() {
    let text = "(module (global $g (mut i32) (i32.const 0)) (memory 1)
        (func $store (param i32) (global.set $g (local.get 0)))
        (func $both (param i32) (call $store (local.get 0)) (call $store (i32.const 3)))
        (func (export \"f\") (param i32) (result i32)
          (call $both (local.get 0)) (global.get $g)))";
    inlined(text, 0);
}

#[test]
fn in_code_that_is_not_reached_a_call_is_replaced_as_well() {
    let small = "(func $small (param i32) (result i32) (local.get 0))";
    inlined(
        &module(small, "(return (local.get 0)) (drop (call $small))"),
        0,
    );
}

#[test]
fn what_is_thrown_from_an_inlined_function_is_caught_as_before() {
    let text = "(module (tag $t (param i32))
        (func $small (param i32) (result i32)
          (if (local.get 0) (then (throw $t (local.get 0)))) (i32.const 5))
        (func (export \"f\") (param i32) (result i32)
          (block $caught (result i32)
            (try_table (result i32) (catch $t $caught) (call $small (local.get 0))))))";
    inlined(text, 0);
}

#[test]
fn recursion_stays_and_ends_as_it_did() {
    // A call of itself is left; one from outside is not.
    let text = "(module
        (func $down (param i32) (result i32)
          (if (result i32) (i32.le_s (local.get 0) (i32.const 0))
            (then (i32.const 1))
            (else (i32.add (i32.const 2)
              (call $down (i32.sub (local.get 0) (i32.const 1)))))))
        (func (export \"f\") (param i32) (result i32)
          (call $down (i32.and (local.get 0) (i32.const 15)))))";
    let after = inline(&wat(text)).unwrap();
    assert!(is_valid(&after));
    let inputs = [0, 1, 5, 15];
    assert_eq!(answers(&after, &inputs), answers(&wat(text), &inputs));
    let both = "(module
        (func $even (param i32) (result i32)
          (if (result i32) (local.get 0)
            (then (call $odd (i32.sub (local.get 0) (i32.const 1))))
            (else (i32.const 1))))
        (func $odd (param i32) (result i32)
          (if (result i32) (local.get 0)
            (then (call $even (i32.sub (local.get 0) (i32.const 1))))
            (else (i32.const 0))))
        (func (export \"f\") (param i32) (result i32)
          (call $even (i32.and (local.get 0) (i32.const 15)))))";
    let after = inline(&wat(both)).unwrap();
    assert!(is_valid(&after));
    assert_eq!(answers(&after, &inputs), answers(&wat(both), &inputs));
}

#[test]
fn what_cannot_be_moved_or_is_not_worth_it_stays() {
    let many = "(drop (i32.const 1))".repeat(13);
    let locals = "i32 ".repeat(16);
    for small in [
        "(func $small (param i32) (result i32)
           (loop (br_if 0 (i32.const 0))) (local.get 0))",
        "(func $other (param i32) (result i32) (loop (br_if 0 (i32.const 0))) (i32.const 1))
         (func $small (param i32) (result i32) (return_call $other (local.get 0)))",
        "(func $small (param i32) (result i32) (local funcref) (local.get 0))",
        "(tag $t) (func $small (param i32) (result i32)
           (block (try_table (catch $t 0) (nop))) (local.get 0))",
        &format!("(func $small (param i32) (result i32) (local {locals}) (local.get 0))"),
        &format!("(func $small (param i32) (result i32) {many} (local.get 0))"),
    ] {
        let text = module(small, "(call $small (local.get 0))");
        assert!(is_valid(&wat(&text)), "{text}");
        assert!(inline(&wat(&text)).is_none(), "{text}");
    }
    let two = "(func $small (param i32) (result i32 i32) (local.get 0) (i32.const 1))";
    let text = module(two, "(call $small (local.get 0)) (i32.add)");
    assert!(inline(&wat(&text)).is_none());
}

#[test]
fn functions_of_imports_and_tables_keep_their_numbers() {
    let text = "(module (import \"m\" \"a\" (func (param i32)))
        (import \"m\" \"b\" (func (param i32)))
        (table 1 funcref) (elem (i32.const 0) $small)
        (func $small (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export \"f\") (param i32) (result i32)
          (call 0 (local.get 0)) (call 1 (local.get 0))
          (i32.add (call $small (local.get 0))
            (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))))";
    let after = inline(&wat(text)).unwrap();
    assert!(is_valid(&after));
    // Those of the imports.
    assert_eq!(calls(&after), 2);
}

#[test]
fn a_function_grows_so_far_and_no_further() {
    let small = format!(
        "(func $small (param i32) (result i32) {} (i32.add (local.get 0) (i32.const 1)))",
        "(drop (i64.const -9000000000000000000))".repeat(9)
    );
    let many = 10_000;
    let call = "(local.set 0 (call $small (local.get 0)))".repeat(many) + "(local.get 0)";
    let before = wat(&module(&small, &call));
    let after = inline(&before).unwrap();
    assert!(is_valid(&after));
    let left = calls(&after);
    assert!(0 < left && left < many, "{left}");
    // Twice by half of it, and what surrounds each body.
    assert!(after.len() < before.len() * 5, "{}", after.len());
    assert_eq!(answers(&after, &[1, 7]), answers(&before, &[1, 7]));
}

#[test]
fn a_module_of_many_small_callers_grows_so_far_and_no_further() {
    let small = format!(
        "(func $small {})",
        "(drop (i64.const -9000000000000000000))".repeat(9)
    );
    let callers = "(func (call $small))".repeat(20_000);
    let before = wat(&format!("(module {small} {callers})"));
    let after = inline(&before).unwrap();
    assert!(is_valid(&after));
    assert!(calls(&after) > 1000, "{}", calls(&after));
    assert!(after.len() < before.len() * 5, "{}", after.len());
}

#[test]
fn modules_that_are_very_large_are_left_alone() {
    let module = |functions: u32| {
        let small = "(func $small (param i32) (result i32) (local.get 0))";
        let call = "(func (export \"f\") (result i32) (call $small (i32.const 1)))";
        let others = "(func)".repeat(functions as usize - 2);
        wat(&format!("(module {small} {call} {others})"))
    };
    assert!(inline(&module(MAX_FUNCTIONS)).is_some());
    assert!(inline(&module(MAX_FUNCTIONS + 1)).is_none());
    let long = |bytes: usize| {
        let mut bytes_of = module(2);
        let rest = bytes - bytes_of.len() - 1 - 4;
        bytes_of.push(0);
        let mut length = rest;
        for at in 0..4 {
            let more = if at < 3 { 0x80 } else { 0 };
            bytes_of.push((length & 0x7f) as u8 | more);
            length >>= 7;
        }
        let name = bytes_of.len();
        bytes_of.resize(bytes, 0);
        assert_eq!(bytes_of[name], 0);
        bytes_of
    };
    assert!(inline(&long(MAX_BYTES - 100)).is_some());
    assert!(inline(&long(MAX_BYTES + 1)).is_none());
}

#[test]
fn sections_with_offsets_in_code_are_left_out_and_others_kept() {
    let mut bytes = wat(&module(
        "(func $small (param i32) (result i32) (local.get 0))",
        "(call $small (local.get 0))",
    ));
    for name in ["metadata.code.branch_hint", ".debug_info", "mine"] {
        let mut content = vec![name.len() as u8];
        content.extend(name.as_bytes());
        bytes.extend([0, content.len() as u8]);
        bytes.extend(content);
    }
    let after = inline(&bytes).unwrap();
    let names: Vec<String> = Parser::new(0)
        .parse_all(&after)
        .filter_map(|payload| match payload.unwrap() {
            Payload::CustomSection(section) => Some(section.name().to_owned()),
            _ => None,
        })
        .collect();
    assert!(names.contains(&"mine".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("metadata.code.")));
    assert!(!names.iter().any(|name| name.starts_with(".debug_")));
}

#[test]
fn what_is_not_valid_does_not_become_so() {
    for text in [
        // The function itself, whose label is another's where it is inlined.
        module(
            "(func $small (param i32) (result i32) (br 1 (i32.const 1)))",
            "(call $small (local.get 0))",
        ),
        // Arguments and results of wrong types, too few, too many.
        module(
            "(func $small (param i64) (result i32) (i32.const 1))",
            "(call $small (local.get 0))",
        ),
        module(
            "(func $small (param i32 i32) (result i32) (i32.const 1))",
            "(call $small (local.get 0))",
        ),
        module(
            "(func $small (param i32) (result f32) (f32.const 1))",
            "(call $small (local.get 0))",
        ),
        module(
            "(func $small (param i32) (result i32) (local.get 0) (local.get 0))",
            "(call $small (local.get 0))",
        ),
        module(
            "(func $small (param i32) (result i32) (local.get 1))",
            "(local i32) (call $small (local.get 0))",
        ),
    ] {
        let before = wat(&text);
        assert!(!is_valid(&before), "{text}");
        if let Some(after) = inline(&before) {
            assert!(!is_valid(&after), "{text}");
        }
    }
    for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0\x0a\x01\x05"] {
        assert!(inline(bytes).is_none());
    }
}

/// Modules that nobody thought of: they end, and what their functions answer is the
/// same.
#[test]
fn random_modules_answer_as_before() {
    let engine = engine();
    let mut found = 0;
    for seed in 0..400u64 {
        let Some(before) = random_module(seed) else {
            continue;
        };
        let Some(after) = inline(&before) else {
            continue;
        };
        found += 1;
        let after = run_all(&engine, &after);
        assert_eq!(after, run_all(&engine, &before), "seed {seed}");
    }
    assert!(found > 100, "only {found} of them called a small function");
}

/// A module of many small functions that ends whatever is called.
fn random_module(seed: u64) -> Option<Vec<u8>> {
    // A generator of our own needs no more than to be the same each time.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(16384)
    .collect();
    let config = wasm_smith::Config {
        allow_start_export: false,
        canonicalize_nans: true,
        exceptions_enabled: false,
        export_everything: true,
        gc_enabled: false,
        max_imports: 0,
        max_instructions: 6,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 100,
        max_tables: 1,
        memory64_enabled: false,
        min_funcs: 40,
        min_types: 4,
        max_types: 6,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: true,
        threads_enabled: false,
        ..wasm_smith::Config::default()
    };
    let mut entropy = arbitrary::Unstructured::new(&bytes);
    let mut module = wasm_smith::Module::new(config, &mut entropy).ok()?;
    module.ensure_termination(1000).ok()?;
    Some(module.to_bytes())
}

/// What each exported function answers to zeros, one after another.
fn run_all(engine: &Engine, module: &[u8]) -> Vec<String> {
    let module = wasmtime::Module::new(engine, module).unwrap();
    let mut store = Store::new(engine, ());
    let instance = match Instance::new(&mut store, &module, &[]) {
        Ok(instance) => instance,
        Err(error) => return vec![error.root_cause().to_string()],
    };
    let names: Vec<String> = module.exports().map(|it| it.name().to_owned()).collect();
    let mut answers = Vec::new();
    for name in names {
        let Some(function) = instance.get_func(&mut store, &name) else {
            continue;
        };
        let ty = function.ty(&store);
        let zeros: Option<Vec<wasmtime::Val>> = ty
            .params()
            .map(|ty| wasmtime::Val::default_for_ty(&ty))
            .collect();
        let Some(zeros) = zeros else { continue };
        let mut results = vec![wasmtime::Val::I32(0); ty.results().len()];
        let answer = match function.call(&mut store, &zeros, &mut results) {
            Ok(()) => format!("{results:?}"),
            Err(error) => error.root_cause().to_string(),
        };
        answers.push(format!("{name}: {answer}"));
    }
    answers
}
