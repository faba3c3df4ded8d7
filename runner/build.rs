//! Two things are made when the crate is built.
//!
//! The name of the engine that artefacts are made for: the exact version of
//! wasmtime and a fingerprint of the files that decide what an artefact contains.
//! wasmtime itself accepts an artefact of the same major version; ours must also
//! be compiled again after a patch release (which may repair the compiler) and
//! after a change to our settings or checks. So all of that is part of its name
//! in the cache.
//!
//! The filters of system calls: src/lockdown/syscalls.toml becomes BPF, once for
//! the instruction set that is built for, and once more for each other one, so
//! that a name which only one of them has never waits for someone else's build. The
//! programs are then laid out anew: the kernel runs a filter over every system call
//! there is when a process enters it, and compiles it, for each VM. A third of the
//! length costs half the time (51 to 25 µs). That both answer the same is checked
//! here, for every number and all arguments that conditions look at.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use seccompiler::{BpfMap, BpfProgram, TargetArch, compile_from_json, sock_filter};
use serde::Deserialize;
use serde_json::{Value, json};

const DECIDING: [&str; 7] = [
    "src/engine.rs",
    "src/compile/depth.rs",
    "src/compile/inline.rs",
    "src/compile/parts.rs",
    "src/compile/policy.rs",
    "src/artefact.rs",
    "src/hints.rs",
];
const CALLS: &str = "src/lockdown/syscalls.toml";
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

const HUGE_PAGE: u32 = 2 << 20;

fn main() {
    name_engine();
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=ZVM_TARGET={target}");
    // Code and data on huge pages of their own; see src/sys/text.rs.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,max-page-size={HUGE_PAGE}");
    if let Err(problem) = write_filters() {
        println!("cargo::error={CALLS}: {problem}");
    }
}

