//! What descriptors are and may do: flags, rights, sizes and times.

use super::abi::{
    Errno, Fdstat, FileType, Filestat, SYMLINK_FOLLOW, fdflags, fstflags, rights,
};
use super::namespace::Place;
use super::table::Object;
use super::{Call, Fault, Wasi};

impl Wasi {
    fn stat_of(&self, object: Object) -> Result<Filestat, Errno> {
        let place = match object {
            Object::LayerFile(id) => Place::Layer(id),
            Object::ScratchFile(id) => Place::Scratch(id),
            Object::Directory(place) => place,
            // A device may be open without a name: the standard streams are
            // whatever lies under their names in /dev.
            Object::Device(device) => {
                let named = self.namespace.devices.place_of(device);
                Place::Device(named.ok_or(Errno::Badf)?)
            }
        };
        self.namespace.stat(place, &self.channels)
    }

    fn type_of(&self, object: Object) -> FileType {
        match object {
            Object::LayerFile(_) | Object::ScratchFile(_) => FileType::RegularFile,
            Object::Directory(_) => FileType::Directory,
            Object::Device(device) => device.file_type(&self.channels),
        }
    }
}

pub fn fd_fdstat_get(call: &mut Call<'_>, fd: u32, out: u32) -> Result<(), Fault> {
    let descriptor = call.wasi.table.get(fd)?;
    let stat = Fdstat {
        file_type: call.wasi.type_of(descriptor.object),
        flags: descriptor.flags,
        rights: descriptor.rights,
        rights_inheriting: descriptor.inheriting,
    };
    Ok(call.memory.write(out, &stat.encode())?)
}

pub fn fd_fdstat_set_flags(
    call: &mut Call<'_>,
    fd: u32,
    flags: u32,
) -> Result<(), Fault> {
    let descriptor = call.wasi.table.get_mut(fd)?;
    descriptor.check_kept(rights::FD_FDSTAT_SET_FLAGS)?;
    if flags & !fdflags::ALL != 0 {
        return Err(Errno::Inval.into());
    }
    descriptor.flags = flags as u16;
    Ok(())
}

/// Rights can only be given up, and then are gone for good.
pub fn fd_fdstat_set_rights(
    call: &mut Call<'_>,
    fd: u32,
    base: u64,
    inheriting: u64,
) -> Result<(), Fault> {
    let descriptor = call.wasi.table.get_mut(fd)?;
    if base & !descriptor.rights != 0 || inheriting & !descriptor.inheriting != 0 {
        return Err(Errno::Notcapable.into());
    }
    descriptor.given_up |= descriptor.rights & !base;
    descriptor.inheriting_given_up |= descriptor.inheriting & !inheriting;
    descriptor.rights = base;
    descriptor.inheriting = inheriting;
    Ok(())
}

pub fn fd_filestat_get(call: &mut Call<'_>, fd: u32, out: u32) -> Result<(), Fault> {
    let descriptor = call.wasi.table.kept(fd, rights::FD_FILESTAT_GET)?;
    let stat = call.wasi.stat_of(descriptor.object)?;
    Ok(call.memory.write(out, &stat.encode())?)
}

pub fn path_filestat_get(
    call: &mut Call<'_>,
    fd: u32,
    flags: u32,
    path: u32,
    length: u32,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, super::abi::sizes::FILESTAT)?;
    let place = existing(call, (fd, rights::PATH_FILESTAT_GET), flags, path, length)?;
    let stat = call.wasi.namespace.stat(place, &call.wasi.channels)?;
    Ok(call.memory.write(out, &stat.encode())?)
}

