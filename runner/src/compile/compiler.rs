//! The body of `zvm-compile`: locked down, module in, checks, artefact out.
//!
//! It never runs guest code, and never maps it executable: what is compiled is
//! written out. Whether imports and `_start` have the right types is read from the
//! module's headers (`policy`).
//!
//! The compiler is assumed to be breakable by the module. So the process gives up
//! everything before it reads the first byte: its limits, its user where it may,
//! privileges, files (Landlock), and all system calls that a compiler does not need.

use std::io::stdin;
use std::os::fd::BorrowedFd;

use rustix::io::{retry_on_intr, write};
use rustix::process::Signal;
use wasmtime::Engine;

use crate::determinism::Determinism;
use crate::engine;
use crate::error::{Code, Error};
use crate::hints::Hints;
use crate::lockdown::{self, Filter, Limits, Options, Plan};

use super::{depth, inline, policy};

/// What the compiler may use, and how it is locked down.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of address space.
    pub memory_bytes: u64,
    /// Of processor time.
    pub seconds: f64,
    /// Of artefact.
    pub output_bytes: u64,
    pub determinism: Determinism,
    pub lockdown: Options,
}

/// Compiles standard input to standard output.
pub fn compile(bounds: &Bounds) -> Result<(), Error> {
    let engine = lock_down(bounds)?;
    let module = super::read_module(stdin().lock())?;
    #[cfg(feature = "planted-holes")]
    try_hole(&module)?;
    policy::check(&module)?;
    let artefact = translate(&engine, module, bounds.determinism).map_err(advised)?;
    write_all(rustix::stdio::stdout(), &artefact)
}

/// Gives up what this process will not need, before it reads the module.
fn lock_down(bounds: &Bounds) -> Result<Engine, Error> {
    let engine = engine::engine(engine::DEFAULT_STACK_BYTES, bounds.determinism)
        .map_err(|error| Error::failure("engine", error))?;
    let mut plan = Plan::prepare(&bounds.lockdown)?;
    lockdown::warm_up();
    plan.keep_only(&[])?;
    #[cfg(feature = "planted-holes")]
    prepare_holes();
    plan.restrict(&Limits {
        cpu_seconds: bounds.seconds.ceil() as u64,
        file_bytes: Some(bounds.output_bytes),
        stack_bytes: None,
        data_bytes: bounds.memory_bytes,
        address_bytes: Some(bounds.memory_bytes),
    })?;
    // After the user has changed, at which the kernel forgets it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| Error::failure("parent death signal", errno))?;
    plan.seal(Filter::Compile)?;
    Ok(engine)
}

/// Gets what the attempts of a test need while it can be had.
#[cfg(feature = "planted-holes")]
fn prepare_holes() {
    let parent = rustix::process::getppid();
    crate::sys::holes::prepare(parent.map_or(0, |pid| pid.as_raw_nonzero().get()));
    crate::sys::holes::aim(0);
}

/// Makes the attempt that a module of a test asks for, if it does.
#[cfg(feature = "planted-holes")]
fn try_hole(module: &[u8]) -> Result<(), Error> {
    use crate::sys::holes;
    for payload in wasmparser::Parser::new(0).parse_all(module).flatten() {
        if let wasmparser::Payload::CustomSection(section) = payload
            && section.name() == holes::SECTION
            && let Some(number) = section.data().first()
            && let Some(errno) = holes::attempt((*number).into())
        {
            let message = format!("planted hole: {errno}");
            return Err(Error::refused(Code::InvalidModule, message));
        }
    }
    Ok(())
}

/// Validates and compiles `module`; behind the engine's data stands what is noted.
fn translate(
    engine: &Engine,
    module: Vec<u8>,
    determinism: Determinism,
) -> Result<Vec<u8>, Error> {
    let hints = Hints::of_module(&module);
    let module = match determinism {
        Determinism::Default => inline::inline(&module).unwrap_or(module),
        Determinism::Strict => depth::count(&module)?,
    };
    let artefact = engine.precompile_module(&module);
    let mut artefact = artefact.map_err(|error| {
        if is_out_of_memory(&error) {
            return super::memory_limit();
        }
        Error::refused(Code::InvalidModule, format!("invalid module: {error:#}"))
    })?;
    artefact.extend(hints.to_bytes());
    Ok(artefact)
}

/// The refusal, with what to do about it.
fn advised(error: Error) -> Error {
    match error {
        Error::Refused { code, message } if code == Code::InvalidModule => {
            let advice = advice(&message);
            Error::refused(code, message + advice)
        }
        other => other,
    }
}

/// What to do about a feature that is off, where a toolchain has a choice.
fn advice(message: &str) -> &'static str {
    let asks_for = |feature: &str| {
        // In the words of the three places where a feature is missed.
        [
            format!("{feature} feature"),
            format!("`{feature}`"),
            format!("{} support", feature.replace('_', " ")),
        ]
        .iter()
        .any(|words| message.contains(words))
    };
    if asks_for("legacy_exceptions") {
        "; these are exceptions as they were before their standard: build with \
         -mllvm -wasm-use-legacy-eh=false (clang), or translate the module with \
         wasm-opt --translate-to-exnref"
    } else if asks_for("gc") {
        "; garbage-collected types are not run here: build for wasm32-wasip1, with the \
         language's own memory management"
    } else {
        ""
    }
}

/// Writes without making another descriptor, of which there are none left.
fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        let count = retry_on_intr(|| write(fd, bytes))
            .map_err(|errno| Error::failure("write the artefact", errno))?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// True if `error` is a refused mapping or allocation, which is the limit's doing.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>()
        || error.chain().any(|cause| {
            let errno = cause.downcast_ref::<rustix::io::Errno>();
            let io = cause.downcast_ref::<std::io::Error>();
            errno == Some(&rustix::io::Errno::NOMEM)
                || io.is_some_and(|io| io.kind() == std::io::ErrorKind::OutOfMemory)
        })
}