fn name_engine() {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("\nname = \"wasmtime\"\n"))
        .and_then(|package| package.split("version = \"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("unknown");
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for path in DECIDING {
        println!("cargo::rerun-if-changed={path}");
        // FNV-1a: this guards against forgetting, not against an attacker.
        for byte in fs::read(path).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rustc-env=ZVM_ENGINE_VERSION={version}");
    println!("cargo::rustc-env=ZVM_ENGINE_FINGERPRINT={hash:016x}");
}

/// An entry of syscalls.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    reason: String,
    #[serde(default)]
    when: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum Condition {
    Masked {
        argument: u8,
        mask: u64,
        equals: u64,
    },
    OneOf {
        argument: u8,
        one_of: Vec<u64>,
    },
}

/// Compiles every filter for every instruction set; writes those of the target.
fn write_filters() -> Result<(), String> {
    println!("cargo::rerun-if-changed={CALLS}");
    let text = fs::read_to_string(CALLS).map_err(|error| error.to_string())?;
    let calls: BTreeMap<String, Vec<Call>> =
        toml::from_str(&text).map_err(|error| error.to_string())?;
    let filters = filters_of(&calls)?;
    let target = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let mut written = None;
    for name in ARCHITECTURES {
        let architecture = TargetArch::try_from(name).map_err(|e| e.to_string())?;
        let mut programs: BpfMap =
            compile_from_json(filters.to_string().as_bytes(), architecture)
                .map_err(|error| format!("{name}: {error}"))?;
        for (filter, program) in &mut programs {
            let short = shorten(program);
            if !answer_alike(program, &short) {
                return Err(format!("{name}, {filter}: shortening went wrong"));
            }
            *program = short;
        }
        if name == target {
            written = Some(source_of(&programs, &calls));
        }
    }
    let source = written.ok_or_else(|| format!("no filter for {target}"))?;
    let folder = env::var("OUT_DIR").map_err(|error| error.to_string())?;
    let path = Path::new(&folder).join("filters.rs");
    fs::write(path, source).map_err(|error| error.to_string())
}

/// The filters as seccompiler's own JSON.
fn filters_of(calls: &BTreeMap<String, Vec<Call>>) -> Result<Value, String> {
    let mut filters = BTreeMap::new();
    for (filter, calls) in calls {
        let mut rules: Vec<Value> = Vec::new();
        for call in calls {
            if call.reason.trim().is_empty() {
                return Err(format!("{} has no reason", call.name));
            }
            for args in alternatives(&call.when) {
                rules.push(match args.as_slice() {
                    [] => json!({"syscall": call.name}),
                    args => json!({"syscall": call.name, "args": args}),
                });
            }
        }
        let filter = (
            filter,
            json!({
                "mismatch_action": "kill_process",
                "match_action": "allow",
                "filter": rules,
            }),
        );
        filters.insert(filter.0, filter.1);
    }
    Ok(json!(filters))
}

/// Sets of conditions, one of which must hold: `one_of` is an "or" inside of "and".
fn alternatives(conditions: &[Condition]) -> Vec<Vec<Value>> {
    let condition = |argument: u8, op: Value, value: u64| {
        // Flags and numbers of signals are in the lower half of their register,
        // which is all that the kernel looks at.
        json!({"index": argument, "type": "dword", "op": op, "val": value})
    };
    let mut sets = vec![Vec::new()];
    for entry in conditions {
        let choices: Vec<Value> = match entry {
            Condition::Masked {
                argument,
                mask,
                equals,
            } => vec![condition(*argument, json!({"masked_eq": mask}), *equals)],
            Condition::OneOf { argument, one_of } => one_of
                .iter()
                .map(|value| condition(*argument, json!("eq"), *value))
                .collect(),
        };
        sets = sets
            .iter()
            .flat_map(|set: &Vec<Value>| {
                choices.iter().map(|choice| {
                    let mut set = set.clone();
                    set.push(choice.clone());
                    set
                })
            })
            .collect();
    }
    sets
}

// Of linux/bpf_common.h, as far as seccompiler's programs go.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// The same program without jumps to jumps, and with one return of each kind, at
/// the end.
fn shorten(program: &BpfProgram) -> BpfProgram {
    // Where a jump to here ends.
    let target = |mut at: usize| {
        while let Some(op) = program.get(at).filter(|op| op.code == JUMP) {
            at += 1 + op.k as usize;
        }
        at
    };
    let is_return = |at: usize| program.get(at).is_some_and(|op| op.code == RETURN);
    // What is reached, other than returns, in order.
    let (mut reached, mut todo) = (vec![false; program.len()], vec![target(0)]);
    while let Some(at) = todo.pop() {
        match (program.get(at), reached.get_mut(at)) {
            (Some(op), Some(seen)) if !*seen => {
                *seen = true;
                match op.code {
                    RETURN => {}
                    IF_EQUAL => todo.extend(
                        [op.jt, op.jf].map(|by| target(at + 1 + usize::from(by))),
                    ),
                    _ => todo.push(target(at + 1)),
                }
            }
            _ => {}
        }
    }
    let kept: Vec<usize> = (0..program.len())
        .filter(|at| reached.get(*at) == Some(&true) && !is_return(*at))
        .collect();
    let value = |at: usize| program.get(at).map_or(0, |op| op.k);
    let mut returns: Vec<u32> = Vec::new();
    for at in (0..program.len()).filter(|at| is_return(*at)) {
        if !returns.contains(&value(at)) {
            returns.push(value(at));
        }
    }
    // Where an instruction, or a return of its kind, has gone.
    let place = |at: usize| match is_return(at) {
        true => kept.len() + returns.iter().position(|k| *k == value(at)).unwrap_or(0),
        false => kept.partition_point(|kept| *kept < at),
    };
    let mut short: BpfProgram = Vec::new();
    for (new, at) in kept.iter().enumerate() {
        let Some(op) = program.get(*at) else { continue };
        // Too far cannot be: a check of the result would find it.
        let by = |by: u8| (place(target(at + 1 + usize::from(by))) - new - 1) as u8;
        let (jt, jf) = match op.code {
            IF_EQUAL => (by(op.jt), by(op.jf)),
            _ => (0, 0),
        };
        short.push(sock_filter { jt, jf, ..*op });
    }
    short.extend(returns.iter().map(|k| sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: *k,
    }));
    short
}

/// True if both programs give the same answer whatever is asked. Conditions look at
/// single arguments: each value is tried in every one alone, and in all at once.
fn answer_alike(one: &BpfProgram, other: &BpfProgram) -> bool {
    const ARCHITECTURES: [u32; 4] = [0xc000_003e, 0xc000_00b7, 0x4000_0003, 0];
    let values = (0..32).chain([u32::MAX, 0x7fff_fff8]);
    let lists: Vec<[u32; 6]> = values
        .flat_map(|value| {
            let alone =
                |at: usize| std::array::from_fn(|n| if n == at { value } else { 2 });
            (0..6).map(alone).chain([[value; 6]]).collect::<Vec<_>>()
        })
        .collect();
    let mut calls = (0..1024).chain([0x4000_0000, 0x4000_0013, u32::MAX]);
    calls.all(|call| {
        ARCHITECTURES.iter().all(|architecture| {
            lists.iter().all(|arguments| {
                let asked = (call, *architecture, *arguments);
                let expected = answer(one, asked);
                expected.is_some() && expected == answer(other, asked)
            })
        })
    })
}

/// What the kernel would answer; none for a program that it would not take.
fn answer(program: &BpfProgram, asked: (u32, u32, [u32; 6])) -> Option<u32> {
    let (call, architecture, arguments) = asked;
    let (mut at, mut word) = (0, 0);
    loop {
        let op = program.get(at)?;
        at += 1;
        match op.code {
            LOAD => {
                word = match op.k {
                    0 => call,
                    4 => architecture,
                    // Six of 64 bits, the lower half first.
                    at if at >= 16 && at % 8 == 0 => {
                        *arguments.get((at as usize - 16) / 8)?
                    }
                    _ => return None,
                }
            }
            AND => word &= op.k,
            JUMP => at += op.k as usize,
            IF_EQUAL if word == op.k => at += usize::from(op.jt),
            IF_EQUAL => at += usize::from(op.jf),
            RETURN => return Some(op.k),
            _ => return None,
        }
    }
}

/// Rust source: one constant program for each filter, and the names in it.
fn source_of(programs: &BpfMap, calls: &BTreeMap<String, Vec<Call>>) -> String {
    let mut source = String::new();
    for (filter, calls) in calls {
        let Some(program) = programs.get(filter) else {
            continue;
        };
        let name = filter.to_uppercase();
        let lines: Vec<String> = program
            .iter()
            .map(|op| {
                let (code, jt, jf, k) = (op.code, op.jt, op.jf, op.k);
                format!("sock_filter {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }}")
            })
            .collect();
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            source,
            "const {name}: &[sock_filter] = &[{}];\nconst {name}_CALLS: &[&str] = &{names:?};",
            lines.join(", ")
        );
    }
    source
}
