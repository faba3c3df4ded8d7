//! Attempts to get out of a locked-down process, for tests of the lock-down.
//!
//! A guest that raises signal [`FIRST`] + n makes attempt n, with native code and
//! all that this process may do: as if the engine had a hole. The run ends with the
//! host's error number as exit code, 0 if the attempt succeeded. A module with a
//! custom section named [`SECTION`] does the same to the compiler.
//!
//! This exists in builds with the feature `planted-holes` only, and those do not
//! compile without debug assertions.

use std::ffi::CString;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use libc::{c_long, syscall};

use super::last_error;
use crate::ledger::Ledger;

#[cfg(not(debug_assertions))]
compile_error!("planted-holes is for tests: builds without debug assertions have none");

/// Variable that names the layers to keep.
pub const LAYERS: &str = "ZVM_LAYERS";
/// Variable that names a program for [`Attempt::ExecuteFile`], and its arguments.
pub const PROGRAM: &str = "ZVM_HOLE_PROGRAM";
/// Variable that, set to anything, makes the kernel one without Landlock.
pub const OLD_KERNEL: &str = "ZVM_HOLE_OLD_KERNEL";
/// The first signal that is an attempt.
pub const FIRST: u32 = 0x5a00;
/// Custom section of a module that holds the number of an attempt, one byte.
pub const SECTION: &str = "zvm-planted-hole";
/// Number of the descriptor that the parent leaks.
const LEAKED: RawFd = 99;

/// Declares the attempts: names, numbers in their order, and what they do.
macro_rules! attempts {
    ($($name:ident => $body:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Attempt { $($name,)* }

        impl Attempt {
            pub const ALL: &'static [Attempt] = &[$(Attempt::$name,)*];

            fn make(self, held: &Held) -> Result<(), i32> {
                match self { $(Attempt::$name => $body(held),)* }
            }
        }
    };
}

attempts! {
    // Files.
    Open => |_: &Held| call(libc::SYS_openat, [AT_CWD, path(c"/etc/passwd"), libc::O_RDONLY as c_long, 0]);
    Reopen => |held: &Held| {
        call(libc::SYS_openat, [AT_CWD, held.input_path(), libc::O_RDWR as c_long, 0])
    };
    ChangeMode => |held: &Held| call(libc::SYS_fchmod, [held.input(), 0o777, 0, 0]);
    SetAttribute => |held: &Held| {
        call(libc::SYS_fsetxattr, [held.input(), path(c"user.planted"), path(c"x"), 1])
    };
    SetTimes => |held: &Held| call(libc::SYS_utimensat, [held.input(), 0, 0, 0]);
    ReadLeaked => |_: &Held| read_leaked();
    // Network and descriptors.
    Socket => |_: &Held| {
        call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0, 0])
    };
    Connect => |held: &Held| connect(held);
    SendDescriptor => |held: &Held| send_descriptor(held);
    ReceiveDescriptor => |held: &Held| receive_descriptor(held.pair);
    ReceiveAgain => |_: &Held| receive_descriptor(0);
    NewDescriptor => |_: &Held| call(libc::SYS_dup, [1, 0, 0, 0]);
    // Programs, processes, threads.
    Execute => |_: &Held| execute(c"/bin/true", &[]);
    ExecuteFile => |held: &Held| match held.program.split_first() {
        Some((program, args)) => execute(program, args),
        None => Err(libc::ENOENT),
    };
    Fork => |_: &Held| fork();
    Thread => |_: &Held| thread();
    Trace => |held: &Held| {
        call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as c_long, held.outsider, 0, 0])
    };
    Signal => |held: &Held| call(libc::SYS_kill, [held.outsider, 0, 0, 0]);
    RaiseLimit => |_: &Held| raise_limit();
    BecomeRoot => |_: &Held| call(libc::SYS_setresuid, [0, 0, 0, 0]);
    // Memory.
    MapExecutable => |_: &Held| map(libc::PROT_READ | libc::PROT_EXEC, PRIVATE, 4096).map(drop);
    MakeExecutable => |_: &Held| make_executable();
    MapShared => |_: &Held| map(WRITABLE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, 4096).map(drop);
    MapMuch => |_: &Held| map(WRITABLE, PRIVATE | libc::MAP_NORESERVE, 64 << 30).map(drop);
    Lock => |_: &Held| {
        map(WRITABLE, PRIVATE, 4096).and_then(|at| call(libc::SYS_mlock, [at, 4096, 0, 0]))
    };
    // No attempt: a mistake of our own.
    Panic => |_: &Held| planted_panic();
    // The same number as readv, in the numbering of another architecture.
    OtherNumbering => |_: &Held| match call(X32 | libc::SYS_readv, [-1, 0, 0, 0]) {
        // Reached the kernel: there is no such numbering, or no such descriptor.
        Err(libc::ENOSYS | libc::EBADF) => Ok(()),
        other => other,
    };
}

