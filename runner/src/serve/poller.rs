//! What the daemon waits for: descriptors that have news, moments that come.
//!
//! One thread, one epoll. A token says what a descriptor belongs to; a moment can be
//! taken back by whoever set it, so that a thousand short lives do not leave a
//! thousand deadlines behind.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::session::watch::timespec;

use super::admission::JobId;
use super::nursery::PoolId;

/// The number of a process of ours; unlike a pid it is never used again.
pub type ProcessId = u64;
pub type ConnectionId = u64;

/// Whose descriptor has news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Listener,
    Signals,
    Connection(ConnectionId),
    /// A zygote's control socket.
    Zygote(PoolId),
    /// A process has ended.
    Process(ProcessId),
    /// The socket of a process that is being sent its job.
    Job(JobId),
}

const KINDS: u64 = 8;

impl Token {
    fn to_u64(self) -> u64 {
        match self {
            Token::Listener => 0,
            Token::Signals => 1,
            Token::Connection(number) => number * KINDS + 2,
            Token::Zygote(number) => number * KINDS + 3,
            Token::Process(number) => number * KINDS + 4,
            Token::Job(number) => number * KINDS + 5,
        }
    }

    fn from_u64(data: u64) -> Option<Self> {
        let number = data / KINDS;
        match data % KINDS {
            0 => Some(Token::Listener),
            1 => Some(Token::Signals),
            2 => Some(Token::Connection(number)),
            3 => Some(Token::Zygote(number)),
            4 => Some(Token::Process(number)),
            5 => Some(Token::Job(number)),
            _ => None,
        }
    }
}

/// What comes at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A job has waited long enough for a slot.
    Queue(JobId),
    /// A VM may have passed a limit.
    Watch(JobId),
    /// A client may be slow.
    Patience(ConnectionId),
    /// Those who wait for answers had the processors long enough.
    Housekeeping,
    /// Time to look after what nobody else looks after.
    Tick,
    /// Draining has lasted long enough.
    Drained,
}

/// Which alarm; for taking it back.
pub type AlarmId = (Instant, u64);

pub struct Poller {
    epoll: OwnedFd,
    alarms: BTreeMap<AlarmId, Alarm>,
    next: u64,
}

impl Poller {
    pub fn new() -> Result<Self, Error> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|errno| Error::failure("epoll_create", errno))?;
        Ok(Poller {
            epoll,
            alarms: BTreeMap::new(),
            next: 0,
        })
    }

    /// Watches `source` until it is closed or taken out.
    pub fn add(&self, source: impl AsFd, token: Token) -> Result<(), Error> {
        let data = EventData::new_u64(token.to_u64());
        epoll::add(&self.epoll, source, data, EventFlags::IN)
            .map_err(|errno| Error::failure("epoll_ctl", errno))
    }

    /// Watches `source` until it can be written to.
    pub fn add_writable(&self, source: impl AsFd, token: Token) -> Result<(), Error> {
        let data = EventData::new_u64(token.to_u64());
        epoll::add(&self.epoll, source, data, EventFlags::OUT)
            .map_err(|errno| Error::failure("epoll_ctl", errno))
    }

    pub fn modify(
        &self,
        source: impl AsFd,
        token: Token,
        (reads, writes): (bool, bool),
    ) -> Result<(), Error> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, reads);
        flags.set(EventFlags::OUT, writes);
        let data = EventData::new_u64(token.to_u64());
        epoll::modify(&self.epoll, source, data, flags)
            .map_err(|errno| Error::failure("epoll_ctl", errno))
    }

    pub fn remove(&self, source: impl AsFd) {
        // Closed already, at worst.
        let _ = epoll::delete(&self.epoll, source);
    }

    /// Sets an alarm.
    pub fn set(&mut self, at: Instant, alarm: Alarm) -> AlarmId {
        let id = (at, self.next);
        self.next += 1;
        self.alarms.insert(id, alarm);
        id
    }

    /// Takes an alarm back; it may have come.
    pub fn unset(&mut self, id: AlarmId) {
        self.alarms.remove(&id);
    }

    /// An alarm that has come by `now`.
    pub fn due(&mut self, now: Instant) -> Option<Alarm> {
        let entry = self.alarms.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Waits for news or an alarm. Each token comes with whether its descriptor is
    /// broken or at its end.
    pub fn wait(&self, tokens: &mut Vec<(Token, bool)>) -> Result<(), Error> {
        let mut space = [MaybeUninit::<Event>::uninit(); 64];
        let sleep = self
            .alarms
            .keys()
            .next()
            .map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let timeout = sleep.map(timespec);
        let events = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(Error::failure("epoll_wait", errno)),
        };
        for event in events {
            // The structure is packed: fields are copied, not referred to.
            let (data, flags) = (event.data, event.flags);
            if let Some(token) = Token::from_u64(data.u64()) {
                let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                tokens.push((token, broken));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let tokens = [
            Token::Listener,
            Token::Signals,
            Token::Connection(7),
            Token::Zygote(0),
            Token::Process(1 << 40),
            Token::Job(3),
        ];
        for token in tokens {
            assert_eq!(Token::from_u64(token.to_u64()), Some(token));
        }
    }

    #[test]
    fn alarms_come_in_order_and_can_be_taken_back() {
        let mut poller = Poller::new().unwrap();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        poller.set(now + second * 2, Alarm::Tick);
        let taken_back = poller.set(now, Alarm::Queue(1));
        poller.set(now + second, Alarm::Watch(2));
        poller.set(now + second, Alarm::Watch(3));
        poller.unset(taken_back);
        assert_eq!(poller.due(now), None);
        let at = now + second;
        assert_eq!(poller.due(at), Some(Alarm::Watch(2)));
        assert_eq!(poller.due(at), Some(Alarm::Watch(3)));
        assert_eq!(poller.due(at), None);
    }

    #[test]
    fn waiting_ends_with_news_or_an_alarm() {
        let mut poller = Poller::new().unwrap();
        let (ours, theirs) = super::super::packet::pair().unwrap();
        poller.add(&ours, Token::Job(9)).unwrap();
        let mut tokens = Vec::new();
        poller.set(Instant::now(), Alarm::Tick);
        poller.wait(&mut tokens).unwrap();
        assert_eq!(tokens, []);
        drop(theirs);
        poller.wait(&mut tokens).unwrap();
        assert_eq!(tokens, [(Token::Job(9), true)]);
    }
}
