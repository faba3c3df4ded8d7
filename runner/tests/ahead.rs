//! Instances that are made before their job is known: a run cannot tell, and what
//! must not be made ahead is not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use serde_json::{Value, json};
use support::daemon::{Client, Daemon, wait_for};
use support::{Session, assert_outcome, lasting};

const PAGE_KIB: u64 = 4;

/// A module whose `_start` exits with a number that it reads from its data, adds one
/// to there, and asks for a page of memory; with `more` in it.
fn module(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2)
          (data (i32.const 0) "{}")
          (global $ran (mut i32) (i32.const 0))
          {more}
          (func (export "_start")
            (local $read i32)
            (local.set $read (i32.load8_u (i32.const 4096)))
            (i32.store8 (i32.const 4096) (i32.add (local.get $read) (i32.const 1)))
            (call $exit (i32.add
              (i32.add (local.get $read) (global.get $ran))
              (i32.shl (memory.grow (i32.const 1)) (i32.const 4))))))"#,
        "\\07".repeat(3 * 4096)
    );
    wat::parse_str(text).unwrap()
}

/// The module with a list of pages that it writes to at its start.
fn with_pages(mut module: Vec<u8>, pages: &[u32]) -> Vec<u8> {
    let name = zvm::hints::SECTION.as_bytes();
    let mut section = vec![name.len() as u8];
    section.extend(name);
    section.extend(pages.iter().flat_map(|page| page.to_le_bytes()));
    module.extend([0, section.len() as u8]);
    module.extend(section);
    module
}

/// A daemon with processes that wait for a job of this session's program.
fn daemon_of(session: &Session) -> (Daemon, Client, Smaps) {
    let daemon = Daemon::start(&["--idle", "2"]);
    let mut client = daemon.client();
    wait_for("a pool of its own", || {
        client.report(session);
        (client.status()["programs"] == 1).then_some(())
    });
    let smaps = wait_for("a process that waits for its job", || {
        let idle = daemon.named("zvm-idle");
        idle.into_iter().find_map(Smaps::of)
    });
    (daemon, client, smaps)
}

/// The guest's memory in a process that waits: whether there is one yet, and what of
/// it is the process's own. It begins as a map of the artefact.
#[derive(Debug)]
struct Smaps {
    is_mapped: bool,
    own_kib: u64,
}

impl Smaps {
    /// None for a process without a program, or that is still at work.
    fn of(pid: u32) -> Option<Smaps> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
        if !smaps.contains(".cwasm") || !stat.contains(") S ") {
            return None;
        }
        let own_kib = kib_of(&smaps, "Private_Dirty:", |rights, line| {
            rights.starts_with("rw") && line.ends_with(".cwasm")
        });
        Some(Smaps {
            is_mapped: own_kib.is_some(),
            own_kib: own_kib.unwrap_or(0),
        })
    }
}

/// KiB of one kind in the mappings that are wanted, by their rights and their line;
/// none if there is none of these.
fn kib_of(
    smaps: &str,
    kind: &str,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> Option<u64> {
    let mut found = None;
    let mut inside = false;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words[0].ends_with(':') {
            inside = is_wanted(words[1], line);
            found = found.or(inside.then_some(0));
        } else if inside && words[0] == kind {
            found = found.map(|kib| kib + words[1].parse::<u64>().unwrap());
        }
    }
    found
}

#[test]
fn a_run_is_the_same_with_an_instance_that_was_made_ahead() {
    let start = "(func $init (global.set $ran (i32.const 5))) (start $init)";
    for (name, module, limit, expected) in [
        ("plain", module(""), 1 << 20, ("exit", "39")),
        (
            "pages",
            with_pages(module(""), &[1, 2]),
            1 << 20,
            ("exit", "39"),
        ),
        ("start", module(start), 1 << 20, ("exit", "44")),
        // -1, when memory must not grow.
        (
            "narrow",
            module("(global i32 (i32.const 1))"),
            2 << 16,
            ("exit", "4294967287"),
        ),
        (
            "less",
            module("(global i32 (i32.const 2))"),
            1 << 16,
            ("limit", "memory_bytes"),
        ),
    ] {
        let session = || {
            let session = Session::of_module(name, &module);
            session.limit("memory_bytes", json!(limit))
        };
        let alone = lasting(session().run());
        assert_outcome(&alone, expected.0, expected.1);
        let served = session();
        let (_daemon, mut client, _) = daemon_of(&served);
        for _ in 0..5 {
            assert_eq!(lasting(client.report(&served)), alone, "{name}");
        }
    }
}

#[test]
fn a_process_that_waits_has_the_instance_and_the_pages_that_are_written() {
    let waiting = |name: &str, module: &[u8]| {
        let (_daemon, _, found) = daemon_of(&Session::of_module(name, module));
        (found.is_mapped, found.own_kib)
    };
    // Its three pages of data are taken for them, and its stack would be.
    assert_eq!(waiting("none", &module("")), (true, 3 * PAGE_KIB));
    let two = with_pages(module(""), &[0, 2]);
    assert_eq!(waiting("two", &two), (true, 2 * PAGE_KIB));
    // Pages outside of the data are nobody's file.
    let outside = with_pages(module(""), &[1, 31, 32, 4_000_000]);
    assert_eq!(waiting("outside", &outside), (true, PAGE_KIB));
    // A list that is none changes nothing.
    let wrong = with_pages(module(""), &[2, 1]);
    assert_eq!(waiting("wrong", &wrong), (true, 3 * PAGE_KIB));
}

