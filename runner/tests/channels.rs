//! Channels from outside: peers that do not do what one hopes for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use support::daemon::{Daemon, signal, wait_for};
use support::{Session, assert_outcome};

/// A FIFO that can be opened at once, because it has a reader and a writer.
fn fifo() -> (PathBuf, OwnedFd) {
    let path = support::folder("fifo").join("pipe");
    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    let both = File::options().read(true).write(true).open(&path).unwrap();
    (path, both.into())
}

fn counting(fifo: &Path) -> Session {
    Session::new("count_bytes")
        .channel(
            "/dev/stdin",
            "read",
            "sequential",
            format!("<{}", fifo.display()),
            u64::MAX,
        )
        .output("/dev/stdout", "sequential", 100)
}

fn hello() -> Session {
    Session::new("hello").output("/dev/stdout", "sequential", 100)
}

#[test]
fn silent_slow_and_stopped_peers_hold_up_only_their_own_vms() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let (silent, silent_end) = fifo();
    let (slow, slow_end) = fifo();
    let (stopped, stopped_end) = fifo();
    let ready = stopped.with_file_name("ready");
    let mut feeder = Command::new("sh")
        .args(["-c", "printf abc; : > \"$0\"; exec sleep 600"])
        .arg(&ready)
        .stdout(File::options().write(true).open(&stopped).unwrap())
        .spawn()
        .unwrap();
    wait_for("the feeder", || ready.exists().then_some(()));
    signal(feeder.id(), Signal::STOP);
    let sessions = [&silent, &slow, &stopped].map(|path| counting(path));
    let numbers = [0, 1, 2].map(|at: usize| client.begin(&sessions[at]));
    wait_for("three VMs", || {
        (daemon.named("zvm:").len() == 3).then_some(())
    });

    // Others come and go meanwhile, on the same connection and on another one.
    let mut trickle = File::options().write(true).open(&slow).unwrap();
    for _ in 0..20 {
        trickle.write_all(b"x").unwrap();
        assert_outcome(&client.report(&hello()), "exit", "0");
        assert_outcome(&daemon.client().report(&hello()), "exit", "0");
    }
    assert_eq!(daemon.named("zvm:").len(), 3);

    // Each goes on when its own peer does, and has all that it was given.
    drop((slow_end, trickle));
    let answer = client.answer_to(numbers[1]);
    assert_outcome(&answer["report"], "exit", "0");
    assert_eq!(sessions[1].content("/dev/stdout"), b"20\n");
    let mut late = File::options().write(true).open(&silent).unwrap();
    late.write_all(b"at last").unwrap();
    drop((late, silent_end));
    let answer = client.answer_to(numbers[0]);
    assert_outcome(&answer["report"], "exit", "0");
    assert_eq!(sessions[0].content("/dev/stdout"), b"7\n");
    drop(stopped_end);
    signal(feeder.id(), Signal::KILL);
    feeder.wait().unwrap();
    let answer = client.answer_to(numbers[2]);
    assert_outcome(&answer["report"], "exit", "0");
    assert_eq!(sessions[2].content("/dev/stdout"), b"3\n");
}

#[test]
fn a_peer_that_never_moves_costs_its_vm_the_wall_limit_and_no_processor_time() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let (path, _held) = fifo();
    let report = client.report(&counting(&path).limit("wall_seconds", json!(0.5)));
    assert_outcome(&report, "limit", "wall_seconds");
    assert!(report["cpu_seconds"].as_f64().unwrap() < 0.2, "{report:#}");
    assert!(report["receipt"].is_null());
}

#[test]
fn a_writer_that_dies_is_the_end_of_what_it_had_written() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let (path, held) = fifo();
    let done = path.with_file_name("done");
    let mut writer = Command::new("sh")
        .args(["-c", "printf 'half a line'; : > \"$0\"; exec sleep 600"])
        .arg(&done)
        .stdout(File::options().write(true).open(&path).unwrap())
        .spawn()
        .unwrap();
    let session = counting(&path);
    let number = client.begin(&session);
    wait_for("the written half", || done.exists().then_some(()));
    drop(held);
    signal(writer.id(), Signal::KILL);
    writer.wait().unwrap();
    let report = client.answer_to(number)["report"].clone();
    assert_outcome(&report, "exit", "0");
    assert_eq!(session.content("/dev/stdout"), b"11\n");
    let digest = blake3::hash(b"half a line").to_hex();
    assert_eq!(report["channels"][0]["blake3"], digest.as_str());
}