pub fn fd_filestat_set_times(
    call: &mut Call<'_>,
    fd: u32,
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(), Fault> {
    let descriptor = call.wasi.table.kept(fd, rights::FD_FILESTAT_SET_TIMES)?;
    let place = match descriptor.object {
        Object::ScratchFile(id) => Place::Scratch(id),
        Object::Directory(place) => place,
        Object::LayerFile(_) | Object::Device(_) => return Err(Errno::Rofs.into()),
    };
    set_times(call, place, (accessed, modified), which)
}

pub fn path_filestat_set_times(
    call: &mut Call<'_>,
    fd: u32,
    flags: u32,
    (path, length): (u32, u32),
    times: (u64, u64),
    which: u32,
) -> Result<(), Fault> {
    let needed = rights::PATH_FILESTAT_SET_TIMES;
    let place = existing(call, (fd, needed), flags, path, length)?;
    set_times(call, place, times, which)
}

/// Sets the times of something in /tmp, of which no other call moves the first:
/// reading would else be a change.
fn set_times(
    call: &mut Call<'_>,
    place: Place,
    (accessed, modified): (u64, u64),
    which: u32,
) -> Result<(), Fault> {
    let both = |one, other| which & one != 0 && which & other != 0;
    if which & !fstflags::ALL != 0
        || both(fstflags::ATIM, fstflags::ATIM_NOW)
        || both(fstflags::MTIM, fstflags::MTIM_NOW)
    {
        return Err(Errno::Inval.into());
    }
    let Place::Scratch(id) = place else {
        return Err(Errno::Rofs.into());
    };
    let now = call.wasi.clock.realtime();
    let wanted = |given: u64, set: u32, set_now: u32| match which {
        _ if which & set != 0 => Some(given),
        _ if which & set_now != 0 => Some(now),
        _ => None,
    };
    let accessed = wanted(accessed, fstflags::ATIM, fstflags::ATIM_NOW);
    let modified = wanted(modified, fstflags::MTIM, fstflags::MTIM_NOW);
    let scratch = &mut call.wasi.namespace.scratch;
    Ok(scratch.set_times(id, accessed, modified, now)?)
}

/// What a path leads to, which must exist.
fn existing(
    call: &mut Call<'_>,
    (fd, needed): (u32, u64),
    flags: u32,
    path: u32,
    length: u32,
) -> Result<Place, Errno> {
    let start = call.wasi.table.kept(fd, needed)?.directory()?;
    let path = call.memory.slice(path, length)?;
    let follow = flags & SYMLINK_FOLLOW != 0;
    let resolved = call.wasi.namespace.resolve(start, path, follow)?;
    let place = resolved.found.ok_or(Errno::Noent)?;
    if resolved.must_be_directory && !call.wasi.namespace.is_directory(place) {
        return Err(Errno::Notdir);
    }
    Ok(place)
}

/// The only directory that is open from the start.
const PREOPENED: u32 = 3;
const PREOPENED_NAME: &[u8] = b"/";

fn check_preopened(call: &Call<'_>, fd: u32) -> Result<(), Errno> {
    let is_root =
        call.wasi.table.get(fd)?.object == Object::Directory(super::namespace::ROOT);
    if fd == PREOPENED && is_root {
        Ok(())
    } else {
        Err(Errno::Badf)
    }
}

pub fn fd_prestat_get(call: &mut Call<'_>, fd: u32, out: u32) -> Result<(), Fault> {
    check_preopened(call, fd)?;
    // Tag 0, a directory, and the length of its name.
    let prestat = (PREOPENED_NAME.len() as u64) << 32;
    Ok(call.memory.write_u64(out, prestat)?)
}

pub fn fd_prestat_dir_name(
    call: &mut Call<'_>,
    fd: u32,
    buffer: u32,
    length: u32,
) -> Result<(), Fault> {
    check_preopened(call, fd)?;
    if (length as usize) < PREOPENED_NAME.len() {
        return Err(Errno::Nametoolong.into());
    }
    Ok(call.memory.write(buffer, PREOPENED_NAME)?)
}

/// The rights of a descriptor on anything but a directory. Seeking is always
/// among them: see [`super::devices::Device::file_type`].
pub fn file_rights(wanted: u64, reads: bool, writes: bool) -> u64 {
    let mut granted = wanted & rights::FILE & !(rights::FD_READ | rights::WRITING);
    granted |= rights::FD_SEEK | rights::FD_TELL;
    if reads {
        granted |= rights::FD_READ;
    }
    if writes {
        granted |= rights::WRITING;
    }
    granted
}
