//! `zvm inspect`: what a program needs, and whether zvm can run it.
//!
//! It reads the module's headers only; nothing is compiled or run.

use std::ffi::OsString;
use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

use crate::compile::{self, policy};
use crate::error::{Code, Error};
use crate::exit;
use crate::manifest::hex;

use super::args::{Words, unknown};

const PAGE_BYTES: u64 = 64 << 10;

#[derive(Default, Serialize)]
struct Inspection {
    sha256: String,
    bytes: usize,
    imports: Vec<String>,
    exports: Vec<String>,
    memory_bytes: Option<u64>,
    memory_maximum_bytes: Option<u64>,
    functions: u32,
    /// Why zvm would refuse it; null if it would run.
    refused: Option<String>,
}

pub fn main(words: Vec<OsString>) -> u8 {
    match run(words) {
        Ok(text) => super::print(&text),
        Err(error) => {
            super::complain(&error);
            exit::of_error(&error)
        }
    }
}

fn run(words: Vec<OsString>) -> Result<String, Error> {
    let mut words = Words::new(words);
    let mut json = false;
    while let Some(option) = words.option() {
        match option.as_str() {
            "--json" => json = true,
            _ => return Err(unknown(&option)),
        }
    }
    let program = words.only("PROGRAM")?;
    let module = compile::read_module(compile::open_module(program.as_ref())?)?;
    compile::check_head(&module)?;
    let inspection = inspect(&module)?;
    if json {
        let text = serde_json::to_string(&inspection);
        return text
            .map(|text| text + "\n")
            .map_err(|error| Error::failure("answer", error));
    }
    Ok(describe(&inspection))
}

fn inspect(module: &[u8]) -> Result<Inspection, Error> {
    let mut found = Inspection {
        sha256: hex(&Sha256::digest(module)),
        bytes: module.len(),
        refused: policy::check(module).err().map(|error| error.to_string()),
        ..Inspection::default()
    };
    let invalid = |error: wasmparser::BinaryReaderError| {
        Error::refused(Code::InvalidModule, format!("invalid module: {error}"))
    };
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    let name = format!("{}.{}", import.module, import.name);
                    found.imports.push(shown(&name));
                    if let TypeRef::Memory(memory) = import.ty {
                        found.set_memory(memory);
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    let kind = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => "",
                        ExternalKind::Memory => " (memory)",
                        ExternalKind::Table => " (table)",
                        ExternalKind::Global => " (global)",
                        ExternalKind::Tag => " (tag)",
                    };
                    found.exports.push(shown(export.name) + kind);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    found.set_memory(memory.map_err(invalid)?);
                }
            }
            Payload::FunctionSection(section) => found.functions = section.count(),
            _ => {}
        }
    }
    Ok(found)
}

impl Inspection {
    fn set_memory(&mut self, memory: wasmparser::MemoryType) {
        self.memory_bytes = Some(memory.initial.saturating_mul(PAGE_BYTES));
        self.memory_maximum_bytes =
            memory.maximum.map(|pages| pages.saturating_mul(PAGE_BYTES));
    }
}

/// A name from the module, safe to print on a terminal.
fn shown(name: &str) -> String {
    name.escape_debug().take(200).collect()
}

fn describe(found: &Inspection) -> String {
    let mut text = String::new();
    let bytes = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{bytes} bytes"),
        None => "no limit".to_owned(),
    };
    let lines = [
        (
            "module",
            format!("{} bytes, {} functions", found.bytes, found.functions),
        ),
        ("sha256", found.sha256.clone()),
        ("imports", found.imports.join("\n          ")),
        ("exports", found.exports.join("\n          ")),
        (
            "memory",
            match found.memory_bytes {
                Some(initial) => format!(
                    "starts with {}, at most {}",
                    bytes(Some(initial)),
                    bytes(found.memory_maximum_bytes)
                ),
                None => "none".to_owned(),
            },
        ),
        (
            "runs",
            match &found.refused {
                Some(reason) => format!("no: {reason}"),
                None => "yes".to_owned(),
            },
        ),
    ];
    for (name, value) in lines {
        let value = if value.is_empty() { "none" } else { &value };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<9} {value}");
    }
    text
}
