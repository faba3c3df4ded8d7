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

use rustix::fs::{
    FileType, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate,
    memfd_create,
};
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

const NO_MEMORY: SysError = SysError {
    call: "mmap",
    errno: Errno::NOMEM,
};

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

/// Forks a child of this process's *parent*: a sibling, which the parent reaps.
/// Call it only while the process has a single thread, as [`fork`].
///
/// Only the parent may wait for it; here, its number is all that is ever known.
pub fn fork_sibling() -> Result<Fork, SysError> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    let flags = libc::c_long::from(flags);
    // SAFETY: without CLONE_VM and without a stack this is a fork: the child has
    // its own copy of all memory and returns from the same call. glibc's hooks are
    // not run: they would unlock what another thread holds, and there is none. No
    // address is given, so the order of these zeros does not matter.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(result).ok().and_then(Pid::from_raw) {
        Some(_) if result < 0 => Err(last_error("clone")),
        Some(pid) => Ok(Fork::Parent(pid)),
        None => Ok(Fork::Child),
    }
}

/// A child that has ended and was not reaped yet, if there is one.
pub fn ended_child() -> Option<Pid> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a live value of the right type.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, options) };
    if result != 0 {
        return None;
    }
    // SAFETY: waitid has filled in the fields of a child, or left them zero.
    Pid::from_raw(unsafe { info.si_pid() })
}

/// How a child ended, and what it used.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Exit status, if it exited.
    pub status: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    pub cpu: Duration,
    /// Most memory of the host that it had at once.
    pub resident_peak_bytes: u64,
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
        resident_peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10,
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

/// Where the kernel shows this process's command line from.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine {
    start: usize,
    length: usize,
}

impl CommandLine {
    /// Looks it up; none where the kernel does not say.
    pub fn find() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name may hold anything; behind it are numbers. See proc(5).
        let (_, numbers) = stat.rsplit_once(") ")?;
        let mut numbers = numbers.split(' ').skip(45);
        let start: usize = numbers.next()?.parse().ok()?;
        let end: usize = numbers.next()?.parse().ok()?;
        let length = end.checked_sub(start)?;
        (start > 0 && length > 2).then_some(CommandLine { start, length })
    }

    /// Shows `title` instead of the command line, as far as its room goes. The
    /// words of the command line are lost: read them before.
    pub fn write(&self, title: &[u8]) {
        let room = self.length.saturating_sub(2);
        let title = title.get(..room).unwrap_or(title);
        let start: *mut u8 = ptr::with_exposed_provenance_mut(self.start);
        // SAFETY: by the kernel's word these bytes of the stack's top hold the
        // words of the command line, one after another, and belong to this
        // process, which has one thread; `title` is shorter. A last byte that is
        // not zero tells the kernel that this is a title, and ends at the first
        // zero.
        unsafe {
            ptr::write_bytes(start, 0, self.length);
            ptr::copy_nonoverlapping(title.as_ptr(), start, title.len());
            start.add(self.length - 1).write(1);
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
