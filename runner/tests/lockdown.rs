//! Each layer of the lock-down, seen from a guest that got out of the engine.
//!
//! The build under test has holes planted in it (`zvm::sys::holes`): a guest makes
//! any attempt with native code. All layers but the one in question are away, and
//! the same attempt succeeds when that one is away too.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::daemon::{Daemon, wait_for};
use support::{Ended, Session, ZVM, finish, zvm_with};
use zvm::lockdown::identity::{Identity, Wish};
use zvm::sys::holes::{Attempt, FIRST, LAYERS, OLD_KERNEL, PROGRAM, SECTION};

use Attempt::{
    BecomeRoot, ChangeMode, Connect, Execute, ExecuteFile, Fork, Lock, MakeExecutable,
    MapExecutable, MapMuch, MapShared, NewDescriptor, Open, OtherNumbering, Panic,
    RaiseLimit, ReadLeaked, ReceiveAgain, ReceiveDescriptor, Reopen, SendDescriptor,
    SetAttribute, SetTimes, Signal, Socket, Thread, Trace,
};

/// Every attempt that needs no preparation of the test's own.
const PLAIN: [Attempt; 24] = [
    Open,
    Reopen,
    ChangeMode,
    SetAttribute,
    SetTimes,
    ReadLeaked,
    Socket,
    Connect,
    SendDescriptor,
    ReceiveDescriptor,
    NewDescriptor,
    Execute,
    Fork,
    Thread,
    Trace,
    Signal,
    RaiseLimit,
    BecomeRoot,
    MapExecutable,
    MakeExecutable,
    MapShared,
    MapMuch,
    Lock,
    OtherNumbering,
];

const ALL: &str = "descriptors,rlimits,identity,privileges,landlock,seccomp";

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeded,
    /// The kernel refused it, with this error number.
    Refused(i32),
    /// The filter of system calls ended the process.
    Killed,
    /// The process became another program, which ended with this status.
    Became(i32),
}

/// A command that raises one signal.
fn module(signal: u32) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let mut section = |id: u8, body: &[u8]| {
        module.push(id);
        module.push(body.len().try_into().unwrap());
        module.extend(body);
    };
    section(1, b"\x02\x60\0\0\x60\x01\x7f\x01\x7f");
    section(2, b"\x01\x16wasi_snapshot_preview1\x0aproc_raise\0\x01");
    section(3, b"\x01\0");
    section(5, b"\x01\0\x01");
    section(7, b"\x02\x06_start\0\x01\x06memory\x02\0");
    // i32.const, of three bytes of LEB128; call; drop.
    let low = |shift: u32| (signal >> shift & 0x7f) as u8;
    let constant = [low(0) | 0x80, low(7) | 0x80, low(14)];
    let mut code = b"\x01\x09\0\x41".to_vec();
    code.extend(constant);
    code.extend(b"\x10\0\x1a\x0b");
    code[1] = (code.len() - 2) as u8;
    section(10, &code);
    module
}

fn session(attempt: Attempt, layers: &str) -> Session {
    let signal = FIRST + attempt as u32;
    Session::of_module("hole", &module(signal))
        .input("/dev/input", "random", b"an object")
        .environment(LAYERS, layers)
}

/// Makes an attempt with nothing but these layers in its way.
fn fate(attempt: Attempt, layers: &str) -> Fate {
    fate_of(&finish(session(attempt, layers).start()))
}

fn fate_of(ended: &Ended) -> Fate {
    if ended.status == Some(0) {
        let report = ended.json();
        assert_eq!(report["outcome"]["kind"], "exit", "{report:#}");
        return match report["outcome"]["code"].as_i64().unwrap() {
            0 => Fate::Succeeded,
            errno => Fate::Refused(errno.try_into().unwrap()),
        };
    }
    assert_eq!(ended.status, Some(70), "{ended:?}");
    if ended.stderr.contains("the filter of system calls ended") {
        return Fate::Killed;
    }
    for status in 0..2 {
        if ended.stderr.contains(&format!("status Some({status})")) {
            return Fate::Became(status);
        }
    }
    panic!("{ended:?}");
}

