//! The header blocks of a tar, read rather than touched in its mapping.
//!
//! A page that is touched first costs a fault, and every few entries are on a page
//! of their own: indexing an image of large files took more time in faults than in
//! anything else (10 000 entries in 400 MB: 95 ms). What files hold is still never
//! read here, and stays mapped.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;

use rustix::io::{preadv, retry_on_intr};

use super::header::BLOCK;

/// Read at once where headers are close together, and where they are not.
const NEAR_BYTES: usize = 64 << 10;
const FAR_BYTES: usize = BLOCK;

/// Gives blocks of a file of which `bytes` is the mapping.
pub struct Blocks<'a> {
    bytes: &'a [u8],
    file: Option<&'a OwnedFd>,
    window: Vec<u8>,
    /// Where in the file the window begins.
    start: usize,
}

impl<'a> Blocks<'a> {
    /// Without a file, blocks come from the mapping.
    pub fn new(bytes: &'a [u8], file: Option<&'a OwnedFd>) -> Self {
        Blocks {
            bytes,
            file,
            window: Vec::new(),
            start: 0,
        }
    }

    /// The block at `position`; `None` if it is not whole.
    pub fn at(&mut self, position: usize) -> Option<[u8; BLOCK]> {
        if position.checked_add(BLOCK)? > self.bytes.len() {
            return None;
        }
        if let Some(block) = self.in_window(position) {
            return Some(block);
        }
        self.fill(position);
        let block = self.in_window(position);
        // What cannot be read can still be there: the mapping decides.
        block.or_else(|| self.bytes.get(position..)?.first_chunk().copied())
    }

    fn in_window(&self, position: usize) -> Option<[u8; BLOCK]> {
        let at = position.checked_sub(self.start)?;
        self.window.get(at..)?.first_chunk().copied()
    }

    fn fill(&mut self, position: usize) {
        let Some(file) = self.file else {
            return;
        };
        let end = self.start + self.window.len();
        let is_near = position.saturating_sub(end) < NEAR_BYTES / 4;
        let wanted = if is_near { NEAR_BYTES } else { FAR_BYTES };
        self.window.resize(wanted, 0);
        let mut slices = [IoSliceMut::new(&mut self.window)];
        let count = retry_on_intr(|| preadv(file, &mut slices, position as u64));
        self.window.truncate(count.unwrap_or(0));
        self.start = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn numbered(count: usize) -> Vec<u8> {
        (0..count * BLOCK).map(|at| (at / BLOCK) as u8).collect()
    }

    #[test]
    fn blocks_of_a_file_are_those_of_its_mapping() {
        let bytes = numbered(1000);
        let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = std::fs::File::from(fd.unwrap());
        file.write_all(&bytes).unwrap();
        let file = OwnedFd::from(file);
        // Close together, far apart, back, and at the very end.
        let order = [0, 1, 2, 3, 200, 201, 500, 999, 998, 5, 127, 128, 129];
        let mut read = Blocks::new(&bytes, Some(&file));
        let mut mapped = Blocks::new(&bytes, None);
        for number in order {
            let block = read.at(number * BLOCK).unwrap();
            assert_eq!(block, [number as u8; BLOCK], "{number}");
            assert_eq!(mapped.at(number * BLOCK), Some(block));
        }
        for beyond in [999 * BLOCK + 1, 1000 * BLOCK, usize::MAX] {
            assert_eq!(read.at(beyond), None);
            assert_eq!(mapped.at(beyond), None);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_taken_from_its_mapping() {
        let bytes = numbered(4);
        let (_, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let mut blocks = Blocks::new(&bytes, Some(&writer));
        assert_eq!(blocks.at(3 * BLOCK), Some([3; BLOCK]));
    }
}
