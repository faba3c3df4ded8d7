//! Processes of a session: their names, and that none is left behind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Session, assert_outcome, finish};
use zvm::lockdown::identity::{Identity, Wish};

/// Waits for the VM's process, the only child of the session's parent.
fn vm_of(session: &Child) -> u32 {
    let pid = session.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    wait_for(|| {
        let text = std::fs::read_to_string(&children).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// True where VMs get a user of their own.
fn may_change_user() -> bool {
    matches!(Identity::choose(Wish::Whatever), Ok(Some(_)))
}

fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // Dead, and waiting for whoever adopted it to notice.
        Ok(stat) => stat.rsplit(") ").next().unwrap().starts_with('Z'),
        Err(_) => true,
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn spinning() -> (Child, u32) {
    let mut session = Session::new("spin");
    session.manifest["job"] = json!("j");
    session.manifest["node"] = json!("n-1");
    let child = session.start();
    let vm = vm_of(&child);
    (child, vm)
}

#[test]
fn both_processes_carry_job_and_node() {
    let (mut session, vm) = spinning();
    for pid in [session.id(), vm] {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(name, "zvm:j:n-1\n");
    }
    session.kill().unwrap();
    session.wait().unwrap();
}

#[test]
fn the_vm_dies_with_its_parent() {
    let (mut session, vm) = spinning();
    assert!(!is_gone(vm));
    session.kill().unwrap();
    session.wait().unwrap();
    wait_for(|| is_gone(vm).then_some(()));
}

#[test]
fn sigterm_ends_the_vm_and_is_reported() {
    let (session, vm) = spinning();
    signal(session.id(), Signal::TERM);
    let ended = finish(session);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_outcome(&ended.json(), "killed", "15");
    assert!(is_gone(vm));
}

#[test]
fn a_vm_killed_from_outside_is_reported_without_a_receipt() {
    let (session, vm) = spinning();
    signal(vm, Signal::KILL);
    let ended = finish(session);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = ended.json();
    assert_outcome(&report, "killed", "9");
    assert!(report["receipt"].is_null());
}

#[test]
fn a_vm_that_crashes_is_our_failure_and_the_log_says_so() {
    let (session, vm) = spinning();
    signal(vm, Signal::SEGV);
    // A fault from outside comes once; the handler returns to the guest.
    signal(vm, Signal::ABORT);
    let ended = finish(session);
    assert_eq!(ended.status, Some(70), "{ended:?}");
    assert_eq!(
        ended.error(),
        ("failure".to_owned(), "zvm failed".to_owned())
    );
    assert!(
        ended.stderr.starts_with("event=session_failed error="),
        "{ended:?}"
    );
}

#[test]
fn the_vm_ends_when_nobody_reads_the_report_any_more() {
    let (mut session, vm) = spinning();
    drop(session.stdout.take());
    session.wait().unwrap();
    assert!(is_gone(vm));
}

#[test]
fn the_vm_holds_its_own_descriptors_and_no_others() {
    let fifo = support::folder("fifo").join("pipe");
    let status = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(status.success());
    let session = Session::new("cat").channel(
        "/dev/stdin",
        "read",
        "sequential",
        format!("<>{}", fifo.display()),
        u64::MAX,
    );
    let mut child = session.start();
    let vm = vm_of(&child);
    let folder = format!("/proc/{vm}/fd");
    let fds = || support::own_files_of(vm);
    if !rustix::process::geteuid().is_root() {
        // Nobody of the same user looks into a VM either.
        wait_for(|| std::fs::read_dir(&folder).is_err().then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    }
    // Until it waits for its input, its descriptors are still being sorted.
    wait_for(|| (fds() == [fifo.to_str().unwrap()]).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_vm_is_locked_down_when_its_guest_runs() {
    let (mut session, vm) = spinning();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{vm}/{file}"));
    // A filter of system calls is the last of all layers.
    let status = wait_for(|| {
        let status = read("status").unwrap();
        status.contains("Seccomp:\t2").then_some(status)
    });
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    for capabilities in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(capabilities), ["0000000000000000"], "{capabilities}");
    }
    if may_change_user() {
        let own = 0x7000_0000 + vm % (1 << 22);
        assert_eq!(field("Uid:"), vec![own.to_string(); 4]);
        assert_eq!(field("Gid:"), vec![own.to_string(); 4]);
        assert_eq!(field("Groups:"), [""; 0]);
    }
    assert_eq!(field("Threads:"), ["1"]);
    let limits = read("limits").unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let rest = line.strip_prefix(name).unwrap();
        rest.split_whitespace().take(2).collect::<Vec<_>>()
    };
    for nothing in [
        "Max core file size",
        "Max open files",
        "Max processes",
        "Max locked memory",
        "Max msgqueue size",
        "Max file size",
    ] {
        assert_eq!(limit(nothing), ["0", "0"], "{nothing}");
    }
    // The guest's memory, twice its /tmp, its program, and 512 MiB for the runner.
    let program = support::compile("spin").0.metadata().unwrap().len();
    let data = ((64 << 20) + (2 << 20) + (512 << 20) + program).to_string();
    assert_eq!(limit("Max data size"), [&data, &data]);
    assert_eq!(limit("Max cpu time"), ["21", "22"]);
    session.kill().unwrap();
    session.wait().unwrap();
}

#[test]
fn the_vm_is_the_first_to_go_when_memory_is_short() {
    let (mut session, vm) = spinning();
    wait_for(|| {
        let score = std::fs::read_to_string(format!("/proc/{vm}/oom_score_adj"));
        (score.unwrap() == "1000\n").then_some(())
    });
    session.kill().unwrap();
    session.wait().unwrap();
}

/// A compiler that never ends, and `zvm compile` that waits for it.
fn compiling() -> (Child, u32) {
    let folder = support::folder("slow");
    let compiler = folder.join("slow-compiler");
    std::fs::write(&compiler, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&compiler, PermissionsExt::from_mode(0o700)).unwrap();
    let child = Command::new(support::ZVM)
        .arg("compile")
        .arg("--cache")
        .arg(folder.join("cache"))
        .arg("--compiler")
        .arg(&compiler)
        .arg(support::guest("hello"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let compiler = vm_of(&child);
    (child, compiler)
}

#[test]
fn a_compiler_whose_artefact_nobody_waits_for_is_ended() {
    let (mut child, compiler) = compiling();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!is_gone(compiler), "waited for, it goes on");
    drop(child.stdout.take());
    wait_for(|| is_gone(compiler).then_some(()));
    let ended = finish(child);
    assert_eq!(ended.status, Some(70), "{ended:?}");
    assert!(ended.stderr.contains("nobody waits"), "{ended:?}");
}

#[test]
fn the_compiler_says_the_version_of_its_runner() {
    let compiler = env!("CARGO_BIN_EXE_zvm-compile");
    let said = |program: &str| {
        let output = Command::new(program).arg("--version").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let runner = said(support::ZVM);
    assert!(runner.starts_with("zvm 0."), "{runner}");
    assert_eq!(said(compiler), runner.replacen("zvm ", "zvm-compile ", 1));
}
