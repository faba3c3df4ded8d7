//! Arguments and environment, and the ways out.

use super::{Call, Errno, Fault};
#[cfg(feature = "planted-holes")]
use crate::outcome::Outcome;

/// A list of strings as `args_get` and `environ_get` hand it over: each ended by
/// a NUL, one after another.
pub struct Strings {
    bytes: Vec<u8>,
    count: u32,
}

impl Strings {
    pub fn new(strings: impl Iterator<Item = String>) -> Self {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for string in strings {
            bytes.extend_from_slice(string.as_bytes());
            bytes.push(0);
            count += 1;
        }
        Strings { bytes, count }
    }

    fn sizes(&self) -> Result<(u32, u32), Errno> {
        let length = u32::try_from(self.bytes.len()).map_err(|_| Errno::Overflow)?;
        Ok((self.count, length))
    }
}

fn sizes_get(
    call: &mut Call<'_>,
    sizes: Result<(u32, u32), Errno>,
    count_out: u32,
    length_out: u32,
) -> Result<(), Fault> {
    let (count, length) = sizes?;
    call.memory.check(length_out, 4)?;
    call.memory.write_u32(count_out, count)?;
    Ok(call.memory.write_u32(length_out, length)?)
}

fn get(
    call: &mut Call<'_>,
    which: Which,
    pointers: u32,
    buffer: u32,
) -> Result<(), Fault> {
    let strings = match which {
        Which::Args => &call.wasi.args,
        Which::Environment => &call.wasi.env,
    };
    let (count, length) = strings.sizes()?;
    call.memory.check(pointers, count as usize * 4)?;
    call.memory.check(buffer, length as usize)?;
    let (mut pointer, mut position) = (pointers, buffer);
    for string in strings.bytes.split_inclusive(|byte| *byte == 0) {
        call.memory.write_u32(pointer, position)?;
        call.memory.write(position, string)?;
        // Cannot wrap: both ranges were checked to lie in the memory.
        pointer = pointer.wrapping_add(4);
        position = position.wrapping_add(string.len() as u32);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Which {
    Args,
    Environment,
}

pub fn args_sizes_get(call: &mut Call<'_>, count: u32, length: u32) -> Result<(), Fault> {
    let sizes = call.wasi.args.sizes();
    sizes_get(call, sizes, count, length)
}

pub fn args_get(call: &mut Call<'_>, pointers: u32, buffer: u32) -> Result<(), Fault> {
    get(call, Which::Args, pointers, buffer)
}

pub fn environ_sizes_get(
    call: &mut Call<'_>,
    count: u32,
    length: u32,
) -> Result<(), Fault> {
    let sizes = call.wasi.env.sizes();
    sizes_get(call, sizes, count, length)
}

pub fn environ_get(call: &mut Call<'_>, pointers: u32, buffer: u32) -> Result<(), Fault> {
    get(call, Which::Environment, pointers, buffer)
}

/// There are no signals to raise; `abort` traps by itself.
pub fn proc_raise(_call: &mut Call<'_>, _signal: u32) -> Result<(), Fault> {
    Err(Errno::Nosys.into())
}

/// In a build for tests of the lock-down, some signals are attempts to get out.
#[cfg(feature = "planted-holes")]
pub fn raise_hole(call: &mut Call<'_>, signal: u32) -> Result<(), Fault> {
    use crate::sys::holes::{FIRST, attempt, stamp};
    let Some(number) = signal.checked_sub(FIRST) else {
        return proc_raise(call, signal);
    };
    match attempt(number) {
        Some(errno) => Err(Fault::End(Outcome::Exit(errno.unsigned_abs()))),
        None => {
            stamp(&call.wasi.ledger);
            Ok(())
        }
    }
}

/// There is nothing else to run.
pub fn sched_yield(_call: &mut Call<'_>) -> Result<(), Fault> {
    Ok(())
}
