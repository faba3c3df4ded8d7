//! Memory: files mapped for reading, pages shared across fork, pages of our own.

use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64};

use rustix::fs::{
    FileType, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate,
    memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::{SysError, failed};

const NO_MEMORY: SysError = SysError {
    call: "mmap",
    errno: Errno::NOMEM,
};

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
        let start = NonNull::new(start.cast()).ok_or(NO_MEMORY)?;
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
        let length = Self::length(words, bytes).ok_or(NO_MEMORY)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no live memory is replaced.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), length, prot, MapFlags::SHARED) }
                .map_err(failed("mmap"))?;
        Self::at(start, words, bytes)
    }

    /// Makes the memory as a file, which another process can map with
    /// [`SharedMemory::open`]. Nobody can shrink it under its other readers.
    pub fn new_file(words: usize, bytes: usize) -> Result<OwnedFd, SysError> {
        let length = Self::length(words, bytes).ok_or(NO_MEMORY)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create("shared", flags).map_err(failed("memfd_create"))?;
        ftruncate(&fd, length as u64).map_err(failed("ftruncate"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&fd, seals).map_err(failed("fcntl"))?;
        Ok(fd)
    }

    /// Maps a file of [`SharedMemory::new_file`] of this size.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the file is shorter or could still become so.
    pub fn open(fd: impl AsFd, words: usize, bytes: usize) -> Result<Self, SysError> {
        let length = Self::length(words, bytes).ok_or(NO_MEMORY)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed("fstat"))?;
        let seals = fcntl_get_seals(&fd).map_err(failed("fcntl"))?;
        let long = u64::try_from(stat.st_size).is_ok_and(|size| size >= length as u64);
        if !long || !seals.contains(SealFlags::SHRINK) {
            return Err(SysError {
                call: "mmap",
                errno: Errno::INVAL,
            });
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no live memory is replaced;
        // the file is as long as the mapping, and sealed so that it stays so.
        let start =
            unsafe { mmap(ptr::null_mut(), length, prot, MapFlags::SHARED, &fd, 0) }
                .map_err(failed("mmap"))?;
        Self::at(start, words, bytes)
    }

    fn at(
        start: *mut std::ffi::c_void,
        words: usize,
        bytes: usize,
    ) -> Result<Self, SysError> {
        let start = NonNull::new(start.cast()).ok_or(NO_MEMORY)?;
        Ok(SharedMemory {
            start,
            words,
            bytes,
        })
    }

    /// Length of the mapping, at least one byte: the kernel maps no empty range.
    fn length(words: usize, bytes: usize) -> Option<usize> {
        words
            .checked_mul(8)?
            .checked_add(bytes)
            .map(|length| length.max(1))
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

/// Gives memory that was freed back to the kernel, where the allocator would keep
/// it for later.
pub fn give_memory_back() {
    // SAFETY: it only looks at what is free already.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Makes pages of writable memory the process's own now, as if it had written to
/// each; their content stays. A kernel that cannot (before 5.14) leaves them as they
/// are.
pub fn own_pages(memory: &mut [u8]) {
    let advice = rustix::mm::Advice::LinuxPopulateWrite;
    let start = memory.as_mut_ptr().cast();
    // SAFETY: it is memory that we may write to, and nothing is written.
    let _ = unsafe { rustix::mm::madvise(start, memory.len(), advice) };
}

/// Has the pages of memory at hand now, as if each had been read. A kernel that cannot
/// (before 5.14) leaves them as they are.
pub fn map_pages(memory: &[u8]) {
    let advice = rustix::mm::Advice::LinuxPopulateRead;
    let start = memory.as_ptr().cast_mut().cast();
    // SAFETY: it is memory that we may read, and nothing is changed.
    let _ = unsafe { rustix::mm::madvise(start, memory.len(), advice) };
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
