//! The body of `zvm-compile`: limits, module in, checks, artefact out.
//!
//! It never runs guest code. It links the compiled module against our host
//! functions once, without instantiating it, because that is where the types of
//! imports are checked.

use std::fs::File;
use std::io::{Write, stdin};

use rustix::process::{Resource, Rlimit, Signal};
use wasmtime::{ExternType, Linker, Module};

use crate::engine;
use crate::error::{Code, Error};
use crate::guest::{Guest, wasi};

use super::policy;

/// Compiles standard input to standard output with at most `memory_bytes` of
/// address space and `seconds` of processor time.
pub fn compile(memory_bytes: u64, seconds: f64) -> Result<(), Error> {
    restrict(memory_bytes, seconds)?;
    let module = super::read_module(stdin().lock())?;
    policy::check(&module)?;
    let artefact = translate(&module)?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
        .map_err(|errno| Error::failure("dup", errno))?;
    File::from(output)
        .write_all(&artefact)
        .map_err(|error| Error::failure("write the artefact", error))
}

/// Gives up what this process will not need, before it reads the module.
fn restrict(memory_bytes: u64, seconds: f64) -> Result<(), Error> {
    let failed = |errno| Error::failure("limit the compiler", errno);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed)?;
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    let seconds = seconds.ceil() as u64;
    for (resource, value) in [
        (Resource::As, memory_bytes),
        (Resource::Cpu, seconds),
        (Resource::Core, 0),
    ] {
        let hard = rustix::process::getrlimit(resource)
            .maximum
            .unwrap_or(u64::MAX);
        let value = Some(value.min(hard));
        // A soft limit below the hard one, so that SIGXCPU and not SIGKILL comes.
        let maximum = if resource == Resource::Cpu {
            Some(hard)
        } else {
            value
        };
        let limit = Rlimit {
            current: value,
            maximum,
        };
        rustix::process::setrlimit(resource, limit).map_err(failed)?;
    }
    Ok(())
}

/// Validates and compiles `module`, and checks the types of its imports.
fn translate(module: &[u8]) -> Result<Vec<u8>, Error> {
    let engine = engine::engine(engine::DEFAULT_STACK_BYTES as usize)
        .map_err(|error| Error::failure("engine", error))?;
    let compiled = Module::new(&engine, module).map_err(|error| {
        if is_out_of_memory(&error) {
            return super::memory_limit();
        }
        Error::refused(Code::InvalidModule, format!("invalid module: {error:#}"))
    })?;
    let start = compiled.get_export("_start");
    let is_command = matches!(
        start,
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0
    );
    if !is_command {
        let message = "its _start takes or returns values, so it is no command";
        return Err(Error::refused(Code::NoStart, message));
    }
    let mut linker: Linker<Guest> = Linker::new(&engine);
    wasi::add_to_linker(&mut linker, &compiled)
        .map_err(|error| Error::failure("link", error))?;
    linker.instantiate_pre(&compiled).map_err(|error| {
        Error::refused(
            Code::UnknownImport,
            format!("imports do not fit: {error:#}"),
        )
    })?;
    compiled
        .serialize()
        .map_err(|error| Error::failure("serialise", error))
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
