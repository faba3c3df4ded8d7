//! Opening, making, moving and removing what paths name.
//!
//! Only /tmp can be changed; everywhere else the answer is `Rofs`, after the
//! answers that need no writing (`Noent`, `Exist`, `Notdir`), as on a read-only
//! file system.

use std::collections::BTreeMap;

use super::abi::{Errno, SYMLINK_FOLLOW, fdflags, oflags, rights};
use super::devices::Device;
use super::namespace::{Place, Resolved};
use super::scratch::{self, Content, ScratchId};
use super::stat::file_rights;
use super::table::{Descriptor, Object};
use super::{Call, Fault, Wasi};
use crate::outcome::Limit;

/// What `path_open` is asked for.
#[derive(Clone, Copy)]
pub struct Opening {
    pub follow: bool,
    pub oflags: u32,
    pub rights: u64,
    pub inheriting: u64,
    pub flags: u32,
}

impl Opening {
    fn has(&self, oflag: u32) -> bool {
        self.oflags & oflag != 0
    }

    fn reads(&self) -> bool {
        self.rights & rights::FD_READ != 0
    }

    fn writes(&self) -> bool {
        self.rights & rights::FD_WRITE != 0
    }
}

pub fn path_open(
    call: &mut Call<'_>,
    fd: u32,
    (path, length): (u32, u32),
    mut opening: Opening,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 4)?;
    if opening.oflags & !oflags::ALL != 0 || opening.flags & !fdflags::ALL != 0 {
        return Err(Errno::Inval.into());
    }
    let directory = call.wasi.table.get(fd)?;
    let start = directory.directory()?;
    let enforced = rights::FD_READ | rights::FD_WRITE;
    if opening.rights & enforced & !directory.inheriting != 0 {
        return Err(Errno::Notcapable.into());
    }
    opening.inheriting &= directory.inheriting;
    // Before anything is created or cut.
    call.wasi
        .table
        .check_room()
        .inspect_err(|_| call.wasi.ledger.note(Limit::Files))?;
    let path = call.memory.slice(path, length)?;
    let descriptor = call.wasi.open(start, path, opening)?;
    let fd = call.wasi.table.insert(descriptor)?;
    Ok(call.memory.write_u32(out, fd)?)
}

impl Wasi {
    fn open(
        &mut self,
        start: Place,
        path: &[u8],
        opening: Opening,
    ) -> Result<Descriptor, Fault> {
        let creates = opening.has(oflags::CREAT);
        // An exclusive creation must not go through a link to where it leads.
        let follow = opening.follow && !(creates && opening.has(oflags::EXCL));
        let resolved = self.namespace.resolve(start, path, follow)?;
        let place = match resolved.found {
            Some(_) if creates && opening.has(oflags::EXCL) => {
                return Err(Errno::Exist.into());
            }
            Some(place) => place,
            None if !creates => return Err(Errno::Noent.into()),
            None => self.create_file(&resolved, opening)?,
        };
        if self.namespace.is_directory(place) {
            return Ok(self.open_directory(place, opening)?);
        }
        if opening.has(oflags::DIRECTORY) || resolved.must_be_directory {
            return Err(Errno::Notdir.into());
        }
        let mut descriptor = self.open_file(place, opening)?;
        // Within `fdflags::ALL`.
        descriptor.flags = opening.flags as u16;
        Ok(descriptor)
    }

    fn create_file(
        &mut self,
        resolved: &Resolved<'_>,
        opening: Opening,
    ) -> Result<Place, Errno> {
        if opening.has(oflags::DIRECTORY) {
            return Err(Errno::Inval);
        }
        if resolved.must_be_directory {
            return Err(Errno::Isdir);
        }
        let now = self.clock.realtime();
        let directory = scratch_directory(resolved)?;
        let scratch = &mut self.namespace.scratch;
        let id =
            scratch.create(directory, &resolved.name, Content::File(Vec::new()), now)?;
        Ok(Place::Scratch(id))
    }

    fn open_directory(
        &mut self,
        place: Place,
        opening: Opening,
    ) -> Result<Descriptor, Errno> {
        let wants_file = opening.writes() && !opening.has(oflags::DIRECTORY);
        if wants_file || opening.has(oflags::CREAT) || opening.has(oflags::TRUNC) {
            return Err(Errno::Isdir);
        }
        if let Place::Scratch(id) = place {
            self.namespace.scratch.open(id)?;
        }
        let granted = opening.rights & rights::DIRECTORY;
        let mut descriptor = Descriptor::new(Object::Directory(place), granted);
        descriptor.inheriting = opening.inheriting;
        Ok(descriptor)
    }