const AT_CWD: c_long = libc::AT_FDCWD as c_long;
const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE;
/// Marks a system call of the x32 interface.
const X32: c_long = 0x4000_0000;

/// What attempts need, got while everything was allowed.
struct Held {
    input: AtomicI32,
    input_path: OnceLock<CString>,
    outsider: c_long,
    socket: RawFd,
    pair: RawFd,
    program: Vec<CString>,
}

impl Held {
    fn input(&self) -> c_long {
        self.input.load(Ordering::Relaxed).into()
    }

    fn input_path(&self) -> c_long {
        self.input_path.get().map_or(0, |name| path(name))
    }
}

static HELD: OnceLock<Held> = OnceLock::new();

/// When the parent was about to fork, in nanoseconds.
static FORKED: AtomicU64 = AtomicU64::new(0);

/// Leaves a descriptor open in this process that its children need not have, and
/// starts the clock of [`stamp`].
pub fn before_fork() {
    if let Ok(file) = std::fs::File::open("/etc/passwd") {
        // SAFETY: numbers only; nothing of this build uses the target.
        unsafe { libc::dup2(file.as_raw_fd(), LEAKED) };
    }
    FORKED.store(nanoseconds(), Ordering::Relaxed);
}

/// Gets what attempts need, but for what a job brings.
pub fn prepare(outsider: i32) {
    let mut pair = [-1; 2];
    // SAFETY: `pair` has room for the two descriptors.
    let socket = unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
        libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)
    };
    let words = std::env::var(PROGRAM).unwrap_or_default();
    let held = Held {
        input: AtomicI32::new(-1),
        input_path: OnceLock::new(),
        outsider: outsider.into(),
        socket,
        pair: pair.first().copied().unwrap_or(-1),
        program: words.split_whitespace().map(c_string).collect(),
    };
    let _ = HELD.set(held);
}

/// Says which descriptor was opened for reading.
pub fn aim(input: RawFd) {
    if let Some(held) = HELD.get() {
        held.input.store(input, Ordering::Relaxed);
        let path = c_string(&format!("/proc/self/fd/{input}"));
        let _ = held.input_path.set(path);
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// Makes attempt `number`; the host's error number, 0 for success. `None` if there
/// is no such attempt.
pub fn attempt(number: u32) -> Option<i32> {
    let attempt = Attempt::ALL.get(usize::try_from(number).ok()?)?;
    let result = attempt.make(HELD.get()?);
    Some(result.err().unwrap_or(0))
}

/// Notes where a guest's stderr goes how many nanoseconds passed since the parent
/// was about to fork: when the first of the guest's instructions runs.
pub fn stamp(ledger: &Ledger) {
    let passed = nanoseconds().saturating_sub(FORKED.load(Ordering::Relaxed));
    ledger.append_stderr(passed.to_string().as_bytes());
}

fn nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec * 1_000_000_000 + now.tv_nsec).unsigned_abs()
}

