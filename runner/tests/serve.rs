//! The daemon: what it promises a client that behaves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::daemon::{
    Client, Daemon, error_of, is_dead, is_gone, nulls, packet, signal, wait_for, waiting,
};
use support::{Session, assert_outcome, folder, lasting};

fn hashing() -> Session {
    Session::new("cat")
        .input("/dev/stdin", "sequential", &b"some bytes".repeat(1000))
        .output("/dev/stdout", "sequential", 1 << 20)
}

#[test]
fn reports_are_those_of_a_session() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let guests: [fn() -> Session; 6] = [
        hashing,
        || Session::new("hello").output("/dev/stdout", "sequential", 100),
        || Session::new("hello").output("/dev/stdout", "sequential", 3),
        || Session::new("trap"),
        || Session::new("exit_code").args(&["3"]),
        || Session::new("recurse").limit("stack_bytes", json!(1 << 20)),
    ];
    for guest in guests {
        let alone = lasting(guest().run());
        // From a process of the general pool, and from one that has the program.
        for _ in 0..4 {
            assert_eq!(lasting(client.report(&guest())), alone);
        }
    }
}

#[test]
fn outputs_too_large_to_hash_in_place_have_the_same_digests() {
    let daemon = Daemon::start(&[]);
    let large = || {
        Session::new("cat")
            .input("/dev/stdin", "sequential", &vec![7; 3 << 20])
            .output("/dev/stdout", "sequential", 4 << 20)
    };
    let report = daemon.client().report(&large());
    assert!(report["channels"][1]["md5"].is_string());
    assert_eq!(lasting(report), lasting(large().run()));
}

#[test]
fn the_answer_tells_what_the_process_used() {
    let daemon = Daemon::start(&[]);
    let answer = daemon.client().run(&hashing());
    let process = &answer["process"];
    assert_eq!(process["status"], 0, "{answer:#}");
    assert!(process["signal"].is_null());
    assert!(process["memory_peak_bytes"].as_u64().unwrap() > 100_000);
    assert!(process["began_nanoseconds"].as_u64().unwrap() > 0);
    assert!(is_gone(process["pid"].as_u64().unwrap() as u32));
}

#[test]
fn hello_tells_version_and_limits() {
    let daemon = Daemon::start(&["--slots", "5", "--queue", "6"]);
    let welcome = Client::silent(&daemon.socket).hello();
    assert_eq!(welcome["version"], 1);
    assert_eq!(
        (&welcome["slots"], &welcome["queue"]),
        (&json!(5), &json!(6))
    );
    assert!(welcome["max_descriptors"].as_u64().unwrap() <= 10_000);
}

#[test]
fn hello_tells_how_vms_are_locked_down() {
    let ids = |options: &[&str]| {
        let daemon = Daemon::start(options);
        let welcome = Client::silent(&daemon.socket).hello();
        assert_eq!(welcome["landlock"], zvm::sys::landlock_version().is_some());
        welcome["user_ids"].as_str().unwrap().to_owned()
    };
    assert_eq!(ids(&["--vm-uid", "same"]), "same");
    let is_root = rustix::process::geteuid().is_root();
    let ours = if is_root {
        "1879048192-1883242495"
    } else {
        "same"
    };
    assert_eq!(ids(&[]), ours);
    if is_root {
        assert_eq!(ids(&["--vm-uid", "50000-50099"]), "50000-50099");
    }
}

#[test]
fn a_daemon_whose_ids_cannot_be_had_does_not_start() {
    let folder = support::folder("serve");
    // Root may have them, and gives up the right to: then it may not.
    let before: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid"],
        false => &["env"],
    };
    let options = ["--vm-uid", "50000-50099"];
    let mut daemon = Daemon::spawn_at(&folder.join("socket"), &options, before);
    assert_eq!(daemon.status(), Some(70));
    let log = daemon.log();
    assert!(log.contains("only root may change its user"), "{log}");
    assert!(!daemon.socket.exists());
}

