//! Native code: what the engine takes on our word.

use std::fs::File;

use wasmtime::{Engine, Module};

/// Maps an artefact as executable code.
///
/// The bytes are native code and are believed: the file must come from `zvm
/// compile` of this installation, out of its private cache, where artefacts are
/// checked against their MAC and only ever replaced by rename. wasmtime refuses
/// other versions and settings, which guards against mistakes, not against malice.
pub fn load_artefact(engine: &Engine, file: File) -> wasmtime::Result<Module> {
    // SAFETY: the caller's descriptor is an unaltered artefact; see above.
    unsafe { Module::deserialize_open_file(engine, file) }
}

/// Lets the compiler use `flag`, a feature of the processor that is part of the
/// baseline. At load, wasmtime checks that the processor has it.
#[cfg(feature = "compiler")]
pub fn enable_processor_feature(config: &mut wasmtime::Config, flag: &str) {
    // SAFETY: the flags are from the constant list in `engine`, all of them names
    // of processor features, none of them changes the meaning of code.
    unsafe {
        config.cranelift_flag_enable(flag);
    }
}
