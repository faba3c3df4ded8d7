//! Reading, writing and seeking on open descriptors.
//!
//! Bytes go straight between a channel, a layer's mapping or a file in /tmp and
//! the guest's memory. What can seek (layers, /tmp, random channels) has its own
//! position for each time it is opened; sequential channels have one for all.

use std::io::{IoSlice, IoSliceMut};

use super::abi::{Errno, fdflags, rights};
use super::devices::Device;
use super::table::Object;
use super::{Call, Fault, Wasi};
use crate::channel::Whence;

pub fn fd_read(
    call: &mut Call<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    out: u32,
) -> Result<(), Fault> {
    transfer_in(call, fd, (iovecs, count), None, out)
}

pub fn fd_pread(
    call: &mut Call<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    offset: u64,
    out: u32,
) -> Result<(), Fault> {
    transfer_in(call, fd, (iovecs, count), Some(offset), out)
}

pub fn fd_write(
    call: &mut Call<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    out: u32,
) -> Result<(), Fault> {
    transfer_out(call, fd, (iovecs, count), None, out)
}

pub fn fd_pwrite(
    call: &mut Call<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    offset: u64,
    out: u32,
) -> Result<(), Fault> {
    transfer_out(call, fd, (iovecs, count), Some(offset), out)
}

fn transfer_in(
    call: &mut Call<'_>,
    fd: u32,
    vector: (u32, u32),
    at: Option<u64>,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 4)?;
    let iovecs = call.memory.iovecs(vector.0, vector.1)?;
    let wasi = &mut *call.wasi;
    let mut at = at;
    let count = call.memory.with_input(&iovecs, |buffers| {
        let count = wasi.read(fd, buffers, at)?;
        at = at.map(|offset| offset.saturating_add(count as u64));
        Ok(count)
    })?;
    // At most the sum of the buffers, which was checked to fit.
    Ok(call.memory.write_u32(out, count as u32)?)
}

fn transfer_out(
    call: &mut Call<'_>,
    fd: u32,
    vector: (u32, u32),
    at: Option<u64>,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 4)?;
    let iovecs = call.memory.iovecs(vector.0, vector.1)?;
    let wasi = &mut *call.wasi;
    let count = call
        .memory
        .with_output(&iovecs, |buffers| wasi.write(fd, buffers, at))?;
    Ok(call.memory.write_u32(out, count as u32)?)
}