#[test]
fn processes_have_names_and_the_command_line_has_them_in_full() {
    let daemon = Daemon::start(&[]);
    let own = std::fs::read_to_string(format!("/proc/{}/comm", daemon.process.id()));
    assert_eq!(own.unwrap(), "zvm-serve\n");
    wait_for("idle ones", || {
        (daemon.named("zvm-idle").len() == 4).then_some(())
    });
    assert_eq!(daemon.named("zvm-zygote").len(), 1);
    let (mut session, _pipe) = waiting();
    session.manifest["job"] = json!("a-job-with-a-long-name");
    session.manifest["node"] = json!("wc-1");
    let mut client = daemon.client();
    client.begin(&session);
    let vm = daemon.vm();
    let name = std::fs::read_to_string(format!("/proc/{vm}/comm")).unwrap();
    assert_eq!(name, "zvm:a-job-with-\n");
    let line = wait_for("its command line", || {
        let line = std::fs::read_to_string(format!("/proc/{vm}/cmdline")).unwrap();
        line.starts_with("zvm:").then_some(line)
    });
    assert_eq!(
        line.trim_end_matches('\0'),
        "zvm:a-job-with-a-long-name:wc-1"
    );
}

#[test]
fn a_vm_has_only_its_own_descriptors_and_is_bound_as_in_a_session() {
    let daemon = Daemon::start(&[]);
    let (session, _pipe) = waiting();
    let mut client = daemon.client();
    client.begin(&session);
    let vm = daemon.vm();
    let fds = || support::own_files_of(vm);
    wait_for("its descriptors", || {
        matches!(&fds()[..], [pipe] if pipe.ends_with("/pipe")).then_some(())
    });
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{vm}/{file}"));
    // The filter of system calls comes last, when the guest is about to run.
    wait_for("the lock-down", || {
        let status = read("status").unwrap();
        status.contains("Seccomp:\t2").then_some(())
    });
    assert!(read("status").unwrap().contains("NoNewPrivs:\t1"));
    assert_eq!(read("oom_score_adj").unwrap(), "1000\n");
    let limits = read("limits").unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    assert_eq!(core.unwrap().split_whitespace().nth(4), Some("0"));
}

#[test]
fn a_process_that_waits_is_locked_down_already() {
    let daemon = Daemon::start(&[]);
    let idle = wait_for("an idle one", || daemon.named("zvm-idle").first().copied());
    let status = wait_for("its lock-down", || {
        let status = std::fs::read_to_string(format!("/proc/{idle}/status")).unwrap();
        status.contains("NoNewPrivs:\t1").then_some(status)
    });
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    if rustix::process::geteuid().is_root() {
        let line = status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap();
        let ids: Vec<u32> = line
            .split_whitespace()
            .skip(1)
            .map(|id| id.parse().unwrap())
            .collect();
        assert!(ids.iter().all(|id| *id >= 0x7000_0000), "{line}");
    }
}

#[test]
fn no_process_ever_has_anothers_program_mapped() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    // Until the program has processes of its own.
    wait_for("a pool", || {
        client.report(&hashing());
        (client.status()["programs"] == 1).then_some(())
    });
    let maps = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/maps"));
    wait_for("two kinds of idle processes", || {
        let idle = daemon.named("zvm-idle");
        let with: Vec<bool> = idle
            .iter()
            .map(|pid| maps(*pid).is_ok_and(|maps| maps.contains(".cwasm")))
            .collect();
        (with.contains(&true) && with.contains(&false)).then_some(())
    });
    let mut other = Session::new("spin");
    other.manifest["node"] = json!("other");
    client.begin(&other);
    let vm = daemon.vm();
    let mapped = wait_for("its program", || {
        let maps = maps(vm).unwrap();
        let mut names: Vec<&str> = maps
            .lines()
            .filter(|line| line.ends_with(".cwasm"))
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        names.dedup();
        (!names.is_empty()).then_some(names.len())
    });
    assert_eq!(mapped, 1);
}

/// A tar of these files and contents, in the place of one that is there.
fn image(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = folder.join(format!("{name}.files"));
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (new, tar) = (folder.join("new"), folder.join(name));
    let mut command = Command::new("tar");
    let made = command.arg("-C").arg(root).arg("-cf").arg(&new).arg(".");
    assert!(made.status().unwrap().success());
    std::fs::rename(new, &tar).unwrap();
    tar
}

