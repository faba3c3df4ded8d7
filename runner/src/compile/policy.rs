//! Looks at a module before the compiler does: is it a command that zvm can run?
//!
//! Everything is read from the module's own headers in one pass over its sections,
//! code skipped. That types of imports and of `_start` fit is checked here too, so
//! that the compiler need not load what it has compiled. Each refusal says what was found and what is allowed, because it
//! is read by someone whose toolchain made something slightly different.

use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType,
};

use crate::error::{Code, Error};
use crate::guest::wasi;

/// Module that provides all imports.
const WASI: &str = "wasi_snapshot_preview1";
/// Names listed in a message.
const MAX_LISTED: usize = 8;
/// Parameters listed in a message; no function of ours has more.
const MAX_PARAMETERS: usize = 9;

/// Checks that `module` is a core module and a command with known imports.
pub fn check(module: &[u8]) -> Result<(), Error> {
    check_kind(module)?;
    let mut exports = Exports::default();
    let mut functions = Functions::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::TypeSection(section) => {
                for group in section {
                    functions.add_types(group.map_err(invalid)?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    let index = check_import(import.module, import.name, import.ty)?;
                    functions.check_import(import.name, index)?;
                    functions.types_of.push(index);
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    functions.types_of.push(index.map_err(invalid)?);
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
    exports.check(&functions)
}

/// The module's functions and their types, as far as they have been read. An index
/// without a type is for the compiler's validation to complain about.
#[derive(Default)]
struct Functions {
    types: Vec<Option<FuncType>>,
    /// For each function, imported ones first, the index of its type.
    types_of: Vec<u32>,
}

impl Functions {
    fn add_types(&mut self, group: wasmparser::RecGroup) {
        for ty in group.into_types() {
            self.types.push(match ty.composite_type.inner {
                CompositeInnerType::Func(function) => Some(function),
                _ => None,
            });
        }
    }

    fn type_at(&self, index: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// Checks that a known function is imported with its own type.
    fn check_import(&self, name: &str, index: u32) -> Result<(), Error> {
        let wanted = wasi::parameters(name).unwrap_or_default();
        let returned: &[ValType] = match name {
            "proc_exit" => &[],
            _ => &[ValType::I32],
        };
        let Some(found) = self.type_at(index) else {
            return Ok(());
        };
        if found.params() == wanted && found.results() == returned {
            return Ok(());
        }
        let message = format!(
            "imports {WASI}.{name:?} as {}; it is {}",
            shape(found.params(), found.results()),
            shape(&wanted, returned)
        );
        Err(Error::refused(Code::UnknownImport, message))
    }

    /// True unless function `index` is known to take or return values.
    fn is_plain(&self, index: u32) -> bool {
        let type_of = usize::try_from(index).ok();
        let type_of = type_of.and_then(|index| self.types_of.get(index));
        let ty = type_of.and_then(|index| self.type_at(*index));
        ty.is_none_or(|ty| ty.params().is_empty() && ty.results().is_empty())
    }
}

/// A function's type, as a person writes it.
fn shape(parameters: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| {
        let shown = types.iter().take(MAX_PARAMETERS).map(ToString::to_string);
        shown.collect::<Vec<_>>().join(", ")
    };
    format!("({}) -> ({})", list(parameters), list(results))
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

/// Gives the index of the type of an import that is a known function.
fn check_import(module: &str, name: &str, ty: TypeRef) -> Result<u32, Error> {
    let refused = |what: String| Err(Error::refused(Code::UnknownImport, what));
    if module != WASI {
        return refused(format!(
            "imports {module:?}.{name:?}; only functions of {WASI} are provided"
        ));
    }
    let TypeRef::Func(index) = ty else {
        return refused(format!(
            "imports {WASI}.{name:?}, which is not a function there"
        ));
    };
    if !wasi::FUNCTIONS.contains(&name) {
        return refused(format!(
            "imports {WASI}.{name:?}, which zvm does not provide"
        ));
    }
    Ok(index)
}

/// What the module exports, as far as it matters.
#[derive(Default)]
struct Exports {
    start: Option<u32>,
    memory: bool,
    names: Vec<String>,
}

impl Exports {
    fn add(&mut self, export: wasmparser::Export<'_>) {
        match (export.kind, export.name) {
            (ExternalKind::Func, "_start") => self.start = Some(export.index),
            (ExternalKind::Memory, "memory") => self.memory = true,
            _ => {}
        }
        if self.names.len() < MAX_LISTED {
            self.names
                .push(export.name.escape_debug().take(60).collect());
        }
    }

    fn check(&self, functions: &Functions) -> Result<(), Error> {
        let missing = match (self.start, self.memory) {
            (Some(start), true) if functions.is_plain(start) => return Ok(()),
            (Some(_), true) => {
                let message = "its _start takes or returns values, so it is no command";
                return Err(Error::refused(Code::NoStart, message));
            }
            (None, _) => "function _start",
            (Some(_), false) => "memory named memory",
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
