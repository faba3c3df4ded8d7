//! The running digest of what a reader got, from 0 on and in order.
//!
//! BLAKE3 is at its best on many chunks at once: hashing 4 KiB at a time costs
//! about twice as much per byte as 64 KiB. Small deliveries are therefore copied
//! into a buffer while they are still in the first-level cache, and hashed when
//! it is full; large ones are hashed where they lie.

use std::io::IoSliceMut;

const GATHER_BYTES: usize = 64 * 1024;
const SMALL_BYTES: usize = 32 * 1024;

#[derive(Debug)]
pub struct Sequential {
    hasher: Box<blake3::Hasher>,
    gathered: Vec<u8>,
}

impl Sequential {
    pub fn new() -> Self {
        // The buffer comes with the first small delivery: most channels of most
        // VMs are never read, and an untouched VM must stay small.
        Sequential {
            hasher: Box::new(blake3::Hasher::new()),
            gathered: Vec::new(),
        }
    }

    /// Adds the first `count` bytes that lie in `bufs`.
    pub fn delivered(&mut self, bufs: &[IoSliceMut<'_>], count: usize) {
        let mut left = count;
        for buf in bufs {
            let (data, _) = buf.split_at(buf.len().min(left));
            self.add(data);
            left -= data.len();
            if left == 0 {
                break;
            }
        }
    }

    fn add(&mut self, data: &[u8]) {
        if data.len() >= SMALL_BYTES {
            self.flush();
            self.hasher.update(data);
            return;
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(GATHER_BYTES);
        }
        if self.gathered.len() + data.len() > GATHER_BYTES {
            self.flush();
        }
        self.gathered.extend_from_slice(data);
    }

    fn flush(&mut self) {
        self.hasher.update(&self.gathered);
        self.gathered.clear();
    }

    /// The digest of all that was added; more may be added afterwards.
    pub fn finish(&mut self) -> [u8; 32] {
        self.flush();
        *self.hasher.finalize().as_bytes()
    }
}
