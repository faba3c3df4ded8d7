//! The only file with `unsafe`: memory shared between processes, files mapped
//! into memory, and the few system calls that have no safe wrapper.
//!
//! Each function here is safe to call with any argument; what the compiler cannot
//! check is stated in the SAFETY comment beside it.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A system call that failed: what was tried and why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysError {
    pub call: &'static str,
    pub errno: Errno,
}

impl fmt::Display for SysError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.call, self.errno)
    }
}

impl std::error::Error for SysError {}

/// Turns an `Errno` into a [`SysError`] that says which call it came from.
pub fn failed(call: &'static str) -> impl FnOnce(Errno) -> SysError {
    move |errno| SysError { call, errno }
}

/// A whole regular file mapped for reading.
///
/// The file must not shrink while it is mapped, or access raises SIGBUS, which
/// ends the process. Layers are files that nobody alters in place.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps `fd` whole. An empty file gives an empty slice; what is not a
    /// regular file is `EINVAL`.
    pub fn open(fd: impl AsFd) -> Result<Self, SysError> {
        let stat = rustix::fs::fstat(&fd).map_err(failed("fstat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SysError {
                call: "mmap",
                errno: Errno::INVAL,
            });
        }
        let length = usize::try_from(stat.st_size).map_err(|_| SysError {
            call: "mmap",
            errno: Errno::FBIG,
        })?;
        if length == 0 {
            return Ok(Mapping {
                start: NonNull::dangling(),
                length,
            });
        }
        // SAFETY: the kernel chooses the address, so no live memory is replaced;
        // the result is private to this value, which unmaps it once.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                &fd,
                0,
            )
        }
        .map_err(failed("mmap"))?;
        let start = NonNull::new(start.cast()).ok_or(SysError {
            call: "mmap",
            errno: Errno::NOMEM,
        })?;
        Ok(Mapping { start, length })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is mapped readable for `length` bytes until drop (or
        // dangling with length 0); a `u8` has no invalid value or alignment.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: exactly the range that `open` mapped; the borrow checker
            // has ended every slice of it.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

/// Zeroed anonymous memory that stays shared across fork: a row of atomic words,
/// then a row of atomic bytes.
#[derive(Debug)]
pub struct SharedMemory {
    start: NonNull<u8>,
    words: usize,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only ever
// handed out as atomics.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    pub fn new(words: usize, bytes: usize) -> Result<Self, SysError> {
        let length = Self::length(words, bytes)
            .ok_or(SysError { call: "mmap", errno: Errno::NOMEM })?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no live memory is replaced.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), length, prot, MapFlags::SHARED) }
                .map_err(failed("mmap"))?;
        let start = NonNull::new(start.cast())
            .ok_or(SysError { call: "mmap", errno: Errno::NOMEM })?;
        Ok(SharedMemory { start, words, bytes })
    }

    /// Length of the mapping, at least one byte: the kernel maps no empty range.
    fn length(words: usize, bytes: usize) -> Option<usize> {
        words.checked_mul(8)?.checked_add(bytes).map(|length| length.max(1))
    }

    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, zeroed, at least `words * 8` long
        // and lives as long as `self`; other processes use it as atomics too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words) }
    }

    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: as in `words`; the bytes follow the words, inside the mapping.
        unsafe {
            let first = self.start.as_ptr().add(self.words * 8);
            std::slice::from_raw_parts(first.cast(), self.bytes)
        }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if let Some(length) = Self::length(self.words, self.bytes) {
            // SAFETY: exactly the range that `new` mapped; no slice outlives self.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn mapping_of_a_file_shows_its_bytes() {
        let mut file = tempfile();
        file.write_all(b"tar").unwrap();
        assert_eq!(&*Mapping::open(&file).unwrap(), b"tar");
    }

    #[test]
    fn mapping_of_an_empty_file_is_empty() {
        assert!(Mapping::open(tempfile()).unwrap().is_empty());
    }

    #[test]
    fn mapping_of_a_device_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Mapping::open(null).unwrap_err().errno, Errno::INVAL);
    }

    fn tempfile() -> std::fs::File {
        let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
        fd.unwrap().into()
    }
}
