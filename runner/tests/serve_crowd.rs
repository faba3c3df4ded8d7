//! A crowd before the daemon: never more VMs than slots, nobody forgotten, and who
//! cannot wait is told so at once. The VMs wait for a pipe that the test holds, so
//! that each is there until the test lets it go.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::daemon::{Client, Daemon, error_of, wait_for, waiting};
use support::{Session, assert_outcome};

const SLOTS: usize = 3;
const PLACES: usize = 7;

/// A daemon with few slots and places.
fn narrow() -> Daemon {
    let (slots, places) = (SLOTS.to_string(), PLACES.to_string());
    Daemon::start(&["--slots", &slots, "--queue", &places, "--idle", "1"])
}

/// A VM that waits for its pipe, under its number.
struct Held {
    number: u32,
    pipe: OwnedFd,
}

impl Held {
    fn begin(client: &mut Client, queue_milliseconds: u32) -> Self {
        let (session, pipe): (Session, OwnedFd) = waiting();
        let number = client.begin_with(&session, queue_milliseconds);
        Held { number, pipe }
    }
}

/// Asserts how many run and wait, and that so many VMs there are.
fn assert_state(daemon: &Daemon, client: &Client, taken: usize, waits: usize) {
    wait_for("that state", || {
        let status = client.status();
        let vms = daemon.named("zvm:").len();
        assert!(vms <= SLOTS, "{vms} VMs");
        let found = (status["taken"].as_u64(), status["waiting"].as_u64(), vms);
        let wanted = (Some(taken as u64), Some(waits as u64), taken);
        (found == wanted).then_some(())
    });
}

fn busy(answer: &Value) -> String {
    let (code, message) = error_of(answer);
    assert_eq!(code, "busy");
    message
}

const LONG: u32 = 60_000;

#[test]
fn slots_are_all_taken_and_no_more_and_all_who_wait_get_their_turn() {
    let daemon = narrow();
    let mut client = daemon.client();
    // Asked on a connection of its own: answers do not mix.
    let looker = daemon.client();
    let mut held: Vec<Held> = Vec::new();
    for count in 1..=SLOTS + PLACES {
        held.push(Held::begin(&mut client, LONG));
        let taken = count.min(SLOTS);
        assert_state(&daemon, &looker, taken, count - taken);
    }
    // One more is told so, as is who would not wait at all.
    for milliseconds in [LONG, 0] {
        let refused = Held::begin(&mut client, milliseconds);
        let message = busy(&client.answer_to(refused.number));
        assert_eq!(message, "all 3 slots are taken and 7 requests wait");
    }
    // Each that goes makes room for the one that waited longest, and for no other.
    for (index, one) in held.into_iter().enumerate() {
        let left = SLOTS + PLACES - index;
        assert_state(
            &daemon,
            &looker,
            left.min(SLOTS),
            left.saturating_sub(SLOTS),
        );
        drop(one.pipe);
        // Whoever is not in a slot has no VM that could answer.
        let (kind, number, answer) = client.receive().unwrap();
        assert_eq!((kind, number), ('R', one.number));
        assert_outcome(&answer["report"], "exit", "0");
    }
    assert_state(&daemon, &looker, 0, 0);
}

#[test]
fn room_in_the_queue_is_given_again_as_soon_as_somebody_leaves_it() {
    let daemon = narrow();
    let mut client = daemon.client();
    let looker = daemon.client();
    let held: Vec<Held> = (0..SLOTS + PLACES)
        .map(|_| Held::begin(&mut client, LONG))
        .collect();
    assert_state(&daemon, &looker, SLOTS, PLACES);
    // One that waits is taken back, and its place is another one's.
    let gone = &held[SLOTS + 2];
    client.cancel(gone.number);
    assert_eq!(error_of(&client.answer_to(gone.number)).0, "cancelled");
    assert_state(&daemon, &looker, SLOTS, PLACES - 1);
    let late = Held::begin(&mut client, LONG);
    assert_state(&daemon, &looker, SLOTS, PLACES);
    let refused = Held::begin(&mut client, LONG);
    busy(&client.answer_to(refused.number));
    // One that runs is taken back: its slot goes to who waits.
    client.cancel(held[0].number);
    assert_eq!(error_of(&client.answer_to(held[0].number)).0, "cancelled");
    assert_state(&daemon, &looker, SLOTS, PLACES - 1);
    let numbers: BTreeSet<u32> = held
        .iter()
        .map(|one| one.number)
        .filter(|number| ![gone.number, held[0].number].contains(number))
        .chain([late.number])
        .collect();
    drop(held);
    drop(late);
    let mut answered = BTreeSet::new();
    for _ in 0..numbers.len() {
        let (_, number, answer) = client.receive().unwrap();
        assert_outcome(&answer["report"], "exit", "0");
        answered.insert(number);
    }
    assert_eq!(answered, numbers);
}