impl Wasi {
    /// Reads at `at`, or at the descriptor's position, which then moves on.
    fn read(
        &mut self,
        fd: u32,
        buffers: &mut [IoSliceMut<'_>],
        at: Option<u64>,
    ) -> Result<usize, Fault> {
        let descriptor = self.table.get_mut(fd)?;
        if let Object::Directory(_) = descriptor.object {
            return Err(Errno::Isdir.into());
        }
        if !descriptor.is_readable() {
            return Err(Errno::Badf.into());
        }
        if at.is_some() {
            descriptor.check_kept(rights::FD_SEEK)?;
        }
        let position = at.unwrap_or(descriptor.position);
        let count = match descriptor.object {
            Object::LayerFile(id) => {
                copy_in(self.namespace.layer_file(id), position, buffers)
            }
            Object::ScratchFile(id) => {
                copy_in(self.namespace.scratch.file(id)?, position, buffers)
            }
            Object::Device(device) => {
                let channel = device.random_channel(&mut self.channels);
                match (channel, at) {
                    (Some(channel), Some(offset)) => channel.read_at(buffers, offset)?,
                    (Some(channel), None) => {
                        // By the channel's own position, so that it can tell
                        // reading in order, which it digests, from seeking.
                        channel.seek(signed(position)?, Whence::Start)?;
                        channel.read(buffers)?
                    }
                    (None, _) => return self.read_stream(device, buffers, at),
                }
            }
            Object::Directory(_) => 0,
        };
        if at.is_none() {
            descriptor.position = position.saturating_add(count as u64);
        }
        Ok(count)
    }

    fn read_stream(
        &mut self,
        device: Device,
        buffers: &mut [IoSliceMut<'_>],
        at: Option<u64>,
    ) -> Result<usize, Fault> {
        let fill = |buffers: &mut [IoSliceMut<'_>], fill: &mut dyn FnMut(&mut [u8])| {
            buffers.iter_mut().for_each(|buffer| fill(buffer));
            Ok(buffers.iter().map(|buffer| buffer.len()).sum())
        };
        match device {
            Device::Null => Ok(0),
            Device::Zero | Device::Full => fill(buffers, &mut |buffer| buffer.fill(0)),
            Device::Random => fill(buffers, &mut |buffer| self.random.fill(buffer)),
            _ if at.is_some() => Err(Errno::Spipe.into()),
            Device::Channel(number) => {
                let channel = self.channels.get_mut(number).ok_or(Errno::Badf)?;
                channel.read(buffers)
            }
            Device::Empty | Device::Discard | Device::StderrTail => Ok(0),
        }
    }

    /// Writes at `at`, or at the descriptor's position, which then moves on.
    fn write(
        &mut self,
        fd: u32,
        buffers: &[IoSlice<'_>],
        at: Option<u64>,
    ) -> Result<usize, Fault> {
        let descriptor = self.table.get_mut(fd)?;
        if !descriptor.is_writable() {
            return Err(Errno::Badf.into());
        }
        if at.is_some() {
            descriptor.check_kept(rights::FD_SEEK)?;
        }
        let appends = at.is_none() && u32::from(descriptor.flags) & fdflags::APPEND != 0;
        let position = at.unwrap_or(descriptor.position);
        let (count, start) = match descriptor.object {
            Object::ScratchFile(id) => {
                let scratch = &mut self.namespace.scratch;
                let length = scratch.file(id)?.len() as u64;
                let start = if appends { length } else { position };
                (
                    scratch.write(id, buffers, start, self.clock.realtime())?,
                    start,
                )
            }
            Object::Device(device) => {
                let channel = device.random_channel(&mut self.channels);
                match (channel, at) {
                    (Some(channel), Some(offset)) => {
                        (channel.write_at(buffers, offset)?, offset)
                    }
                    (Some(channel), None) => {
                        let size = channel.size().unwrap_or_default();
                        let start = if appends { size } else { position };
                        channel.seek(signed(start)?, Whence::Start)?;
                        (channel.write(buffers)?, start)
                    }
                    (None, _) => return self.write_stream(device, buffers, at),
                }
            }
            Object::LayerFile(_) | Object::Directory(_) => return Err(Errno::Badf.into()),
        };
        if at.is_none() {
            descriptor.position = start.saturating_add(count as u64);
        }
        Ok(count)
    }

    fn write_stream(
        &mut self,
        device: Device,
        buffers: &[IoSlice<'_>],
        at: Option<u64>,
    ) -> Result<usize, Fault> {
        let length = buffers.iter().map(|buffer| buffer.len()).sum();
        match device {
            Device::Null | Device::Zero | Device::Random => Ok(length),
            Device::Full => Err(Errno::Nospc.into()),
            _ if at.is_some() => Err(Errno::Spipe.into()),
            Device::Channel(number) => {
                // Before the channel, whose quota may end the run: the tail is
                // what explains such an end.
                if Some(number) == self.stderr_channel {
                    buffers
                        .iter()
                        .for_each(|buffer| self.ledger.append_stderr(buffer));
                }
                let channel = self.channels.get_mut(number).ok_or(Errno::Badf)?;
                channel.write(buffers)
            }
            Device::StderrTail => {
                buffers
                    .iter()
                    .for_each(|buffer| self.ledger.append_stderr(buffer));
                Ok(length)
            }
            Device::Discard | Device::Empty => Ok(length),
        }
    }

    /// The length of what `fd` can seek in. `Spipe` if it cannot.
    pub fn seekable_length(&mut self, fd: u32) -> Result<u64, Errno> {
        match self.table.get(fd)?.object {
            Object::LayerFile(id) => Ok(self.namespace.layer_file(id).len() as u64),
            Object::ScratchFile(id) => Ok(self.namespace.scratch.file(id)?.len() as u64),
            Object::Directory(_) => Err(Errno::Badf),
            Object::Device(
                Device::Null | Device::Zero | Device::Full | Device::Random,
            ) => Ok(0),
            Object::Device(device) => {
                let channel = device
                    .random_channel(&mut self.channels)
                    .ok_or(Errno::Spipe)?;
                Ok(channel.size().unwrap_or_default())
            }
        }
    }

    /// Makes what `fd` stands for `length` bytes long.
    fn set_length(&mut self, fd: u32, length: u64) -> Result<(), Fault> {
        let descriptor = self.table.get(fd)?;
        if !descriptor.is_writable() {
            return Err(Errno::Badf.into());
        }
        signed(length)?;
        match descriptor.object {
            Object::ScratchFile(id) => {
                let now = self.clock.realtime();
                Ok(self.namespace.scratch.resize(id, length, now)?)
            }
            Object::Device(device) => {
                let channel = device.random_channel(&mut self.channels);
                channel.ok_or(Errno::Inval)?.truncate(length)
            }
            Object::LayerFile(_) | Object::Directory(_) => Err(Errno::Inval.into()),
        }
    }
}

/// An offset as the signed number that files work with.
fn signed(offset: u64) -> Result<i64, Errno> {
    i64::try_from(offset).map_err(|_| Errno::Fbig)
}

/// Copies what `file` holds from `position` on; how much that was.
fn copy_in(file: &[u8], position: u64, buffers: &mut [IoSliceMut<'_>]) -> usize {
    let start = usize::try_from(position).unwrap_or(usize::MAX);
    let mut rest = file.get(start..).unwrap_or_default();
    let before = rest.len();
    for buffer in buffers {
        let (piece, tail) = rest.split_at(rest.len().min(buffer.len()));
        buffer.split_at_mut(piece.len()).0.copy_from_slice(piece);
        rest = tail;
    }
    before - rest.len()
}

pub fn fd_seek(
    call: &mut Call<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 8)?;
    // Asking where it stands is no seeking.
    let needed = match (offset, whence) {
        (0, 1) => rights::FD_TELL,
        _ => rights::FD_SEEK,
    };
    call.wasi.table.kept(fd, needed)?;
    let length = call.wasi.seekable_length(fd)?;
    let descriptor = call.wasi.table.get_mut(fd)?;
    let base = match whence {
        0 => 0,
        1 => descriptor.position,
        2 => length,
        _ => return Err(Errno::Inval.into()),
    };
    let target = base.checked_add_signed(offset).ok_or(Errno::Inval)?;
    signed(target).map_err(|_| Errno::Overflow)?;
    descriptor.position = target;
    Ok(call.memory.write_u64(out, target)?)
}

pub fn fd_tell(call: &mut Call<'_>, fd: u32, out: u32) -> Result<(), Fault> {
    call.wasi.table.kept(fd, rights::FD_TELL)?;
    call.wasi.seekable_length(fd)?;
    let position = call.wasi.table.get(fd)?.position;
    Ok(call.memory.write_u64(out, position)?)
}

pub fn fd_filestat_set_size(
    call: &mut Call<'_>,
    fd: u32,
    size: u64,
) -> Result<(), Fault> {
    call.wasi.table.kept(fd, rights::FD_FILESTAT_SET_SIZE)?;
    call.wasi.set_length(fd, size)
}

pub fn fd_allocate(
    call: &mut Call<'_>,
    fd: u32,
    offset: u64,
    length: u64,
) -> Result<(), Fault> {
    let is_writable = call.wasi.table.kept(fd, rights::FD_ALLOCATE)?.is_writable();
    let end = offset.checked_add(length).ok_or(Errno::Fbig)?;
    if length == 0 {
        return Err(Errno::Inval.into());
    }
    if !is_writable {
        return Err(Errno::Badf.into());
    }
    if end <= call.wasi.seekable_length(fd)? {
        return Ok(());
    }
    call.wasi.set_length(fd, end)
}

pub fn fd_advise(
    call: &mut Call<'_>,
    fd: u32,
    _offset: u64,
    _length: u64,
    advice: u32,
) -> Result<(), Fault> {
    const LAST_ADVICE: u32 = 5;
    call.wasi.table.kept(fd, rights::FD_ADVISE)?;
    if advice > LAST_ADVICE {
        return Err(Errno::Inval.into());
    }
    Ok(())
}

/// Outputs are durable when the job is committed, not before; nothing to do here.
pub fn fd_sync(call: &mut Call<'_>, fd: u32) -> Result<(), Fault> {
    call.wasi.table.kept(fd, rights::FD_SYNC)?;
    Ok(())
}

/// As [`fd_sync`].
pub fn fd_datasync(call: &mut Call<'_>, fd: u32) -> Result<(), Fault> {
    call.wasi.table.kept(fd, rights::FD_DATASYNC)?;
    Ok(())
}

pub fn fd_close(call: &mut Call<'_>, fd: u32) -> Result<(), Fault> {
    let descriptor = call.wasi.table.remove(fd)?;
    call.wasi.closed(descriptor);
    Ok(())
}

pub fn fd_renumber(call: &mut Call<'_>, from: u32, to: u32) -> Result<(), Fault> {
    if let Some(replaced) = call.wasi.table.renumber(from, to)? {
        call.wasi.closed(replaced);
    }
    Ok(())
}
