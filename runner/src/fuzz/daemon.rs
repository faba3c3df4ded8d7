//! Clients of the daemon over real sockets, and what happens to their jobs.
//!
//! The loop of `serve::daemon` forks and waits; here stands a small one that does to
//! connections and slots what that one does, and whose processes last until the
//! script says so.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::script::Script;
use crate::error::{Code, Error};
use crate::manifest;
use crate::serve::admission::{Admission, Entry, JobId};
use crate::serve::connection::{Action, Allowance, Connection, Request};
use crate::serve::packet::{self, Outbox};
use crate::serve::protocol;

const MANIFEST: &[u8] = include_bytes!("../../tests/fixtures/manifest-full.json");
const CLIENTS: usize = 3;
const SLOTS: usize = 2;
const PLACES: usize = 2;
/// Descriptors of one request, and of all requests together.
const PER_REQUEST: usize = 8;
const DESCRIPTORS: usize = 24;
/// So short that most documents need several.
const ANSWER_BYTES: usize = protocol::HEADER_BYTES + 5;

/// Every packet is taken or ends its connection with a reason; a request that runs
/// is as long, and has as many descriptors, as it said; all together hold no more
/// descriptors than there may be; slots and queue agree with a list of the jobs; answers
/// arrive whole; and in the end nothing is left open.
pub fn daemon(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut daemon = Daemon::new(writer.into());
    while !script.is_empty() {
        daemon.step(&mut script);
        daemon.audit();
    }
    for client in 0..CLIENTS {
        daemon.close(client);
    }
    daemon.audit();
    assert_eq!(
        (daemon.admission.taken(), daemon.admission.waiting()),
        (0, 0)
    );
    drop(daemon);
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    // An end: nobody has the other side any more.
    assert_eq!(reader.read(&mut [0]).expect("a descriptor is left"), 0);
}

struct Client {
    connection: Connection,
    peer: OwnedFd,
    greeted: bool,
    /// Length and descriptors that requests said they have.
    said: BTreeMap<u32, (usize, usize)>,
    /// Parts of answers that are not complete.
    parts: BTreeMap<u32, Vec<u8>>,
}

struct Daemon {
    clients: [Option<Client>; CLIENTS],
    admission: Admission,
    jobs: BTreeMap<JobId, (usize, Request)>,
    running: Vec<JobId>,
    queue: VecDeque<JobId>,
    now: Instant,
    next: JobId,
    /// What is sent as a descriptor.
    token: OwnedFd,
    buffer: Vec<u8>,
}

