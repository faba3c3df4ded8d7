//! The signals by which zvm is told to end, as a descriptor.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{SysError, last_error};

/// The signals that ask zvm itself to end.
const END_SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

fn end_signals() -> libc::sigset_t {
    // SAFETY: a signal set is plain bits; sigemptyset makes it a valid empty set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in END_SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Blocks the signals that ask zvm to end, and gives a descriptor that becomes
/// readable when one of them is pending.
pub fn catch_end_signals() -> Result<OwnedFd, SysError> {
    let set = end_signals();
    // SAFETY: `set` is valid; a null old set is allowed; -1 makes a new descriptor,
    // which nothing else owns.
    unsafe {
        if libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut()) != 0 {
            return Err(last_error("sigprocmask"));
        }
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(last_error("signalfd"));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The number of the signal pending on a descriptor of [`catch_end_signals`].
pub fn pending_end_signal(fd: impl AsFd) -> Option<i32> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(fd, &mut info).ok()?;
    // `ssi_signo` is the first field, 32 bits.
    let number = info.get(..count)?.first_chunk::<4>()?;
    i32::try_from(u32::from_ne_bytes(*number)).ok()
}

/// Lets the signals that ask zvm to end do what they do by default.
pub fn release_end_signals() -> Result<(), SysError> {
    let set = end_signals();
    // SAFETY: as in `catch_end_signals`.
    if unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set, ptr::null_mut()) } != 0 {
        return Err(last_error("sigprocmask"));
    }
    Ok(())
}