#[test]
fn deadlines_of_who_waits_are_their_own() {
    let daemon = narrow();
    let mut client = daemon.client();
    let looker = daemon.client();
    let running: Vec<Held> = (0..SLOTS).map(|_| Held::begin(&mut client, LONG)).collect();
    assert_state(&daemon, &looker, SLOTS, 0);
    let began = Instant::now();
    // The last to come is the first to give up, and the patient one stays.
    let patient = Held::begin(&mut client, LONG);
    let waits = [2700, 1500, 300].map(|time| (Held::begin(&mut client, time), time));
    for (held, milliseconds) in waits.iter().rev() {
        let (kind, number, answer) = client.receive().unwrap();
        assert_eq!((kind, number), ('R', held.number));
        assert_eq!(busy(&answer), "no slot of 3 came free in time");
        assert!(began.elapsed() >= Duration::from_millis((*milliseconds).into()));
    }
    assert_state(&daemon, &looker, SLOTS, 1);
    // Not a moment of that was lost for the patient one.
    drop(running);
    for _ in 0..SLOTS {
        assert_outcome(&client.receive().unwrap().2["report"], "exit", "0");
    }
    drop(patient.pipe);
    let answer = client.answer_to(patient.number);
    assert_outcome(&answer["report"], "exit", "0");
    let queued = answer["process"]["queue_seconds"].as_f64().unwrap();
    assert!((2.7..60.0).contains(&queued), "{queued}");
}

#[test]
fn many_clients_at_once_are_all_answered_and_never_run_beyond_the_slots() {
    const CLIENTS: usize = 24;
    let daemon = narrow();
    let looker = daemon.client();
    let mut crowd: Vec<(Client, Held)> = std::thread::scope(|scope| {
        let come = || {
            let mut client = daemon.client();
            let held = Held::begin(&mut client, LONG);
            (client, held)
        };
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(come)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    // So many got in, whoever they are; all others have their answer already.
    assert_state(&daemon, &looker, SLOTS, PLACES);
    // Then all guests may end, and who waits gets its turn without anybody's help.
    let mut clients: Vec<(Client, u32)> = Vec::new();
    for (client, held) in crowd.drain(..) {
        clients.push((client, held.number));
    }
    let (mut ran, mut refused) = (0, 0);
    for (client, number) in clients {
        let answer = client.answer_to(number);
        match answer["report"].is_object() {
            true => {
                assert_outcome(&answer["report"], "exit", "0");
                ran += 1;
            }
            false => {
                let message = busy(&answer);
                assert_eq!(message, "all 3 slots are taken and 7 requests wait");
                refused += 1;
            }
        }
        assert!(daemon.named("zvm:").len() <= SLOTS);
    }
    assert_eq!((ran, refused), (SLOTS + PLACES, CLIENTS - SLOTS - PLACES));
    assert_state(&daemon, &looker, 0, 0);
}

#[test]
fn a_queue_of_none_and_a_single_slot_are_exact_too() {
    let daemon = Daemon::start(&["--slots", "1", "--queue", "0", "--idle", "1"]);
    let mut client = daemon.client();
    let first = Held::begin(&mut client, LONG);
    daemon.vm();
    let second = Held::begin(&mut client, LONG);
    let message = busy(&client.answer_to(second.number));
    assert_eq!(message, "all 1 slots are taken and 0 requests wait");
    drop(first.pipe);
    assert_outcome(&client.answer_to(first.number)["report"], "exit", "0");
    // As soon as it is answered its slot is free.
    let third = Held::begin(&mut client, 0);
    drop(third.pipe);
    assert_outcome(&client.answer_to(third.number)["report"], "exit", "0");
}

/// KiB of the daemon's heap that are in memory.
fn heap_kib(daemon: &Daemon) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", daemon.process.id()));
    let smaps = smaps.unwrap();
    let heap = smaps.lines().skip_while(|line| !line.ends_with("[heap]"));
    let resident = heap.skip(1).find(|line| line.starts_with("Rss:")).unwrap();
    resident.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Many VMs at once, and all of them gone again.
fn crowd(daemon: &Daemon) {
    const CROWD: usize = 150;
    let mut client = daemon.client();
    let looker = daemon.client();
    let held: Vec<Held> = (0..CROWD).map(|_| Held::begin(&mut client, LONG)).collect();
    wait_for("the crowd", || {
        (looker.status()["taken"] == CROWD as u64).then_some(())
    });
    for Held { number, pipe } in held {
        drop(pipe);
        assert_outcome(&client.answer_to(number)["report"], "exit", "0");
    }
}

#[test]
fn memory_after_a_crowd_is_what_it_was() {
    const SLACK_KIB: u64 = 32;
    let daemon = Daemon::start(&[]);
    crowd(&daemon);
    // Once a second the daemon looks what it can give back.
    let mut least = heap_kib(&daemon);
    let mut settled = Instant::now();
    while settled.elapsed() < Duration::from_secs(2) {
        let now = heap_kib(&daemon);
        if now < least {
            (least, settled) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..3 {
        crowd(&daemon);
        wait_for("memory given back", || {
            (heap_kib(&daemon) <= least + SLACK_KIB).then_some(())
        });
    }
}
