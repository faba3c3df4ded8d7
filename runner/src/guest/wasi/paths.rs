//! Making, moving and removing what paths name.
//!
//! Only /tmp can be changed; everywhere else the answer is `Rofs`, after the
//! answers that need no writing (`Noent`, `Exist`, `Notdir`), as on a read-only
//! file system.

use std::collections::BTreeMap;

use super::abi::{Errno, SYMLINK_FOLLOW, rights};
use super::namespace::{Place, Resolved};
use super::scratch::{self, Content, ScratchId};
use super::{Call, Fault, Wasi};

impl Wasi {
    /// What a path leads to, whose last name is about to be made, moved or
    /// removed and therefore is not followed. The guest must not have given up
    /// `needed`.
    fn entry<'a>(
        &self,
        (fd, needed): (u32, u64),
        path: &'a [u8],
    ) -> Result<Resolved<'a>, Errno> {
        let start = self.table.kept(fd, needed)?.directory()?;
        self.namespace.resolve(start, path, false)
    }
}

/// The directory in /tmp whose entry is to change. `Rofs` anywhere else.
pub fn scratch_directory(resolved: &Resolved<'_>) -> Result<ScratchId, Errno> {
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
    let resolved = call.wasi.entry((fd, rights::PATH_CREATE_DIRECTORY), path)?;
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
    let resolved = call.wasi.entry((fd, rights::PATH_SYMLINK), path)?;
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
    let resolved = call.wasi.entry(
        (fd, rights::PATH_READLINK),
        call.memory.slice(path, path_length)?,
    )?;
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
    let source = call.wasi.table.kept(from_fd, rights::PATH_LINK_SOURCE)?;
    let start = source.directory()?;
    let path = call.memory.slice(from.0, from.1)?;
    let follow = flags & SYMLINK_FOLLOW != 0;
    let source = call.wasi.namespace.resolve(start, path, follow)?;
    let place = source.found.ok_or(Errno::Noent)?;
    let target = call.wasi.entry(
        (to_fd, rights::PATH_LINK_TARGET),
        call.memory.slice(to.0, to.1)?,
    )?;
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
    let resolved = call.wasi.entry(
        (fd, rights::PATH_UNLINK_FILE),
        call.memory.slice(path, length)?,
    )?;
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
    let resolved = call.wasi.entry(
        (fd, rights::PATH_REMOVE_DIRECTORY),
        call.memory.slice(path, length)?,
    )?;
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
    let from = call.wasi.entry(
        (from_fd, rights::PATH_RENAME_SOURCE),
        call.memory.slice(from.0, from.1)?,
    )?;
    let to = call.wasi.entry(
        (to_fd, rights::PATH_RENAME_TARGET),
        call.memory.slice(to.0, to.1)?,
    )?;
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
