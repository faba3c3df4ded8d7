//! One engine configuration, shared by the compiler and by every run.
//!
//! The same settings on every node are what makes an artefact portable between
//! nodes and its results equal: a fixed baseline instead of this machine's
//! processor, no feature whose result a host may choose, and no epochs (a VM is a
//! process; killing it costs the guest's code nothing). Fuel and one form for NaNs
//! are in strict mode only: they cost what `docs/decisions/` says.
//!
//! Off are: threads and shared memory (timing would show), relaxed SIMD (results
//! differ between processors), 64-bit memories (they need explicit bounds checks)
//! and garbage-collected types. Exceptions are on (`setjmp`, C++), of which the
//! engine keeps the values in a heap that is collected: only modules that have any
//! get one, it counts as the guest's memory, and when it is collected depends on
//! nothing but what the guest did.

#[cfg(feature = "compiler")]
use wasmtime::Strategy;
use wasmtime::{Collector, Config, Engine, Result, WasmFeatures};

use crate::chance::{Source, noise};
use crate::determinism::Determinism;

/// Version of wasmtime, exact.
pub const VERSION: &str = env!("ZVM_ENGINE_VERSION");

/// Names engine and settings; part of an artefact's name in the cache.
pub const FINGERPRINT: &str = concat!(
    "wasmtime ",
    env!("ZVM_ENGINE_VERSION"),
    "; ",
    env!("ZVM_TARGET"),
    "; ",
    env!("ZVM_ENGINE_FINGERPRINT"),
);

/// Variable by which a test chooses what compiles and runs a module: `o0` (the
/// compiler without optimisation) or `pulley` (wasmtime's interpreter).
#[cfg(feature = "planted-chance")]
pub const VARIABLE: &str = "ZVM_ENGINE";

/// What a test has chosen; never anything in other builds. Part of an artefact's
/// name in the cache.
pub fn variant() -> String {
    #[cfg(feature = "planted-chance")]
    if let Ok(variant) = std::env::var(VARIABLE) {
        return variant;
    }
    String::new()
}

/// The guest's native stack unless a manifest says otherwise.
pub const DEFAULT_STACK_BYTES: u64 = 8 << 20;

/// The most native stack of a strict run. The kernel leaves a main thread's stack
/// 128 MiB to grow in, whatever its limit.
const MAX_NATIVE_STACK_BYTES: u64 = 112 << 20;

/// Address space that a 32-bit memory can reach, so that no access needs an
/// explicit check, and the guard behind it for constant offsets.
const RESERVATION_BYTES: u64 = 4 << 30;
const GUARD_BYTES: u64 = 32 << 20;

/// Initial memory images up to this size are mapped copy-on-write whole, however
/// sparse. A pre-initialised interpreter has tens of MiB, and copying them takes
/// longer than all the rest of a start.
pub const DENSE_IMAGE_BYTES: u64 = 256 << 20;

/// Frames named in the message of a trap.
const BACKTRACE_FRAMES: usize = 6;

const FEATURES: [WasmFeatures; 12] = [
    WasmFeatures::MUTABLE_GLOBAL,
    WasmFeatures::SATURATING_FLOAT_TO_INT,
    WasmFeatures::SIGN_EXTENSION,
    WasmFeatures::REFERENCE_TYPES,
    WasmFeatures::MULTI_VALUE,
    WasmFeatures::BULK_MEMORY,
    WasmFeatures::SIMD,
    WasmFeatures::TAIL_CALL,
    WasmFeatures::EXTENDED_CONST,
    WasmFeatures::FLOATS,
    WasmFeatures::EXCEPTIONS,
    // References to exceptions, and null references to the host's things; not the
    // structures and arrays of the proposal, which is `GC`.
    WasmFeatures::GC_TYPES,
];

/// Features of the processor that compiled code may use: x86-64-v2, which every
/// server since 2009 has. Measured against the bare baseline and against all that
/// a machine has, the difference is within noise but for rounding instructions.
#[cfg(all(target_arch = "x86_64", feature = "compiler"))]
const PROCESSOR: [&str; 6] = [
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_cmpxchg16b",
];
#[cfg(all(target_arch = "aarch64", feature = "compiler"))]
const PROCESSOR: [&str; 0] = [];

/// What programs may use.
#[cfg(feature = "rewriting")]
pub fn features() -> WasmFeatures {
    FEATURES
        .into_iter()
        .fold(WasmFeatures::empty(), WasmFeatures::union)
}

/// The guest's native stack under a limit of `stack_bytes`. A strict run counts a
/// weight of its own (`compile::depth`), and the native stack is there to be larger.
pub fn native_stack_bytes(stack_bytes: u64, determinism: Determinism) -> u64 {
    let less = noise(Source::NativeStack).map_or(0, |noise| noise % (256 << 10));
    match determinism {
        Determinism::Default => stack_bytes - less.min(stack_bytes / 2),
        Determinism::Strict => {
            let roomy = stack_bytes.saturating_mul(2).saturating_add(1 << 20);
            roomy.min(MAX_NATIVE_STACK_BYTES).max(stack_bytes) - less
        }
    }
}

/// Builds the engine. `stack_bytes` is the guest's limit, which is a setting of the
/// run and not part of an artefact; the mode is part of one.
pub fn engine(stack_bytes: u64, determinism: Determinism) -> Result<Engine> {
    let stack_bytes = native_stack_bytes(stack_bytes, determinism) as usize;
    let mut config = Config::new();
    let is_interpreted = variant() == "pulley";
    config.target(if is_interpreted { "pulley64" } else { target() })?;
    #[cfg(feature = "compiler")]
    configure_compiler(&mut config, determinism);
    config.consume_fuel(determinism.is_strict());
    config.wasm_features(WasmFeatures::all(), false);
    for feature in FEATURES {
        config.wasm_features(feature, true);
    }
    // Frees what is not in use any more, so that a loop that throws needs no more
    // memory than one throw; the null collector would keep all.
    config.collector(Collector::Copying);
    config.signals_based_traps(!is_interpreted);
    config.memory_reservation(RESERVATION_BYTES);
    config.memory_guard_size(GUARD_BYTES);
    config.guard_before_linear_memory(true);
    config.memory_may_move(false);
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(DENSE_IMAGE_BYTES);
    // Filled at once, tables would need code that runs when an instance is made: it
    // would take fuel, and nothing of an artefact may run before the lock-down.
    config.table_lazy_init(true);
    // Without these an artefact is a third smaller. Names of functions, which
    // make a trap's message useful, stay.
    config.generate_address_map(false);
    config.native_unwind_info(false);
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES));
    config.max_wasm_stack(stack_bytes);
    // Unused (nothing here is async), but not allowed to be the smaller one.
    config.async_stack_size(stack_bytes);
    Engine::new(&config)
}

/// The target is always named, never inferred: only then does the compiler leave
/// this machine's processor out of its choices.
fn target() -> &'static str {
    env!("ZVM_TARGET")
}

#[cfg(feature = "compiler")]
fn configure_compiler(config: &mut Config, determinism: Determinism) {
    config.strategy(Strategy::Cranelift);
    config.cranelift_nan_canonicalization(determinism.is_strict());
    config.cranelift_opt_level(match variant().as_str() {
        "o0" => wasmtime::OptLevel::None,
        _ => wasmtime::OptLevel::Speed,
    });
    if variant() == "pulley" {
        return;
    }
    for flag in PROCESSOR {
        crate::sys::enable_processor_feature(config, flag);
    }
}