    fn open_file(&mut self, place: Place, opening: Opening) -> Result<Descriptor, Fault> {
        if self.namespace.link_target(place).is_some() {
            return Err(Errno::Loop.into());
        }
        let (reads, writes) = (opening.reads(), opening.writes());
        let truncates = opening.has(oflags::TRUNC);
        match place {
            Place::Layer(_) if writes || truncates => Err(Errno::Rofs.into()),
            Place::Layer(id) => Ok(Descriptor::new(
                Object::LayerFile(id),
                file_rights(opening.rights, reads, false),
            )),
            Place::Device(id) => {
                let device = self.namespace.devices.device(id).ok_or(Errno::Noent)?;
                self.open_device(device, opening)
            }
            Place::Scratch(id) => {
                if truncates {
                    let now = self.clock.realtime();
                    self.namespace.scratch.resize(id, 0, now)?;
                }
                self.namespace.scratch.open(id)?;
                Ok(Descriptor::new(
                    Object::ScratchFile(id),
                    file_rights(opening.rights, reads, writes),
                ))
            }
        }
    }

    fn open_device(
        &mut self,
        device: Device,
        opening: Opening,
    ) -> Result<Descriptor, Fault> {
        let (can_read, can_write) = device.directions(&self.channels);
        let truncates = opening.has(oflags::TRUNC);
        if (opening.writes() || truncates) && !can_write {
            return Err(Errno::Acces.into());
        }
        // An output opened for both, as "r+" does, is given for writing alone.
        let is_output = can_write && opening.writes();
        if opening.reads() && !can_read && !is_output {
            return Err(Errno::Acces.into());
        }
        // A stream has nothing to cut, as a FIFO has not.
        if truncates && let Some(channel) = device.random_channel(&mut self.channels) {
            channel.truncate(0)?;
        }
        let granted = file_rights(opening.rights, opening.reads() && can_read, is_output);
        Ok(Descriptor::new(Object::Device(device), granted))
    }

    /// What a path leads to, whose last name is about to be made, moved or
    /// removed and therefore is not followed.
    fn entry<'a>(&self, fd: u32, path: &'a [u8]) -> Result<Resolved<'a>, Errno> {
        let start = self.table.get(fd)?.directory()?;
        self.namespace.resolve(start, path, false)
    }
}

/// The directory in /tmp whose entry is to change. `Rofs` anywhere else.
fn scratch_directory(resolved: &Resolved<'_>) -> Result<ScratchId, Errno> {
    match resolved.parent {
        Place::Scratch(id) => Ok(id),
        _ => Err(Errno::Rofs),
    }
}

/// The entry in /tmp that a path names: its directory and what it is.
fn scratch_entry(resolved: &Resolved<'_>) -> Result<(ScratchId, ScratchId), Errno> {
    match (resolved.found.ok_or(Errno::Noent)?, resolved.parent) {
        // /tmp itself cannot go.
        (Place::Scratch(scratch::ROOT), _) => Err(Errno::Busy),
        (Place::Scratch(_), _) if resolved.name.is_empty() => Err(Errno::Inval),
        (Place::Scratch(id), Place::Scratch(directory)) => Ok((directory, id)),
        _ => Err(Errno::Rofs),
    }
}

pub fn path_create_directory(
    call: &mut Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
) -> Result<(), Fault> {
    let path = call.memory.slice(path, length)?;
    let resolved = call.wasi.entry(fd, path)?;
    if resolved.found.is_some() {
        return Err(Errno::Exist.into());
    }
    let parent = scratch_directory(&resolved)?;
    let now = call.wasi.clock.realtime();
    let content = Content::Directory {
        parent,
        entries: BTreeMap::new(),
    };
    call.wasi
        .namespace
        .scratch
        .create(parent, &resolved.name, content, now)?;
    Ok(())
}

pub fn path_symlink(
    call: &mut Call<'_>,
    target: (u32, u32),
    fd: u32,
    path: u32,
    length: u32,
) -> Result<(), Fault> {
    let target = call.memory.slice(target.0, target.1)?;
    let path = call.memory.slice(path, length)?;
    if target.is_empty() {
        return Err(Errno::Noent.into());
    }
    if target.len() > crate::guest::tree::MAX_PATH_BYTES {
        return Err(Errno::Nametoolong.into());
    }
    if target.contains(&0) {
        return Err(Errno::Inval.into());
    }
    let resolved = call.wasi.entry(fd, path)?;
    if resolved.found.is_some() {
        return Err(Errno::Exist.into());
    }
    if resolved.must_be_directory {
        return Err(Errno::Noent.into());
    }
    let directory = scratch_directory(&resolved)?;
    let now = call.wasi.clock.realtime();
    let content = Content::Symlink(target.into());
    call.wasi
        .namespace
        .scratch
        .create(directory, &resolved.name, content, now)?;
    Ok(())
}

