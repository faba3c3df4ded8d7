//! Access to the guest's linear memory through pointers that it gave.
//!
//! Every pointer and length is checked against the memory as it is now; what
//! lies outside is `Fault` and never a trap or a panic. No allocation here is
//! larger than [`MAX_IOVECS`] small records, whatever the guest asks for.

use std::io::{IoSlice, IoSliceMut};

use super::abi::{Errno, sizes};
use crate::channel::Fault;

/// Most buffers of one read or write, as on Linux.
const MAX_IOVECS: u32 = 1024;
/// Buffers that are handled without allocating.
const INLINE_IOVECS: usize = 8;

/// The guest's memory during one call. A guest without memory has an empty one.
pub struct Memory<'a> {
    bytes: &'a mut [u8],
}

/// One buffer in guest memory. Known to lie inside it.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: usize,
    length: usize,
}

impl Range {
    fn end(&self) -> usize {
        self.start.saturating_add(self.length)
    }
}

/// The non-empty buffers of one read or write.
pub struct Iovecs {
    inline: [Range; INLINE_IOVECS],
    /// Used instead of `inline` when there are more.
    many: Vec<Range>,
    count: usize,
}

impl Iovecs {
    fn ranges(&self) -> &[Range] {
        if self.many.is_empty() {
            self.inline.get(..self.count).unwrap_or_default()
        } else {
            &self.many
        }
    }

    fn push(&mut self, range: Range) {
        match self.inline.get_mut(self.count) {
            Some(slot) if self.many.is_empty() => *slot = range,
            _ => {
                if self.many.is_empty() {
                    self.many.extend(self.inline);
                }
                self.many.push(range);
            }
        }
        self.count += 1;
    }
}

