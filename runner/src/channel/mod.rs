//! Channels: the opened byte streams behind the devices of a job, and all that
//! a guest can reach of the world.
//!
//! A channel checks, in the order of what is cheapest to refuse: direction, the
//! quota of calls, the quota of bytes; then it moves bytes between a descriptor
//! and the guest's memory without a copy. A read fills the buffers completely
//! unless the end comes first, so that a guest never sees how a pipe happened to
//! be filled. Whoever calls must pass buffers of *guest* memory only.
//!
//! Positions are kept here and regular files are read and written by offset, so
//! two channels over one descriptor do not disturb each other.

mod digest;
mod file;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno as HostErrno;
use serde::{Deserialize, Serialize};

use crate::chance::{Source, noise};
use crate::guest::wasi::Errno;
use crate::ledger::{Counts, Ledger};
use crate::outcome::{Limit, Outcome};

use digest::Sequential;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Sequential,
    Random,
}

/// Where [`Channel::seek`] counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    Start,
    Current,
    End,
}

/// Why an operation on a channel did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest sees this errno and goes on.
    Errno(Errno),
    /// The whole session ends so.
    End(Outcome),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Fault::Errno(errno)
    }
}

/// What a channel is, before its descriptor is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    pub path: String,
    pub direction: Direction,
    pub access: Access,
    pub limit_bytes: u64,
    pub limit_calls: u64,
}

/// One open channel. Its counters live in the ledger under `index`.
#[derive(Debug)]
pub struct Channel {
    spec: ChannelSpec,
    fd: OwnedFd,
    /// Length of a regular file (grows with writes); `None` for a stream.
    size: Option<u64>,
    position: u64,
    /// The stream's end was seen: there is nothing more, whatever comes.
    ended: bool,
    counts: Counts,
    digest: Option<Sequential>,
    ledger: Ledger,
    index: usize,
}

impl Channel {
    /// Takes `fd` as the channel `index` of the session.
    ///
    /// Fails with the reason when the descriptor is not of a kind that carries
    /// bytes (a directory, a block device), or an output is opened for appending,
    /// which would ignore offsets.
    pub fn open(
        spec: ChannelSpec,
        fd: OwnedFd,
        ledger: Ledger,
        index: usize,
    ) -> Result<Self, String> {
        let size = regular_size(&fd)?;
        let flags = check_mode(&fd, spec.direction)?;
        let writes = size.is_some() && spec.direction == Direction::Write;
        if writes && flags.contains(OFlags::APPEND) {
            return Err("is opened for appending".to_owned());
        }
        make_wait(&fd, flags)?;
        Ok(Self::new(spec, fd, size, ledger, index))
    }

    /// As [`Channel::open`], but a regular file is a stream too: bytes go where the
    /// descriptor's own offset is, which a shell shares with other programs.
    pub fn open_stream(
        spec: ChannelSpec,
        fd: OwnedFd,
        ledger: Ledger,
        index: usize,
    ) -> Result<Self, String> {
        regular_size(&fd)?;
        let flags = check_mode(&fd, spec.direction)?;
        make_wait(&fd, flags)?;
        Ok(Self::new(spec, fd, None, ledger, index))
    }

    fn new(
        spec: ChannelSpec,
        fd: OwnedFd,
        size: Option<u64>,
        ledger: Ledger,
        index: usize,
    ) -> Self {
        let digest = (spec.direction == Direction::Read).then(Sequential::new);
        let counts = Counts::default();
        Channel {
            spec,
            fd,
            size,
            position: 0,
            ended: false,
            counts,
            digest,
            ledger,
            index,
        }
    }

    pub fn path(&self) -> &str {
        &self.spec.path
    }

    pub fn direction(&self) -> Direction {
        self.spec.direction
    }

    pub fn access(&self) -> Access {
        self.spec.access
    }

    /// Length of a regular file; `None` for a stream.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// True when what was written cannot be read back by this descriptor.
    pub fn is_write_only(&self) -> bool {
        let flags = rustix::fs::fcntl_getfl(&self.fd);
        flags.is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::WRONLY)
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads at the sequential position; 0 means the end (or no room in `bufs`).
    pub fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize, Fault> {
        let position = self.position;
        let count = self.transfer_in(bufs, position)?;
        if let Some(digest) = &mut self.digest {
            digest.delivered(bufs, count);
        }
        self.position += count as u64;
        Ok(count)
    }