#[test]
fn nothing_of_a_guests_runs_before_its_job_and_so_no_instance_is_made() {
    for (name, more) in [
        ("start", "(func $init) (start $init)"),
        (
            "computed",
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        ),
    ] {
        let late = with_pages(module(more), &[0, 1]);
        let (_daemon, _, found) = daemon_of(&Session::of_module(name, &late));
        assert!(!found.is_mapped, "{name}: {found:?}");
    }
    // A strict run counts its fuel from the first instruction on.
    let session = Session::strict_of_module("strict", &module(""), 1 << 40);
    let (_daemon, _, found) = daemon_of(&session);
    assert!(!found.is_mapped, "{found:?}");
}

/// `cat` with two inputs and an output, and a daemon with processes that wait for it.
fn cat() -> (Session, Daemon, Client) {
    let (daemon, client, _) = daemon_of(&Session::new("cat"));
    let session = Session::new("cat")
        .input("/dev/stdin", "sequential", b"an object")
        .input("/dev/in/other", "sequential", b"another")
        .output("/dev/stdout", "sequential", 1000);
    (session, daemon, client)
}

/// Where a channel's descriptor is among those that are sent.
fn place(manifest: &Value, channel: usize) -> usize {
    manifest["channels"][channel]["descriptor"]
        .as_u64()
        .unwrap() as usize
}

/// What a process that was sealed before makes of a manifest and its descriptors.
fn answer(client: &mut Client, manifest: &Value, fds: Vec<OwnedFd>) -> Value {
    let text = serde_json::to_vec(manifest).unwrap();
    let number = client.begin_of(&text, fds, 20_000);
    client.answer_to(number)["report"].clone()
}

#[test]
fn a_descriptor_that_two_channels_name_serves_both() {
    let (session, _daemon, mut client) = cat();
    let mut manifest: Value = serde_json::from_slice(&session.text()).unwrap();
    let mut fds = session.open();
    // The second input becomes the first, and the output's place the second's.
    let (first, second) = (place(&manifest, 0), place(&manifest, 1));
    let last = place(&manifest, 2);
    assert_eq!(last, fds.len() - 1);
    manifest["channels"][1]["descriptor"] = json!(first);
    manifest["channels"][2]["descriptor"] = json!(second);
    fds.swap_remove(second);
    let report = answer(&mut client, &manifest, fds);
    assert_outcome(&report, "exit", "0");
    let sizes = [0, 1, 2].map(|channel| report["channels"][channel]["size"].clone());
    assert_eq!(sizes, [9, 9, 9], "{report:#}");
}

#[test]
fn a_pipe_that_does_not_wait_is_waited_for() {
    let (session, daemon, mut client) = cat();
    let manifest: Value = serde_json::from_slice(&session.text()).unwrap();
    let (theirs, mut ours) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&theirs, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut fds = session.open();
    fds[place(&manifest, 0)] = theirs.into();
    let text = serde_json::to_vec(&manifest).unwrap();
    let number = client.begin_of(&text, fds, 20_000);
    // It runs, and has found nothing to read yet.
    wait_for("the VM", || daemon.named("zvm:").first().copied());
    ours.write_all(b"by and by").unwrap();
    drop(ours);
    let report = client.answer_to(number)["report"].clone();
    assert_outcome(&report, "exit", "0");
    assert_eq!(report["channels"][0]["read_bytes"], 9, "{report:#}");
}

#[test]
fn a_manifest_too_long_for_a_packet_is_read_from_its_file() {
    let (session, _daemon, mut client) = cat();
    let mut manifest: Value = serde_json::from_slice(&session.text()).unwrap();
    manifest["args"] = json!(["cat", "x".repeat(200_000)]);
    let report = answer(&mut client, &manifest, session.open());
    assert_outcome(&report, "exit", "0");
    assert_eq!(report["channels"][2]["size"], 9, "{report:#}");
}

#[test]
fn zvms_own_code_is_on_huge_pages() {
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        eprintln!("skipped: this kernel has no huge pages of its own");
        return;
    }
    // A kernel that finds none just now has some for one of the next.
    let found: Vec<CodePages> = (0..5).map(|_| CodePages::of_a_daemon()).collect();
    let moved = found.iter().find(|pages| pages.huge_kib > 0);
    assert!(moved.is_some_and(|pages| !pages.are_the_files), "{found:?}");
    // Or they are as they were.
    assert!(
        found
            .iter()
            .all(|pages| pages.are_the_files == (pages.huge_kib == 0))
    );
}

/// Where the code of a process that waits is.
#[derive(Debug)]
struct CodePages {
    are_the_files: bool,
    huge_kib: u64,
}

impl CodePages {
    fn of_a_daemon() -> Self {
        let daemon = Daemon::start(&["--idle", "1"]);
        let smaps = wait_for("a process that waits", || {
            let pid = daemon.named("zvm-idle").first().copied()?;
            let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
            // Its data are the file's in any case.
            smaps.contains("/zvm\n").then_some(smaps)
        });
        let of_code = |is_wanted: fn(&str) -> bool| {
            kib_of(&smaps, "AnonHugePages:", |rights, line| {
                rights.starts_with("r-x") && is_wanted(line)
            })
        };
        CodePages {
            are_the_files: of_code(|line| line.ends_with("/zvm")).is_some(),
            // Nobody's file: nothing follows the five words of each mapping.
            huge_kib: of_code(|line| line.split_whitespace().count() == 5).unwrap_or(0),
        }
    }
}
