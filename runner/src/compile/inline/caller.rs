//! The functions whose calls are replaced: with room for the locals of what is inlined.

use std::ops::Range;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{Function, ValType};
use wasmparser::{BinaryReaderError, FunctionBody, Operator};

use super::small::Small;

/// A function grows by no more bytes than this, or twice what it was.
const GROWN_BYTES: usize = 4 << 10;
const GROWTH: usize = 2;
/// Locals of a function that can still be given more.
const MAX_CALLER_LOCALS: u32 = 40_000;

/// The caller's new locals: so many of each type, which all that is inlined shares, as
/// none of it is at work while another one is.
#[derive(Default)]
struct Spare([u32; NUMBERS.len()]);

const NUMBERS: [ValType; 5] = [
    ValType::I32,
    ValType::I64,
    ValType::F32,
    ValType::F64,
    ValType::V128,
];

impl Spare {
    /// Makes room for the locals of a function.
    fn widen(&mut self, locals: &[ValType]) {
        for (room, ty) in self.0.iter_mut().zip(NUMBERS) {
            let count = locals.iter().filter(|local| **local == ty).count();
            *room = (*room).max(count as u32);
        }
    }

    /// The names of the locals of a function, if the first of all is `first`.
    fn names(&self, first: u32, locals: &[ValType]) -> Vec<u32> {
        let mut next = [first; NUMBERS.len()];
        let mut start = first;
        for (next, room) in next.iter_mut().zip(self.0) {
            *next = start;
            start += room;
        }
        let mut name = |ty: &ValType| {
            let at = NUMBERS.iter().position(|number| number == ty)?;
            let next = next.get_mut(at)?;
            *next += 1;
            Some(*next - 1)
        };
        locals.iter().map_while(&mut name).collect()
    }

    fn groups(&self) -> impl Iterator<Item = (u32, ValType)> {
        self.0
            .into_iter()
            .zip(NUMBERS)
            .filter(|(count, _)| *count > 0)
    }
}

/// A function whose calls are looked at.
pub(super) struct Caller<'a> {
    pub(super) module: &'a [u8],
    pub(super) small: &'a [Option<Small>],
    /// Functions that the module imports: they come before those with bodies.
    pub(super) imported: u32,
    /// Its own place among the functions with bodies.
    pub(super) own: usize,
    pub(super) parameters: u32,
}

/// A call that is to be replaced: where it stands.
struct Call<'a> {
    range: Range<usize>,
    small: &'a Small,
}

impl<'a> Caller<'a> {
    /// The function anew, and less `room` for others; none if it stays as it is.
    pub(super) fn rewrite(
        &self,
        body: &FunctionBody<'_>,
        room: &mut usize,
    ) -> Result<Option<Function>, BinaryReaderError> {
        let calls = self.calls(body, room)?;
        let mut spare = Spare::default();
        calls
            .iter()
            .for_each(|call| spare.widen(&call.small.locals));
        let mut locals = Vec::new();
        let mut first = self.parameters;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let Ok(ty) = RoundtripReencoder.val_type(ty) else {
                return Ok(None);
            };
            locals.push((count, ty));
            first = first.saturating_add(count);
        }
        if calls.is_empty() || first > MAX_CALLER_LOCALS {
            return Ok(None);
        }
        locals.extend(spare.groups());
        let mut function = Function::new(locals);
        let mut copied = body.get_operators_reader()?.original_position();
        let copy = |function: &mut Function, from: usize, to: usize| {
            let bytes = self.module.get(from..to).unwrap_or_default();
            function.raw(bytes.iter().copied());
        };
        for call in calls {
            copy(&mut function, copied, call.range.start);
            let names = spare.names(first, &call.small.locals);
            call.small.write(&mut function, &names);
            copied = call.range.end;
        }
        copy(&mut function, copied, body.range().end);
        Ok(Some(function))
    }

    /// The calls that are replaced, as far as there is room in the module and the
    /// function does not grow too much.
    fn calls(
        &self,
        body: &FunctionBody<'_>,
        room: &mut usize,
    ) -> Result<Vec<Call<'a>>, BinaryReaderError> {
        let most = (body.range().len() * GROWTH).max(GROWN_BYTES);
        let mut own_room = most.min(*room);
        let mut calls = Vec::new();
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, from) = operators.read_with_offset()?;
            let Operator::Call { function_index } = operator else {
                continue;
            };
            let called = function_index.checked_sub(self.imported);
            let called = called.map(|index| index as usize);
            let called = called.filter(|index| *index != self.own);
            let small = called.and_then(|index| self.small.get(index)?.as_ref());
            if let Some(small) = small.filter(|small| small.bytes <= own_room) {
                own_room -= small.bytes;
                *room -= small.bytes;
                let range = from..operators.original_position();
                calls.push(Call { range, small });
            }
        }
        Ok(calls)
    }
}
