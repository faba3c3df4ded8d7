//! Looks at a module before the compiler does: is it a command that zvm can run?
//!
//! Everything is read from the module's own headers in one pass over its sections,
//! code skipped. Each refusal says what was found and what is allowed, because it
//! is read by someone whose toolchain made something slightly different.

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

use crate::error::{Code, Error};
use crate::guest::wasi;

/// Module that provides all imports.
const WASI: &str = "wasi_snapshot_preview1";
/// Names listed in a message.
const MAX_LISTED: usize = 8;

/// Checks that `module` is a core module and a command with known imports.
pub fn check(module: &[u8]) -> Result<(), Error> {
    check_kind(module)?;
    let mut exports = Exports::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    check_import(import.module, import.name, import.ty)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.add(export.map_err(invalid)?);
                }
            }
            _ => {}
        }
    }
    exports.check()
}

fn invalid(error: wasmparser::BinaryReaderError) -> Error {
    Error::refused(Code::InvalidModule, format!("invalid module: {error}"))
}

/// The eight bytes at the start: magic, version, layer.
fn check_kind(module: &[u8]) -> Result<(), Error> {
    let refused = |what: String| Err(Error::refused(Code::InvalidModule, what));
    match module.get(4..8) {
        Some([1, 0, 0, 0]) => Ok(()),
        Some([_, _, 1, 0]) => refused(
            "a WebAssembly component; zvm runs core modules: build for wasm32-wasip1"
                .to_owned(),
        ),
        Some(version) => refused(format!(
            "WebAssembly version {version:?}; version 1 is known"
        )),
        None => refused("the module ends after its first four bytes".to_owned()),
    }
}

fn check_import(module: &str, name: &str, ty: TypeRef) -> Result<(), Error> {
    let refused = |what: String| Err(Error::refused(Code::UnknownImport, what));
    if module != WASI {
        return refused(format!(
            "imports {module:?}.{name:?}; only functions of {WASI} are provided"
        ));
    }
    if !matches!(ty, TypeRef::Func(_)) {
        return refused(format!(
            "imports {WASI}.{name:?}, which is not a function there"
        ));
    }
    if !wasi::FUNCTIONS.contains(&name) {
        return refused(format!(
            "imports {WASI}.{name:?}, which zvm does not provide"
        ));
    }
    Ok(())
}

/// What the module exports, as far as it matters.
#[derive(Default)]
struct Exports {
    start: bool,
    memory: bool,
    names: Vec<String>,
}

impl Exports {
    fn add(&mut self, export: wasmparser::Export<'_>) {
        match (export.kind, export.name) {
            (ExternalKind::Func, "_start") => self.start = true,
            (ExternalKind::Memory, "memory") => self.memory = true,
            _ => {}
        }
        if self.names.len() < MAX_LISTED {
            self.names
                .push(export.name.escape_debug().take(60).collect());
        }
    }

    fn check(&self) -> Result<(), Error> {
        let missing = match (self.start, self.memory) {
            (true, true) => return Ok(()),
            (false, _) => "function _start",
            (true, false) => "memory named memory",
        };
        let names = match self.names.as_slice() {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        let message = format!(
            "exports no {missing}, so it is no command (exports: {names}); \
             build a program with a main function for wasm32-wasip1"
        );
        Err(Error::refused(Code::NoStart, message))
    }
}

#[cfg(test)]
mod tests;
