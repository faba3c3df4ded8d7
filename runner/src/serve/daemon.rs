//! The daemon's state and what each event does to it: one thread, one loop.
//!
//! Nothing here waits for anything but the loop's next event, reads a byte that a
//! guest wrote (but numbers and text of the ledger), or opens a file. What takes long
//! is a process: VMs, helpers that hash, zygotes that fork.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SocketFlags, accept_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal,
};
use serde_json::json;

use crate::engine;
use crate::error::{Code, Error};
use crate::manifest;
use crate::session::watch::{Deadlines, Stopped};
use crate::session::{self, Ending, outputs};
use crate::sys;

use super::admission::{Admission, Entry, JobId};
use super::connection::{Action, Allowance, Connection, PATIENCE, Request};
use super::digesting::{self, Digesting};
use super::endpoint::{Endpoint, check_peer};
use super::job::{Account, Finished, Job, Running, Stage, answer};
use super::nursery::{Answer, Born, GENERAL, Key, Nursery, PoolId, Spare};
use super::packet;
use super::poller::{Alarm, ConnectionId, Poller, ProcessId, Token};
use super::protocol::{self, Welcome};
use super::{Options, idle, start_zygote};

const MAX_CONNECTIONS: usize = 4096;
/// Packets taken from one connection before the others have their turn.
const PACKETS_IN_TURN: usize = 64;
const TICK: Duration = Duration::from_secs(1);
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
    max_descriptors: usize,
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
            max_descriptors: super::max_descriptors(open_files),
            open_files,
            options,
        };
        daemon.look_after_nursery(now)?;
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
            self.look_after_nursery(now)?;
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
            Alarm::Tick => self.tick(now)?,
            Alarm::Drained => self.stop_all(Stopped::Told(libc::SIGTERM)),
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    // Connections.

    fn accept(&mut self) {
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Whatever fails here (the client has gone, too many open files) is the
        // client's loss alone; it sees its connection end.
        let Ok(socket) = accept_with(endpoint.listener(), flags) else {
            return;
        };
        let now = Instant::now();
        let id = self.number();
        let mut connection = Connection::new(socket, now);
        let checked = check_peer(&connection.socket, &self.options.peer_uids);
        let checked = checked.and_then(|()| {
            if self.connections.len() < MAX_CONNECTIONS {
                return Ok(());
            }
            let message = format!("{MAX_CONNECTIONS} connections are open");
            Err(Error::refused(Code::Busy, message))
        });
        if let Err(error) = checked {
            say_last_word(&mut connection, &error);
            return;
        }
        if self
            .poller
            .add(&connection.socket, Token::Connection(id))
            .is_ok()
        {
            self.poller.set(now + PATIENCE, Alarm::Patience(id));
            self.connections.insert(id, connection);
        }
    }

    fn read_connection(&mut self, id: ConnectionId, broken: bool) {
        self.flush(id);
        for _ in 0..PACKETS_IN_TURN {
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            if !connection.wanted_interest().0 && !broken {
                break;
            }
            let flags = RecvFlags::DONTWAIT;
            match packet::receive(&connection.socket, &mut self.buffer, flags) {
                Ok(Some(received)) => self.take_packet(id, received),
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Ok(None) | Err(_) => return self.close(id, None),
            }
        }
        self.flush(id);
    }

    fn take_packet(&mut self, id: ConnectionId, received: packet::Received) {
        let allowance = self.allowance();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let packet = self.buffer.get(..received.bytes).unwrap_or_default();
        let now = Instant::now();
        let patient = connection.tries_patience();
        let too_long = received.bytes > packet::MAX_BYTES;
        let action = match received.cut || too_long {
            true => Err(cut_packet(packet.len())),
            false => connection.take(packet, received.fds, allowance, now),
        };
        if !patient && connection.tries_patience() {
            self.poller.set(now + PATIENCE, Alarm::Patience(id));
        }
        match action {
            Ok(Action::Nothing) => {}
            Ok(Action::Welcome) => self.welcome(id),
            Ok(Action::Run(request)) => self.enter(id, request, now),
            Ok(Action::Refuse(number, error)) => self.refuse(id, number, &error),
            Ok(Action::Cancel(job)) => self.cancel(job),
            Ok(Action::Status(number)) => self.tell_status(id, number),
            Err(error) => self.close(id, Some(error)),
        }
    }

    fn allowance(&self) -> Allowance {
        let held: usize = self.connections.values().map(Connection::held).sum();
        let taken: usize = self.jobs.values().map(|job| job.fds.len()).sum();
        // Three descriptors a VM, and some for what is open anyway.
        let room = self.open_files.saturating_sub(64 + 3 * self.jobs.len());
        Allowance {
            request: self.max_descriptors,
            now: room.saturating_sub(held + taken),
        }
    }

    fn welcome(&mut self, id: ConnectionId) {
        let welcome = Welcome {
            version: protocol::VERSION,
            zvm: env!("CARGO_PKG_VERSION"),
            engine: engine::VERSION,
            slots: self.options.slots,
            queue: self.options.queue,
            max_descriptors: self.max_descriptors,
        };
        // Numbers and words always serialise.
        let document = serde_json::to_vec(&welcome).unwrap_or_default();
        self.send(id, b'H', 0, &document);
    }

    fn tell_status(&mut self, id: ConnectionId, number: u32) {
        let (idle, programs) = self.nursery.counts();
        let vms: Vec<_> = self
            .jobs
            .values()
            .filter_map(|job| self.vm_of(job))
            .collect();
        let document = json!({
            "version": protocol::VERSION,
            "pid": std::process::id(),
            "draining": self.endpoint.is_none(),
            "slots": self.options.slots, "taken": self.admission.taken(),
            "queue": self.options.queue, "waiting": self.admission.waiting(),
            "connections": self.connections.len(),
            "idle": idle, "programs": programs,
            "vms": vms,
        });
        self.send(id, b'S', number, document.to_string().as_bytes());
    }

    fn vm_of(&self, job: &Job) -> Option<serde_json::Value> {
        let Stage::Running(running) = &job.stage else {
            return None;
        };
        let pid = self.processes.get(&running.process)?.pid;
        let wall = running.started.elapsed();
        Some(json!({
            "job": job.manifest.job, "node": job.manifest.node,
            "pid": pid.as_raw_nonzero().get(),
            "wall_seconds": crate::report::seconds(wall),
        }))
    }

    fn send(&mut self, id: ConnectionId, kind: u8, number: u32, document: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.outbox.is_empty() {
            connection.taken = Instant::now();
        }
        let packets = protocol::answer(kind, number, document, packet::MAX_BYTES);
        for packet in packets {
            connection.outbox.push(packet, Vec::new());
        }
        self.flush(id);
    }

    fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let before = connection.outbox.bytes();
        if connection.outbox.flush(&connection.socket).is_err() {
            return self.close(id, None);
        }
        if connection.outbox.bytes() < before {
            connection.taken = Instant::now();
        }
        let wanted = connection.wanted_interest();
        if wanted != connection.interest {
            connection.interest = wanted;
            let token = Token::Connection(id);
            // It was added; this cannot fail while it is open.
            let _ = self.poller.modify(&connection.socket, token, wanted);
        }
    }

    fn refuse(&mut self, id: ConnectionId, number: u32, error: &Error) {
        self.send(id, b'R', number, error.document().as_bytes());
    }

    /// Ends a connection, with a last word if there is one, and all of its jobs.
    fn close(&mut self, id: ConnectionId, error: Option<Error>) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        self.poller.remove(&connection.socket);
        if let Some(error) = error {
            log("connection_ended", &error);
            say_last_word(&mut connection, &error);
        }
        for job in connection.jobs.into_values() {
            self.cancel(job);
        }
    }

    fn lose_patience(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match connection.check_patience(now) {
            Err(error) => self.close(id, Some(error)),
            Ok(()) if connection.tries_patience() => {
                self.poller.set(now + TICK, Alarm::Patience(id));
            }
            Ok(()) => {}
        }
    }

    // Jobs: from the request to a process.

    fn enter(&mut self, id: ConnectionId, request: Request, now: Instant) {
        let number = request.number;
        let queue = request.queue;
        match self.make_job(id, request, now) {
            Ok(job) => self.admit(job, queue, now),
            Err(error) => self.refuse(id, number, &error),
        }
    }

    fn make_job(
        &mut self,
        id: ConnectionId,
        request: Request,
        now: Instant,
    ) -> Result<Job, Error> {
        if self.endpoint.is_none() {
            let message = "the daemon ends; another one will take its place";
            return Err(Error::refused(Code::Draining, message));
        }
        let manifest = manifest::parse(&request.manifest, request.fds.len())?;
        check_all_named(&manifest, request.fds.len())?;
        let artefact = request.fds.get(manifest.program.descriptor);
        let key = artefact.and_then(|fd| Key::of(&manifest, fd));
        Ok(Job {
            connection: id,
            request: request.number,
            manifest,
            text: request.manifest,
            fds: request.fds,
            key,
            arrived: now,
            admitted: now,
            alarm: None,
            stage: Stage::Queued,
            cancelled: false,
        })
    }

    fn admit(&mut self, mut job: Job, queue: Duration, now: Instant) {
        let id = self.number();
        match self.admission.enter(id, !queue.is_zero()) {
            Entry::Full => {
                let message = format!(
                    "all {} slots are taken and {} requests wait",
                    self.options.slots,
                    self.admission.waiting()
                );
                let error = Error::refused(Code::Busy, message);
                self.refuse(job.connection, job.request, &error);
            }
            Entry::Queued => {
                job.alarm = Some(self.poller.set(now + queue, Alarm::Queue(id)));
                self.insert(id, job);
            }
            Entry::Slot => {
                self.insert(id, job);
                self.start(id, now);
            }
        }
    }

    fn insert(&mut self, id: JobId, job: Job) {
        if let Some(connection) = self.connections.get_mut(&job.connection) {
            connection.jobs.insert(job.request, id);
        }
        self.jobs.insert(id, job);
    }

    fn waited_too_long(&mut self, id: JobId) {
        if !self.admission.give_up(id) {
            return;
        }
        let message = format!("no slot of {} came free in time", self.options.slots);
        self.finish(id, Err(Error::refused(Code::Busy, message)));
    }

    /// The job has a slot: gets it a process.
    fn start(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(alarm) = job.alarm.take() {
            self.poller.unset(alarm);
        }
        job.admitted = now;
        self.ask(id, now);
    }

    fn ask(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.stage = Stage::Starting;
        match self.nursery.ask(id, &job.manifest, job.key.as_ref(), now) {
            Ok(Answer::Spare(spare)) => self.assign(id, spare),
            Ok(Answer::Later) => {}
            Err(error) => self.finish(id, Err(error)),
        }
    }

    /// Sends a job to a process, which is its VM from then on.
    fn assign(&mut self, id: JobId, spare: Spare) {
        if let Err(error) = self.try_assign(id, spare) {
            self.finish(id, Err(error));
        }
    }

    fn try_assign(&mut self, id: JobId, spare: Spare) -> Result<(), Error> {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Ok(());
        };
        let Some(process) = self.processes.get_mut(&spare.process) else {
            // It has died in the meantime.
            self.ask(id, Instant::now());
            return Ok(());
        };
        let ledger = idle::shaped(&spare.ledger, &job.manifest)
            .ok_or_else(|| Error::failure("ledger", "it is too small"))?;
        let outputs = outputs::keep_copies(&job.manifest, &job.fds)?;
        let artefact = job.fds.get(job.manifest.program.descriptor);
        let artefact = artefact.map(OwnedFd::try_clone);
        let fds = std::mem::take(&mut job.fds);
        let mut outbox = idle::job_packets(&job.text, fds)?;
        job.text = Vec::new();
        let started = Instant::now();
        let sending = match outbox.flush(&spare.socket) {
            Ok(true) => None,
            Ok(false) => Some((spare.socket, outbox)),
            // It has died, which is told in its turn, as the VM's end.
            Err(_) => None,
        };
        if let Some((socket, _)) = &sending {
            self.poller.add_writable(socket, Token::Job(id))?;
        }
        process.role = Role::Vm(id);
        job.stage = Stage::Running(Box::new(Running {
            process: spare.process,
            ledger,
            outputs,
            deadlines: Deadlines::new(&job.manifest.limits, started),
            started,
            stopped: None,
            sending,
        }));
        let limits = &job.manifest.limits;
        let first = limits.wall_seconds.min(limits.cpu_seconds);
        let first = started + Duration::from_secs_f64(first);
        job.alarm = Some(self.poller.set(first, Alarm::Watch(id)));
        if let (Some(key), Some(Ok(artefact))) = (job.key.take(), artefact) {
            self.nursery.learn(key, || Ok(artefact), started)?;
        }
        Ok(())
    }

    /// Sends more of a job whose process did not take all at once.
    fn send_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Stage::Running(running) = &mut job.stage else {
            return;
        };
        let Some((socket, outbox)) = &mut running.sending else {
            return;
        };
        // A process that has died is told in its turn.
        if outbox.flush(&*socket).unwrap_or(true) {
            running.sending = None;
        }
    }

    // Jobs: from a process to the answer.

    fn watch(&mut self, id: JobId, now: Instant) -> Result<(), Error> {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Ok(());
        };
        let Stage::Running(running) = &mut job.stage else {
            return Ok(());
        };
        let Some(process) = self.processes.get(&running.process) else {
            return Ok(());
        };
        let cpu_used = sys::cpu_time_of(process.pid)?;
        match running.deadlines.judge(now, cpu_used) {
            Ok(sleep) => {
                job.alarm = Some(self.poller.set(now + sleep, Alarm::Watch(id)));
            }
            Err(stopped) => {
                running.stopped = Some(stopped);
                kill(process);
            }
        }
        Ok(())
    }

    /// The client takes its request back, or has gone.
    fn cancel(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.cancelled = true;
        let process = match &job.stage {
            Stage::Queued => {
                self.admission.give_up(id);
                return self.finish(id, Err(cancelled()));
            }
            Stage::Starting => {
                self.nursery.forget(id);
                return self.finish(id, Err(cancelled()));
            }
            Stage::Running(running) => running.process,
            Stage::Digesting(_, helper, _) => *helper,
        };
        self.kill_process(process);
    }

    fn kill_process(&self, id: ProcessId) {
        if let Some(process) = self.processes.get(&id) {
            kill(process);
        }
    }

    fn process_ended(&mut self, id: ProcessId) -> Result<(), Error> {
        let Some(process) = self.processes.remove(&id) else {
            return Ok(());
        };
        self.poller.remove(&process.pidfd);
        let ended = sys::wait(process.pid)?;
        let now = Instant::now();
        match process.role {
            Role::Nursling => {
                for job in self.nursery.ended(id, now) {
                    self.ask(job, now);
                }
                self.reap_unknown();
            }
            Role::Vm(job) => self.vm_ended(job, process.pid, ended),
            Role::Helper(job) => self.digested(job, ended),
        }
        Ok(())
    }

    fn vm_ended(&mut self, id: JobId, pid: Pid, ended: sys::Ended) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(alarm) = job.alarm.take() {
            self.poller.unset(alarm);
        }
        let stage = std::mem::replace(&mut job.stage, Stage::Starting);
        let Stage::Running(running) = stage else {
            return;
        };
        if job.cancelled {
            return self.finish(id, Err(cancelled()));
        }
        let wall = running.started.elapsed();
        let outcome =
            session::conclude(&job.manifest, ended, running.stopped, &running.ledger);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.finish(id, Err(error)),
        };
        let queued = job.admitted.duration_since(job.arrived);
        let pid = pid.as_raw_nonzero().get();
        let finished = Box::new(Finished {
            ending: Ending {
                outcome,
                wall,
                cpu: ended.cpu,
            },
            account: Account::new(pid, &ended, queued, &running.ledger),
            ledger: running.ledger,
            outputs: running.outputs,
        });
        self.digest(id, finished);
    }

    fn digest(&mut self, id: JobId, finished: Box<Finished>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let begun = match finished.ending.is_complete() {
            true => digesting::begin(&finished.outputs, &job.manifest),
            false => Ok(Digesting::Done(Vec::new())),
        };
        match begun {
            Ok(Digesting::Done(digests)) => self.report(id, *finished, &digests),
            Ok(Digesting::Helper(pid, results)) => {
                match self.add_process(pid, Role::Helper(id)) {
                    Ok(process) => {
                        if let Some(job) = self.jobs.get_mut(&id) {
                            job.stage = Stage::Digesting(finished, process, results);
                        }
                    }
                    Err(error) => self.finish(id, Err(error)),
                }
            }
            Err(error) => self.finish(id, Err(error)),
        }
    }

    fn digested(&mut self, id: JobId, ended: sys::Ended) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let stage = std::mem::replace(&mut job.stage, Stage::Starting);
        let Stage::Digesting(finished, _, results) = stage else {
            return;
        };
        if job.cancelled {
            return self.finish(id, Err(cancelled()));
        }
        if ended.status != Some(0) {
            let why = format!("status {:?}, signal {:?}", ended.status, ended.signal);
            return self.finish(id, Err(Error::failure("hash the outputs", why)));
        }
        self.report(id, *finished, &results.load());
    }

    fn report(
        &mut self,
        id: JobId,
        finished: Finished,
        digests: &[Option<outputs::Digests>],
    ) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Finished {
            ending,
            ledger,
            outputs,
            account,
        } = finished;
        let document = session::report(&job.manifest, &ledger, ending, &outputs, digests)
            .and_then(|report| answer(&report, &account));
        self.finish(id, document);
    }

    /// The last step of every job: its answer, its slot to the next.
    fn finish(&mut self, id: JobId, result: Result<Vec<u8>, Error>) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        if let Some(alarm) = job.alarm {
            self.poller.unset(alarm);
        }
        let document = result.unwrap_or_else(|error| {
            if let Error::Failure(message) = &error {
                let job = session::title(&job.manifest);
                eprintln!("event=vm_failed vm={job:?} error={:?}", message.as_str());
            }
            error.document().into_bytes()
        });
        if let Some(connection) = self.connections.get_mut(&job.connection) {
            connection.jobs.remove(&job.request);
        }
        self.send(job.connection, b'R', job.request, &document);
        if !matches!(job.stage, Stage::Queued)
            && let Some(next) = self.admission.leave()
        {
            self.start(next, Instant::now());
        }
    }

    // Processes.

    fn add_process(&mut self, pid: Pid, role: Role) -> Result<ProcessId, Error> {
        let id = self.number();
        let watched = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| Error::failure("pidfd_open", errno))
            .and_then(|pidfd| {
                self.poller.add(&pidfd, Token::Process(id))?;
                Ok(pidfd)
            });
        match watched {
            Ok(pidfd) => {
                self.processes.insert(id, Process { pid, pidfd, role });
                Ok(id)
            }
            Err(error) => {
                // Never leave a process behind that nobody watches.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                sys::wait(pid)?;
                Err(error)
            }
        }
    }

    fn births(&mut self, pool: PoolId) -> Result<(), Error> {
        let now = Instant::now();
        while let Some(born) = self.nursery.receive(pool, now) {
            match born {
                Born::Zygote { pool, pid, control } => {
                    self.add_zygote(pool, pid, control, now)?;
                }
                Born::Spare {
                    pool,
                    pid,
                    socket,
                    ledger,
                    job,
                } => {
                    let process = self.add_process(pid, Role::Nursling)?;
                    let spare = Spare {
                        process,
                        socket,
                        ledger,
                    };
                    match job {
                        Some(job) => self.assign(job, spare),
                        None => self.place(pool, spare),
                    }
                }
                Born::Failed { job } => {
                    log(
                        "fork_failed",
                        &Error::failure("fork", "see the kernel's log"),
                    );
                    if let Some(job) = job {
                        let error = Error::failure("fork", "the kernel would not");
                        self.finish(job, Err(error));
                    }
                }
            }
        }
        Ok(())
    }

    fn add_zygote(
        &mut self,
        pool: PoolId,
        pid: Pid,
        control: OwnedFd,
        now: Instant,
    ) -> Result<(), Error> {
        let process = self.add_process(pid, Role::Nursling)?;
        // If its pool is gone, so is its socket's other end, and it goes too.
        self.nursery
            .add_zygote(pool, process, control, &self.poller, now)?;
        Ok(())
    }

    /// Gives a process to whoever waits for one, else keeps it.
    fn place(&mut self, pool: PoolId, spare: Spare) {
        while let Some(job) = self.nursery.next_wanted(pool) {
            if self.jobs.contains_key(&job) {
                return self.assign(job, spare);
            }
        }
        // If it is not wanted any more, it ends with its socket.
        self.nursery.keep(pool, spare);
    }

    /// Reaps children that nobody told us of: a zygote forked them, and died before
    /// it could say so.
    fn reap_unknown(&self) {
        while let Some(pid) = sys::ended_child() {
            if self.processes.values().any(|process| process.pid == pid) {
                return;
            }
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn look_after_nursery(&mut self, now: Instant) -> Result<(), Error> {
        if self.nursery.needs_zygote(now) {
            let (pid, control) = start_zygote(&self.options.lockdown)?;
            self.add_zygote(GENERAL, pid, control, now)?;
        }
        self.nursery.replenish(now)?;
        self.nursery.flush();
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<(), Error> {
        self.poller.set(now + TICK, Alarm::Tick);
        for process in self.nursery.overdue(now) {
            self.kill_process(process);
        }
        let stalled: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                !connection.outbox.is_empty()
                    && now.duration_since(connection.taken) > STALLED_AFTER
            })
            .map(|(id, _)| *id)
            .collect();
        for id in stalled {
            let seconds = STALLED_AFTER.as_secs();
            let message = format!("the client took nothing for {seconds} seconds");
            self.close(id, Some(Error::refused(Code::BadPacket, message)));
        }
        Ok(())
    }

    // The end.

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

fn cancelled() -> Error {
    Error::refused(Code::Cancelled, "the request was taken back")
}

fn cut_packet(bytes: usize) -> Error {
    if bytes > packet::MAX_BYTES {
        let max = packet::MAX_BYTES;
        return protocol::bad(format!("has more than {max} bytes"));
    }
    let message = "has descriptors that could not be taken: at most 253 go with one \
                   packet, and no more than this daemon's limit on open files";
    protocol::bad(message.to_owned())
}

/// Checks that every descriptor has a use: one that is left over is a mistake, and
/// perhaps the wrong one is missing.
fn check_all_named(
    manifest: &manifest::Manifest,
    descriptors: usize,
) -> Result<(), Error> {
    let mut named = vec![false; descriptors];
    for descriptor in manifest.descriptors() {
        if let Some(mark) = named.get_mut(descriptor) {
            *mark = true;
        }
    }
    match named.iter().position(|mark| !mark) {
        None => Ok(()),
        Some(unused) => {
            let message = format!(
                "manifest: descriptor {unused} of {descriptors} is given and has no use"
            );
            Err(Error::refused(Code::BadManifest, message))
        }
    }
}

/// Tells a client why its connection ends, if it listens.
fn say_last_word(connection: &mut Connection, error: &Error) {
    let document = error.document();
    let packets = protocol::answer(b'E', 0, document.as_bytes(), packet::MAX_BYTES);
    for packet in packets {
        connection.outbox.push(packet, Vec::new());
    }
    let _ = connection.outbox.flush(&connection.socket);
    let mut unread = vec![0; packet::MAX_BYTES];
    for _ in 0..MAX_UNREAD {
        let flags = RecvFlags::DONTWAIT;
        match packet::receive(&connection.socket, &mut unread, flags) {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn log(event: &str, error: &Error) {
    eprintln!("event={event} error={:?}", error.to_string());
}
