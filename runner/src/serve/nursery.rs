//! Processes that wait for a job: who forks them, how many there are, for what.
//!
//! A pool has a zygote and the processes that it forked. The general pool is for any
//! program and always there; a program that comes again gets a pool of its own, whose
//! processes have its code mapped already. The pools of programs are bounded and the
//! one that was used longest ago goes first; what nobody used for a while keeps no
//! process waiting.
//!
//! This file orders and counts; what becomes of a process that has a job is not its
//! affair. A zygote that dies is replaced, and so is one that has forked many: its
//! children share the layout of its memory, which must not become an old secret.

mod key;
mod pool;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustix::process::Pid;

use crate::error::Error;
use crate::manifest::Manifest;

use super::admission::JobId;
use super::packet::{self, Outbox};
use super::poller::{Poller, ProcessId, Token};
use super::zygote::Order;

pub use key::{Key, files_of_key};
pub use pool::{Born, REST, Spare};
use pool::{Expected, LEDGER_CHANNELS, LEDGER_STDERR_BYTES, Pool, Zygote};

pub type PoolId = u64;

/// The general pool.
pub const GENERAL: PoolId = 0;

/// Forks after which a zygote is replaced.
const MAX_FORKS: u32 = 4096;
/// A pool that was not used for so long keeps no process waiting.
const COLD_AFTER: Duration = Duration::from_secs(30);
/// A zygote that does not answer for so long is hung.
const HUNG_AFTER: Duration = Duration::from_secs(5);
/// Pause before a zygote is replaced that forked nothing.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Programs that came once, remembered for the next time.
const MAX_SEEN: usize = 256;

pub struct Nursery {
    pools: BTreeMap<PoolId, Pool>,
    by_key: HashMap<Key, PoolId>,
    seen: VecDeque<Key>,
    next_pool: PoolId,
    idle: usize,
    max_programs: usize,
    closing: bool,
}

/// What [`Nursery::ask`] has to say.
pub enum Answer {
    Spare(Spare),
    /// It will come.
    Later,
}

impl Nursery {
    /// Keeps `idle` processes waiting per pool, pools for at most `max_programs`.
    pub fn new(idle: usize, max_programs: usize, now: Instant) -> Self {
        Nursery {
            pools: BTreeMap::from([(GENERAL, Pool::new(None, now))]),
            by_key: HashMap::new(),
            seen: VecDeque::new(),
            next_pool: GENERAL + 1,
            idle,
            max_programs,
            closing: false,
        }
    }

    /// True when the general pool has no zygote and may have one at `now`.
    pub fn needs_zygote(&self, now: Instant) -> bool {
        let pool = self.pools.get(&GENERAL);
        !self.closing
            && pool.is_some_and(|pool| {
                pool.zygote.is_none() && pool.retry_at.is_none_or(|at| at <= now)
            })
    }

    /// Takes a zygote into its pool. False if that pool is gone.
    pub fn add_zygote(
        &mut self,
        pool: PoolId,
        process: ProcessId,
        control: OwnedFd,
        poller: &Poller,
        now: Instant,
    ) -> Result<bool, Error> {
        let Some(entry) = self.pools.get_mut(&pool) else {
            return Ok(false);
        };
        poller.add(&control, Token::Zygote(pool))?;
        entry.zygote = Some(Zygote {
            process,
            control,
            outbox: Outbox::default(),
            expected: VecDeque::new(),
            waiting_since: now,
            forks: 0,
        });
        entry.retry_at = None;
        Ok(true)
    }

    /// Asks for a process for `job`, whose program is `key`.
    pub fn ask(
        &mut self,
        job: JobId,
        manifest: &Manifest,
        key: Option<&Key>,
        now: Instant,
    ) -> Result<Answer, Error> {
        let own = key.and_then(|key| self.by_key.get(key)).copied();
        let own =
            own.filter(|id| self.pools.get(id).is_some_and(|pool| pool.zygote.is_some()));
        let id = own.unwrap_or(GENERAL);
        let Some(pool) = self.pools.get_mut(&id) else {
            return Err(Error::failure("pool", id));
        };
        pool.used = now;
        let channels = manifest.channels.len();
        let stderr_bytes = manifest.limits.stderr_bytes as usize;
        if channels > LEDGER_CHANNELS || stderr_bytes > LEDGER_STDERR_BYTES {
            pool.order_spare(channels, stderr_bytes, Some(job), now)?;
            return Ok(Answer::Later);
        }
        match pool.spares.pop_front() {
            Some(spare) => Ok(Answer::Spare(spare)),
            None => {
                pool.wanted.push_back(job);
                Ok(Answer::Later)
            }
        }
    }

