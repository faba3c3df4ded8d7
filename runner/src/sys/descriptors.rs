//! Descriptors: taken, listed, closed.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::{SysError, last_error};

/// Takes the inherited descriptor `number` as our own.
///
/// # Errors
///
/// `EBADF` when it is not open. Take each number once: the process would otherwise
/// close it twice.
pub fn take_descriptor(number: RawFd) -> Result<OwnedFd, SysError> {
    // SAFETY: F_GETFD only asks; a number that is not open is an error.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(SysError {
            call: "fcntl",
            errno: Errno::BADF,
        });
    }
    // SAFETY: open, as was just asked, and owned by nothing in this process: it
    // was inherited, and the caller takes each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The numbers of all descriptors that this process has open.
pub fn open_descriptors() -> Result<Vec<RawFd>, SysError> {
    let unlisted = |_| SysError {
        call: "list /proc/self/fd",
        errno: Errno::IO,
    };
    let entries = std::fs::read_dir("/proc/self/fd").map_err(unlisted)?;
    let numbers: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // The listing's own is among them, and closed by now.
    // SAFETY: F_GETFD only asks; a number that is not open is an error.
    let is_open = |fd: &RawFd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
    Ok(numbers.into_iter().filter(is_open).collect())
}

/// Closes every descriptor of the process that is not in `keep`.
///
/// Owned values of closed descriptors must be forgotten, not dropped, by the
/// caller; in a freshly forked child that is all that the parent owned.
pub fn close_all_except(keep: &[RawFd]) -> Result<(), SysError> {
    let mut sorted: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    sorted.sort_unstable();
    let mut first = 0;
    for fd in sorted {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), SysError> {
    // SAFETY: closing a descriptor touches no memory; see the caller's promise.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } < 0 {
        return Err(last_error("close_range"));
    }
    Ok(())
}
