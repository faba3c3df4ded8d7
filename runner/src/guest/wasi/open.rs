//! `path_open`: names to descriptors.
//!
//! Where a name leads decides what may be done with it: files of layers are for
//! reading, channels go one way, /tmp allows everything. Nothing is made or cut
//! before all that could refuse the call has been looked at.

use super::abi::{Errno, fdflags, oflags, rights};
use super::devices::Device;
use super::namespace::{Place, Resolved};
use super::paths::scratch_directory;
use super::scratch::Content;
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
    let mut needed = rights::PATH_OPEN;
    if opening.has(oflags::CREAT) {
        needed |= rights::PATH_CREATE_FILE;
    }
    if opening.has(oflags::TRUNC) {
        needed |= rights::PATH_FILESTAT_SET_SIZE;
    }
    directory.check_kept(needed)?;
    let enforced = rights::FD_READ | rights::FD_WRITE;
    if opening.rights & enforced & !directory.inheriting != 0 {
        return Err(Errno::Notcapable.into());
    }
    opening.inheriting &= directory.inheriting;
    let given_up = directory.inheriting_given_up;
    // Before anything is created or cut.
    call.wasi
        .table
        .check_room()
        .inspect_err(|_| call.wasi.ledger.note(Limit::Files))?;
    let path = call.memory.slice(path, length)?;
    let mut descriptor = call.wasi.open(start, path, opening)?;
    descriptor.given_up = given_up;
    descriptor.inheriting_given_up = given_up;
    descriptor.rights &= !given_up;
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
        if opening.writes() || opening.has(oflags::CREAT) || opening.has(oflags::TRUNC) {
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
}
