//! The running digest of what a reader got, from 0 on and in order.
//!
//! BLAKE3 is a tree over chunks of 1 KiB and at its best on many of them at once,
//! which it can have only where what it is given begins at a multiple of its own
//! length: 64 KiB that begin one byte off cost twice as much, and so do 4 KiB at a
//! time. So what is hashed is always whole pieces that begin at multiples of a
//! piece. They are hashed where they lie, as far as that goes; what comes before
//! and after is copied into a buffer, while it is still in the first-level cache.
//! A C program that asks its library for 64 KiB makes reads of 65 535 + 1024 bytes.

use std::io::IoSliceMut;

/// What is hashed without a copy begins at multiples of this.
const PIECE_BYTES: usize = 16 * 1024;
const GATHER_BYTES: usize = 4 * PIECE_BYTES;

#[derive(Debug)]
pub struct Sequential {
    hasher: Box<blake3::Hasher>,
    /// What is to be hashed next, from a multiple of a piece on.
    gathered: Vec<u8>,
    /// How far the buffer may fill: to the next multiple of its size.
    room: usize,
}

impl Sequential {
    pub fn new() -> Self {
        // The buffer comes with the first small delivery: most channels of most
        // VMs are never read, and an untouched VM must stay small.
        Sequential {
            hasher: Box::new(blake3::Hasher::new()),
            gathered: Vec::new(),
            room: GATHER_BYTES,
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
        let over = self.gathered.len() % PIECE_BYTES;
        let head = if over == 0 { 0 } else { PIECE_BYTES - over };
        let mut rest = data;
        // Below two pieces the copy costs less than it gains.
        if data.len() >= head + 2 * PIECE_BYTES {
            let (head, body) = data.split_at(head);
            self.gather(head);
            self.flush();
            let (whole, tail) = body.split_at(body.len() / PIECE_BYTES * PIECE_BYTES);
            self.hash(whole);
            rest = tail;
        }
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.room));
            self.gather(now);
            if self.room == 0 {
                self.flush();
            }
            rest = later;
        }
    }

    fn gather(&mut self, data: &[u8]) {
        if self.gathered.capacity() == 0 && !data.is_empty() {
            self.gathered.reserve_exact(GATHER_BYTES);
        }
        self.gathered.extend_from_slice(data);
        self.room = self.room.saturating_sub(data.len());
    }

    fn flush(&mut self) {
        self.hasher.update(&self.gathered);
        self.gathered.clear();
        self.room = self.room_after_hashing();
    }

    fn hash(&mut self, pieces: &[u8]) {
        self.hasher.update(pieces);
        self.room = self.room_after_hashing();
    }

    fn room_after_hashing(&self) -> usize {
        let into = self.hasher.count() % GATHER_BYTES as u64;
        GATHER_BYTES - usize::try_from(into).unwrap_or(0)
    }

    /// The digest of all that was added; more may be added afterwards.
    pub fn finish(&self) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.gathered);
        *hasher.finalize().as_bytes()
    }
}
