//! One client: its packets become requests, its answers wait here.
//!
//! A request is collected until its manifest and its descriptors are complete. What
//! one request has wrong is answered under its number and hurts no other; what is
//! wrong with the connection itself (a packet of no meaning, a stall in the middle of
//! a request) ends it, and with it all of its VMs: nobody could be told of them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::error::{Code, Error};

use super::admission::JobId;
use super::packet::Outbox;
use super::protocol::{self, Begin, Message, bad};

/// How long a request, or the hello, may take to arrive.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Requests of one connection that have begun and are not complete.
const MAX_PARTIAL: usize = 16;
/// With so much waiting for a client, nothing more is read from it.
const MAX_WAITING_BYTES: usize = 1 << 20;

pub struct Connection {
    pub socket: OwnedFd,
    pub outbox: Outbox,
    /// The requests that run, by the client's numbers.
    pub jobs: BTreeMap<u32, JobId>,
    /// When the client last took something, or was owed nothing.
    pub taken: Instant,
    /// What epoll was last told.
    pub interest: (bool, bool),
    since: Instant,
    greeted: bool,
    partial: BTreeMap<u32, Partial>,
}

/// A request that is not complete.
struct Partial {
    manifest: Vec<u8>,
    manifest_bytes: usize,
    fds: Vec<OwnedFd>,
    descriptors: usize,
    queue: Duration,
    since: Instant,
    /// It was refused; what still comes of it is thrown away.
    refused: bool,
    received: (usize, usize),
}

/// A request that is complete.
pub struct Request {
    pub number: u32,
    pub manifest: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    pub queue: Duration,
}

/// What a packet asks of the daemon.
pub enum Action {
    Nothing,
    Welcome,
    Run(Request),
    Refuse(u32, Error),
    Cancel(JobId),
    Status(u32),
}

/// What a client may have here.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Descriptors of one request.
    pub request: usize,
    /// Descriptors that the daemon can take at the moment.
    pub now: usize,
}

impl Connection {
    pub fn new(socket: OwnedFd, now: Instant) -> Self {
        Connection {
            socket,
            outbox: Outbox::default(),
            jobs: BTreeMap::new(),
            taken: now,
            interest: (true, false),
            since: now,
            greeted: false,
            partial: BTreeMap::new(),
        }
    }

    /// Whether to read from it, and whether to wait until it can be written to.
    pub fn wanted_interest(&self) -> (bool, bool) {
        let reads = self.outbox.bytes() < MAX_WAITING_BYTES;
        (reads, !self.outbox.is_empty())
    }

    /// Descriptors of requests that are not complete, those still to come included:
    /// whoever was told nothing else may send them.
    pub fn held(&self) -> usize {
        let partial = self.partial.values().filter(|partial| !partial.refused);
        partial.map(|partial| partial.descriptors).sum()
    }

    /// What the client has been slow with at `now`; an error ends the connection.
    pub fn check_patience(&self, now: Instant) -> Result<(), Error> {
        let seconds = PATIENCE.as_secs();
        if !self.greeted && now.duration_since(self.since) >= PATIENCE {
            let message = format!("no hello within {seconds} seconds");
            return Err(Error::refused(Code::BadPacket, message));
        }
        let slow = self
            .partial
            .iter()
            .find(|(_, partial)| now.duration_since(partial.since) >= PATIENCE);
        if let Some((number, partial)) = slow {
            let (bytes, descriptors) = partial.received;
            let message = format!(
                "request {number} is not complete after {seconds} seconds: {bytes} of \
                 {} bytes and {descriptors} of {} descriptors have come",
                partial.manifest_bytes, partial.descriptors
            );
            return Err(Error::refused(Code::BadPacket, message));
        }
        Ok(())
    }

    /// True while [`Connection::check_patience`] has to be asked again.
    pub fn tries_patience(&self) -> bool {
        !self.greeted || !self.partial.is_empty()
    }

