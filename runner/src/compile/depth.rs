//! The counter of call depth: a pass over a module, before it is compiled strict.
//!
//! How deep a program may recurse must not depend on how large the compiler made
//! its frames. So each function is given a *weight* in bytes, from nothing but its
//! own parameters, locals and operands, and takes it from a counter while it runs:
//!
//! ```text
//! function                 function
//!   BODY                     stack -= WEIGHT; if stack < 0 { unreachable }
//! end             ─▶         block; BODY, with `return` as `br`; end
//!                            stack += WEIGHT
//!                          end
//! ```
//!
//! The counter is a global that the module cannot name: it comes after all of its
//! own, and whoever validated the module found no use of it. The host finds it by
//! the export [`STACK_EXPORT`], sets it before the first instruction, and knows by its sign
//! after an `unreachable` what that was. For the host to be first, the start function
//! becomes an export too ([`START_EXPORT`]).
//!
//! The native stack is made so large (`engine::native_stack_bytes`) that the counter
//! ends a recursion first. Should it ever not, the end has another word
//! (`host_stack`) and no receipt: never a wrong one.
//!
//! Invariants: what a function computes, and the indices of all that the module
//! names, stay the same; only bytes of code move. All sections but those that get
//! an entry are copied as they are.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Encode, ExportKind, Function, GlobalType,
    Instruction, ValType,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, FuncToValidate, FuncType, FuncValidatorAllocations,
    FunctionBody, Operator, Parser, Payload, TypeRef, ValidPayload, Validator,
    ValidatorResources,
};

use crate::determinism::{STACK_EXPORT, START_EXPORT};
use crate::engine;
use crate::error::{Code, Error};

use super::parts;

/// What a frame weighs beside its values: return address, frame pointer, what the
/// compiler keeps of the instance.
const FRAME_BYTES: u32 = 64;
/// What a value weighs; in a function that has vectors, each.
const VALUE_BYTES: u32 = 8;
const VECTOR_BYTES: u32 = 16;

const TYPE: u8 = 1;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const CUSTOM: u8 = 0;
/// The order of known sections in a module, as their numbers.
const ORDER: [u8; 13] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];

/// Gives `module` its counter.
///
/// # Errors
///
/// [`Code::InvalidModule`] when the module is not valid, or exports a name that is
/// ours.
pub fn count(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut pass = Pass::default();
    let mut validator = Validator::new_with_features(engine::features());
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(invalid)?;
        let valid = validator.payload(&payload).map_err(invalid)?;
        pass.read(module, payload, valid)?;
    }
    pass.finish()
}

fn invalid(error: BinaryReaderError) -> Error {
    Error::refused(Code::InvalidModule, format!("invalid module: {error}"))
}

fn odd(what: impl std::fmt::Display) -> Error {
    Error::refused(Code::InvalidModule, format!("invalid module: {what}"))
}

