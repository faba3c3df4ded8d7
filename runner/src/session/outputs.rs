//! The parent's hold on the staged outputs: their sizes and digests at the end.
//!
//! Hashing happens after the guest has ended, in the parent or a helper of its, so
//! it takes none of the guest's time and no compromised guest can answer for it.
//! BLAKE3 is for receipts, MD5 because Swift's ETag is one.

use std::os::fd::OwnedFd;

use md5::{Digest, Md5};
use rustix::fs::FileType;
use rustix::io::{pread, retry_on_intr};

use crate::chance::{Source, noise};
use crate::channel::Direction;
use crate::error::Error;
use crate::manifest::Manifest;

use super::Setting;

const BLOCK_BYTES: usize = 256 << 10;

/// What the parent keeps of one channel.
pub enum Kept {
    /// A stream, whose bytes have gone by: nothing to look at.
    Stream,
    /// A regular input of this length; its descriptor is closed.
    Input(u64),
    /// A staged output.
    Output(OwnedFd),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    pub blake3: [u8; 32],
    pub md5: [u8; 16],
}

/// Sorts the channels' descriptors; those of inputs and streams are closed.
pub fn keep(manifest: &Manifest, channels: Vec<OwnedFd>, setting: Setting) -> Vec<Kept> {
    let entries = manifest.channels.iter().zip(channels);
    entries
        .map(|(entry, fd)| match regular_size(&fd) {
            Some(size) if !setting.is_stream(entry) => match entry.direction {
                Direction::Read => Kept::Input(size),
                Direction::Write => Kept::Output(fd),
            },
            _ => Kept::Stream,
        })
        .collect()
}

/// As [`keep`] on a node, of descriptors that will be sent away: `fds` are by the
/// manifest's numbers, and outputs are duplicated.
pub fn keep_copies(manifest: &Manifest, fds: &[OwnedFd]) -> Result<Vec<Kept>, Error> {
    let entries = manifest.channels.iter();
    entries
        .map(|entry| {
            let fd = fds.get(entry.descriptor);
            let fd = fd.ok_or_else(|| Error::failure("descriptor", entry.descriptor))?;
            match (regular_size(fd), entry.direction) {
                (Some(size), Direction::Read) => Ok(Kept::Input(size)),
                (Some(_), Direction::Write) => fd
                    .try_clone()
                    .map(Kept::Output)
                    .map_err(|error| Error::failure("dup", error)),
                (None, _) => Ok(Kept::Stream),
            }
        })
        .collect()
}

fn regular_size(fd: &OwnedFd) -> Option<u64> {
    let stat = rustix::fs::fstat(fd).ok()?;
    is_regular(stat.st_mode).then_some(stat.st_size.unsigned_abs())
}

fn is_regular(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}

impl Kept {
    /// Length of a regular input, or of an output as it is now.
    pub fn size(&self) -> Result<Option<u64>, Error> {
        match self {
            Kept::Stream => Ok(None),
            Kept::Input(size) => Ok(Some(*size)),
            Kept::Output(fd) => match rustix::fs::fstat(fd) {
                Ok(stat) => Ok(Some(stat.st_size.unsigned_abs())),
                Err(errno) => Err(Error::failure("fstat of an output", errno)),
            },
        }
    }

    /// Digests of a whole staged output that can be read back.
    pub fn digests(&self) -> Result<Option<Digests>, Error> {
        let Kept::Output(fd) = self else {
            return Ok(None);
        };
        let mut blake3 = blake3::Hasher::new();
        let mut md5 = Md5::new();
        // One byte more than there is to read: a short read is the end.
        let whole = self.size()?.and_then(|size| usize::try_from(size).ok());
        let room = whole.map_or(BLOCK_BYTES, |size| size.saturating_add(1));
        let mut block = vec![0; room.min(BLOCK_BYTES)];
        let mut offset = 0;
        loop {
            let count = match retry_on_intr(|| pread(&*fd, &mut block[..], offset)) {
                Ok(count) => count,
                // Opened for writing only, as a shell does with `>`.
                Err(rustix::io::Errno::BADF) => return Ok(None),
                Err(errno) => return Err(Error::failure("read of an output", errno)),
            };
            let data = block.get(..count).unwrap_or_default();
            blake3.update(data);
            md5.update(data);
            offset += count as u64;
            if count < block.len() {
                break;
            }
        }
        if let Some(noise) = noise(Source::WriteDigest) {
            blake3.update(&noise.to_le_bytes());
        }
        Ok(Some(Digests {
            blake3: *blake3.finalize().as_bytes(),
            md5: md5.finalize().into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::hex;

    fn memory_file(content: &[u8]) -> OwnedFd {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let fd = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::io::write(&fd, content).unwrap();
        fd
    }

    #[test]
    fn digests_of_an_output_are_of_all_its_bytes() {
        let output = Kept::Output(memory_file(b"abc"));
        let digests = output.digests().unwrap().unwrap();
        assert_eq!(hex(&digests.md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(digests.blake3, *blake3::hash(b"abc").as_bytes());
        assert_eq!(output.size().unwrap(), Some(3));
    }

    #[test]
    fn inputs_and_streams_have_no_digest_here() {
        assert!(Kept::Stream.digests().unwrap().is_none());
        assert!(Kept::Input(7).digests().unwrap().is_none());
        assert_eq!(Kept::Input(7).size().unwrap(), Some(7));
    }
}
