//! Moves bytes between descriptors and buffers: complete reads, complete writes.
//!
//! The kernel may return early from any call (signals, pipes, a limit of 2 GiB
//! per call, 1024 slices per vector); none of that may reach a guest, or its
//! result would depend on timing. So each function here goes on until all is
//! done, the end is reached or the host fails.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use crate::chance::{Source, noise};
use rustix::io::{Errno, preadv, pwritev, readv, retry_on_intr, writev};

/// Most slices per system call (the kernel's UIO_MAXIOV).
const MAX_SLICES: usize = 1024;

/// What a stream gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub count: usize,
    /// It has nothing more. Asking again might find something all the same (a FIFO
    /// with another writer, a terminal), and must not.
    pub ended: bool,
}

pub enum ReadError {
    /// The quota is used up and the source has more.
    Quota,
    Host(Errno),
}

/// Reads a regular file of `size` bytes at `offset` until `bufs` are full or the
/// end comes. `Quota` if more than `quota` bytes would have to be delivered.
pub fn read_file(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    offset: u64,
    size: u64,
    quota: u64,
) -> Result<usize, ReadError> {
    let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
    let available = size.saturating_sub(offset).min(wanted as u64);
    if available > quota {
        return Err(ReadError::Quota);
    }
    let mut done = 0;
    // The length is the one at the start: a file that grows meanwhile must not
    // show, and one that shrank is the host's failure, not an early end.
    let mut available = available as usize;
    if let (Some(noise), 2..) = (noise(Source::ShortRead), available) {
        available = 1 + noise as usize % available;
    }
    while done < available {
        let at = offset + done as u64;
        let count = with_rest_mut(bufs, done, available - done, |rest| {
            retry_on_intr(|| preadv(fd, rest, at))
        })
        .map_err(ReadError::Host)?;
        if count == 0 {
            return Err(ReadError::Host(Errno::IO));
        }
        done += count;
    }
    Ok(done)
}

/// Reads a stream until `bufs` are full or it ends. `Quota` once `quota` bytes
/// have been delivered and there is at least one more.
pub fn read_stream(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    quota: u64,
) -> Result<Taken, ReadError> {
    let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
    let allowed = usize::try_from(quota).unwrap_or(usize::MAX).min(wanted);
    let mut done = 0;
    while done < allowed {
        let mut most = allowed - done;
        if let (Some(noise), 2..) = (noise(Source::ShortPipe), most) {
            most = 1 + noise as usize % most;
        }
        let count =
            with_rest_mut(bufs, done, most, |rest| retry_on_intr(|| readv(fd, rest)))
                .map_err(ReadError::Host)?;
        if count == 0 {
            let ended = true;
            return Ok(Taken { count: done, ended });
        }
        done += count;
        if noise(Source::ShortPipe).is_some() {
            let ended = false;
            return Ok(Taken { count: done, ended });
        }
    }
    let ended = done < wanted;
    if ended {
        // Within the quota up to here: the end, or one byte too many?
        let mut probe = [0];
        let mut probes = [IoSliceMut::new(&mut probe)];
        let count = retry_on_intr(|| readv(fd, &mut probes)).map_err(ReadError::Host)?;
        if count > 0 {
            return Err(ReadError::Quota);
        }
    }
    Ok(Taken { count: done, ended })
}

/// Writes all of `bufs` at `offset` of a regular file.
pub fn write_file(
    fd: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    offset: u64,
) -> Result<(), Errno> {
    write_all(bufs, |rest, done| pwritev(fd, rest, offset + done as u64))
}

/// Writes all of `bufs` to a stream.
pub fn write_stream(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> Result<(), Errno> {
    write_all(bufs, |rest, _| writev(fd, rest))
}

fn write_all(
    bufs: &[IoSlice<'_>],
    mut call: impl FnMut(&[IoSlice<'_>], usize) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    let length: usize = bufs.iter().map(|buf| buf.len()).sum();
    let mut done = 0;
    while done < length {
        let count = with_rest(bufs, done, |rest| retry_on_intr(|| call(rest, done)))?;
        if count == 0 {
            return Err(Errno::IO);
        }
        done += count;
    }
    Ok(())
}

/// Calls `call` with what is left of `bufs` after `done` bytes, at most
/// `MAX_SLICES` slices.
fn with_rest<T>(
    bufs: &[IoSlice<'_>],
    done: usize,
    call: impl FnOnce(&[IoSlice<'_>]) -> T,
) -> T {
    if done == 0 && bufs.len() <= MAX_SLICES {
        return call(bufs);
    }
    let mut skip = done;
    let mut rest = Vec::with_capacity(bufs.len().min(MAX_SLICES));
    for buf in bufs {
        let (passed, left) = buf.split_at(buf.len().min(skip));
        skip -= passed.len();
        if !left.is_empty() {
            rest.push(IoSlice::new(left));
        }
        if rest.len() == MAX_SLICES {
            break;
        }
    }
    call(&rest)
}

/// As [`with_rest`] for reading, and no more than `limit` bytes.
fn with_rest_mut<T>(
    bufs: &mut [IoSliceMut<'_>],
    done: usize,
    limit: usize,
    call: impl FnOnce(&mut [IoSliceMut<'_>]) -> T,
) -> T {
    let total: usize = bufs.iter().map(|buf| buf.len()).sum();
    if done == 0 && total <= limit && bufs.len() <= MAX_SLICES {
        return call(bufs);
    }
    let mut skip = done;
    let mut left = limit;
    let mut rest = Vec::with_capacity(bufs.len().min(MAX_SLICES));
    for buf in bufs {
        let length = buf.len();
        let (passed, fresh) = buf.split_at_mut(length.min(skip));
        skip -= passed.len();
        let wanted = fresh.len().min(left);
        let (fresh, _) = fresh.split_at_mut(wanted);
        left -= wanted;
        if !fresh.is_empty() {
            rest.push(IoSliceMut::new(fresh));
        }
        if left == 0 || rest.len() == MAX_SLICES {
            break;
        }
    }
    call(&mut rest)
}