/// What an attempt that the kernel lets pass ends in.
fn success(attempt: Attempt) -> Fate {
    match attempt {
        Execute => Fate::Became(0),
        _ => Fate::Succeeded,
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// True where VMs get a user of their own: as root, but not of every namespace.
fn may_change_user() -> bool {
    matches!(Identity::choose(Wish::Whatever), Ok(Some(_)))
}

/// Tracing one's parent and being root are root's anyway.
fn possible(attempt: Attempt) -> bool {
    is_root() || !matches!(attempt, Trace | BecomeRoot)
}

/// Asserts that `layers` refuse each attempt so, and that nothing does without them.
fn assert_refused(layers: &str, without: &str, refusals: &[(Attempt, i32)]) {
    for (attempt, errno) in refusals {
        if !possible(*attempt) {
            continue;
        }
        let before = fate(*attempt, without);
        assert_eq!(before, success(*attempt), "{attempt:?}, only {without:?}");
        let after = fate(*attempt, layers);
        assert_eq!(after, Fate::Refused(*errno), "{attempt:?}, only {layers:?}");
    }
}

#[test]
fn without_any_layer_every_attempt_succeeds() {
    for attempt in PLAIN.into_iter().filter(|attempt| possible(*attempt)) {
        assert_eq!(fate(attempt, ""), success(attempt), "{attempt:?}");
    }
}

#[test]
fn with_all_layers_no_attempt_succeeds() {
    for attempt in PLAIN {
        let fate = fate(attempt, ALL);
        let denied = matches!(fate, Fate::Killed | Fate::Refused(_));
        assert!(denied, "{attempt:?}: {fate:?}");
    }
}

#[test]
fn seccomp_alone_ends_the_process_at_each_call_that_is_not_listed() {
    for attempt in PLAIN {
        // Calls that a VM makes too: other layers decide on what and how much.
        let expected = match attempt {
            ReadLeaked | MapMuch | RaiseLimit => Fate::Succeeded,
            _ => Fate::Killed,
        };
        // Without privileges a filter needs the promise to gain none.
        let fate = fate(attempt, "privileges,seccomp");
        assert_eq!(fate, expected, "{attempt:?}");
    }
}

#[test]
fn a_forbidden_call_is_our_failure_and_the_log_says_so() {
    let ended = finish(session(Socket, "privileges,seccomp").start());
    assert_eq!(ended.status, Some(70), "{ended:?}");
    assert_eq!(
        ended.error(),
        ("failure".to_owned(), "zvm failed".to_owned())
    );
    let log = "event=session_failed error=\"the filter of system calls ended the VM's \
               process (SIGSYS): it made a call that no VM makes, or aborted for want of memory\"\n";
    assert_eq!(ended.stderr, log);
}

fn daemon(layers: &str) -> Daemon {
    let socket = support::folder("serve").join("socket");
    let variable = format!("{LAYERS}={layers}");
    Daemon::start_by(&socket, &["--idle", "2"], &["env", &variable])
}

/// What a session comes to in a process that had its program before the job.
fn in_a_process_with_the_program(layers: &str, session: &Session) -> (Value, String) {
    let daemon = daemon(layers);
    let mut client = daemon.client();
    wait_for("a pool of its own", || {
        client.run(session);
        (client.status()["programs"] == 1).then_some(())
    });
    let sealed = if layers.contains("seccomp") { "2" } else { "0" };
    wait_for("a process that waits for its job", || {
        let mut idle = daemon.named("zvm-idle").into_iter();
        idle.find(|pid| has_program(*pid) && seccomp_of(*pid).as_deref() == Some(sealed))
    });
    (client.run(session), daemon.log())
}

fn has_program(pid: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"));
    maps.is_ok_and(|maps| maps.contains(".cwasm"))
}

/// Whether the process may make some system calls only: the kernel's word for it.
fn seccomp_of(pid: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(line.trim().to_owned())
}

#[test]
fn a_process_that_has_its_program_is_locked_down_before_its_job_comes() {
    for attempt in PLAIN.into_iter().filter(|it| *it != ReadLeaked) {
        let session = session(attempt, "");
        if possible(attempt) && attempt != Execute {
            let (answer, _) = in_a_process_with_the_program("", &session);
            let code = &answer["report"]["outcome"]["code"];
            assert_eq!(code, 0, "{attempt:?}: {answer:#}");
        }
        let (answer, log) = in_a_process_with_the_program(ALL, &session);
        let outcome = &answer["report"]["outcome"];
        let refused = outcome["kind"] == "exit" && outcome["code"] != 0;
        let killed = log.contains("the filter of system calls ended");
        assert!(refused || killed, "{attempt:?}: {answer:#}");
    }
}

#[test]
fn a_vm_cannot_receive_again_from_where_its_job_came() {
    let session = session(ReceiveAgain, "");
    let (answer, _) = in_a_process_with_the_program(ALL, &session);
    let code = &answer["report"]["outcome"]["code"];
    assert_eq!(code, libc::EBADF, "{answer:#}");
}

#[test]
fn a_process_that_has_no_program_can_still_be_given_one() {
    let daemon = daemon(ALL);
    let idle = wait_for("a process that waits", || {
        daemon.named("zvm-idle").first().copied()
    });
    assert_eq!(seccomp_of(idle).as_deref(), Some("0"));
}

#[test]
fn the_daemons_vms_are_locked_down_as_a_session_is() {
    let free = daemon("");
    let locked = daemon(ALL);
    // Its sessions have no parent of their own that leaks something.
    for attempt in PLAIN.into_iter().filter(|it| *it != ReadLeaked) {
        let session = session(attempt, "");
        if possible(attempt) && attempt != Execute {
            let answer = free.client().run(&session);
            let code = &answer["report"]["outcome"]["code"];
            assert_eq!(code, 0, "{attempt:?}: {answer:#}");
        }
        let answer = locked.client().run(&session);
        let outcome = &answer["report"]["outcome"];
        let refused = outcome["kind"] == "exit" && outcome["code"] != 0;
        let killed = answer["error"]["code"] == "failure";
        assert!(refused || killed, "{attempt:?}: {answer:#}");
    }
    assert!(locked.log().contains("the filter of system calls ended"));
}

#[test]
fn a_panic_behind_the_filter_still_says_what_it_was() {
    let ended = finish(session(Panic, ALL).start());
    assert_eq!(ended.status, Some(70), "{ended:?}");
    let log = "event=session_failed error=\"the VM's process panicked: ";
    assert!(ended.stderr.starts_with(log), "{ended:?}");
    assert!(ended.stderr.contains("a planted panic"), "{ended:?}");
}

#[test]
fn landlock_alone_denies_files_ports_and_processes_outside() {
    let Some(version) = zvm::sys::landlock_version() else {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    };
    let mut refusals = vec![
        (Open, libc::EACCES),
        (Reopen, libc::EACCES),
        (Execute, libc::EACCES),
    ];
    if version >= 4 {
        refusals.push((Connect, libc::EACCES));
    }
    if version >= 6 {
        refusals.push((Signal, libc::EPERM));
    }
    assert_refused("privileges,landlock", "privileges", &refusals);
    // Root may enter it with all its privileges, and may trace nobody with them.
    assert_refused("landlock", "", &[(Trace, libc::EPERM)]);
}

#[test]
fn a_kernel_without_landlock_is_used_unless_the_operator_forbids_it() {
    let old = session(Open, "privileges,landlock").environment(OLD_KERNEL, "1");
    assert_eq!(fate_of(&finish(old.start())), Fate::Succeeded);
    let old = session(Open, ALL).environment(OLD_KERNEL, "1");
    assert_eq!(fate_of(&finish(old.start())), Fate::Killed);
    let ended = finish(old.flag("--require-landlock").start());
    assert_eq!(ended.status, Some(70), "{ended:?}");
    assert!(
        ended.stderr.contains("this kernel has no Landlock"),
        "{ended:?}"
    );
    if zvm::sys::landlock_version().is_some() {
        let new = Session::new("hello").flag("--require-landlock");
        assert_eq!(finish(new.start()).status, Some(0));
    }
}

#[test]
fn another_user_alone_cannot_use_a_descriptor_for_more_than_reading() {
    if !may_change_user() {
        eprintln!("skipped: only root may change its user");
        return;
    }
    assert_refused(
        "identity",
        "",
        &[
            (Reopen, libc::EACCES),
            (ChangeMode, libc::EPERM),
            (SetAttribute, libc::EACCES),
            (SetTimes, libc::EACCES),
            (Signal, libc::EPERM),
            (Trace, libc::EPERM),
            (BecomeRoot, libc::EPERM),
        ],
    );
}

#[test]
fn limits_alone_bound_memory_and_deny_descriptors() {
    assert_refused(
        "rlimits",
        "",
        &[
            (MapMuch, libc::ENOMEM),
            (NewDescriptor, libc::EMFILE),
            (Socket, libc::EMFILE),
            (Open, libc::EMFILE),
            (Reopen, libc::EMFILE),
        ],
    );
    // Who holds the capabilities may lock memory and raise limits.
    let refusals = [(Lock, libc::EPERM), (RaiseLimit, libc::EPERM)];
    assert_refused("privileges,rlimits", "privileges", &refusals);
}

#[test]
fn limits_deny_processes_and_threads_to_all_users_but_root() {
    let refusals = [(Fork, libc::EAGAIN), (Thread, libc::EAGAIN)];
    if is_root() && !may_change_user() {
        eprintln!("skipped: the kernel does not count root's processes");
        return;
    }
    assert_refused("rlimits,identity", "identity", &refusals);
}

#[test]
fn a_descriptor_that_the_parent_left_open_is_closed() {
    assert_refused("descriptors", "", &[(ReadLeaked, libc::EBADF)]);
    let all_others = "rlimits,identity,privileges,landlock,seccomp";
    assert_eq!(fate(ReadLeaked, all_others), Fate::Succeeded);
}

/// A folder that every user may enter, gone at the end of the test.
struct Public(PathBuf);

impl Public {
    fn new() -> Self {
        let name = format!("zvm-lockdown-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o755);
        Public(folder)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn without_new_privileges_a_setuid_program_gains_none() {
    if !may_change_user() {
        eprintln!("skipped: only root may make a setuid program of root's");
        return;
    }
    let folder = Public::new();
    let program = folder.0.join("test");
    std::fs::copy("/usr/bin/test", &program).unwrap();
    set_mode(&program, 0o4755);
    let secret = folder.0.join("secret");
    std::fs::write(&secret, b"root's").unwrap();
    set_mode(&secret, 0o600);
    // Says by its status whether the effective user may write the file.
    let line = format!("{} -w {}", program.display(), secret.display());
    let fate = |layers: &str| {
        let session = session(ExecuteFile, layers).environment(PROGRAM, &line);
        fate_of(&finish(session.start()))
    };
    assert_eq!(fate("identity"), Fate::Became(0));
    assert_eq!(fate("identity,privileges"), Fate::Became(1));
}

/// Compiles a module that makes an attempt within the compiler.
fn compile_with(attempt: Attempt, layers: &str) -> Ended {
    let mut hole = module(0);
    hole.extend([0, (SECTION.len() + 2).try_into().unwrap()]);
    hole.push(SECTION.len().try_into().unwrap());
    hole.extend(SECTION.bytes());
    hole.push(attempt as u8);
    let cache = support::folder("cache").join("new");
    let args = ["compile", "--cache", cache.to_str().unwrap(), "-"];
    zvm_with(&args, &hole, &[(LAYERS, layers)])
}

/// The error number of an attempt within the compiler, 0 for success; none if the
/// filter of system calls ended it.
fn compiler_says(attempt: Attempt, layers: &str) -> Option<i32> {
    let ended = compile_with(attempt, layers);
    if ended.status == Some(70) {
        let filtered = ended.stderr.contains("the filter of system calls ended");
        assert!(filtered, "{ended:?}");
        return None;
    }
    assert_eq!(ended.status, Some(65), "{ended:?}");
    let (_, message) = ended.error();
    let errno = message.strip_prefix("planted hole: ").unwrap();
    Some(errno.parse().unwrap())
}

#[test]
fn the_compiler_is_locked_down_layer_by_layer() {
    let reaching = [
        Open,
        Socket,
        Fork,
        Thread,
        Signal,
        NewDescriptor,
        MapExecutable,
        MakeExecutable,
        MapShared,
    ];
    for attempt in reaching {
        assert_eq!(compiler_says(attempt, ""), Some(0), "{attempt:?}");
        let filtered = compiler_says(attempt, "privileges,seccomp");
        assert_eq!(filtered, None, "{attempt:?}");
    }
    let limited = compiler_says(MapMuch, "rlimits");
    assert_eq!(limited, Some(libc::ENOMEM));
    if zvm::sys::landlock_version().is_some() {
        let denied = compiler_says(Open, "privileges,landlock");
        assert_eq!(denied, Some(libc::EACCES));
    }
    if may_change_user() {
        assert_eq!(compiler_says(Signal, "identity"), Some(libc::EPERM));
        assert_eq!(compiler_says(BecomeRoot, "identity"), Some(libc::EPERM));
    }
}

#[test]
fn ids_that_cannot_be_had_run_nothing() {
    let session = Session::new("hello").option("--vm-uid", "100000-100009");
    let ended = finish(session.start());
    if may_change_user() {
        assert_eq!(ended.status, Some(0), "{ended:?}");
    } else {
        assert_eq!(ended.status, Some(70), "{ended:?}");
        assert!(
            ended.stderr.contains("user ids 100000-100009: "),
            "{ended:?}"
        );
    }
    let ended = finish(Session::new("hello").option("--vm-uid", "0").start());
    assert_eq!(ended.status, Some(64), "{ended:?}");
}

#[test]
fn a_build_with_holes_can_be_told_from_one_without() {
    // functests/test_runner_binaries.py looks for the same words in what is shipped.
    let binary = std::fs::read(ZVM).unwrap();
    for mark in [LAYERS, PROGRAM, OLD_KERNEL] {
        let found = binary
            .windows(mark.len())
            .any(|window| window == mark.as_bytes());
        assert!(found, "{mark}");
    }
}
