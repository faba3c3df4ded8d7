//! Names the engine that artefacts are made for: the exact version of wasmtime and
//! a fingerprint of the files that decide what an artefact contains.
//!
//! wasmtime itself accepts an artefact of the same major version; ours must also
//! be compiled again after a patch release (which may repair the compiler) and
//! after a change to our settings or checks. So all of that is part of its name
//! in the cache.

use std::{env, fs};

const DECIDING: [&str; 3] = ["src/engine.rs", "src/compile/policy.rs", "src/artefact.rs"];

fn main() {
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
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=ZVM_TARGET={target}");
}
