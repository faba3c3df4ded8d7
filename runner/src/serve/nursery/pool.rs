//! A pool: a zygote, what it forked, and who waits for it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::error::Error;
use crate::ledger::Ledger;

use super::super::admission::JobId;
use super::super::packet::{self, Outbox};
use super::super::poller::ProcessId;
use super::super::zygote::Order;
use super::PoolId;
use super::key::Key;

/// What a waiting process's ledger has room for; pages that are not touched cost
/// nothing. A job that needs more has a process forked for it.
pub(super) const LEDGER_CHANNELS: usize = 256;
pub(super) const LEDGER_STDERR_BYTES: usize = 256 << 10;
/// Orders that a zygote has not answered.
const MAX_ORDERS: usize = 32;
/// A VM and its client have the processors for so long before what was taken is
/// replaced, while half of the pool is left.
pub const REST: Duration = Duration::from_millis(1);

/// A process that waits.
pub struct Spare {
    pub process: ProcessId,
    pub socket: OwnedFd,
    pub ledger: Ledger,
}

/// What a zygote was ordered to fork.
pub(super) enum Expected {
    Spare {
        socket: OwnedFd,
        ledger: Ledger,
        job: Option<JobId>,
    },
    Zygote {
        pool: PoolId,
        control: OwnedFd,
    },
}

/// What has been forked.
pub enum Born {
    Spare {
        pool: PoolId,
        pid: Pid,
        socket: OwnedFd,
        ledger: Ledger,
        /// The job that it was forked for, if it is for no other.
        job: Option<JobId>,
    },
    Zygote {
        pool: PoolId,
        pid: Pid,
        control: OwnedFd,
    },
    /// The kernel would not.
    Failed { job: Option<JobId> },
}

/// The process that others are forked from, and what it was ordered.
pub(super) struct Zygote {
    pub(super) process: ProcessId,
    pub(super) control: OwnedFd,
    pub(super) outbox: Outbox,
    pub(super) expected: VecDeque<Expected>,
    pub(super) waiting_since: Instant,
    pub(super) forks: u32,
}

/// Processes of one program, or of any.
pub(super) struct Pool {
    pub(super) key: Option<Key>,
    pub(super) zygote: Option<Zygote>,
    pub(super) spares: VecDeque<Spare>,
    pub(super) wanted: VecDeque<JobId>,
    pub(super) used: Instant,
    pub(super) retry_at: Option<Instant>,
}

impl Pool {
    pub(super) fn new(key: Option<Key>, now: Instant) -> Self {
        Pool {
            key,
            zygote: None,
            spares: VecDeque::new(),
            wanted: VecDeque::new(),
            used: now,
            retry_at: None,
        }
    }

    /// Spares that have been ordered, for nobody in particular.
    pub(super) fn ordered(&self) -> usize {
        let expected = self.zygote.iter().flat_map(|zygote| &zygote.expected);
        expected
            .filter(|expected| matches!(expected, Expected::Spare { job: None, .. }))
            .count()
    }

    /// Orders what is missing of `idle` processes, and for who waits; not at once, if
    /// it need not be. Gives the moment to come again.
    pub(super) fn replenish(
        &mut self,
        idle: usize,
        now: Instant,
    ) -> Result<Option<Instant>, Error> {
        if idle == 0 {
            self.spares.clear();
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return Ok(None);
        }
        let there = self.spares.len() + self.ordered();
        let rested = self.used + REST;
        if self.wanted.is_empty() && there * 2 >= idle && rested > now {
            return Ok((there < idle).then_some(rested));
        }
        let wanted = self.wanted.len() + idle;
        while self.zygote.is_some()
            && self.spares.len() + self.ordered() < wanted
            && self.ordered() < MAX_ORDERS
        {
            self.order_spare(LEDGER_CHANNELS, LEDGER_STDERR_BYTES, None, now)?;
        }
        Ok(None)
    }

    /// Orders a process, for `job` or for nobody in particular.
    pub(super) fn order_spare(
        &mut self,
        channels: usize,
        stderr_bytes: usize,
        job: Option<JobId>,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(zygote) = self.zygote.as_mut() else {
            let message = "no process can be forked just now";
            return Err(Error::Failure(message.to_owned()));
        };
        let (ledger, file) = Ledger::new_file(channels, stderr_bytes)?;
        ledger.touch();
        let (socket, theirs) =
            packet::pair().map_err(|errno| Error::failure("socketpair", errno))?;
        let order = Order::Fork {
            channels: channels as u32,
            stderr_bytes: stderr_bytes as u32,
        };
        let expected = Expected::Spare {
            socket,
            ledger,
            job,
        };
        zygote.order(&order, vec![theirs, file], expected, now);
        Ok(())
    }

    pub(super) fn is_busy(&self) -> bool {
        let expected = self.zygote.iter().flat_map(|zygote| &zygote.expected);
        !self.wanted.is_empty() || expected.count() > 0
    }
}

impl Zygote {
    pub(super) fn order(
        &mut self,
        order: &Order,
        fds: Vec<OwnedFd>,
        expected: Expected,
        now: Instant,
    ) {
        if self.expected.is_empty() {
            self.waiting_since = now;
        }
        self.outbox.push(order.to_bytes(), fds);
        self.expected.push_back(expected);
    }
}