#[test]
fn system_images_come_with_the_program_and_users_images_with_the_job() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let folder = folder("images");
    let system = image(&folder, "system.tar", &[("usr/a", "1"), ("usr/b", "2")]);
    let user = image(&folder, "user.tar", &[("usr/a", "the user's"), ("c", "3")]);
    let listing = || {
        Session::new("read_dir").args(&["/usr"]).output(
            "/dev/stdout",
            "sequential",
            1 << 16,
        )
    };
    let alone = || listing().system_layer(&system);
    let below = || listing().layer(&user).system_layer(&system);
    let above = || listing().system_layer(&system).layer(&user);
    let users = || listing().layer(&system);
    let ways: [&dyn Fn() -> Session; 4] = [&alone, &below, &above, &users];
    for way in ways.iter().cycle().take(16) {
        let (served, expected) = (way(), way());
        let report = lasting(client.report(&served));
        assert_eq!(report, lasting(expected.run()));
        assert_eq!(
            served.content("/dev/stdout"),
            expected.content("/dev/stdout")
        );
    }
    wait_for("both kinds of pools", || {
        (client.status()["programs"] == 2).then_some(())
    });
    let holders = |name: &str| {
        let idle = daemon.named("zvm-idle").into_iter();
        let maps = idle.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/maps")));
        let with = maps.filter(|maps| maps.as_ref().is_ok_and(|m| m.contains(name)));
        with.count()
    };
    wait_for("processes that have the system image", || {
        (holders("/system.tar") > 0).then_some(())
    });
    assert_eq!(holders("/user.tar"), 0);

    // The same name and the same claim, but another file.
    image(&folder, "system.tar", &[("usr/a", "changed")]);
    for _ in 0..4 {
        let session = alone();
        client.report(&session);
        let text = String::from_utf8(session.content("/dev/stdout")).unwrap();
        assert!(text.contains("7 /usr/a"), "{text}");
    }
}

#[test]
fn a_system_image_that_is_no_tar_is_refused_each_time_and_hurts_nobody() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let bad = folder("images").join("bad.tar");
    std::fs::write(&bad, [1; 2048]).unwrap();
    for _ in 0..4 {
        let answer = client.run(&Session::new("hello").system_layer(&bad));
        let (code, message) = error_of(&answer);
        assert_eq!(code, "bad_layer", "{message}");
        assert!(message.contains("is no tar"), "{message}");
        assert_outcome(&client.report(&Session::new("hello")), "exit", "0");
    }
}

#[test]
fn many_requests_share_a_connection_and_their_answers_find_back() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let mut expected: Vec<(u32, i64)> = (0..40)
        .map(|code| {
            let session = Session::new("exit_code").args(&[&code.to_string()]);
            (client.begin(&session), code)
        })
        .collect();
    while !expected.is_empty() {
        let (kind, number, answer) = client.receive().unwrap();
        assert_eq!(kind, 'R');
        let at = expected.iter().position(|(known, _)| *known == number);
        let (_, code) = expected.remove(at.unwrap());
        assert_eq!(answer["report"]["outcome"]["code"], code, "{answer:#}");
    }
}

#[test]
fn limits_of_time_are_kept_and_the_others_go_on() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let wall = Session::new("spin").limit("wall_seconds", json!(0.3));
    let cpu = Session::new("spin").limit("cpu_seconds", json!(0.2));
    let began = Instant::now();
    let (wall, cpu) = (client.begin(&wall), client.begin(&cpu));
    let quick = client.begin(&hashing());
    let mut ends = Vec::new();
    for _ in 0..3 {
        let (_, number, answer) = client.receive().unwrap();
        let outcome = answer["report"]["outcome"]["code"].clone();
        ends.push((number, outcome));
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(ends[0], (quick, json!(0)));
    assert!(ends.contains(&(wall, json!("wall_seconds"))), "{ends:?}");
    assert!(ends.contains(&(cpu, json!("cpu_seconds"))), "{ends:?}");
}

#[test]
fn a_stopped_vm_is_ended_at_its_wall_limit() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let session = Session::new("spin").limit("wall_seconds", json!(0.5));
    let number = client.begin(&session);
    signal(daemon.vm(), Signal::STOP);
    let answer = client.answer_to(number);
    assert_outcome(&answer["report"], "limit", "wall_seconds");
    assert!(answer["report"]["receipt"].is_null());
    assert_eq!(answer["process"]["signal"], 9);
}

#[test]
fn a_killed_vm_is_told_and_hurts_no_other() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let number = client.begin(&Session::new("spin"));
    signal(daemon.vm(), Signal::KILL);
    let answer = client.answer_to(number);
    assert_outcome(&answer["report"], "killed", "9");
    assert_outcome(&client.report(&hashing()), "exit", "0");
}

