//! `poll_oneoff` in virtual time: nothing ever waits.
//!
//! Descriptors are always ready (a read blocks in the read itself, so the answer
//! cannot depend on how fast others are). If only clocks are asked for, time
//! jumps to the earliest deadline. Events come in the order of the subscriptions.

use super::abi::{Errno, encode_event, rights, sizes};
use super::table::Object;
use super::{Call, Fault, Wasi};
use crate::chance::{Source, noise};

/// Most subscriptions of one call.
const MAX_SUBSCRIPTIONS: u32 = 1024;

const TAG_CLOCK: u8 = 0;
const TAG_READ: u8 = 1;
const TAG_WRITE: u8 = 2;
const ABSOLUTE: u16 = 1;

enum Subscription {
    /// The nanoseconds that must pass, or what is wrong with it.
    Clock {
        userdata: u64,
        remaining: Result<u64, Errno>,
    },
    Descriptor {
        userdata: u64,
        tag: u8,
        ready: Result<u64, Errno>,
    },
}

pub fn poll_oneoff(
    call: &mut Call<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    out: u32,
) -> Result<(), Fault> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::Inval.into());
    }
    call.memory.check(out, 4)?;
    call.memory.check(events, count as usize * sizes::EVENT)?;
    // Read all before the first event is written: the two may overlap.
    let list = call
        .memory
        .slice(subscriptions, count * sizes::SUBSCRIPTION as u32)?;
    let list = list.as_chunks::<{ sizes::SUBSCRIPTION }>().0.iter();
    let list: Vec<Subscription> = list
        .map(|bytes| call.wasi.subscription(bytes))
        .collect::<Result<_, _>>()?;
    let now_ready = list.iter().any(|subscription| match subscription {
        Subscription::Clock { remaining, .. } => remaining.is_err(),
        Subscription::Descriptor { .. } => true,
    });
    let earliest = list.iter().filter_map(|subscription| match subscription {
        Subscription::Clock { remaining, .. } => remaining.ok(),
        Subscription::Descriptor { .. } => None,
    });
    let passed = if now_ready {
        0
    } else {
        earliest.min().unwrap_or_default()
    };
    call.wasi.clock.advance(passed);
    let mut written = 0;
    for subscription in &list {
        let event = match subscription {
            Subscription::Clock {
                userdata,
                remaining,
            } => match remaining {
                Ok(remaining) if *remaining > passed => continue,
                Ok(_) => encode_event(*userdata, None, TAG_CLOCK, 0),
                Err(errno) => encode_event(*userdata, Some(*errno), TAG_CLOCK, 0),
            },
            Subscription::Descriptor {
                userdata,
                tag,
                ready,
            } => match ready {
                Ok(available) => encode_event(*userdata, None, *tag, *available),
                Err(errno) => encode_event(*userdata, Some(*errno), *tag, 0),
            },
        };
        let target = events + written * sizes::EVENT as u32;
        call.memory.write(target, &event)?;
        written += 1;
    }
    // So that a loop that polls descriptors until some time still ends.
    call.wasi.clock.tick();
    Ok(call.memory.write_u32(out, written)?)
}

impl Wasi {
    fn subscription(
        &mut self,
        bytes: &[u8; sizes::SUBSCRIPTION],
    ) -> Result<Subscription, Errno> {
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let (userdata, tag, id) = (next(), next(), next() as u32);
        let (timeout, _precision, flags) = (next(), next(), next() as u16);
        match tag as u8 {
            TAG_CLOCK => {
                let now = self.clock.peek(id);
                let remaining = now.map(|now| match flags & ABSOLUTE {
                    0 => timeout,
                    _ => timeout.saturating_sub(now),
                });
                Ok(Subscription::Clock {
                    userdata,
                    remaining,
                })
            }
            tag @ (TAG_READ | TAG_WRITE) => {
                let ready = self.readiness(id, tag);
                Ok(Subscription::Descriptor {
                    userdata,
                    tag,
                    ready,
                })
            }
            _ => Err(Errno::Inval),
        }
    }

    /// How many bytes can be read or written at once: what is left of a file, 1
    /// where that is not known.
    fn readiness(&mut self, fd: u32, tag: u8) -> Result<u64, Errno> {
        let descriptor = self.table.kept(fd, rights::POLL_FD_READWRITE)?;
        let is_allowed = match tag {
            TAG_READ => descriptor.is_readable(),
            _ => descriptor.is_writable(),
        };
        if !is_allowed || matches!(descriptor.object, Object::Directory(_)) {
            return Err(Errno::Badf);
        }
        let position = descriptor.position;
        match self.seekable_length(fd) {
            Ok(length) if tag == TAG_READ => Ok(length.saturating_sub(position)),
            _ => Ok(noise(Source::Poll).map_or(1, |noise| noise % 4096)),
        }
    }
}