/// Makes this kernel one without Landlock, if a test says so.
pub fn age_kernel() {
    if std::env::var_os(OLD_KERNEL).is_none() {
        return;
    }
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const fn op(code: u16, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code, jt: 0, jf, k }
    }
    static FILTER: [libc::sock_filter; 4] = [
        op(LOAD_NUMBER, 0, 0),
        op(IF_EQUAL, 1, libc::SYS_landlock_create_ruleset as u32),
        op(RETURN, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        op(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let _ = rustix::thread::set_no_new_privs(true);
    let _ = super::filter_system_calls(&FILTER);
}

fn path(path: &std::ffi::CStr) -> c_long {
    path.as_ptr() as c_long
}

/// A system call with four arguments, from native code.
fn call(number: c_long, [a, b, c, d]: [c_long; 4]) -> Result<(), i32> {
    // SAFETY: pointers among the arguments are to live values of callers of this
    // file; what the calls do to this process is what the tests want to see.
    match unsafe { syscall(number, a, b, c, d, 0, 0) } {
        result if result < 0 => Err(errno()),
        _ => Ok(()),
    }
}

fn errno() -> i32 {
    last_error("attempt").errno.raw_os_error()
}

fn map(protection: i32, flags: i32, length: usize) -> Result<c_long, i32> {
    // SAFETY: the kernel chooses the address, so no live memory is replaced.
    let at =
        unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
    match at {
        libc::MAP_FAILED => Err(errno()),
        at => Ok(at as c_long),
    }
}

fn make_executable() -> Result<(), i32> {
    let at = map(WRITABLE, PRIVATE, 4096)?;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    call(libc::SYS_mprotect, [at, 4096, protection.into(), 0])
}

fn read_leaked() -> Result<(), i32> {
    let mut byte = [0u8];
    let buffers = [libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    }];
    call(
        libc::SYS_preadv,
        [LEAKED.into(), buffers.as_ptr() as c_long, 1, 0],
    )
}

fn connect(held: &Held) -> Result<(), i32> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 1u16.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as c_long;
    let at = (&raw const address) as c_long;
    match call(libc::SYS_connect, [held.socket.into(), at, length, 0]) {
        // Nobody listens there, which only the network could say.
        Err(libc::ECONNREFUSED) => Ok(()),
        other => other,
    }
}

fn send_descriptor(held: &Held) -> Result<(), i32> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        sent: RawFd,
    }
    let length = size_of::<libc::cmsghdr>() + size_of::<RawFd>();
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: length,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        sent: held.socket,
    };
    let mut data = *b"x";
    let mut part = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a message header is plain numbers and pointers, zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = length;
    let message = (&raw const message) as c_long;
    call(libc::SYS_sendmsg, [held.pair.into(), message, 0, 0])
}

/// From the other end of a pair that nobody writes to: only whether it may be asked.
fn receive_descriptor(from: RawFd) -> Result<(), i32> {
    // SAFETY: a message header is plain numbers and pointers, zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    let message = (&raw mut message) as c_long;
    let flags = libc::MSG_DONTWAIT.into();
    match call(libc::SYS_recvmsg, [from.into(), message, flags, 0]) {
        Err(libc::EAGAIN) => Ok(()),
        other => other,
    }
}

fn raise_limit() -> Result<(), i32> {
    let limit = libc::rlimit64 {
        rlim_cur: libc::RLIM64_INFINITY,
        rlim_max: libc::RLIM64_INFINITY,
    };
    let limit = (&raw const limit) as c_long;
    call(libc::SYS_prlimit64, [0, libc::RLIMIT_DATA.into(), limit, 0])
}

fn execute(program: &std::ffi::CStr, args: &[CString]) -> Result<(), i32> {
    let mut words = vec![program.as_ptr()];
    words.extend(args.iter().map(|word| word.as_ptr()));
    words.push(std::ptr::null());
    let none = [std::ptr::null::<libc::c_char>()];
    let (words, none) = (words.as_ptr() as c_long, none.as_ptr() as c_long);
    call(libc::SYS_execve, [path(program), words, none, 0])
}

fn fork() -> Result<(), i32> {
    match super::fork() {
        Ok(super::Fork::Child) => super::exit_now(0),
        Ok(super::Fork::Parent(child)) => match super::wait(child) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.errno.raw_os_error()),
        },
        Err(error) => Err(error.errno.raw_os_error()),
    }
}

#[allow(clippy::panic, reason = "a panic is what is to be seen")]
fn planted_panic() -> Result<(), i32> {
    panic!("a planted panic")
}

fn thread() -> Result<(), i32> {
    let thread = std::thread::Builder::new().spawn(|| {});
    match thread.map(std::thread::JoinHandle::join) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error().unwrap_or(-1)),
    }
}
