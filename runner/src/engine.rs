//! One engine configuration, shared by the compiler and by every run.
//!
//! The same settings on every node are what makes an artefact portable between
//! nodes and its results equal: a fixed baseline instead of this machine's
//! processor, no feature whose result a host may choose, no fuel and no epochs
//! (a VM is a process; killing it costs the guest's code nothing).

use wasmtime::{Config, Engine, Result};

/// Builds the engine. `stack_bytes` is the guest's budget of native stack; it is
/// a setting of the run and not part of an artefact.
pub fn engine(stack_bytes: usize) -> Result<Engine> {
    let mut config = Config::new();
    config.max_wasm_stack(stack_bytes);
    Engine::new(&config)
}