impl<'a> Memory<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Memory { bytes }
    }

    pub fn slice(&self, pointer: u32, length: u32) -> Result<&[u8], Errno> {
        let start = pointer as usize;
        self.bytes
            .get(start..start + length as usize)
            .ok_or(Errno::Fault)
    }

    pub fn slice_mut(&mut self, pointer: u32, length: u32) -> Result<&mut [u8], Errno> {
        let start = pointer as usize;
        self.bytes
            .get_mut(start..start + length as usize)
            .ok_or(Errno::Fault)
    }

    /// Checks that `length` bytes at `pointer` can be written later, so that a
    /// call with a bad result pointer has no effect.
    pub fn check(&self, pointer: u32, length: usize) -> Result<(), Errno> {
        let start = pointer as usize;
        self.bytes
            .get(start..)
            .filter(|rest| rest.len() >= length)
            .ok_or(Errno::Fault)?;
        Ok(())
    }

    pub fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Errno> {
        let start = pointer as usize;
        let target = self.bytes.get_mut(start..start + bytes.len());
        target.ok_or(Errno::Fault)?.copy_from_slice(bytes);
        Ok(())
    }

    pub fn write_u32(&mut self, pointer: u32, value: u32) -> Result<(), Errno> {
        self.write(pointer, &value.to_le_bytes())
    }

    pub fn write_u64(&mut self, pointer: u32, value: u64) -> Result<(), Errno> {
        self.write(pointer, &value.to_le_bytes())
    }

    /// Reads and checks a vector of buffers.
    ///
    /// `Inval` for more than 1024 of them or more than 4 GiB together; `Fault`
    /// if the vector or any buffer lies outside the memory.
    pub fn iovecs(&self, pointer: u32, count: u32) -> Result<Iovecs, Errno> {
        if count > MAX_IOVECS {
            return Err(Errno::Inval);
        }
        let vector = self.slice(pointer, count * sizes::IOVEC as u32)?;
        let mut iovecs = Iovecs {
            inline: [Range::default(); INLINE_IOVECS],
            many: Vec::new(),
            count: 0,
        };
        let mut total = 0u32;
        for iovec in vector.as_chunks::<{ sizes::IOVEC }>().0 {
            let [p0, p1, p2, p3, l0, l1, l2, l3] = *iovec;
            let pointer = u32::from_le_bytes([p0, p1, p2, p3]);
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            self.slice(pointer, length)?;
            total = total.checked_add(length).ok_or(Errno::Inval)?;
            if length > 0 {
                iovecs.push(Range {
                    start: pointer as usize,
                    length: length as usize,
                });
            }
        }
        Ok(iovecs)
    }

    /// Calls `write` once with all buffers.
    pub fn with_output<T>(
        &self,
        iovecs: &Iovecs,
        write: impl FnOnce(&[IoSlice<'_>]) -> T,
    ) -> T {
        let slice = |range: &Range| {
            IoSlice::new(self.bytes.get(range.start..range.end()).unwrap_or_default())
        };
        let ranges = iovecs.ranges();
        let mut inline = [IoSlice::new(&[]); INLINE_IOVECS];
        match inline.get_mut(..ranges.len()) {
            Some(slices) => {
                for (target, range) in slices.iter_mut().zip(ranges) {
                    *target = slice(range);
                }
                write(slices)
            }
            None => write(&ranges.iter().map(slice).collect::<Vec<_>>()),
        }
    }

    /// Calls `read` with all buffers at once if they are apart, else with one
    /// after the other until one is not filled.
    pub fn with_input(
        &mut self,
        iovecs: &Iovecs,
        mut read: impl FnMut(&mut [IoSliceMut<'_>]) -> Result<usize, Fault>,
    ) -> Result<usize, Fault> {
        let ranges = iovecs.ranges();
        match ranges {
            [] => return read(&mut []),
            [only] => return read(&mut [self.buffer(only)]),
            [first, second] if first.end() <= second.start => {
                let (low, high) = self.bytes.split_at_mut(second.start);
                let low = low.get_mut(first.start..first.end()).unwrap_or_default();
                let high = high.get_mut(..second.length).unwrap_or_default();
                return read(&mut [IoSliceMut::new(low), IoSliceMut::new(high)]);
            }
            [first, second] if second.end() <= first.start => {
                let (low, high) = self.bytes.split_at_mut(first.start);
                let low = low.get_mut(second.start..second.end()).unwrap_or_default();
                let high = high.get_mut(..first.length).unwrap_or_default();
                return read(&mut [IoSliceMut::new(high), IoSliceMut::new(low)]);
            }
            _ => {}
        }
        if let Some(mut buffers) = self.split(ranges) {
            return read(&mut buffers);
        }
        let mut done = 0;
        for range in ranges {
            match read(&mut [self.buffer(range)]) {
                Ok(count) => {
                    done += count;
                    if count < range.length {
                        break;
                    }
                }
                // What was read stays read; the error comes again next time.
                Err(Fault::Errno(_)) if done > 0 => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(done)
    }

    fn buffer(&mut self, range: &Range) -> IoSliceMut<'_> {
        IoSliceMut::new(
            self.bytes
                .get_mut(range.start..range.end())
                .unwrap_or_default(),
        )
    }

    /// The buffers in their order, `None` if two overlap.
    fn split(&mut self, ranges: &[Range]) -> Option<Vec<IoSliceMut<'_>>> {
        let mut order: Vec<(usize, &Range)> = ranges.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, range)| range.start);
        let mut rest = &mut *self.bytes;
        let mut taken = 0;
        let mut buffers = Vec::with_capacity(ranges.len());
        for (position, range) in order {
            let skip = range.start.checked_sub(taken)?;
            let (_, tail) = rest.split_at_mut_checked(skip)?;
            let (buffer, tail) = tail.split_at_mut_checked(range.length)?;
            buffers.push((position, IoSliceMut::new(buffer)));
            rest = tail;
            taken = range.end();
        }
        buffers.sort_unstable_by_key(|(position, _)| *position);
        Some(buffers.into_iter().map(|(_, buffer)| buffer).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory of 64 bytes with iovecs at 0.
    fn memory_with(iovecs: &[(u32, u32)]) -> Vec<u8> {
        let words = iovecs
            .iter()
            .flat_map(|(pointer, length)| [*pointer, *length]);
        let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        bytes.resize(8192 + 4096, 0);
        bytes
    }

    fn filled(iovecs: &[(u32, u32)]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = memory_with(iovecs);
        let mut memory = Memory::new(&mut bytes);
        let parsed = memory.iovecs(0, iovecs.len() as u32).unwrap();
        let (mut next, mut calls) = (1, Vec::new());
        let count = memory.with_input(&parsed, |buffers| {
            calls.push(buffers.len());
            let mut count = 0;
            for byte in buffers.iter_mut().flat_map(|buffer| buffer.iter_mut()) {
                *byte = next;
                next += 1;
                count += 1;
            }
            Ok(count)
        });
        let total: u32 = iovecs.iter().map(|(_, length)| length).sum();
        assert_eq!(count, Ok(total as usize));
        (bytes, calls)
    }

    #[test]
    fn input_goes_to_the_buffers_in_their_order() {
        for iovecs in [
            &[(8200, 2), (8210, 3)][..],
            &[(8210, 3), (8200, 2)],
            &[(8220, 1), (8200, 2), (8210, 3)],
        ] {
            let (bytes, calls) = filled(iovecs);
            assert_eq!(calls, [iovecs.len()]);
            let mut next = 1;
            for (pointer, length) in iovecs {
                for at in *pointer..*pointer + *length {
                    assert_eq!(bytes[at as usize], next);
                    next += 1;
                }
            }
        }
    }

    #[test]
    fn overlapping_input_buffers_are_filled_one_by_one() {
        let (bytes, calls) = filled(&[(8200, 4), (8202, 4)]);
        assert_eq!(calls, [1, 1]);
        assert_eq!(bytes[8200..8206], [1, 2, 5, 6, 7, 8]);
    }

    #[test]
    fn many_buffers_keep_their_order() {
        let iovecs: Vec<(u32, u32)> = (0..100).map(|n| (8300 - n * 2, 1)).collect();
        let (bytes, calls) = filled(&iovecs);
        assert_eq!(calls, [100]);
        assert!((0..100).all(|n| bytes[8300 - n * 2] == n as u8 + 1));
    }

    #[test]
    fn iovecs_outside_the_memory_are_a_fault() {
        let end = 8192 + 4096;
        for iovec in [(end, 1), (end - 1, 2), (u32::MAX, u32::MAX), (0, u32::MAX)] {
            let mut bytes = memory_with(&[iovec]);
            let memory = Memory::new(&mut bytes);
            assert_eq!(memory.iovecs(0, 1).err(), Some(Errno::Fault), "{iovec:?}");
        }
        let mut bytes = memory_with(&[(end, 0)]);
        let memory = Memory::new(&mut bytes);
        assert!(memory.iovecs(0, 1).is_ok());
        assert_eq!(memory.iovecs(end - 4, 1).err(), Some(Errno::Fault));
    }

    #[test]
    fn too_many_iovecs_are_invalid() {
        let mut bytes = memory_with(&[]);
        let memory = Memory::new(&mut bytes);
        assert!(memory.iovecs(0, 1024).is_ok());
        assert_eq!(memory.iovecs(0, 1025).err(), Some(Errno::Inval));
    }
}
