//! Watches over the VM's process until it ends or has to be ended.
//!
//! The code of a guest carries no checks of time: the parent sleeps until the next
//! moment at which a limit could be passed, and kills. A process with one thread
//! cannot use more processor time than time passes, so after a look at its clock
//! the parent may sleep as long as the rest of its allowance. RLIMIT_CPU in the
//! child is the second lock, one second later.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::Error;
use crate::manifest::Limits;
use crate::sys;

/// Shortest sleep between two looks at the child's processor time.
const CPU_GRAIN: Duration = Duration::from_millis(2);

/// Why the parent ended the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    Wall,
    Cpu,
    /// zvm got this signal.
    Told(i32),
    /// Whoever waits for the report has gone.
    NobodyListens,
}

/// The moments after which a VM may not run any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    wall: Instant,
    cpu: Duration,
}

impl Deadlines {
    pub fn new(limits: &Limits, started: Instant) -> Self {
        // The manifest's check has bounded both to days.
        Deadlines {
            wall: started + Duration::from_secs_f64(limits.wall_seconds),
            cpu: Duration::from_secs_f64(limits.cpu_seconds),
        }
    }

    /// What has passed at `now` with `cpu_used`, else how long nothing can pass.
    pub fn judge(&self, now: Instant, cpu_used: Duration) -> Result<Duration, Stopped> {
        let wall_left = self.wall.saturating_duration_since(now);
        let cpu_left = self.cpu.saturating_sub(cpu_used);
        if wall_left.is_zero() {
            return Err(Stopped::Wall);
        }
        if cpu_left.is_zero() {
            return Err(Stopped::Cpu);
        }
        Ok(wall_left.min(cpu_left.max(CPU_GRAIN)))
    }
}

/// Waits until `child` ends, ends it if it must, and reaps it.
///
/// `signals` is from [`sys::catch_end_signals`]; `listener` is the descriptor that
/// the report will go to, if its reader's end should end the VM.
pub fn watch(
    child: Pid,
    deadlines: &Deadlines,
    signals: impl AsFd,
    listener: Option<BorrowedFd<'_>>,
) -> Result<(sys::Ended, Option<Stopped>), Error> {
    let pidfd = match pidfd_open(child, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(errno) => {
            // Never leave a VM behind that nobody watches.
            let _ = rustix::process::kill_process(child, Signal::KILL);
            let _ = sys::wait(child);
            return Err(Error::failure("pidfd_open", errno));
        }
    };
    let stopped = sleep_until_over(child, deadlines, pidfd.as_fd(), signals, listener);
    if stopped != Ok(None) {
        // It may have ended by itself meanwhile; then there is nothing to kill.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let ended = sys::wait(child)?;
    Ok((ended, stopped?))
}

fn sleep_until_over(
    child: Pid,
    deadlines: &Deadlines,
    pidfd: BorrowedFd<'_>,
    signals: impl AsFd,
    listener: Option<BorrowedFd<'_>>,
) -> Result<Option<Stopped>, Error> {
    loop {
        let cpu_used = sys::cpu_time_of(child)?;
        let sleep = match deadlines.judge(Instant::now(), cpu_used) {
            Ok(sleep) => sleep,
            Err(stopped) => return Ok(Some(stopped)),
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        // No events asked for: that the reader has gone is always told.
        fds.extend(listener.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty())));
        match poll(&mut fds, Some(&timespec(sleep))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::failure("poll", errno)),
        }
        let mut events = fds.iter().map(PollFd::revents);
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        if !next().is_empty() {
            return Ok(None);
        }
        if !next().is_empty()
            && let Some(signal) = sys::pending_end_signal(&signals)
        {
            return Ok(Some(Stopped::Told(signal)));
        }
        if next().intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Ok(Some(Stopped::NobodyListens));
        }
    }
}

/// A timeout as the kernel takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines(start: Instant) -> Deadlines {
        let limits = Limits {
            wall_seconds: 3.0,
            cpu_seconds: 2.0,
            ..Limits::default()
        };
        Deadlines::new(&limits, start)
    }

    #[test]
    fn sleeps_no_longer_than_the_nearer_limit() {
        let start = Instant::now();
        let sleep = deadlines(start).judge(start, Duration::ZERO);
        assert_eq!(sleep, Ok(Duration::from_secs(2)));
        let later = start + Duration::from_secs(2);
        let sleep = deadlines(start).judge(later, Duration::ZERO);
        assert_eq!(sleep, Ok(Duration::from_secs(1)));
    }

    #[test]
    fn a_limit_is_passed_when_nothing_is_left_of_it() {
        let start = Instant::now();
        let wall = start + Duration::from_secs(3);
        assert_eq!(
            deadlines(start).judge(wall, Duration::ZERO),
            Err(Stopped::Wall)
        );
        let cpu = Duration::from_secs(2);
        assert_eq!(deadlines(start).judge(start, cpu), Err(Stopped::Cpu));
    }

    #[test]
    fn the_last_of_the_cpu_allowance_is_not_polled_for_busily() {
        let start = Instant::now();
        let used = Duration::from_secs(2) - Duration::from_nanos(1);
        assert_eq!(deadlines(start).judge(start, used), Ok(CPU_GRAIN));
    }
}