pub fn path_readlink(
    call: &mut Call<'_>,
    fd: u32,
    (path, path_length): (u32, u32),
    (buffer, length): (u32, u32),
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 4)?;
    call.memory.check(buffer, length as usize)?;
    let resolved = call.wasi.entry(fd, call.memory.slice(path, path_length)?)?;
    let place = resolved.found.ok_or(Errno::Noent)?;
    let target = call.wasi.namespace.link_target(place).ok_or(Errno::Inval)?;
    // Cut off without a sign, as POSIX wants it.
    let target = target.split_at(target.len().min(length as usize)).0;
    call.memory.write(buffer, target)?;
    Ok(call.memory.write_u32(out, target.len() as u32)?)
}

pub fn path_link(
    call: &mut Call<'_>,
    (from_fd, flags): (u32, u32),
    from: (u32, u32),
    to_fd: u32,
    to: (u32, u32),
) -> Result<(), Fault> {
    let start = call.wasi.table.get(from_fd)?.directory()?;
    let path = call.memory.slice(from.0, from.1)?;
    let follow = flags & SYMLINK_FOLLOW != 0;
    let source = call.wasi.namespace.resolve(start, path, follow)?;
    let place = source.found.ok_or(Errno::Noent)?;
    let target = call.wasi.entry(to_fd, call.memory.slice(to.0, to.1)?)?;
    if call.wasi.namespace.is_directory(place) {
        return Err(Errno::Perm.into());
    }
    if source.must_be_directory {
        return Err(Errno::Notdir.into());
    }
    if target.found.is_some() {
        return Err(Errno::Exist.into());
    }
    if target.must_be_directory {
        return Err(Errno::Noent.into());
    }
    let directory = scratch_directory(&target)?;
    // A link cannot lead from /tmp into another file system.
    let Place::Scratch(id) = place else {
        return Err(Errno::Xdev.into());
    };
    let now = call.wasi.clock.realtime();
    Ok(call
        .wasi
        .namespace
        .scratch
        .link(id, directory, &target.name, now)?)
}

pub fn path_unlink_file(
    call: &mut Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
) -> Result<(), Fault> {
    let resolved = call.wasi.entry(fd, call.memory.slice(path, length)?)?;
    let place = resolved.found.ok_or(Errno::Noent)?;
    if call.wasi.namespace.is_directory(place) {
        return Err(Errno::Isdir.into());
    }
    if resolved.must_be_directory {
        return Err(Errno::Notdir.into());
    }
    let (directory, _) = scratch_entry(&resolved)?;
    let now = call.wasi.clock.realtime();
    Ok(call
        .wasi
        .namespace
        .scratch
        .unlink(directory, &resolved.name, now)?)
}

pub fn path_remove_directory(
    call: &mut Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
) -> Result<(), Fault> {
    let resolved = call.wasi.entry(fd, call.memory.slice(path, length)?)?;
    let place = resolved.found.ok_or(Errno::Noent)?;
    if !call.wasi.namespace.is_directory(place) {
        return Err(Errno::Notdir.into());
    }
    let (directory, id) = scratch_entry(&resolved)?;
    if !call.wasi.namespace.scratch.entries(id)?.is_empty() {
        return Err(Errno::Notempty.into());
    }
    let now = call.wasi.clock.realtime();
    Ok(call
        .wasi
        .namespace
        .scratch
        .unlink(directory, &resolved.name, now)?)
}

pub fn path_rename(
    call: &mut Call<'_>,
    from_fd: u32,
    from: (u32, u32),
    to_fd: u32,
    to: (u32, u32),
) -> Result<(), Fault> {
    let from = call
        .wasi
        .entry(from_fd, call.memory.slice(from.0, from.1)?)?;
    let to = call.wasi.entry(to_fd, call.memory.slice(to.0, to.1)?)?;
    let wasi = &mut *call.wasi;
    let (from_directory, id) = scratch_entry(&from)?;
    let is_directory = wasi.namespace.scratch.entries(id).is_ok();
    if (from.must_be_directory || to.must_be_directory) && !is_directory {
        return Err(Errno::Notdir.into());
    }
    let to_directory = scratch_directory(&to)?;
    if is_directory && wasi.namespace.scratch.is_within(to_directory, id) {
        return Err(Errno::Inval.into());
    }
    let now = wasi.clock.realtime();
    let scratch = &mut wasi.namespace.scratch;
    if to.found.is_some() {
        let (_, replaced) = scratch_entry(&to)?;
        if replaced == id {
            return Ok(());
        }
        match (scratch.entries(replaced), is_directory) {
            (Ok(_), false) => return Err(Errno::Isdir.into()),
            (Err(_), true) => return Err(Errno::Notdir.into()),
            (Ok(entries), true) if !entries.is_empty() => {
                return Err(Errno::Notempty.into());
            }
            _ => scratch.unlink(to_directory, &to.name, now)?,
        }
    }
    Ok(scratch.rename((from_directory, &from.name), (to_directory, &to.name), now)?)
}
