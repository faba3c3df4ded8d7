//! Processes: forks, their ends, what they used, how they show.

use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use super::{SysError, last_error};

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
