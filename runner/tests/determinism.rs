//! One receipt for a program, and the same bytes in all of its outputs, however
//! often, by whichever way and from whichever process it is run; in strict mode with
//! any setting of the compiler, and on an interpreter as on the machine.
//!
//! `tools/check` runs each a few times. `tools/determinism` is the long run: it sets
//! `ZVM_RUNS`, builds the interpreter in, and keeps what was seen (`ZVM_RESULTS`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use support::daemon::Daemon;
use support::programs::{Mode, PROGRAMS, Program, STRICT, TEMPLATE, interpreter};
use support::{Session, finish, outcome};

/// What of a run must be the same in all others.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Seen {
    outcome: (String, String),
    receipt: String,
    fuel_used: Option<u64>,
    stdout: String,
    output: String,
    stderr_tail: String,
    limits_reached: String,
    memory_peak: u64,
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

impl Seen {
    fn of(session: &Session, report: &Value) -> Self {
        Seen {
            outcome: outcome(report),
            receipt: report["receipt"].as_str().unwrap_or("none").to_owned(),
            fuel_used: report["fuel_used"].as_u64(),
            stdout: digest(&session.content("/dev/stdout")),
            output: digest(&session.content("/dev/output")),
            stderr_tail: report["stderr_tail"].as_str().unwrap().to_owned(),
            limits_reached: report["limits_reached"].to_string(),
            memory_peak: report["memory_peak_bytes"].as_u64().unwrap(),
        }
    }

    /// Without what belongs to the module rather than to what it does.
    fn of_any_module(&self) -> Self {
        Seen {
            receipt: String::new(),
            fuel_used: None,
            memory_peak: 0,
            ..self.clone()
        }
    }
}

/// How often each program is run by each way.
fn runs() -> usize {
    let asked = std::env::var("ZVM_RUNS").ok();
    asked.map_or(2, |text| text.parse().unwrap())
}

/// Programs that `ZVM_ONLY` names, or all.
fn programs() -> impl Iterator<Item = &'static Program> {
    let only = std::env::var("ZVM_ONLY").unwrap_or_default();
    PROGRAMS
        .iter()
        .filter(move |program| only.is_empty() || program.name.contains(&only))
}

/// By a process of its own.
fn by_process(session: &Session) -> Seen {
    session.clear_outputs();
    let ended = finish(session.start());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    Seen::of(session, &ended.json())
}

/// By a daemon; from the third time on from a process that has the program mapped.
fn by_daemon(session: &Session, client: &mut support::daemon::Client) -> Seen {
    session.clear_outputs();
    let answer = client.run(session);
    let report = &answer["report"];
    assert!(report.is_object(), "{answer:#}");
    Seen::of(session, report)
}

/// All that was seen of a program, and where.
#[derive(Default)]
struct Sightings(BTreeMap<Seen, BTreeMap<String, usize>>);

impl Sightings {
    fn add(&mut self, seen: Seen, place: &str) {
        let places = self.0.entry(seen).or_default();
        *places.entry(place.to_owned()).or_default() += 1;
    }

    /// What was seen, if that was one thing, a `kind` of end, and has a receipt.
    fn the_one(&self, program: &Program, kind: &str) -> Result<&Seen, String> {
        let name = program.name;
        let mut all = self.0.keys();
        match (all.next(), all.next()) {
            (Some(seen), None) if seen.outcome.0 == kind && seen.receipt != "none" => {
                self.keep(name, seen);
                Ok(seen)
            }
            (Some(seen), None) => {
                Err(format!("{name}: not what ends by {kind}: {seen:?}"))
            }
            _ => Err(format!("{name}: {:#?}", self.0)),
        }
    }
}