    /// A job that asked has no need any more, or is asked for again.
    pub fn forget(&mut self, job: JobId) {
        for pool in self.pools.values_mut() {
            pool.wanted.retain(|wanted| *wanted != job);
        }
    }

    /// The job that has waited longest for a process of `pool`.
    pub fn next_wanted(&mut self, pool: PoolId) -> Option<JobId> {
        self.pools.get_mut(&pool)?.wanted.pop_front()
    }

    /// Keeps a process until a job comes. False if it is not wanted.
    pub fn keep(&mut self, pool: PoolId, spare: Spare) -> bool {
        match self.pools.get_mut(&pool) {
            Some(entry) if !self.closing => {
                entry.spares.push_back(spare);
                true
            }
            _ => false,
        }
    }

    /// Whether a program has no pool and may get one ([`Nursery::learn`]).
    pub fn is_new(&self, key: &Key) -> bool {
        self.max_programs > 0 && !self.closing && !self.by_key.contains_key(key)
    }

    /// Remembers a program that has run and is new, and gives it a pool when it comes
    /// again.
    pub fn learn(
        &mut self,
        key: Key,
        files: Vec<OwnedFd>,
        now: Instant,
    ) -> Result<(), Error> {
        let Some(at) = self.seen.iter().position(|seen| *seen == key) else {
            self.seen.truncate(MAX_SEEN - 1);
            self.seen.push_front(key);
            return Ok(());
        };
        self.seen.remove(at);
        if self.by_key.len() >= self.max_programs && !self.evict() {
            return Ok(());
        }
        self.order_zygote(key, files, now)
    }

    fn order_zygote(
        &mut self,
        key: Key,
        files: Vec<OwnedFd>,
        now: Instant,
    ) -> Result<(), Error> {
        let (sha256, images) = key.digests();
        let order = Order::Zygote {
            kind: key.kind,
            sha256,
            images,
        };
        let id = self.next_pool;
        let general = self.pools.get_mut(&GENERAL);
        let Some(zygote) = general.and_then(|pool| pool.zygote.as_mut()) else {
            return Ok(());
        };
        let (control, theirs) =
            packet::pair().map_err(|errno| Error::failure("socketpair", errno))?;
        let mut fds = vec![theirs];
        fds.extend(files);
        zygote.order(&order, fds, Expected::Zygote { pool: id, control }, now);
        self.next_pool += 1;
        self.by_key.insert(key.clone(), id);
        self.pools.insert(id, Pool::new(Some(key), now));
        Ok(())
    }

    /// Gives up the pool that was used longest ago. False if all are busy.
    fn evict(&mut self) -> bool {
        let pools = self.pools.iter();
        let oldest = pools
            .filter(|(id, pool)| **id != GENERAL && !pool.is_busy())
            .min_by_key(|(_, pool)| pool.used)
            .map(|(id, _)| *id);
        oldest.is_some_and(|id| {
            self.remove(id);
            true
        })
    }

    /// Gives a pool up: its processes see the end of their sockets and go.
    fn remove(&mut self, id: PoolId) -> Vec<JobId> {
        let Some(pool) = self.pools.remove(&id) else {
            return Vec::new();
        };
        if let Some(key) = pool.key {
            self.by_key.remove(&key);
        }
        pool.wanted.into()
    }

    /// Orders what is missing. Gives the moment to come again. Errors are of this
    /// machine, not of a job.
    pub fn replenish(&mut self, now: Instant) -> Result<Option<Instant>, Error> {
        let mut again: Option<Instant> = None;
        if self.closing {
            return Ok(None);
        }
        for (id, pool) in &mut self.pools {
            let is_cold = *id != GENERAL && now.duration_since(pool.used) > COLD_AFTER;
            let idle = if is_cold { 0 } else { self.idle };
            let moment = pool.replenish(idle, now)?;
            again = again.into_iter().chain(moment).min();
        }
        Ok(again)
    }

    /// Sends the orders of a pool that wait, as far as the socket takes them.
    pub fn flush(&mut self) {
        for zygote in self
            .pools
            .values_mut()
            .filter_map(|pool| pool.zygote.as_mut())
        {
            // A broken socket is the end of the zygote, which is told elsewhere.
            let _ = zygote.outbox.flush(&zygote.control);
        }
    }