/// A section of the new module.
struct Section {
    id: u8,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Pass {
    sections: Vec<Section>,
    types: Vec<Option<FuncType>>,
    /// Types that block types need, with their indices, after the module's own.
    block_types: Vec<(FuncType, u32)>,
    /// The type of each function that has a body.
    types_of: Vec<u32>,
    globals: u32,
    start: Option<u32>,
    code: CodeSection,
    functions: usize,
    allocations: FuncValidatorAllocations,
}

impl Pass {
    fn read(
        &mut self,
        module: &[u8],
        payload: Payload<'_>,
        valid: ValidPayload<'_>,
    ) -> Result<(), Error> {
        if let Some((id, range)) = payload.as_section() {
            let bytes = module.get(range).unwrap_or_default();
            self.section(id, bytes, &payload);
        }
        match payload {
            Payload::TypeSection(section) => {
                parts::add_types(section, &mut self.types).map_err(invalid)?;
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    self.globals += u32::from(matches!(import.ty, TypeRef::Global(_)));
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    self.types_of.push(index.map_err(invalid)?);
                }
            }
            Payload::GlobalSection(section) => self.globals += section.count(),
            Payload::ExportSection(section) => {
                for export in section {
                    let name = export.map_err(invalid)?.name;
                    if name == STACK_EXPORT || name == START_EXPORT {
                        return Err(odd(format!("exports {name:?}, a name of zvm's")));
                    }
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            _ => {}
        }
        if let ValidPayload::Func(function, body) = valid {
            self.function(module, function, &body)?;
        }
        Ok(())
    }

    fn section(&mut self, id: u8, bytes: &[u8], payload: &Payload<'_>) {
        // A start function is exported instead; its place is for the counter.
        let drop = matches!(payload, Payload::StartSection { .. })
            || parts::has_offsets(payload);
        if !drop {
            let bytes = bytes.to_vec();
            self.sections.push(Section { id, bytes });
        }
    }

    /// Rewrites one function.
    fn function(
        &mut self,
        module: &[u8],
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), Error> {
        let index = self.types_of.get(self.functions).copied();
        self.functions += 1;
        let ty = index.and_then(|index| self.types.get(index as usize)?.clone());
        let ty = ty.ok_or_else(|| odd("a function without a type"))?;
        let measured = measure(function, body, &mut self.allocations)?;
        let weight = measured.weight(&ty)?;
        let block = self.block_type(&ty)?;
        let writer = Writer {
            module,
            counter: self.globals,
            weight,
            // The new local comes after all others.
            saved: measured.catches.then_some(measured.locals),
        };
        self.code.function(&writer.rewrite(body, block)?);
        Ok(())
    }

    /// A block of what a function of type `ty` returns.
    fn block_type(&mut self, ty: &FuncType) -> Result<BlockType, Error> {
        Ok(match ty.results() {
            [] => BlockType::Empty,
            [one] => BlockType::Result(RoundtripReencoder.val_type(*one).map_err(odd)?),
            results => {
                let wanted = FuncType::new([], results.iter().copied());
                let known = self.block_types.iter().find(|(ty, _)| *ty == wanted);
                let index = match known {
                    Some((_, index)) => *index,
                    None => {
                        let index = self.types.len() + self.block_types.len();
                        let index = u32::try_from(index).map_err(odd)?;
                        self.block_types.push((wanted, index));
                        index
                    }
                };
                BlockType::FunctionType(index)
            }
        })
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.add_entries()?;
        let sections = self.sections.iter();
        let sections = sections.map(|section| (section.id, section.bytes.as_slice()));
        parts::with_code(sections, &self.code).map_err(invalid)
    }

    /// Adds the types of blocks, the counter, and the exports.
    fn add_entries(&mut self) -> Result<(), Error> {
        let mut types = Vec::new();
        for (ty, _) in &self.block_types {
            let mut section = wasm_encoder::TypeSection::new();
            let results = RoundtripReencoder.val_types(ty.results().to_vec());
            let results = results.map_err(odd)?;
            section.ty().function([], results);
            types.push(entry_of(&section)?);
        }
        self.add(TYPE, &types)?;
        let mut globals = wasm_encoder::GlobalSection::new();
        let ty = GlobalType {
            val_type: ValType::I32,
            mutable: true,
            shared: false,
        };
        globals.global(ty, &ConstExpr::i32_const(0));
        self.add(GLOBAL, &[entry_of(&globals)?])?;
        let mut stack = wasm_encoder::ExportSection::new();
        stack.export(STACK_EXPORT, ExportKind::Global, self.globals);
        let mut exports = vec![entry_of(&stack)?];
        if let Some(function) = self.start {
            let mut start = wasm_encoder::ExportSection::new();
            start.export(START_EXPORT, ExportKind::Func, function);
            exports.push(entry_of(&start)?);
        }
        self.add(EXPORT, &exports)
    }

    /// Appends entries to the section `id`, which is made if there is none.
    fn add(&mut self, id: u8, entries: &[Vec<u8>]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let place = |id: u8| ORDER.iter().position(|known| *known == id);
        let found = self.sections.iter_mut().find(|section| section.id == id);
        let section = match found {
            Some(section) => section,
            None => {
                let later = |section: &Section| {
                    section.id != CUSTOM && place(section.id) > place(id)
                };
                let at = self.sections.iter().position(later);
                let at = at.unwrap_or(self.sections.len());
                let bytes = vec![0];
                self.sections.insert(at, Section { id, bytes });
                self.sections.get_mut(at).ok_or_else(|| odd("no section"))?
            }
        };
        let mut reader = BinaryReader::new(&section.bytes, 0);
        let count = reader.read_var_u32().map_err(invalid)?;
        let own = section.bytes.get(reader.original_position()..);
        let mut bytes = Vec::with_capacity(section.bytes.len() + 64);
        let more = u32::try_from(entries.len()).map_err(odd)?;
        let count = count.checked_add(more).ok_or_else(|| odd("too many"))?;
        count.encode(&mut bytes);
        bytes.extend(own.unwrap_or_default());
        entries.iter().for_each(|entry| bytes.extend(entry));
        section.bytes = bytes;
        Ok(())
    }
}

/// The only entry of a section, without the section's head.
fn entry_of(section: &impl Encode) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    let mut reader = BinaryReader::new(&bytes, 0);
    reader.read_var_u32().map_err(invalid)?;
    reader.read_var_u32().map_err(invalid)?;
    let entry = bytes.get(reader.original_position()..);
    Ok(entry.unwrap_or_default().to_vec())
}

/// What of a function decides its weight.
struct Measured {
    /// Parameters and locals.
    locals: u32,
    /// The most operands that lie on the stack at once.
    operands: u32,
    vectors: bool,
    catches: bool,
}

impl Measured {
    fn weight(&self, ty: &FuncType) -> Result<i32, Error> {
        let results = u32::try_from(ty.results().len()).map_err(odd)?;
        let values = self.locals.saturating_add(self.operands.max(results));
        let each = if self.vectors {
            VECTOR_BYTES
        } else {
            VALUE_BYTES
        };
        let bytes = values.saturating_mul(each).saturating_add(FRAME_BYTES);
        i32::try_from(bytes).map_err(|_| odd("a function with too many values"))
    }
}

/// Reads a function's body through the validator, which knows the operands.
fn measure(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: &mut FuncValidatorAllocations,
) -> Result<Measured, Error> {
    let mut validator = function.into_validator(std::mem::take(allocations));
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(invalid)?;
    let locals = validator.len_locals();
    let mut measured = Measured {
        locals,
        operands: 0,
        vectors: (0..locals).any(|index| {
            validator.get_local_type(index) == Some(wasmparser::ValType::V128)
        }),
        catches: false,
    };
    let mut operators = wasmparser::OperatorsReader::new(reader);
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset().map_err(invalid)?;
        validator.op(at, &operator).map_err(invalid)?;
        measured.operands = measured.operands.max(validator.operand_stack_height());
        measured.vectors |= matches!(
            validator.get_operand_type(0),
            Some(Some(wasmparser::ValType::V128))
        );
        measured.catches |= matches!(operator, Operator::TryTable { .. });
    }
    operators.finish().map_err(invalid)?;
    *allocations = validator.into_allocations();
    Ok(measured)
}

