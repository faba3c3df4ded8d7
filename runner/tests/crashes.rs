//! SIGKILL at any moment, to the compiler, to those who wait for it, to the daemon
//! and to its processes: what ran is lost, the next request is served, and nothing
//! is left over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Client, Daemon, is_dead, signal, wait_for};
use support::{Ended, Session, assert_outcome, finish, folder, guest};

/// A cache of one artefact, and a compiler that can be told from all others.
struct Compiling {
    cache: PathBuf,
    compiler: PathBuf,
    artefact: PathBuf,
    genuine: Vec<u8>,
    /// How long it takes when nobody disturbs it.
    whole: Duration,
}

impl Compiling {
    fn new() -> Self {
        let folder = folder("crash");
        let compiler = folder.join("zvm-compile");
        std::fs::copy(env!("CARGO_BIN_EXE_zvm-compile"), &compiler).unwrap();
        let mut compiling = Compiling {
            cache: folder.join("cache"),
            compiler,
            artefact: PathBuf::new(),
            genuine: Vec::new(),
            whole: Duration::ZERO,
        };
        let began = Instant::now();
        let ended = finish(compiling.start());
        compiling.whole = began.elapsed();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        compiling.artefact = ended.json()["artefact"].as_str().unwrap().into();
        compiling.genuine = std::fs::read(&compiling.artefact).unwrap();
        compiling
    }

    fn start(&self) -> Child {
        Command::new(support::ZVM)
            .args(["compile", "--cache", self.cache.to_str().unwrap()])
            .args(["--compiler", self.compiler.to_str().unwrap()])
            .arg(guest("hello"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn with(&self, ending: &str) -> PathBuf {
        self.artefact.with_extension(ending)
    }

    fn forget(&self) {
        std::fs::remove_file(&self.artefact).unwrap();
        std::fs::remove_file(self.with("mac")).unwrap();
    }

    /// The compilers that run.
    fn compilers(&self) -> Vec<u32> {
        let ours = |pid: &u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline"));
            words.is_ok_and(|words| {
                words.starts_with(self.compiler.to_str().unwrap().as_bytes())
            })
        };
        processes().into_iter().filter(ours).collect()
    }

    /// The next one compiles what is missing; then all is as if nothing had been.
    fn check(&self, what: &str) {
        let compilers = || self.compilers().is_empty().then_some(());
        wait_for("the compilers' ends", compilers);
        let ended = finish(self.start());
        assert_eq!(ended.status, Some(0), "{what}: {ended:?}");
        assert_eq!(
            std::fs::read(&self.artefact).unwrap(),
            self.genuine,
            "{what}"
        );
        let mut names: Vec<String> = std::fs::read_dir(&self.cache)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.rsplit('.').next().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["cwasm", "key", "lock", "mac"], "{what}");
    }
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

fn kill_at(compiling: &Compiling, moment: Duration, compiler: bool) -> Ended {
    compiling.forget();
    let mut child = compiling.start();
    std::thread::sleep(moment);
    if compiler {
        for pid in compiling.compilers() {
            // It may have ended by itself.
            let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap());
            let _ = rustix::process::kill_process(pid.unwrap(), Signal::KILL);
        }
    } else {
        child.kill().unwrap();
    }
    finish(child)
}

#[test]
fn a_compile_killed_at_any_moment_leaves_nothing_but_work_to_do() {
    const MOMENTS: u32 = 12;
    let compiling = Compiling::new();
    for number in 0..MOMENTS {
        let moment = compiling.whole * number / MOMENTS;
        kill_at(&compiling, moment, false);
        compiling.check(&format!("after {moment:?}"));
    }
}

#[test]
fn a_compiler_killed_at_any_moment_is_told_and_the_next_one_serves() {
    const MOMENTS: u32 = 8;
    let compiling = Compiling::new();
    let mut killed = 0;
    for number in 0..MOMENTS {
        let moment = compiling.whole * number / MOMENTS;
        let ended = kill_at(&compiling, moment, true);
        if ended.status != Some(0) {
            let (code, message) = ended.error();
            assert_eq!(code, "compile_limit", "{ended:?}");
            assert!(message.contains("ended from outside"), "{message}");
            assert!(!compiling.with("draft").exists());
            killed += 1;
        }
        compiling.check(&format!("after {moment:?}"));
    }
    assert!(killed > 0, "none was hit");
}

#[test]
fn every_step_between_draft_and_artefact_can_be_the_last() {
    let compiling = Compiling::new();
    let half = compiling.genuine.len() / 2;
    let put = |ending: &str, bytes: &[u8], mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = compiling.with(ending);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let mac = std::fs::read(compiling.with("mac")).unwrap();
    let genuine = &compiling.genuine;
    let steps: [(&str, &dyn Fn()); 6] = [
        ("nothing is written", &|| put("draft", b"", 0o600)),
        ("half is written", &|| put("draft", &genuine[..half], 0o600)),
        ("all is written", &|| put("draft", genuine, 0o400)),
        ("half of the MAC is written", &|| {
            put("draft", genuine, 0o400);
            put("mac.draft", &mac[..mac.len() / 2], 0o600);
        }),
        ("the MAC has its name, the artefact not", &|| {
            put("draft", genuine, 0o400);
            put("mac", &mac, 0o600);
        }),
        ("the MAC is of what was there before", &|| {
            put("draft", genuine, 0o400);
            put("mac", &[b'0'; 64], 0o600);
        }),
    ];
    for (step, leave) in steps {
        compiling.forget();
        leave();
        compiling.check(step);
    }
}

fn hashing() -> Session {
    Session::new("cat")
        .input("/dev/stdin", "sequential", &b"some bytes".repeat(1000))
        .output("/dev/stdout", "sequential", 1 << 20)
}

/// One answer: a report of a run that ended or was killed, or a failure of ours.
fn kind_of(answer: &Value) -> String {
    if answer["error"].is_object() {
        return answer["error"]["code"].as_str().unwrap().to_owned();
    }
    let kind = &answer["report"]["outcome"]["kind"];
    kind.as_str().unwrap().to_owned()
}

#[test]
fn processes_killed_at_any_moment_cost_what_ran_and_no_more() {
    const ROUNDS: usize = 50;
    let daemon = Daemon::start(&["--idle", "2"]);
    let mut client = daemon.client();
    for round in 0..ROUNDS {
        let number = client.begin(&hashing());
        std::thread::sleep(Duration::from_micros(40 * (round as u64 % 30)));
        let children = daemon.children();
        if let Some((_, pid)) = children.get(round % children.len().max(1)) {
            let pid = rustix::process::Pid::from_raw((*pid).try_into().unwrap());
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid.unwrap(), Signal::KILL);
        }
        let kind = kind_of(&client.answer_to(number));
        assert!(
            ["exit", "killed", "failure"].contains(&kind.as_str()),
            "{kind}"
        );
        if round % 20 == 0 {
            assert_outcome(&client.report(&hashing()), "exit", "0");
        }
    }
    let settled = |client: &Client| {
        let state = client.status();
        (state["taken"] == 0 && state["vms"].as_array().unwrap().is_empty()).then_some(())
    };
    wait_for("an end of all", || settled(&client));
    wait_for("no zombie", || daemon.named("Z").is_empty().then_some(()));
    assert_outcome(&client.report(&hashing()), "exit", "0");
}