#[test]
fn cancelling_ends_the_vm_and_is_answered_when_it_is_gone() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let number = client.begin(&Session::new("spin"));
    let vm = daemon.vm();
    client.cancel(number);
    let (code, _) = error_of(&client.answer_to(number));
    assert_eq!(code, "cancelled");
    assert!(is_gone(vm));
    // What is over can be cancelled, to no effect.
    client.cancel(number);
    assert_outcome(&client.report(&hashing()), "exit", "0");
}

#[test]
fn a_client_that_vanishes_takes_its_vms_along() {
    let daemon = Daemon::start(&["--slots", "2"]);
    let mut client = daemon.client();
    for _ in 0..3 {
        client.begin(&Session::new("spin"));
    }
    wait_for("two VMs", || {
        (daemon.named("zvm:").len() == 2).then_some(())
    });
    drop(client);
    wait_for("no VM", || daemon.named("zvm:").is_empty().then_some(()));
    let status = daemon.client().status();
    assert_eq!(
        (&status["taken"], &status["waiting"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn slots_and_the_queue_are_bounded_and_full_is_an_answer() {
    let daemon = Daemon::start(&["--slots", "1", "--queue", "1"]);
    let mut client = daemon.client();
    let running = client.begin(&Session::new("spin"));
    let waiting = client.begin(&hashing());
    let (code, message) = client.refused(&hashing());
    assert_eq!(code, "busy");
    assert_eq!(message, "all 1 slots are taken and 1 requests wait");
    // Whoever does not want to wait is told so at once.
    let number = client.begin_with(&hashing(), 0);
    assert_eq!(error_of(&client.answer_to(number)).0, "busy");
    client.cancel(running);
    assert_eq!(error_of(&client.answer_to(running)).0, "cancelled");
    assert_outcome(&client.answer_to(waiting)["report"], "exit", "0");
}

#[test]
fn waiting_for_a_slot_ends_at_its_deadline() {
    let daemon = Daemon::start(&["--slots", "1"]);
    let mut client = daemon.client();
    client.begin(&Session::new("spin"));
    let began = Instant::now();
    let number = client.begin_with(&hashing(), 300);
    let (code, message) = error_of(&client.answer_to(number));
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("busy", "no slot of 1 came free in time")
    );
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn sigterm_drains_what_runs_finishes_and_what_is_new_is_refused() {
    let mut daemon = Daemon::start(&["--slots", "1"]);
    let mut client = daemon.client();
    let (session, pipe) = waiting();
    let running = client.begin(&session);
    let vm = daemon.vm();
    let queued = client.begin(&hashing());
    daemon.terminate();
    assert_eq!(error_of(&client.answer_to(queued)).0, "draining");
    assert_eq!(client.refused(&hashing()).0, "draining");
    assert!(!daemon.socket.exists());
    assert!(!is_dead(vm));
    // The path is free: the next daemon serves while this one drains.
    let next = Daemon::start_at(&daemon.socket, &[]);
    assert_outcome(&next.client().report(&hashing()), "exit", "0");
    drop(pipe);
    assert_outcome(&client.answer_to(running)["report"], "exit", "0");
    assert_eq!(daemon.status(), Some(0));
    assert!(daemon.socket.exists());
    assert!(daemon.log().contains("event=stopped"), "{}", daemon.log());
}

#[test]
fn draining_ends_at_its_deadline_and_the_second_signal_hurries_it() {
    for (options, again) in [(["--drain-seconds", "0.3"], false), (["--idle", "1"], true)]
    {
        let mut daemon = Daemon::start(&options);
        let mut client = daemon.client();
        let number = client.begin(&Session::new("spin"));
        let vm = daemon.vm();
        daemon.terminate();
        if again {
            wait_for("draining", || (!daemon.socket.exists()).then_some(()));
            daemon.terminate();
        }
        assert_outcome(&client.answer_to(number)["report"], "killed", "15");
        assert_eq!(daemon.status(), Some(0));
        assert!(is_gone(vm));
    }
}

#[test]
fn a_killed_daemon_leaves_no_process_behind() {
    let mut daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.begin(&Session::new("spin"));
    daemon.vm();
    wait_for("idle ones", || {
        (!daemon.named("zvm-idle").is_empty()).then_some(())
    });
    let children = daemon.children();
    assert!(children.len() >= 3, "{children:?}");
    daemon.process.kill().unwrap();
    daemon.process.wait().unwrap();
    for (name, pid) in children {
        wait_for(&name, || is_dead(pid).then_some(()));
    }
    assert!(client.receive().is_none());
    // What it left is taken over.
    let next = Daemon::start_at(&daemon.socket, &[]);
    assert_outcome(&next.client().report(&hashing()), "exit", "0");
}

#[test]
fn killed_zygotes_and_idle_processes_are_replaced() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for prefix in ["zvm-idle", "zvm-zygote", "zvm-zygote"] {
        let victims = wait_for(prefix, || {
            let victims = daemon.named(prefix);
            (!victims.is_empty()).then_some(victims)
        });
        for pid in victims {
            signal(pid, Signal::KILL);
        }
        // One of the killed may have been given this job already.
        let answer = client.run(&hashing());
        let code = &answer["report"]["outcome"]["kind"];
        assert!(code == "exit" || code == "killed", "{answer:#}");
        assert_outcome(&client.report(&hashing()), "exit", "0");
    }
    wait_for("no zombie", || daemon.named("Z").is_empty().then_some(()));
    wait_for("idle ones", || {
        (daemon.named("zvm-idle").len() >= 4).then_some(())
    });
}

#[test]
fn a_hung_zygote_is_replaced() {
    let daemon = Daemon::start(&["--idle", "0"]);
    let mut client = daemon.client();
    // It has its name a moment after it is there.
    let zygote = wait_for("a zygote", || daemon.named("zvm-zygote").first().copied());
    signal(zygote, Signal::STOP);
    assert_outcome(&client.report(&hashing()), "exit", "0");
    assert!(is_gone(zygote));
}

#[test]
fn hundreds_of_descriptors_and_a_long_manifest_arrive_whole() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let mut session = Session::new("hello");
    session.manifest["env"] = json!([["LONG", "x".repeat(300_000)]]);
    let channels: Vec<Value> = (0..600)
        .map(|index| {
            json!({
                "path": format!("/dev/in/{index:03}"), "direction": "read",
                "access": "sequential", "descriptor": index + 1, "identity": "",
                "limit_bytes": 1, "limit_calls": 1,
            })
        })
        .collect();
    session.manifest["channels"] = json!(channels);
    let mut fds = session.open();
    fds.extend(nulls(600));
    for (bytes, fds) in support::daemon::request(9, &session.text(), fds, 20_000) {
        client.send(&bytes, &fds);
    }
    let answer = client.answer_to(9);
    assert_outcome(&answer["report"], "exit", "0");
    assert_eq!(answer["report"]["channels"].as_array().unwrap().len(), 600);
    assert_outcome(&client.report(&hashing()), "exit", "0");
}

#[test]
fn a_report_of_megabytes_comes_in_pieces() {
    let daemon = Daemon::start(&[]);
    let session = Session::new("endless_stderr")
        .limit("wall_seconds", json!(1.0))
        .limit("stderr_bytes", json!(3 << 20));
    let report = daemon.client().report(&session);
    assert_outcome(&report, "limit", "wall_seconds");
    assert_eq!(report["stderr_tail"].as_str().unwrap().len(), 3 << 20);
}

#[test]
fn lives_leave_nothing_behind() {
    const LIVES: usize = 300;
    let daemon = Daemon::start(&["--idle", "2"]);
    let mut client = daemon.client();
    let memory = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        words[1].parse::<u64>().unwrap()
    };
    let settled = |client: &Client| {
        wait_for("idle ones", || (client.status()["idle"] == 4).then_some(()));
        (daemon.open_files(), daemon.children().len())
    };
    for _ in 0..50 {
        client.report(&hashing());
    }
    let (before, kib) = (settled(&client), memory());
    for _ in 0..LIVES {
        assert_outcome(&client.report(&hashing()), "exit", "0");
    }
    // A zygote may be on its way to its end.
    wait_for("the same descriptors and processes", || {
        (settled(&client) == before).then_some(())
    });
    assert!(
        memory() <= kib + 256,
        "{kib} KiB before, {} after",
        memory()
    );
    client.send(&packet(b'S', 1, b""), &[]);
}