    /// Takes one packet. An error ends the connection.
    pub fn take(
        &mut self,
        packet: &[u8],
        fds: Vec<OwnedFd>,
        allowance: Allowance,
        now: Instant,
    ) -> Result<Action, Error> {
        let message = protocol::parse(packet)?;
        let carries = matches!(message, Message::Begin(_) | Message::More(..));
        if !carries && !fds.is_empty() {
            return Err(bad("that names no request has descriptors".to_owned()));
        }
        if !self.greeted && !matches!(message, Message::Hello(_)) {
            return Err(bad("came before the hello".to_owned()));
        }
        match message {
            Message::Hello(_) if self.greeted => Err(bad("is a second hello".to_owned())),
            Message::Hello(protocol::VERSION) => {
                self.greeted = true;
                Ok(Action::Welcome)
            }
            Message::Hello(version) => {
                let message = format!(
                    "the client speaks version {version}; this daemon speaks {}",
                    protocol::VERSION
                );
                Err(Error::refused(Code::UnknownVersion, message))
            }
            Message::Begin(begin) => self.begin(begin, fds, allowance, now),
            Message::More(number, bytes) => self.more(number, bytes, fds),
            Message::Cancel(number) => Ok(match self.jobs.get(&number) {
                Some(job) => Action::Cancel(*job),
                // It has just been answered; the answer is on its way.
                None => Action::Nothing,
            }),
            Message::Status(number) => Ok(Action::Status(number)),
        }
    }

    fn begin(
        &mut self,
        begin: Begin<'_>,
        fds: Vec<OwnedFd>,
        allowance: Allowance,
        now: Instant,
    ) -> Result<Action, Error> {
        let number = begin.request;
        if self.jobs.contains_key(&number) || self.partial.contains_key(&number) {
            return Err(bad(format!("begins request {number}, which is there")));
        }
        if self.partial.len() >= MAX_PARTIAL {
            let what = format!("begins a request while {MAX_PARTIAL} are incomplete");
            return Err(bad(what));
        }
        let checked = protocol::check_size(&begin, allowance.request).and_then(|()| {
            if begin.descriptors <= allowance.now {
                return Ok(());
            }
            let message = "the daemon has too many descriptors open just now";
            Err(Error::refused(Code::Busy, message))
        });
        let mut partial = Partial {
            manifest: Vec::new(),
            manifest_bytes: begin.manifest_bytes,
            fds: Vec::new(),
            descriptors: begin.descriptors,
            queue: Duration::from_millis(begin.queue_milliseconds.into()),
            since: now,
            refused: checked.is_err(),
            received: (0, 0),
        };
        partial.add(number, begin.manifest, fds)?;
        let complete = partial.is_complete();
        match (checked, complete) {
            (Ok(()), true) => Ok(Action::Run(partial.into_request(number))),
            (Ok(()), false) => {
                self.partial.insert(number, partial);
                Ok(Action::Nothing)
            }
            (Err(error), complete) => {
                if !complete {
                    self.partial.insert(number, partial);
                }
                Ok(Action::Refuse(number, error))
            }
        }
    }

    fn more(
        &mut self,
        number: u32,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<Action, Error> {
        let Some(partial) = self.partial.get_mut(&number) else {
            return Err(bad(format!(
                "continues request {number}, which is not there"
            )));
        };
        partial.add(number, bytes, fds)?;
        if !partial.is_complete() {
            return Ok(Action::Nothing);
        }
        match self.partial.remove(&number) {
            Some(partial) if !partial.refused => {
                Ok(Action::Run(partial.into_request(number)))
            }
            _ => Ok(Action::Nothing),
        }
    }
}

impl Partial {
    fn add(&mut self, number: u32, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<(), Error> {
        if bytes.is_empty() && fds.is_empty() && self.descriptors > 0 {
            return Err(bad(format!("of request {number} brings nothing")));
        }
        self.received.0 += bytes.len();
        self.received.1 += fds.len();
        if self.received.0 > self.manifest_bytes {
            return Err(bad(format!(
                "brings request {number} to {} bytes; it said {}",
                self.received.0, self.manifest_bytes
            )));
        }
        if self.received.1 > self.descriptors {
            return Err(bad(format!(
                "brings request {number} to {} descriptors; it said {}",
                self.received.1, self.descriptors
            )));
        }
        if !self.refused {
            self.manifest.extend(bytes);
            self.fds.extend(fds);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.received == (self.manifest_bytes, self.descriptors)
    }

    fn into_request(self, number: u32) -> Request {
        Request {
            number,
            manifest: self.manifest,
            fds: self.fds,
            queue: self.queue,
        }
    }
}

#[cfg(test)]
mod tests;
