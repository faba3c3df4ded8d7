//! From a stranger's module to an artefact in the cache.
//!
//! `zvm` itself contains no compiler. It names the module by its SHA-256, looks
//! into the cache, and otherwise runs `zvm-compile` as a child with limits, which
//! checks the module (`policy`), compiles it (`compiler`) and writes the artefact
//! into a file that `zvm` made. Only then the artefact gets its MAC and its name.
//!
//! The module is hostile until `policy` has passed it, and the compiler is assumed
//! to be breakable by it: the child gets the module, one file to write and nothing
//! of the environment.

pub mod cache;
mod child;
#[cfg(feature = "compiler")]
pub mod compiler;
#[cfg(feature = "compiler")]
pub mod depth;
#[cfg(feature = "rewriting")]
pub mod inline;
#[cfg(feature = "rewriting")]
mod parts;
pub mod policy;
mod refusals;
mod room;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::determinism::Determinism;
use crate::error::{Code, Error};
use crate::lockdown;
use crate::manifest::hex;
use crate::report;

use cache::Cache;
use refusals::Refusal;
pub use room::Caps;

/// Largest module, in bytes.
pub const MAX_MODULE_BYTES: u64 = 256 << 20;
/// The largest artefact unless told otherwise, in bytes. Ruby's has 61 MB.
pub const DEFAULT_OUTPUT_BYTES: u64 = 1 << 30;
/// The compiler's address space unless told otherwise: CPython takes 0.15 GB, Ruby
/// (31 MB of WebAssembly) five times as much.
pub const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;
/// The compiler's time unless told otherwise. Ruby takes 13–27 s.
pub const DEFAULT_SECONDS: f64 = 120.0;

/// What to compile with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cache: PathBuf,
    pub key_file: Option<PathBuf>,
    pub caps: Caps,
    pub memory_bytes: u64,
    pub seconds: f64,
    pub output_bytes: u64,
    pub compiler: PathBuf,
    /// The mode that the artefact is for.
    pub determinism: Determinism,
    /// How the compiler is locked down.
    pub lockdown: lockdown::Options,
}

/// An artefact in the cache, as `zvm compile` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Compiled {
    pub artefact: PathBuf,
    pub sha256: String,
    pub cached: bool,
    pub seconds: f64,
}

/// Reads a module, at most [`MAX_MODULE_BYTES`] of it.
pub fn read_module(source: impl Read) -> Result<Vec<u8>, Error> {
    let mut module = Vec::new();
    let mut bounded = source.take(MAX_MODULE_BYTES + 1);
    bounded
        .read_to_end(&mut module)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::OutOfMemory => memory_limit(),
            _ => Error::failure("read the module", error),
        })?;
    if module.len() as u64 > MAX_MODULE_BYTES {
        let message =
            format!("the module is larger than {MAX_MODULE_BYTES} bytes, the limit");
        return Err(Error::refused(Code::TooLarge, message));
    }
    Ok(module)
}

/// The refusal of a module that needs more memory than there may be.
fn memory_limit() -> Error {
    Error::refused(
        Code::CompileLimit,
        "compiling took more memory than is allowed",
    )
}

/// Gives the artefact of `module`, compiling it if the cache has none.
///
/// Blocks while another process compiles the same module, then takes its work. A
/// module that hit a limit is not tried again for a while (`refusals`).
pub fn compile(module: &[u8], settings: &Settings) -> Result<Compiled, Error> {
    let started = Instant::now();
    check_head(module)?;
    let digest: [u8; 32] = Sha256::digest(module).into();
    let cache =
        Cache::open(&settings.cache, settings.key_file.as_deref(), settings.caps)?;
    let name = cache::name_of(&digest, settings.determinism);
    let answer = |artefact: PathBuf, cached: bool| Compiled {
        artefact,
        sha256: hex(&digest),
        cached,
        seconds: report::seconds(started.elapsed()),
    };
    if let Some(artefact) = cache.find(&name)? {
        return Ok(answer(artefact, true));
    }
    let known = Refusal::of(cache.folder(), &name);
    known.check(settings)?;
    let _lock = cache.lock(&name)?;
    // Whoever held the lock before may have compiled just this, or tried to.
    if let Some(artefact) = cache.find(&name)? {
        return Ok(answer(artefact, true));
    }
    known.check(settings)?;
    let draft = cache.draft(&name)?;
    if let Err(unmade) = child::compile(module, &draft.file, settings) {
        known.keep(settings, &unmade.error, unmade.lasting);
        return Err(unmade.error);
    }
    let artefact = cache.publish(draft, &name, &digest, settings.determinism)?;
    known.forget();
    Ok(answer(artefact, false))
}

/// Tells at once what is no module at all, before a compiler is started for it.
pub fn check_head(module: &[u8]) -> Result<(), Error> {
    if module.starts_with(b"\0asm") {
        return Ok(());
    }
    let start = module.get(..module.len().min(4)).unwrap_or_default();
    let message = match start {
        [] => "not a WebAssembly module: it is empty".to_owned(),
        _ => format!(
            "not a WebAssembly module: starts with \"{}\", a module starts with \"\\0asm\"",
            start.escape_ascii()
        ),
    };
    Err(Error::refused(Code::NotWasm, message))
}

/// The compiler that lies beside this program.
pub fn compiler_beside_us() -> Result<PathBuf, Error> {
    let own =
        std::env::current_exe().map_err(|error| Error::failure("own path", error))?;
    Ok(own.with_file_name("zvm-compile"))
}

/// Opens a module's file for [`read_module`].
pub fn open_module(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| {
        Error::refused(Code::NotFound, format!("{}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_told_from_modules() {
        let text = check_head(b"#!/bin/sh").unwrap_err().to_string();
        assert_eq!(
            text,
            "not a WebAssembly module: starts with \"#!/b\", \
             a module starts with \"\\0asm\""
        );
        assert_eq!(check_head(b"\0asm\x01\0\0\0"), Ok(()));
        let text = check_head(b"").unwrap_err().to_string();
        assert_eq!(text, "not a WebAssembly module: it is empty");
    }

    #[test]
    fn a_module_is_never_read_beyond_the_limit() {
        let error = read_module(std::io::repeat(0)).unwrap_err();
        assert!(matches!(
            error,
            Error::Refused {
                code: Code::TooLarge,
                ..
            }
        ));
    }
}
