//! Digests of a VM's outputs, off the daemon's way.
//!
//! A few kilobytes are hashed in place; more is done by a helper process, because a
//! gigabyte takes seconds in which the daemon would answer nobody. The helper gets
//! the outputs' descriptors by fork, runs nothing but the hash functions, and leaves
//! its results in shared memory.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;

use rustix::process::Pid;

use crate::error::Error;
use crate::manifest::Manifest;
use crate::session::outputs::{Digests, Kept};
use crate::session::set_title;
use crate::session::vm::die_with;
use crate::sys::{self, Fork, SharedMemory};

/// Outputs up to this size in all are hashed in place: a tenth of a millisecond.
const IN_PLACE_BYTES: u64 = 64 << 10;

const BLAKE3_BYTES: usize = 32;
const MD5_BYTES: usize = 16;
/// Per channel: a mark, the two digests.
const ENTRY_BYTES: usize = 1 + BLAKE3_BYTES + MD5_BYTES;
const DONE: u8 = 1;

pub enum Digesting {
    Done(Vec<Option<Digests>>),
    /// A process of ours is at it.
    Helper(Pid, Results),
}

/// Where the helper leaves its digests.
pub struct Results {
    memory: SharedMemory,
    channels: usize,
}

/// Begins to hash; `manifest` is for the helper's name.
pub fn begin(outputs: &[Kept], manifest: &Manifest) -> Result<Digesting, Error> {
    let mut total = 0u64;
    for output in outputs {
        if let Kept::Output(_) = output {
            total = total.saturating_add(output.size()?.unwrap_or(0));
        }
    }
    if total <= IN_PLACE_BYTES {
        let digests = outputs
            .iter()
            .map(Kept::digests)
            .collect::<Result<_, _>>()?;
        return Ok(Digesting::Done(digests));
    }
    let results = Results {
        memory: SharedMemory::new(0, outputs.len() * ENTRY_BYTES)?,
        channels: outputs.len(),
    };
    let daemon = rustix::process::getpid();
    match sys::fork()? {
        Fork::Parent(pid) => Ok(Digesting::Helper(pid, results)),
        Fork::Child => {
            let done = help(outputs, manifest, &results, daemon);
            sys::exit_now(i32::from(done.is_err()));
        }
    }
}

fn help(
    outputs: &[Kept],
    manifest: &Manifest,
    results: &Results,
    daemon: Pid,
) -> Result<(), Error> {
    die_with(daemon)?;
    set_title(manifest);
    let keep: Vec<RawFd> = outputs
        .iter()
        .filter_map(|output| match output {
            Kept::Output(fd) => Some(fd.as_raw_fd()),
            _ => None,
        })
        .collect();
    sys::close_all_except(&keep)?;
    for (index, output) in outputs.iter().enumerate() {
        if let Some(digests) = output.digests()? {
            results.store(index, &digests);
        }
    }
    Ok(())
}

impl Results {
    fn store(&self, index: usize, digests: &Digests) {
        let mark = [DONE];
        let bytes = mark.iter().chain(&digests.blake3).chain(&digests.md5);
        let slots = self.memory.bytes().iter().skip(index * ENTRY_BYTES);
        for (slot, byte) in slots.zip(bytes) {
            slot.store(*byte, Ordering::Relaxed);
        }
    }

    /// What the helper found, once it has ended well.
    pub fn load(&self) -> Vec<Option<Digests>> {
        let bytes: Vec<u8> = self
            .memory
            .bytes()
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .collect();
        let entries = bytes.chunks_exact(ENTRY_BYTES).take(self.channels);
        entries
            .map(|entry| {
                let (mark, rest) = entry.split_first()?;
                let (blake3, rest) = rest.split_first_chunk::<BLAKE3_BYTES>()?;
                let md5 = rest.first_chunk::<MD5_BYTES>()?;
                (*mark == DONE).then_some(Digests {
                    blake3: *blake3,
                    md5: *md5,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_back_in_their_places() {
        let results = Results {
            memory: SharedMemory::new(0, 3 * ENTRY_BYTES).unwrap(),
            channels: 3,
        };
        let digests = Digests {
            blake3: std::array::from_fn(|at| at as u8),
            md5: [9; 16],
        };
        results.store(1, &digests);
        assert_eq!(results.load(), [None, Some(digests), None]);
    }
}
