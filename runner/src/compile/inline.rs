//! Small functions in the place of their calls: a pass over a module, before it is
//! compiled in default mode.
//!
//! Toolchains inline within a file of sources; what was put together of many, as an
//! interpreter is, calls its smallest functions all the same, and the compiler behind
//! us takes each function by itself. So a call of a function of a few operators
//! becomes those operators:
//!
//! ```text
//! ARGUMENTS                ARGUMENTS
//! call $f           ─▶     local.set, last parameter first
//!                          its other locals = 0
//!                          block; BODY of $f, with `return` as `br`; end
//! ```
//!
//! The functions themselves stay, whoever else refers to them, and so do all indices:
//! what is not valid in the module is not valid in what becomes of it. A module that
//! cannot be read is left to those who say what is wrong with it. Only names in
//! the message of a trap can be seen to change: those of functions that were inlined.
//!
//! A strict run counts calls and operators, and is left alone.

mod caller;
mod small;

use wasm_encoder::CodeSection;
use wasmparser::{BinaryReaderError, FuncType, FunctionBody, Parser, Payload, TypeRef};

use super::parts;

use caller::Caller;
use small::Small;

/// What is larger is left alone: its copies would take the compiler's memory.
const MAX_BYTES: usize = 64 << 20;
const MAX_FUNCTIONS: u32 = 250_000;
/// Each pass sees what became of small functions in the one before.
const PASSES: usize = 2;
/// In each pass a module's code grows to twice what it was, or by this.
const MIN_ROOM_BYTES: usize = 64 << 10;

/// The module with its smallest functions inlined; none if there is nothing to do.
pub fn inline(module: &[u8]) -> Option<Vec<u8>> {
    let mut inlined: Option<Vec<u8>> = None;
    for _ in 0..PASSES {
        let before = inlined.as_deref().unwrap_or(module);
        let read = (before.len() <= MAX_BYTES).then(|| Module::read(before));
        match read.and_then(|read| read.ok()??.inlined()) {
            Some(after) => inlined = Some(after),
            None => break,
        }
    }
    inlined
}

/// What a pass has to know of a module.
struct Module<'a> {
    bytes: &'a [u8],
    types: Vec<Option<FuncType>>,
    imported: u32,
    /// The type of each function that has a body.
    types_of: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
    /// All sections in their order, but those with offsets in code.
    sections: Vec<(u8, &'a [u8])>,
}

impl<'a> Module<'a> {
    /// None of a module with too many functions.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, BinaryReaderError> {
        let mut module = Module {
            bytes,
            types: Vec::new(),
            imported: 0,
            types_of: Vec::new(),
            bodies: Vec::new(),
            sections: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section()
                && !parts::has_offsets(&payload)
            {
                let content = bytes.get(range).unwrap_or_default();
                module.sections.push((id, content));
            }
            if matches!(&payload, Payload::FunctionSection(it) if it.count() > MAX_FUNCTIONS)
            {
                return Ok(None);
            }
            module.add(payload)?;
        }
        Ok(Some(module))
    }

    fn add(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(section) => {
                parts::add_types(section, &mut self.types)?;
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let is_function =
                        matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                    self.imported += u32::from(is_function);
                }
            }
            Payload::FunctionSection(section) => {
                self.types_of = section.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            _ => {}
        }
        Ok(())
    }

    fn inlined(&self) -> Option<Vec<u8>> {
        let small: Vec<Option<Small>> = (0..self.bodies.len())
            .map(|index| self.small(index))
            .collect();
        if small.iter().all(Option::is_none) {
            return None;
        }
        let bytes: usize = self.bodies.iter().map(|body| body.range().len()).sum();
        let mut room = bytes.max(MIN_ROOM_BYTES);
        let mut code = CodeSection::new();
        let mut has_changed = false;
        for (index, body) in self.bodies.iter().enumerate() {
            let caller = Caller {
                module: self.bytes,
                small: &small,
                imported: self.imported,
                own: index,
                parameters: self.parameters(index)?,
            };
            match caller.rewrite(body, &mut room).ok()? {
                Some(function) => {
                    has_changed = true;
                    code.function(&function);
                }
                None => {
                    code.raw(self.bytes.get(body.range())?);
                }
            }
        }
        let sections = self.sections.iter().copied();
        has_changed.then(|| parts::with_code(sections, &code).ok())?
    }

    /// The type of the function at `index` of those with bodies.
    fn type_of(&self, index: usize) -> Option<&FuncType> {
        let ty = self.types_of.get(index)?;
        self.types.get(*ty as usize)?.as_ref()
    }

    /// That function, if calls of it are to be replaced.
    fn small(&self, index: usize) -> Option<Small> {
        Small::read(self.bytes, self.bodies.get(index)?, self.type_of(index)?)
    }

    fn parameters(&self, index: usize) -> Option<u32> {
        u32::try_from(self.type_of(index)?.params().len()).ok()
    }
}

#[cfg(test)]
#[cfg(feature = "compiler")]
mod tests;
