//! The daemon's state and what each event does to it: one thread, one loop.
//!
//! Nothing here waits for anything but the loop's next event, reads a byte that a
//! guest wrote (but numbers and text of the ledger), or opens a file. What takes long
//! is a process: VMs, helpers that hash, zygotes that fork.

mod children;
mod clients;
mod ending;
mod starting;

use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SocketFlags, accept_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal,
};
use serde_json::json;

use crate::channel;
use crate::engine;
use crate::error::{Code, Error};
use crate::lockdown;
use crate::manifest;
use crate::session::watch::{Deadlines, Stopped};
use crate::session::{self, Ending, outputs};
use crate::sys;

use super::admission::{Admission, Entry, JobId};
use super::connection::{Action, Allowance, Connection, PATIENCE, Request};
use super::digesting::{self, Digesting};
use super::endpoint::{Endpoint, check_peer};
use super::job::{Account, Finished, Job, Running, Stage, answer};
use super::nursery::{
    Answer, Born, GENERAL, Key, Nursery, PoolId, REST, Spare, files_of_key,
};
use super::packet;
use super::poller::{Alarm, ConnectionId, Poller, ProcessId, Token};
use super::protocol::{self, Welcome};
use super::{Options, idle, start_zygote};

const MAX_CONNECTIONS: usize = 4096;
/// Packets taken from one connection before the others have their turn.
const PACKETS_IN_TURN: usize = 64;
/// What so many jobs took is given back when none is left.
const MANY_JOBS: usize = 64;
const TICK: Duration = Duration::from_secs(1);
/// As many go at once, whoever waits.
const MAX_LEFTOVERS: usize = 32;
/// A client that takes nothing of what it is owed for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Packets that are thrown away before a connection is closed: a socket closed with
/// unread packets would cost the client our last word.
const MAX_UNREAD: usize = 1024;

/// A process of ours.
struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A zygote, or a process that waits.
    Nursling,
    Vm(JobId),
    Helper(JobId),
}

pub struct Daemon {
    options: Options,
    poller: Poller,
    endpoint: Option<Endpoint>,
    signals: OwnedFd,
    admission: Admission,
    nursery: Nursery,
    connections: BTreeMap<ConnectionId, Connection>,
    jobs: BTreeMap<JobId, Job>,
    processes: BTreeMap<ProcessId, Process>,
    buffer: Vec<u8>,
    next: u64,
    /// What is left of jobs that were sent to a process or answered. It goes when
    /// nobody waits for that: to give memory back takes as long as to write a report.
    leftovers: Vec<Box<dyn Any>>,
    /// An alarm is set for housekeeping.
    will_clean: bool,
    /// Most jobs at once since memory was last given back.
    most_jobs: usize,
    max_descriptors: usize,
    user_ids: String,
    open_files: usize,
}

impl Daemon {
    /// Takes over the endpoint; the first zygote is on its way when this returns.
    pub fn new(
        options: Options,
        endpoint: Endpoint,
        signals: OwnedFd,
        open_files: usize,
    ) -> Result<Self, Error> {
        let mut poller = Poller::new()?;
        poller.add(endpoint.listener(), Token::Listener)?;
        poller.add(&signals, Token::Signals)?;
        let now = Instant::now();
        poller.set(now + TICK, Alarm::Tick);
        let mut daemon = Daemon {
            admission: Admission::new(options.slots, options.queue),
            nursery: Nursery::new(options.idle, options.programs, now),
            poller,
            endpoint: Some(endpoint),
            signals,
            connections: BTreeMap::new(),
            jobs: BTreeMap::new(),
            processes: BTreeMap::new(),
            buffer: vec![0; packet::MAX_BYTES + 1],
            next: 1,
            leftovers: Vec::new(),
            will_clean: false,
            most_jobs: 0,
            max_descriptors: super::max_descriptors(open_files),
            user_ids: lockdown::user_ids(&options.lockdown)?,
            open_files,
            options,
        };
        daemon.keep_house(now)?;
        Ok(daemon)
    }

    /// Serves until it has drained.
    pub fn serve(&mut self) -> Result<(), Error> {
        let mut tokens = Vec::new();
        while !self.has_drained() {
            self.poller.wait(&mut tokens)?;
            for (token, broken) in tokens.drain(..) {
                self.handle(token, broken)?;
            }
            let now = Instant::now();
            while let Some(alarm) = self.poller.due(now) {
                self.ring(alarm, now)?;
            }
            self.keep_house(now)?;
        }
        Ok(())
    }

    fn handle(&mut self, token: Token, broken: bool) -> Result<(), Error> {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.end_signal(),
            Token::Connection(id) => self.read_connection(id, broken),
            Token::Zygote(pool) => self.births(pool)?,
            Token::Process(id) => self.process_ended(id)?,
            Token::Job(id) => self.send_job(id),
        }
        Ok(())
    }

    fn ring(&mut self, alarm: Alarm, now: Instant) -> Result<(), Error> {
        match alarm {
            Alarm::Queue(job) => self.waited_too_long(job),
            Alarm::Watch(job) => self.watch(job, now)?,
            Alarm::Patience(id) => self.lose_patience(id, now),
            Alarm::Housekeeping => {
                self.will_clean = false;
                self.leftovers.clear();
            }
            Alarm::Tick => self.tick(now)?,
            Alarm::Drained => self.stop_all(Stopped::Told(libc::SIGTERM)),
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn end_signal(&mut self) {
        let Some(signal) = sys::pending_end_signal(&self.signals) else {
            return;
        };
        match self.endpoint.take() {
            Some(endpoint) => {
                eprintln!("event=draining signal={signal} vms={}", self.jobs.len());
                self.poller.remove(endpoint.listener());
                // The path is free from here on: another daemon may take it.
                drop(endpoint);
                self.drain();
            }
            // Told twice, it hurries.
            None => self.stop_all(Stopped::Told(signal)),
        }
    }

    fn drain(&mut self) {
        for job in self.admission.give_up_all() {
            let message = "the daemon ends; another one will take its place";
            self.finish(job, Err(Error::refused(Code::Draining, message)));
        }
        let last = Duration::from_secs_f64(self.options.drain_seconds);
        self.poller.set(Instant::now() + last, Alarm::Drained);
    }

    fn stop_all(&mut self, why: Stopped) {
        let mut starting = Vec::new();
        for (id, job) in &mut self.jobs {
            match &mut job.stage {
                Stage::Running(running) => {
                    running.stopped.get_or_insert(why);
                    if let Some(process) = self.processes.get(&running.process) {
                        kill(process);
                    }
                }
                Stage::Queued | Stage::Starting => starting.push(*id),
                Stage::Digesting(..) => {}
            }
        }
        for job in starting {
            self.cancel(job);
        }
    }

    fn has_drained(&mut self) -> bool {
        if self.endpoint.is_some() || !self.jobs.is_empty() {
            return false;
        }
        self.nursery.close();
        let owed = |connection: &Connection| !connection.outbox.is_empty();
        !self.connections.values().any(owed)
    }
}

fn kill(process: &Process) {
    // It may have ended by itself meanwhile; then there is nothing to kill.
    let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
}

fn log(event: &str, error: &Error) {
    eprintln!("event={event} error={:?}", error.to_string());
}
