//! One request from its arrival to its answer: where it stands, and what it holds.
//!
//! ```text
//! Queued ──slot──▶ Starting ──process──▶ Running ──ended──▶ Digesting ──▶ answered
//! ```
//!
//! Whatever happens, a job ends with one answer, unless its client has gone.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::manifest::Manifest;
use crate::report::{Report, seconds};
use crate::session::Ending;
use crate::session::outputs::Kept;
use crate::session::watch::{Deadlines, Stopped};
use crate::sys::Ended;

use super::digesting::Results;
use super::nursery::Key;
use super::packet::Outbox;
use super::poller::{AlarmId, ConnectionId, ProcessId};

pub struct Job {
    pub connection: ConnectionId,
    /// The client's number.
    pub request: u32,
    pub manifest: Manifest,
    pub text: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    pub key: Option<Key>,
    pub arrived: Instant,
    /// When it was given a slot.
    pub admitted: Instant,
    pub alarm: Option<AlarmId>,
    pub stage: Stage,
    /// The client wants it no more.
    pub cancelled: bool,
}

pub enum Stage {
    Queued,
    Starting,
    Running(Box<Running>),
    Digesting(Box<Finished>, ProcessId, Results),
}

pub struct Running {
    pub process: ProcessId,
    pub ledger: Ledger,
    pub outputs: Vec<Kept>,
    pub deadlines: Deadlines,
    pub started: Instant,
    pub stopped: Option<Stopped>,
    /// What of the job its process has not taken yet.
    pub sending: Option<(OwnedFd, Outbox)>,
}

/// A VM that is gone.
pub struct Finished {
    pub ending: Ending,
    pub ledger: Ledger,
    pub outputs: Vec<Kept>,
    pub account: Account,
}

/// What the process used, beside the report; nothing here enters a receipt.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    pub pid: i32,
    pub cpu_seconds: f64,
    /// Most memory of the host that the process had at once.
    pub memory_peak_bytes: u64,
    /// Exit status, if it exited.
    pub status: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// From the request to its slot.
    pub queue_seconds: f64,
    /// The guest's first instruction on the host's monotonic clock; none if it did
    /// not come so far.
    pub began_nanoseconds: Option<u64>,
}

impl Account {
    pub fn new(pid: i32, ended: &Ended, queued: Duration, ledger: &Ledger) -> Self {
        Account {
            pid,
            cpu_seconds: seconds(ended.cpu),
            memory_peak_bytes: ended.resident_peak_bytes,
            status: ended.status,
            signal: ended.signal,
            queue_seconds: seconds(queued),
            began_nanoseconds: ledger.began(),
        }
    }
}

/// The document of an answer.
pub fn answer(report: &Report, account: &Account) -> Result<Vec<u8>, Error> {
    #[derive(Serialize)]
    struct Document<'a> {
        report: &'a Report,
        process: &'a Account,
    }
    let process = account;
    serde_json::to_vec(&Document { report, process })
        .map_err(|error| Error::failure("report", error))
}
