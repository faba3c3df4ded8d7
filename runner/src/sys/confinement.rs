//! What confines a process for ever: Landlock, the filter of system calls.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use super::{SysError, last_error};

/// Version of the kernel's Landlock; none where it has none or it is off.
pub fn landlock_version() -> Option<u32> {
    const VERSION: u32 = 1;
    let none = ptr::null::<u8>();
    // SAFETY: with this flag and no attributes the call only answers a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Enters a Landlock ruleset, for ever.
pub fn restrict_by_landlock(ruleset: impl AsFd) -> Result<(), SysError> {
    let fd = ruleset.as_fd().as_raw_fd();
    // SAFETY: two numbers; nothing but this process's rights changes.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, 0) } < 0 {
        return Err(last_error("landlock_restrict_self"));
    }
    Ok(())
}

/// Holds this process to a filter of system calls, for ever.
pub fn filter_system_calls(
    program: &'static [libc::sock_filter],
) -> Result<(), SysError> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to as many instructions as it says, which the kernel
    // copies, checks and does not change.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &program,
        )
    };
    if result < 0 {
        return Err(last_error("seccomp"));
    }
    Ok(())
}