impl Sightings {
    /// Adds a line to the results, if somebody wants them.
    fn keep(&self, name: &str, seen: &Seen) {
        let Some(path) = std::env::var_os("ZVM_RESULTS") else {
            return;
        };
        let line = json!({
            "program": name,
            "outcome": seen.outcome,
            "receipt": seen.receipt,
            "fuel_used": seen.fuel_used,
            "stdout_blake3": seen.stdout,
            "runs": self.0[seen],
        });
        let mut options = std::fs::File::options();
        let mut file = options.append(true).create(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Tries each program, and tells of all that failed.
fn for_each(
    programs: impl Iterator<Item = &'static Program>,
    attempt: impl Fn(&'static Program) -> Result<(), String>,
) {
    let wrong: Vec<String> = programs.filter_map(|one| attempt(one).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn look(program: &Program, mode: Mode, place: &str, sightings: &mut Sightings) {
    let session = program.session(mode);
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for _ in 0..runs() {
        sightings.add(by_process(&session), &format!("{place}, process"));
    }
    // The program gets a pool of its own at its second time.
    for _ in 0..runs() + 2 {
        sightings.add(
            by_daemon(&session, &mut client),
            &format!("{place}, daemon"),
        );
    }
}

#[test]
fn there_are_forty_programs_of_every_kind_and_each_has_one_name() {
    let names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
    assert!(
        names.len() >= 40 && names.len() == PROGRAMS.len(),
        "{names:?}"
    );
    assert!(
        PROGRAMS
            .iter()
            .filter(|program| program.is_python())
            .count()
            >= 5
    );
    let kinds: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.kind).collect();
    assert_eq!(kinds, BTreeSet::from(["exit", "limit", "trap"]));
}

#[test]
fn each_program_has_one_receipt_in_default_mode() {
    for_each(programs(), |program| {
        let mut sightings = Sightings::default();
        look(program, Mode::Default, "default", &mut sightings);
        sightings.the_one(program, program.kind).map(drop)
    });
}

#[test]
fn each_program_has_one_receipt_in_strict_mode_whatever_compiles_it() {
    for_each(programs(), |program| {
        let mut sightings = Sightings::default();
        look(program, STRICT, "strict", &mut sightings);
        other_engines(program, &mut sightings);
        let seen = sightings.the_one(program, program.kind)?;
        assert!(seen.fuel_used.is_some());
        Ok(())
    });
}

/// The same without optimisation, and interpreted where the build can.
fn other_engines(program: &Program, sightings: &mut Sightings) {
    let engines = match cfg!(feature = "pulley") {
        true => &["o0", "pulley"][..],
        false => &["o0"],
    };
    for engine in engines {
        let set = [("ZVM_ENGINE", *engine)];
        let session = program.session_by(STRICT, &set);
        let often = if *engine == "pulley" {
            runs().min(5)
        } else {
            runs()
        };
        for _ in 0..often {
            sightings.add(by_process(&session), engine);
        }
    }
}

#[test]
fn fuel_ends_each_program_at_the_same_unit() {
    // Half of what it needs: somewhere in its middle.
    let exits = programs().filter(|program| program.kind == "exit");
    for_each(exits, |program| {
        let whole = by_process(&program.session(STRICT));
        let half = whole.fuel_used.ok_or(program.name)? / 2;
        let mut sightings = Sightings::default();
        look(program, Mode::Strict(half), "half", &mut sightings);
        let seen = sightings.the_one(program, "limit")?;
        assert_eq!(seen.outcome.1, "fuel", "{}", program.name);
        assert_eq!(seen.fuel_used, Some(half), "{}", program.name);
        Ok(())
    });
}

#[test]
fn a_script_from_the_template_does_what_it_does_from_the_beginning() {
    let module = interpreter(TEMPLATE);
    for_each(
        programs().filter(|program| program.is_python()),
        |program| {
            for mode in [Mode::Default, STRICT] {
                let beginning = program.session(mode);
                let cold = by_process(&beginning);
                let mut sightings = Sightings::default();
                let mut session = program.session_of(mode, &module);
                session.manifest["program"]["template_of"] =
                    beginning.manifest["program"]["sha256"].clone();
                let daemon = Daemon::start(&[]);
                let mut client = daemon.client();
                for _ in 0..runs() {
                    sightings.add(by_process(&session), "process");
                    sightings.add(by_daemon(&session, &mut client), "daemon");
                }
                let warm = sightings.the_one(program, program.kind)?;
                if warm.of_any_module() != cold.of_any_module() {
                    return Err(format!("{}: {warm:?} {cold:?}", program.name));
                }
                if mode == Mode::Default && warm.receipt != cold.receipt {
                    return Err(format!("{}: two receipts", program.name));
                }
            }
            Ok(())
        },
    );
}

#[test]
fn a_machine_that_is_busy_changes_nothing() {
    // Everything at once, twice as many as there are processors and more.
    let program = PROGRAMS
        .iter()
        .find(|program| program.name == "cat")
        .unwrap();
    let sessions: Vec<Session> = (0..8).map(|_| program.session(Mode::Default)).collect();
    let children: Vec<_> = sessions.iter().map(Session::start).collect();
    let mut sightings = Sightings::default();
    for (session, child) in sessions.iter().zip(children) {
        let report = finish(child).json();
        sightings.add(Seen::of(session, &report), "at once");
    }
    sightings.the_one(program, program.kind).unwrap();
}

#[test]
fn a_pipe_that_is_filled_slowly_changes_nothing() {
    let module = support::guest("count_bytes");
    let whole = by_shell(&module, "cat /dev/zero | head -c 200000");
    let slow =
        "for i in 1 2 3 4 5 6 7 8 9 10; do head -c 20000 /dev/zero; sleep 0.01; done";
    assert_eq!(by_shell(&module, slow), whole);
}

/// Standard output and receipt of `zvm run`, fed by a shell's command.
fn by_shell(module: &std::path::Path, command: &str) -> (String, String) {
    let line = format!("({command}) | \"$0\" run --json \"$1\"");
    let child = std::process::Command::new("sh")
        .args(["-c", &line, support::ZVM, module.to_str().unwrap()])
        .env("XDG_CACHE_HOME", support::cache())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = finish(child);
    let report: Value = serde_json::from_str(&ended.stderr).unwrap();
    (ended.stdout, report["receipt"].as_str().unwrap().to_owned())
}