/// Writes one function anew.
struct Writer<'a> {
    module: &'a [u8],
    counter: u32,
    weight: i32,
    /// A local that keeps the counter where an exception may come past callees that
    /// have not given back what they took.
    saved: Option<u32>,
}

impl Writer<'_> {
    fn rewrite(
        &self,
        body: &FunctionBody<'_>,
        block: BlockType,
    ) -> Result<Function, Error> {
        let mut locals = Vec::new();
        for local in body.get_locals_reader().map_err(invalid)? {
            let (count, ty) = local.map_err(invalid)?;
            locals.push((count, RoundtripReencoder.val_type(ty).map_err(odd)?));
        }
        if self.saved.is_some() {
            locals.push((1, ValType::I32));
        }
        let mut function = Function::new(locals);
        self.enter(&mut function);
        function.instruction(&Instruction::Block(block));
        self.copy(body, &mut function)?;
        self.leave(&mut function);
        function.instruction(&Instruction::End);
        Ok(function)
    }

    fn enter(&self, function: &mut Function) {
        let counter = self.counter;
        function.instruction(&Instruction::GlobalGet(counter));
        function.instruction(&Instruction::I32Const(self.weight));
        function.instruction(&Instruction::I32Sub);
        if let Some(saved) = self.saved {
            function.instruction(&Instruction::LocalTee(saved));
        }
        function.instruction(&Instruction::GlobalSet(counter));
        function.instruction(&Instruction::GlobalGet(counter));
        function.instruction(&Instruction::I32Const(0));
        function.instruction(&Instruction::I32LtS);
        function.instruction(&Instruction::If(BlockType::Empty));
        function.instruction(&Instruction::Unreachable);
        function.instruction(&Instruction::End);
    }

    fn leave(&self, function: &mut Function) {
        self.restore(function);
        function.instruction(&Instruction::GlobalGet(self.counter));
        function.instruction(&Instruction::I32Const(self.weight));
        function.instruction(&Instruction::I32Add);
        function.instruction(&Instruction::GlobalSet(self.counter));
    }

    /// In a function that may have caught something: back to its own depth.
    fn restore(&self, function: &mut Function) {
        if let Some(saved) = self.saved {
            function.instruction(&Instruction::LocalGet(saved));
            function.instruction(&Instruction::GlobalSet(self.counter));
        }
    }

    /// Copies the operators, with the function's last `end` as the block's.
    fn copy(
        &self,
        body: &FunctionBody<'_>,
        function: &mut Function,
    ) -> Result<(), Error> {
        let mut operators = body.get_operators_reader().map_err(invalid)?;
        let mut depth = 0u32;
        while !operators.eof() {
            let (operator, from) = operators.read_with_offset().map_err(invalid)?;
            let bytes = self.module.get(from..operators.original_position());
            let bytes = bytes.unwrap_or_default().iter().copied();
            match operator {
                Operator::Return => {
                    function.instruction(&Instruction::Br(depth));
                }
                Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => {
                    self.leave(function);
                    function.raw(bytes);
                }
                Operator::Loop { .. } => {
                    depth += 1;
                    function.raw(bytes);
                    self.restore(function);
                }
                Operator::Block { .. }
                | Operator::If { .. }
                | Operator::TryTable { .. } => {
                    depth += 1;
                    function.raw(bytes);
                }
                Operator::End => {
                    depth = depth.saturating_sub(1);
                    function.raw(bytes);
                    self.restore(function);
                }
                _ => {
                    function.raw(bytes);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