impl Daemon {
    fn new(token: OwnedFd) -> Self {
        Daemon {
            clients: [const { None }; CLIENTS],
            admission: Admission::new(SLOTS, PLACES),
            jobs: BTreeMap::new(),
            running: Vec::new(),
            queue: VecDeque::new(),
            now: Instant::now(),
            next: 0,
            token,
            buffer: vec![0; packet::MAX_BYTES + 1],
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let head = script.byte();
        let client = usize::from(head >> 4) % CLIENTS;
        match head % 8 {
            0..=4 => self.send(client, script),
            5 => self.pass(Duration::from_millis(100 * script.number(1))),
            6 if !self.running.is_empty() => {
                let number = usize::from(script.byte()) % self.running.len();
                let job = self.running[number];
                // A document is never empty.
                self.finish(job, &[b"{", script.string()].concat());
            }
            // The first has waited too long.
            7 if let Some(job) = self.queue.front().copied() => {
                self.finish(job, b"too long");
            }
            _ => self.close(client),
        }
    }

    /// Sends one packet as the client, and takes it as the daemon.
    fn send(&mut self, client: usize, script: &mut Script<'_>) {
        let now = self.now;
        self.clients[client].get_or_insert_with(|| Client::new(now));
        let (bytes, count) = written(script);
        let fds = (0..count).map(|_| self.token.try_clone().unwrap());
        let mut outbox = Outbox::default();
        outbox.push(bytes, fds.collect());
        let peer = &self.clients[client].as_ref().unwrap().peer;
        // Refused by the kernel: too many descriptors, or too long.
        if outbox.flush(peer).is_err() {
            return;
        }
        let socket = &self.clients[client].as_ref().unwrap().connection.socket;
        let received = packet::receive(socket, &mut self.buffer, RecvFlags::DONTWAIT);
        match received.unwrap() {
            Some(received) if !received.cut && received.bytes <= packet::MAX_BYTES => {
                let bytes = self.buffer[..received.bytes].to_vec();
                self.take(client, &bytes, received.fds);
            }
            _ => self.close(client),
        }
    }

    fn take(&mut self, number: usize, bytes: &[u8], fds: Vec<OwnedFd>) {
        let allowance = Allowance {
            request: PER_REQUEST,
            now: DESCRIPTORS.saturating_sub(self.descriptors()),
        };
        let client = self.clients[number].as_mut().unwrap();
        if let Ok(protocol::Message::Begin(begin)) = protocol::parse(bytes) {
            let said = (begin.manifest_bytes, begin.descriptors);
            client.said.insert(begin.request, said);
        }
        let action = client.connection.take(bytes, fds, allowance, self.now);
        let greeted = client.greeted;
        match action {
            Ok(Action::Welcome) => client.greeted = !greeted,
            Ok(_) => {}
            Err(Error::Refused { code, message }) => {
                assert!(matches!(code, Code::BadPacket | Code::UnknownVersion));
                super::check_message(&message);
                return self.close(number);
            }
            Err(Error::Failure(message)) => panic!("a failure of ours: {message}"),
        }
        assert!(client.greeted, "taken before the hello");
        match action.unwrap() {
            Action::Welcome => assert!(!greeted, "welcomed twice"),
            Action::Nothing => {}
            Action::Run(request) => self.enter(number, request),
            Action::Refuse(_, Error::Refused { code, .. }) => {
                assert!(matches!(code, Code::BadManifest | Code::Busy));
            }
            Action::Refuse(_, error) => panic!("{error}"),
            Action::Cancel(job) => self.finish(job, b"cancelled"),
            Action::Status(number_of_request) => {
                self.answer(number, number_of_request, b"state");
            }
        }
    }

    fn enter(&mut self, number: usize, request: Request) {
        let client = self.clients[number].as_mut().unwrap();
        let said = client.said.remove(&request.number);
        assert_eq!(said, Some((request.manifest.len(), request.fds.len())));
        assert!(request.fds.len() <= PER_REQUEST);
        assert!(!client.connection.jobs.contains_key(&request.number));
        if let Err(error) = manifest::parse(&request.manifest, request.fds.len()) {
            return self.answer(number, request.number, error.document().as_bytes());
        }
        let id = self.next;
        self.next += 1;
        match self.admission.enter(id, !request.queue.is_zero()) {
            Entry::Full => return self.answer(number, request.number, b"busy"),
            Entry::Queued => self.queue.push_back(id),
            Entry::Slot => self.running.push(id),
        }
        client.connection.jobs.insert(request.number, id);
        self.jobs.insert(id, (number, request));
    }

    /// The job ends, wherever it is.
    fn finish(&mut self, job: JobId, document: &[u8]) {
        let (client, request) = self.jobs.remove(&job).expect("a job that is there");
        if self.running.contains(&job) {
            self.running.retain(|running| *running != job);
            let next = self.admission.leave();
            assert_eq!(next, self.queue.pop_front(), "another one's turn");
            self.running.extend(next);
        } else {
            assert!(self.admission.give_up(job));
            self.queue.retain(|waiting| *waiting != job);
        }
        if let Some(there) = &mut self.clients[client] {
            there.connection.jobs.remove(&request.number);
            self.answer(client, request.number, document);
        }
    }

    fn answer(&mut self, number: usize, request: u32, document: &[u8]) {
        let client = self.clients[number].as_mut().unwrap();
        for packet in protocol::answer(b'R', request, document, ANSWER_BYTES) {
            client.connection.outbox.push(packet, Vec::new());
        }
        let mut whole = Vec::new();
        loop {
            let flushed = client.connection.outbox.flush(&client.connection.socket);
            whole.extend(client.receive());
            if flushed.unwrap() {
                break;
            }
        }
        whole.extend(client.receive());
        assert_eq!(whole, [(request, document.to_vec())]);
        assert!(client.connection.outbox.is_empty());
        assert_eq!(client.connection.outbox.bytes(), 0);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for number in 0..CLIENTS {
            let client = self.clients[number].as_ref();
            if client.is_some_and(|one| one.connection.check_patience(self.now).is_err())
            {
                self.close(number);
            }
        }
    }

    fn close(&mut self, number: usize) {
        let client = self.clients[number].take();
        let jobs = client.map(|client| client.connection.jobs);
        for job in jobs.into_iter().flat_map(BTreeMap::into_values) {
            self.finish(job, b"");
        }
    }

    fn descriptors(&self) -> usize {
        let clients = self.clients.iter().flatten();
        let held: usize = clients.map(|client| client.connection.held()).sum();
        let taken: usize = self.jobs.values().map(|(_, job)| job.fds.len()).sum();
        held + taken
    }

    fn audit(&self) {
        assert!(self.descriptors() <= DESCRIPTORS, "too many descriptors");
        assert_eq!(self.admission.taken(), self.running.len());
        assert_eq!(self.admission.waiting(), self.queue.len());
        assert!(self.running.len() <= SLOTS && self.queue.len() <= PLACES);
        assert!(self.queue.is_empty() || self.running.len() == SLOTS);
        let in_clients = self.clients.iter().flatten();
        let in_clients = in_clients.map(|client| client.connection.jobs.len());
        let all = self.running.len() + self.queue.len();
        assert_eq!((self.jobs.len(), in_clients.sum::<usize>()), (all, all));
    }
}

impl Client {
    fn new(now: Instant) -> Self {
        let (ours, peer) = packet::pair().unwrap();
        Client {
            connection: Connection::new(ours, now),
            peer,
            greeted: false,
            said: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }

    /// The answers that are complete now.
    fn receive(&mut self) -> Vec<(u32, Vec<u8>)> {
        let mut answers = Vec::new();
        let mut buffer = [0; ANSWER_BYTES + 1];
        while let Ok(Some(got)) =
            packet::receive(&self.peer, &mut buffer, RecvFlags::DONTWAIT)
        {
            assert!(!got.cut && got.fds.is_empty() && got.bytes <= ANSWER_BYTES);
            let (head, body) = buffer[..got.bytes].split_at(protocol::HEADER_BYTES);
            let number = u32::from_be_bytes(*head[4..].first_chunk().unwrap());
            self.parts.entry(number).or_default().extend(body);
            if head[1] == 0 {
                answers.extend(self.parts.remove_entry(&number));
            }
        }
        answers
    }
}

/// A packet, and how many descriptors go with it.
fn written(script: &mut Script<'_>) -> (Vec<u8>, usize) {
    let (form, number) = (script.byte(), script.byte() % 4);
    let head = |kind: u8| vec![kind, 0, 0, 0, 0, 0, 0, number];
    let count = usize::from(form >> 4);
    match form % 8 {
        0 => (script.string().to_vec(), count),
        1 => ([&head(b'H')[..], br#"{"version": 1}"#].concat(), count / 8),
        2 => ([&head(b'H')[..], script.string()].concat(), count / 8),
        3 => {
            let manifest = script.string();
            let bytes = manifest.len() as u32 + u32::from(script.byte());
            let fds = count as u32 + u32::from(script.byte() % 4);
            (begin(number, bytes, fds, script, manifest), count)
        }
        4 => ([&head(b'M')[..], script.string()].concat(), count),
        5 => (head(b'C'), 0),
        6 => (head(b'S'), 0),
        // A request that is right, or begins so.
        _ => {
            let length = MANIFEST.len() - usize::from(script.byte());
            let bytes = MANIFEST.len() as u32;
            (
                begin(number, bytes, 8, script, &MANIFEST[..length]),
                count / 2 + 1,
            )
        }
    }
}

fn begin(
    request: u8,
    bytes: u32,
    fds: u32,
    script: &mut Script<'_>,
    manifest: &[u8],
) -> Vec<u8> {
    // Most of them right, some beyond all limits.
    let (bytes, fds) = match script.byte() {
        0 => (u32::MAX - bytes, fds),
        1 => (bytes, u32::MAX - fds),
        _ => (bytes, fds),
    };
    let queue = u32::from(script.byte() % 2) * 1000;
    let mut packet = vec![b'B', 0, 0, 0, 0, 0, 0, request];
    packet.extend([bytes, fds, queue].into_iter().flat_map(u32::to_be_bytes));
    packet.extend(manifest);
    packet
}