/// The living processes of a session of the kernel's.
fn living_in(session: u32) -> Vec<u32> {
    let ours = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        let stat = stat.unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let mut fields = fields.split(' ');
        let lives = fields.next() != Some("Z");
        lives && fields.nth(2) == Some(session.to_string().as_str())
    };
    processes().into_iter().filter(ours).collect()
}

#[test]
fn a_daemon_killed_at_any_moment_leaves_no_process_and_its_socket_to_the_next() {
    const MOMENTS: u64 = 12;
    let socket = folder("killed").join("socket");
    let mut ended = 0;
    for number in 0..MOMENTS {
        let daemon = Daemon::start_by(&socket, &[], &["setsid"]);
        let mut client = daemon.client();
        let request = client.begin(&hashing());
        std::thread::sleep(Duration::from_micros(500 * number));
        signal(daemon.process.id(), Signal::KILL);
        // Answered before, or cut off.
        while let Some((_, number, answer)) = client.receive() {
            assert_eq!((number, kind_of(&answer).as_str()), (request, "exit"));
            ended += 1;
        }
        let session = daemon.process.id();
        wait_for("an end of all", || {
            living_in(session).is_empty().then_some(())
        });
        assert!(is_dead(session));
    }
    assert!(ended < MOMENTS, "none was cut off");
    let daemon = Daemon::start_at(&socket, &[]);
    assert_outcome(&daemon.client().report(&hashing()), "exit", "0");
}

#[test]
fn of_daemons_that_start_at_once_one_has_the_socket() {
    let socket = folder("at-once").join("socket");
    let mut daemons: Vec<Daemon> = (0..6)
        .map(|_| Daemon::spawn_at(&socket, &[], &[]))
        .collect();
    let mut gone = Vec::new();
    wait_for("five ends", || {
        let ended = daemons.iter_mut().map(|daemon| daemon.process.try_wait());
        gone = ended.filter_map(|ended| ended.unwrap()).collect();
        (gone.len() >= 5).then_some(())
    });
    assert!(
        gone.iter().all(|status| status.code() == Some(65)),
        "{gone:?}"
    );
    wait_for("the socket", || socket.exists().then_some(()));
    let one = daemons.into_iter().find_map(|mut daemon| {
        daemon
            .process
            .try_wait()
            .unwrap()
            .is_none()
            .then_some(daemon)
    });
    assert_outcome(&one.unwrap().client().report(&hashing()), "exit", "0");
}

#[test]
fn a_stopped_daemon_goes_on_where_it_was() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.report(&hashing());
    signal(daemon.process.id(), Signal::STOP);
    let mut waiting: Vec<u32> = (0..3).map(|_| client.begin(&hashing())).collect();
    signal(daemon.process.id(), Signal::CONT);
    while !waiting.is_empty() {
        let (_, number, answer) = client.receive().unwrap();
        assert_outcome(&answer["report"], "exit", "0");
        waiting.retain(|other| *other != number);
    }
}
