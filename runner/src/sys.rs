//! The only file with `unsafe`: memory shared between processes, files mapped
//! into memory, and the few system calls that have no safe wrapper.
//!
//! Each function here is safe to call with any argument; what the compiler cannot
//! check is stated in the SAFETY comment beside it.

#![allow(unsafe_code)]

#[cfg(feature = "planted-holes")]
pub mod holes;

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::Duration;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::process::Pid;
use wasmtime::{Engine, Module};

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
        let length = Self::length(words, bytes).ok_or(SysError {
            call: "mmap",
            errno: Errno::NOMEM,
        })?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no live memory is replaced.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), length, prot, MapFlags::SHARED) }
                .map_err(failed("mmap"))?;
        let start = NonNull::new(start.cast()).ok_or(SysError {
            call: "mmap",
            errno: Errno::NOMEM,
        })?;
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

/// Which side of a fork this process is.
pub enum Fork {
    Parent(Pid),
    Child,
}

/// Forks. Call it only while the process has a single thread: in the child, locks
/// that another thread held would stay locked for ever.
pub fn fork() -> Result<Fork, SysError> {
    // SAFETY: no memory is shared but what is mapped so on purpose; glibc makes
    // its own allocator usable in the child.
    let result = unsafe { libc::fork() };
    if result < 0 {
        return Err(last_error("fork"));
    }
    match Pid::from_raw(result) {
        Some(pid) => Ok(Fork::Parent(pid)),
        None => Ok(Fork::Child),
    }
}

/// How a child ended, and the processor time that it used.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Exit status, if it exited.
    pub status: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    pub cpu: Duration,
}

/// Waits for `child` to end and reaps it.
pub fn wait(child: Pid) -> Result<Ended, SysError> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the right type.
        let result = unsafe {
            libc::wait4(child.as_raw_nonzero().get(), &mut status, 0, &mut usage)
        };
        if result >= 0 {
            break;
        }
        let error = last_error("wait4");
        if error.errno != Errno::INTR {
            return Err(error);
        }
    }
    Ok(Ended {
        status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
    })
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// Processor time that the living (or unreaped) process `pid` has used so far.
pub fn cpu_time_of(pid: Pid) -> Result<Duration, SysError> {
    let mut clock = 0;
    // SAFETY: `clock` is a live value of the right type.
    let result =
        unsafe { libc::clock_getcpuclockid(pid.as_raw_nonzero().get(), &mut clock) };
    if result != 0 {
        let errno = Errno::from_raw_os_error(result);
        return Err(SysError {
            call: "clock_getcpuclockid",
            errno,
        });
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live value of the right type.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(last_error("clock_gettime"));
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// Ends the process at once: no destructors, no flushing, which in a VM's process
/// would only take time.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(status) }
}

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

/// Gives this process the lowest best-effort weight for disks.
pub fn lower_io_weight() -> Result<(), SysError> {
    const WHO_PROCESS: i32 = 1;
    const CLASS_BEST_EFFORT: i32 = 2 << 13;
    const LOWEST: i32 = 7;
    let weight = CLASS_BEST_EFFORT | LOWEST;
    // SAFETY: three numbers; 0 is this process.
    if unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, weight) } < 0 {
        return Err(last_error("ioprio_set"));
    }
    Ok(())
}

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

/// Maps an artefact as executable code.
///
/// The bytes are native code and are believed: the file must come from `zvm
/// compile` of this installation, out of its private cache, where artefacts are
/// checked against their MAC and only ever replaced by rename. wasmtime refuses
/// other versions and settings, which guards against mistakes, not against malice.
pub fn load_artefact(engine: &Engine, file: File) -> wasmtime::Result<Module> {
    // SAFETY: the caller's descriptor is an unaltered artefact; see above.
    unsafe { Module::deserialize_open_file(engine, file) }
}

/// Lets the compiler use `flag`, a feature of the processor that is part of the
/// baseline. At load, wasmtime checks that the processor has it.
#[cfg(feature = "compiler")]
pub fn enable_processor_feature(config: &mut wasmtime::Config, flag: &str) {
    // SAFETY: the flags are from the constant list in `engine`, all of them names
    // of processor features, none of them changes the meaning of code.
    unsafe {
        config.cranelift_flag_enable(flag);
    }
}

fn last_error(call: &'static str) -> SysError {
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    SysError {
        call,
        errno: Errno::from_raw_os_error(number),
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
