//! The table of open descriptors: a new one takes the lowest free number.

use super::abi::{Errno, rights};
use super::devices::Device;
use super::namespace::Place;
use crate::chance::{Source, noise};
use crate::guest::tree::NodeId;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Device(Device),
    /// A file of a read-only layer.
    LayerFile(NodeId),
    /// A file in /tmp.
    ScratchFile(u32),
    Directory(Place),
}

/// One open descriptor.
#[derive(Debug)]
pub struct Descriptor {
    pub object: Object,
    pub flags: u16,
    pub rights: u64,
    /// Rights that `path_open` below this directory may give.
    pub inheriting: u64,
    /// Rights that the guest gave up, here or in a directory on the way here, and
    /// those that it gave up for what is opened below.
    pub given_up: u64,
    pub inheriting_given_up: u64,
    /// Where the next read or write begins, if the object can seek.
    pub position: u64,
    /// The last entry that `fd_readdir` gave whole: the cookie behind it and its
    /// name, so that reading goes on behind that name even if entries vanished.
    pub last_entry: Option<(u64, Box<[u8]>)>,
}

impl Descriptor {
    pub fn new(object: Object, rights: u64) -> Self {
        Descriptor {
            object,
            flags: 0,
            rights,
            inheriting: 0,
            given_up: 0,
            inheriting_given_up: 0,
            position: 0,
            last_entry: None,
        }
    }

    pub fn is_readable(&self) -> bool {
        self.rights & rights::FD_READ != 0
    }

    pub fn is_writable(&self) -> bool {
        self.rights & rights::FD_WRITE != 0
    }

    /// `Notcapable` if the guest gave up any of `rights`.
    pub fn check_kept(&self, rights: u64) -> Result<(), Errno> {
        if self.given_up & rights == 0 {
            Ok(())
        } else {
            Err(Errno::Notcapable)
        }
    }

    /// The directory that this is, to look up names in.
    pub fn directory(&self) -> Result<Place, Errno> {
        match self.object {
            Object::Directory(place) => Ok(place),
            _ => Err(Errno::Notdir),
        }
    }
}

pub struct Table {
    slots: Vec<Option<Descriptor>>,
    /// No slot below this one is free.
    lowest_free: usize,
    open: usize,
    max_open: usize,
}

impl Table {
    pub fn new(max_open: usize) -> Self {
        Table {
            slots: Vec::new(),
            lowest_free: 0,
            open: 0,
            max_open,
        }
    }

    /// How many are open.
    #[cfg(feature = "template")]
    pub fn open(&self) -> usize {
        self.open
    }

    pub fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots
            .get(fd as usize)
            .and_then(Option::as_ref)
            .ok_or(Errno::Badf)
    }

    pub fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots
            .get_mut(fd as usize)
            .and_then(Option::as_mut)
            .ok_or(Errno::Badf)
    }

    /// An open descriptor, unless the guest gave up any of `rights`.
    pub fn kept(&self, fd: u32, rights: u64) -> Result<&Descriptor, Errno> {
        let descriptor = self.get(fd)?;
        descriptor.check_kept(rights)?;
        Ok(descriptor)
    }

    /// `Nfile` when as many descriptors are open as the limit allows.
    pub fn check_room(&self) -> Result<(), Errno> {
        if self.open >= self.max_open {
            Err(Errno::Nfile)
        } else {
            Ok(())
        }
    }

    /// Gives `descriptor` the lowest free number. `Nfile` if there is no room.
    pub fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        self.check_room()?;
        let free = self
            .slots
            .iter()
            .skip(self.lowest_free)
            .position(Option::is_none);
        let fd = free.map_or(self.slots.len(), |offset| self.lowest_free + offset);
        let fd = match noise(Source::DescriptorNumber) {
            // Of those that the guest opens; the first four are what they are.
            Some(noise) if fd > 3 => self.slots.len() + noise as usize % 100,
            _ => fd,
        };
        self.slots.resize_with(self.slots.len().max(fd), || None);
        let number = u32::try_from(fd).map_err(|_| Errno::Nfile)?;
        match self.slots.get_mut(fd) {
            Some(slot) => *slot = Some(descriptor),
            None => self.slots.push(Some(descriptor)),
        }
        self.lowest_free = fd + 1;
        self.open += 1;
        Ok(number)
    }

    /// Closes `fd` and gives what it was.
    pub fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        let slot = self.slots.get_mut(fd as usize).ok_or(Errno::Badf)?;
        let descriptor = slot.take().ok_or(Errno::Badf)?;
        self.lowest_free = self.lowest_free.min(fd as usize);
        self.open -= 1;
        Ok(descriptor)
    }

    /// Panics if the counts are wrong; gives what is open.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn audit(&self) -> impl Iterator<Item = &Descriptor> {
        assert_eq!(self.open, self.slots.iter().flatten().count());
        assert!(self.open <= self.max_open);
        let mut below = self.slots.iter().take(self.lowest_free);
        assert!(below.all(Option::is_some));
        self.slots.iter().flatten()
    }

    /// Puts what `from` is into `to`; gives what `to` was. Both must be open.
    pub fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(to)?;
        self.get(from)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.remove(from)?;
        let slot = self.slots.get_mut(to as usize).ok_or(Errno::Badf)?;
        Ok(slot.replace(moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(max_open: usize) -> Table {
        Table::new(max_open)
    }

    fn file(position: u64) -> Descriptor {
        let mut descriptor = Descriptor::new(Object::LayerFile(1), rights::FD_READ);
        descriptor.position = position;
        descriptor
    }

    #[test]
    fn the_lowest_free_number_is_taken() {
        let mut table = table(9);
        for expected in 0..4 {
            assert_eq!(table.insert(file(0)), Ok(expected));
        }
        table.remove(2).unwrap();
        table.remove(1).unwrap();
        assert_eq!(table.insert(file(0)), Ok(1));
        assert_eq!(table.insert(file(0)), Ok(2));
        assert_eq!(table.insert(file(0)), Ok(4));
    }

    #[test]
    fn a_full_table_refuses_until_one_is_closed() {
        let mut table = table(2);
        table.insert(file(0)).unwrap();
        table.insert(file(0)).unwrap();
        assert_eq!(table.insert(file(0)), Err(Errno::Nfile));
        table.remove(0).unwrap();
        assert_eq!(table.insert(file(0)), Ok(0));
    }

    #[test]
    fn renumbering_replaces_the_target_and_frees_the_source() {
        let mut table = table(9);
        table.insert(file(10)).unwrap();
        table.insert(file(11)).unwrap();
        assert_eq!(table.renumber(1, 0).unwrap().unwrap().position, 10);
        assert_eq!(table.get(0).unwrap().position, 11);
        assert_eq!(table.get(1).err(), Some(Errno::Badf));
        assert_eq!(table.insert(file(0)), Ok(1));
        assert!(table.renumber(0, 0).unwrap().is_none());
        assert_eq!(table.renumber(0, 7).err(), Some(Errno::Badf));
        assert_eq!(table.renumber(7, 0).err(), Some(Errno::Badf));
    }
}