    /// Reads at `offset` without moving the position; random access only.
    pub fn read_at(
        &mut self,
        bufs: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> Result<usize, Fault> {
        self.check_random()?;
        let count = self.transfer_in(bufs, offset)?;
        // What was delivered is no longer "the bytes from 0 on".
        self.digest = None;
        Ok(count)
    }

    /// Writes all of `bufs` at the sequential position.
    pub fn write(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize, Fault> {
        let position = self.position;
        let count = self.transfer_out(bufs, position)?;
        self.position += count as u64;
        Ok(count)
    }

    /// Writes all of `bufs` at `offset` without moving the position; random
    /// access only.
    pub fn write_at(
        &mut self,
        bufs: &[IoSlice<'_>],
        offset: u64,
    ) -> Result<usize, Fault> {
        self.check_random()?;
        self.transfer_out(bufs, offset)
    }

    /// Moves the position; random access only. Beyond the end is allowed.
    pub fn seek(&mut self, offset: i64, whence: Whence) -> Result<u64, Fault> {
        self.check_random()?;
        let base = match whence {
            Whence::Start => 0,
            Whence::Current => self.position,
            Whence::End => self.size.unwrap_or(0),
        };
        let target = base.checked_add_signed(offset).ok_or(Errno::Inval)?;
        if i64::try_from(target).is_err() {
            return Err(Errno::Overflow.into());
        }
        if target != self.position {
            self.digest = None;
        }
        self.position = target;
        Ok(target)
    }

    /// Cuts or extends a regular output to `length` bytes, as far as its quota
    /// allows. A sequential output can only be cut to nothing before anything
    /// was written, which is what opening with truncation does.
    pub fn truncate(&mut self, length: u64) -> Result<(), Fault> {
        if self.spec.direction != Direction::Write {
            return Err(Errno::Inval.into());
        }
        if self.spec.access == Access::Sequential || self.size.is_none() {
            let untouched = length == 0 && self.position == 0;
            return if untouched {
                Ok(())
            } else {
                Err(Errno::Inval.into())
            };
        }
        self.check_extent(length)?;
        self.count_call()?;
        self.counts.writes += 1;
        self.record();
        rustix::fs::ftruncate(&self.fd, length)
            .map_err(|errno| self.host_failed("ftruncate", errno))?;
        self.size = Some(length);
        Ok(())
    }

    /// Panics if the guest got past a limit of this channel.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn audit(&self) {
        let (spec, counts) = (&self.spec, self.counts);
        assert!(counts.reads + counts.writes <= spec.limit_calls);
        assert!(counts.read_bytes <= spec.limit_bytes);
        let one_way = match spec.direction {
            Direction::Read => counts.writes == 0 && counts.write_bytes == 0,
            Direction::Write => counts.reads == 0 && counts.read_bytes == 0,
        };
        assert!(one_way, "both ways through {}", spec.path);
        if let (Some(size), Direction::Write) = (self.size, spec.direction) {
            assert!(size <= spec.limit_bytes);
            let stat = rustix::fs::fstat(&self.fd);
            assert!(stat.is_ok_and(|stat| stat.st_size.unsigned_abs() == size));
        }
    }

    /// The counters so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// BLAKE3 of what was delivered, if that was the bytes from 0 on in order.
    pub fn delivered_blake3(&self) -> Option<[u8; 32]> {
        let digest = self.digest.as_ref().map(Sequential::finish)?;
        Some(match noise(Source::ReadDigest) {
            Some(noise) => *blake3::hash(&noise.to_le_bytes()).as_bytes(),
            None => digest,
        })
    }

    fn transfer_in(
        &mut self,
        bufs: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> Result<usize, Fault> {
        if self.spec.direction != Direction::Read {
            return Err(Errno::Badf.into());
        }
        self.count_call()?;
        self.counts.reads += 1;
        let quota = self.spec.limit_bytes.saturating_sub(self.counts.read_bytes);
        let result = match self.size {
            Some(size) => file::read_file(self.fd.as_fd(), bufs, offset, size, quota),
            None if self.ended => Ok(0),
            None => file::read_stream(self.fd.as_fd(), bufs, quota).map(|taken| {
                self.ended = taken.ended;
                taken.count
            }),
        };
        let outcome = match result {
            Ok(count) => {
                self.counts.read_bytes += count as u64;
                Ok(count)
            }
            Err(file::ReadError::Quota) => Err(self.over(
                Limit::InputBytes,
                format!("more than {} bytes read", self.spec.limit_bytes),
            )),
            Err(file::ReadError::Host(errno)) => Err(self.host_failed("read", errno)),
        };
        self.record();
        outcome
    }

    fn transfer_out(
        &mut self,
        bufs: &[IoSlice<'_>],
        offset: u64,
    ) -> Result<usize, Fault> {
        if self.spec.direction != Direction::Write {
            return Err(Errno::Badf.into());
        }
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        let end = offset.checked_add(length as u64).ok_or(Errno::Fbig)?;
        self.count_call()?;
        self.counts.writes += 1;
        self.record();
        if length == 0 {
            return Ok(0);
        }
        self.check_extent(end)?;
        let result = match self.size {
            Some(_) => file::write_file(self.fd.as_fd(), bufs, offset),
            None => file::write_stream(self.fd.as_fd(), bufs),
        };
        result.map_err(|errno| match errno {
            // A stream's reader went away, as in `zvm run … | head`.
            HostErrno::PIPE => self.reader_gone(),
            errno => self.host_failed("write", errno),
        })?;
        if let Some(size) = &mut self.size {
            *size = end.max(*size);
        }
        self.counts.write_bytes += length as u64;
        self.record();
        Ok(length)
    }

    /// Refuses what a sequential channel or a stream cannot do.
    fn check_random(&self) -> Result<(), Fault> {
        if self.spec.access == Access::Sequential || self.size.is_none() {
            return Err(Errno::Spipe.into());
        }
        Ok(())
    }

    fn count_call(&mut self) -> Result<(), Fault> {
        let calls = self.counts.reads + self.counts.writes;
        if calls >= self.spec.limit_calls {
            let what = format!("more than {} calls", self.spec.limit_calls);
            return Err(self.over(Limit::ChannelCalls, what));
        }
        Ok(())
    }

    /// Ends the run when the output would become `end` bytes long and its quota
    /// is smaller. For random access the quota bounds the extent: that is what
    /// gets stored, and what fills the staging disk.
    fn check_extent(&self, end: u64) -> Result<(), Fault> {
        if end > self.spec.limit_bytes {
            let limit = self.spec.limit_bytes;
            let what = format!("{end} bytes written; the limit is {limit}");
            return Err(self.over(Limit::OutputBytes, what));
        }
        Ok(())
    }

    fn over(&self, limit: Limit, what: String) -> Fault {
        let message = format!("{}: {what} ({})", self.spec.path, limit.name());
        Fault::End(Outcome::Limit { limit, message })
    }

    fn host_failed(&self, call: &str, errno: HostErrno) -> Fault {
        Fault::End(Outcome::Failure(format!(
            "{}: {call}: {errno}",
            self.spec.path
        )))
    }

    /// Ends the run as SIGPIPE ends a process that knows nothing better.
    fn reader_gone(&self) -> Fault {
        let message = format!("{}: its reader has gone", self.spec.path);
        Fault::End(Outcome::Killed {
            signal: libc::SIGPIPE,
            message,
        })
    }

    fn record(&self) {
        self.ledger.set_counts(self.index, self.counts);
    }
}

/// Length of a regular file, none for a stream, else what is wrong with `fd`.
fn regular_size(fd: &OwnedFd) -> Result<Option<u64>, String> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| format!("fstat: {errno}"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(stat.st_size.unsigned_abs())),
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice => Ok(None),
        other => Err(format!("is a {other:?}, not a file or a stream")),
    }
}

/// Makes calls on these descriptors wait, for a process that may not say so itself.
pub fn make_all_wait(fds: &[OwnedFd]) {
    for fd in fds {
        // What it is that cannot be made to wait is said where it is used.
        if let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
            let _ = make_wait(fd, flags);
        }
    }
}

/// A stream is waited for, in the call itself, though another program that has it
/// open has left it non-blocking: an empty pipe is neither an end nor an error.
fn make_wait(fd: &OwnedFd, flags: OFlags) -> Result<(), String> {
    if !flags.contains(OFlags::NONBLOCK) {
        return Ok(());
    }
    rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK)
        .map_err(|errno| format!("fcntl: {errno}"))
}

/// The flags of `fd`, if it was opened so that bytes can go in that direction.
fn check_mode(fd: &OwnedFd, direction: Direction) -> Result<OFlags, String> {
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|errno| format!("fcntl: {errno}"))?;
    let mode = flags & OFlags::ACCMODE;
    match direction {
        _ if flags.contains(OFlags::PATH) => Err("is a path only, not opened".to_owned()),
        Direction::Read if mode == OFlags::WRONLY => {
            Err("is opened for writing only; an input is read".to_owned())
        }
        Direction::Write if mode == OFlags::RDONLY => {
            Err("is opened for reading only; an output is written".to_owned())
        }
        _ => Ok(flags),
    }
}

#[cfg(test)]
mod tests;
