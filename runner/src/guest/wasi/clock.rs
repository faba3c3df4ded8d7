//! Time as the guest sees it: a function of what it does, not of the host.
//!
//! Realtime starts at the job's clock, the other clocks at 0. Every reading moves
//! all of them on by one tick, so that loops that wait for time to pass end;
//! sleeping moves them to the deadline at once.

use super::abi::clock;
use super::{Call, Errno, Fault};
use crate::chance::{Source, noise};

/// How far a reading moves the clocks, and their resolution.
const TICK_NANOSECONDS: u64 = 1000;
/// The year 2262. Libraries keep nanoseconds in signed 64 bits.
const LAST_NANOSECONDS: u64 = i64::MAX as u64;

pub struct Clock {
    start: u64,
    elapsed: u64,
}

impl Clock {
    /// A clock whose realtime is `start` nanoseconds since 1970.
    pub fn new(start: u64) -> Self {
        let late = noise(Source::Clock).map_or(0, |noise| noise % 1_000_000_000);
        Clock {
            start: start.saturating_add(late).min(LAST_NANOSECONDS),
            elapsed: 0,
        }
    }

    /// Realtime when the job started.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// How many readings would have moved the clocks to where they are.
    #[cfg(feature = "template")]
    pub fn readings(&self) -> u64 {
        self.elapsed / TICK_NANOSECONDS
    }

    /// Realtime, without moving it.
    pub fn realtime(&self) -> u64 {
        self.start + self.elapsed
    }

    /// The time of clock `id`, which goes on by a tick.
    pub fn read(&mut self, id: u32) -> Result<u64, Errno> {
        let now = self.peek(id)?;
        self.tick();
        Ok(now)
    }

    /// Moves all clocks on a little, as any call that looks at time does.
    pub fn tick(&mut self) {
        self.advance(TICK_NANOSECONDS);
    }

    /// The time of clock `id`.
    pub fn peek(&self, id: u32) -> Result<u64, Errno> {
        match id {
            clock::REALTIME => Ok(self.realtime()),
            1..=clock::LAST => Ok(self.elapsed),
            _ => Err(Errno::Inval),
        }
    }

    pub fn advance(&mut self, nanoseconds: u64) {
        let room = LAST_NANOSECONDS - self.start;
        self.elapsed = self.elapsed.saturating_add(nanoseconds).min(room);
    }
}

pub fn clock_res_get(call: &mut Call<'_>, id: u32, out: u32) -> Result<(), Fault> {
    call.wasi.clock.peek(id)?;
    let fine = noise(Source::ClockResolution).map_or(0, |noise| noise % 1000);
    Ok(call.memory.write_u64(out, TICK_NANOSECONDS - fine)?)
}

pub fn clock_time_get(
    call: &mut Call<'_>,
    id: u32,
    _precision: u64,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 8)?;
    let now = call.wasi.clock.read(id)?;
    Ok(call.memory.write_u64(out, now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reading_moves_every_clock_by_a_tick() {
        let mut clock = Clock::new(5_000_000);
        assert_eq!(clock.read(clock::REALTIME), Ok(5_000_000));
        assert_eq!(clock.read(1), Ok(1000));
        assert_eq!(clock.read(clock::LAST), Ok(2000));
        assert_eq!(clock.read(clock::REALTIME), Ok(5_003_000));
    }

    #[test]
    fn unknown_clocks_are_invalid() {
        assert_eq!(Clock::new(0).read(4), Err(Errno::Inval));
    }

    #[test]
    fn the_clock_stops_at_the_end_of_time() {
        let mut clock = Clock::new(u64::MAX);
        clock.advance(u64::MAX);
        assert_eq!(clock.read(clock::REALTIME), Ok(i64::MAX as u64));
        let mut clock = Clock::new(10);
        clock.advance(u64::MAX);
        assert_eq!(clock.realtime(), i64::MAX as u64);
    }
}
