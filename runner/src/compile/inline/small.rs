//! The functions that are inlined: what they are made of, and how they are written.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Function, Instruction, ValType};
use wasmparser::{FuncType, FunctionBody, Operator};

/// Operators of a function that is inlined, at most.
const MAX_OPERATORS: usize = 24;
/// Its parameters and locals.
const MAX_LOCALS: u32 = 16;

/// A function that is inlined.
pub(super) struct Small {
    /// Types of its parameters, then of its locals.
    pub(super) locals: Vec<ValType>,
    parameters: usize,
    block: BlockType,
    pieces: Vec<Piece>,
    /// Of its body as it stands in the module.
    pub(super) bytes: usize,
}

/// A part of its body, without the last `end`.
enum Piece {
    Bytes(Vec<u8>),
    Get(u32),
    Set(u32),
    Tee(u32),
    /// A `return`, in so many blocks.
    Leave(u32),
}

impl Small {
    /// None for a function that is not small, or could not be moved.
    pub(super) fn read(
        module: &[u8],
        body: &FunctionBody<'_>,
        ty: &FuncType,
    ) -> Option<Self> {
        // An operator has a byte at least: no need to read what is long.
        if body.range().len() > MAX_OPERATORS * 8 {
            return None;
        }
        let mut locals: Vec<ValType> =
            ty.params().iter().map(number).collect::<Option<_>>()?;
        let parameters = locals.len();
        for group in body.get_locals_reader().ok()? {
            let (count, ty) = group.ok()?;
            let room = MAX_LOCALS.checked_sub(u32::try_from(locals.len()).ok()?)?;
            (count <= room).then_some(())?;
            locals.extend(
                (0..count)
                    .map(|_| number(&ty))
                    .collect::<Option<Vec<_>>>()?,
            );
        }
        let block = match ty.results() {
            [] => BlockType::Empty,
            [one] => BlockType::Result(number(one)?),
            _ => return None,
        };
        let (pieces, bytes) = pieces(module, body)?;
        Some(Small {
            locals,
            parameters,
            block,
            pieces,
            bytes,
        })
    }

    /// Writes what stands in the place of a call; `names` are the caller's locals that
    /// are this function's.
    pub(super) fn write(&self, function: &mut Function, names: &[u32]) {
        let name = |local: &u32| names.get(*local as usize).copied().unwrap_or(u32::MAX);
        let (parameters, others) = names.split_at(self.parameters.min(names.len()));
        for local in parameters.iter().rev() {
            function.instruction(&Instruction::LocalSet(*local));
        }
        for (local, ty) in others.iter().zip(self.locals.iter().skip(self.parameters)) {
            function.instruction(&zero(*ty));
            function.instruction(&Instruction::LocalSet(*local));
        }
        function.instruction(&Instruction::Block(self.block));
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => function.raw(bytes.iter().copied()),
                Piece::Get(local) => {
                    function.instruction(&Instruction::LocalGet(name(local)))
                }
                Piece::Set(local) => {
                    function.instruction(&Instruction::LocalSet(name(local)))
                }
                Piece::Tee(local) => {
                    function.instruction(&Instruction::LocalTee(name(local)))
                }
                Piece::Leave(depth) => function.instruction(&Instruction::Br(*depth)),
            };
        }
        function.instruction(&Instruction::End);
    }
}

/// The body in pieces, and its bytes in all.
fn pieces(module: &[u8], body: &FunctionBody<'_>) -> Option<(Vec<Piece>, usize)> {
    let mut pieces = Vec::new();
    let mut operators = body.get_operators_reader().ok()?;
    let mut depth = 0u32;
    let mut count = 0;
    loop {
        let (operator, from) = operators.read_with_offset().ok()?;
        count += 1;
        (count <= MAX_OPERATORS).then_some(())?;
        match operator {
            Operator::LocalGet { local_index } => pieces.push(Piece::Get(local_index)),
            Operator::LocalSet { local_index } => pieces.push(Piece::Set(local_index)),
            Operator::LocalTee { local_index } => pieces.push(Piece::Tee(local_index)),
            Operator::Return => pieces.push(Piece::Leave(depth)),
            // Not worth it, or not the same in another function.
            Operator::Loop { .. }
            | Operator::TryTable { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => return None,
            Operator::End if depth == 0 => break,
            _ => {
                match operator {
                    Operator::Block { .. } | Operator::If { .. } => depth += 1,
                    Operator::End => depth -= 1,
                    _ => {}
                }
                let bytes = module.get(from..operators.original_position())?;
                match pieces.last_mut() {
                    Some(Piece::Bytes(before)) => before.extend(bytes),
                    _ => pieces.push(Piece::Bytes(bytes.to_vec())),
                }
            }
        }
    }
    operators.eof().then(|| (pieces, body.range().len()))
}

/// Types that have a zero.
fn number(ty: &wasmparser::ValType) -> Option<ValType> {
    match ty {
        wasmparser::ValType::Ref(_) => None,
        number => RoundtripReencoder.val_type(*number).ok(),
    }
}

fn zero(ty: ValType) -> Instruction<'static> {
    match ty {
        ValType::I64 => Instruction::I64Const(0),
        ValType::F32 => Instruction::F32Const(0.0.into()),
        ValType::F64 => Instruction::F64Const(0.0.into()),
        ValType::V128 => Instruction::V128Const(0),
        ValType::I32 | ValType::Ref(_) => Instruction::I32Const(0),
    }
}