    /// What the zygote of `pool` has forked; none when there is no news yet.
    pub fn receive(&mut self, pool: PoolId, now: Instant) -> Option<Born> {
        let zygote = self.pools.get_mut(&pool)?.zygote.as_mut()?;
        let mut answer = [0; 8];
        let flags = RecvFlags::DONTWAIT;
        let received = packet::receive(&zygote.control, &mut answer, flags).ok()??;
        let number = answer.get(..received.bytes)?.first_chunk()?;
        let pid = Pid::from_raw(i32::from_ne_bytes(*number).max(0));
        zygote.waiting_since = now;
        zygote.forks += 1;
        Some(match (zygote.expected.pop_front()?, pid) {
            (
                Expected::Spare {
                    socket,
                    ledger,
                    job,
                },
                Some(pid),
            ) => Born::Spare {
                pool,
                pid,
                socket,
                ledger,
                job,
            },
            (Expected::Zygote { pool, control }, Some(pid)) => {
                Born::Zygote { pool, pid, control }
            }
            (Expected::Spare { job, .. }, None) => Born::Failed { job },
            (Expected::Zygote { pool, .. }, None) => {
                self.remove(pool);
                Born::Failed { job: None }
            }
        })
    }

    /// A process has ended that had no job: a spare, or the zygote itself. Gives the
    /// jobs that must ask again.
    pub fn ended(&mut self, process: ProcessId, now: Instant) -> Vec<JobId> {
        let mut lost = None;
        for (id, pool) in &mut self.pools {
            let before = pool.spares.len();
            pool.spares.retain(|spare| spare.process != process);
            if pool.spares.len() < before {
                // Whatever kills them, let it not be a race with us.
                pool.retry_at = Some(now + RETRY_AFTER);
                return Vec::new();
            }
            let zygote = pool.zygote.as_ref();
            if zygote.is_some_and(|zygote| zygote.process == process) {
                lost = Some(*id);
            }
        }
        lost.map(|id| self.lose_zygote(id, now)).unwrap_or_default()
    }

    fn lose_zygote(&mut self, id: PoolId, now: Instant) -> Vec<JobId> {
        let Some(pool) = self.pools.get_mut(&id) else {
            return Vec::new();
        };
        let mut jobs = Vec::new();
        let mut pools = Vec::new();
        if let Some(zygote) = pool.zygote.take() {
            if zygote.forks == 0 {
                pool.retry_at = Some(now + RETRY_AFTER);
            }
            for expected in zygote.expected {
                match expected {
                    Expected::Spare { job, .. } => jobs.extend(job),
                    Expected::Zygote { pool, .. } => pools.push(pool),
                }
            }
        }
        if id != GENERAL {
            pools.push(id);
        }
        for pool in pools {
            jobs.extend(self.remove(pool));
        }
        jobs
    }

    /// The zygotes that must be ended: hung, or used up.
    pub fn overdue(&self, now: Instant) -> Vec<ProcessId> {
        let zygotes = self.pools.values().filter_map(|pool| pool.zygote.as_ref());
        zygotes
            .filter(|zygote| {
                let hung = !zygote.expected.is_empty()
                    && now.duration_since(zygote.waiting_since) > HUNG_AFTER;
                hung || (zygote.forks > MAX_FORKS && zygote.expected.is_empty())
            })
            .map(|zygote| zygote.process)
            .collect()
    }

    /// Gives up the room that a crowd needed.
    pub fn shrink(&mut self) {
        for pool in self.pools.values_mut() {
            pool.spares.shrink_to_fit();
            pool.wanted.shrink_to_fit();
            if let Some(zygote) = &mut pool.zygote {
                zygote.expected.shrink_to_fit();
                zygote.outbox.shrink();
            }
        }
    }

    /// Lets all processes go that have no job.
    pub fn close(&mut self) {
        self.closing = true;
        let ids: Vec<PoolId> = self.pools.keys().copied().collect();
        for id in ids {
            self.remove(id);
        }
    }

    /// Processes that wait, and programs that have a pool.
    pub fn counts(&self) -> (usize, usize) {
        let waiting = self.pools.values().map(|pool| pool.spares.len()).sum();
        (waiting, self.by_key.len())
    }
}
