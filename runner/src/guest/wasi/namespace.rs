//! One tree out of three: the layers, /dev over them, and /tmp over them.
//!
//! Turns paths into places, following symbolic links of layers and of /tmp inside
//! the guest's root. As under chroot, an absolute path or target begins at the
//! guest's `/`, and `..` of `/` is `/`.

use std::borrow::Cow;
use std::ops::Bound;

use super::abi::{Errno, FileType, Filestat, Times};
use super::devices::{DeviceId, Devices};
use super::scratch::{self, Scratch, ScratchId};
use crate::chance::{Source, noise};
use crate::channel::Channel;
use crate::guest::tree::{self, MAX_NAME_BYTES, MAX_PATH_BYTES, Node, NodeId, Tree};

/// Symbolic links followed in one path before it counts as a loop.
const MAX_LINKS: u32 = 40;

/// Where something is in the guest's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Layer(NodeId),
    Device(DeviceId),
    Scratch(ScratchId),
}

/// The guest's `/`.
pub const ROOT: Place = Place::Layer(tree::ROOT);
const DEV: Place = Place::Device(0);
const TMP: Place = Place::Scratch(scratch::ROOT);

pub struct Namespace {
    tree: Tree,
    pub devices: Devices,
    pub scratch: Scratch,
    /// The nodes of the tree that /dev and /tmp lie over.
    dev: Option<NodeId>,
    tmp: Option<NodeId>,
    /// What a directory without a time of its own shows.
    start_nanoseconds: u64,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The directory that holds the last name.
    pub parent: Place,
    /// The last name; empty if the path ends in `/`, `.` or `..` and therefore
    /// names no entry that could be made or removed.
    pub name: Cow<'a, [u8]>,
    /// What is there, if anything.
    pub found: Option<Place>,
    /// The path ends in a slash, so only a directory will do.
    pub must_be_directory: bool,
}

impl Namespace {
    pub fn new(
        tree: Tree,
        devices: Devices,
        scratch: Scratch,
        start_nanoseconds: u64,
    ) -> Self {
        let dev = tree.lookup(tree::ROOT, b"dev");
        let tmp = tree.lookup(tree::ROOT, b"tmp");
        Namespace {
            tree,
            devices,
            scratch,
            dev,
            tmp,
            start_nanoseconds,
        }
    }

    /// Bytes of a file of a layer.
    pub fn layer_file(&self, id: NodeId) -> &[u8] {
        match self.tree.node(id) {
            Node::File(bytes) => bytes,
            _ => &[],
        }
    }

    fn over(&self, id: NodeId) -> Place {
        if Some(id) == self.dev {
            DEV
        } else if Some(id) == self.tmp {
            TMP
        } else {
            Place::Layer(id)
        }
    }

    pub fn lookup(&self, directory: Place, name: &[u8]) -> Option<Place> {
        match directory {
            Place::Layer(id) => self.tree.lookup(id, name).map(|id| self.over(id)),
            Place::Device(id) => self.devices.lookup(id, name).map(Place::Device),
            Place::Scratch(id) => self.scratch.lookup(id, name).map(Place::Scratch),
        }
    }

    pub fn parent(&self, place: Place) -> Place {
        match place {
            DEV | TMP => ROOT,
            Place::Layer(id) => Place::Layer(self.tree.parent(id)),
            Place::Device(id) => Place::Device(self.devices.parent(id)),
            Place::Scratch(id) => Place::Scratch(self.scratch.parent(id)),
        }
    }

    pub fn is_directory(&self, place: Place) -> bool {
        match place {
            Place::Layer(id) => matches!(self.tree.node(id), Node::Directory),
            Place::Device(id) => self.devices.device(id).is_none(),
            Place::Scratch(id) => self.scratch.entries(id).is_ok(),
        }
    }

    /// The target of a symbolic link, `None` for anything else.
    pub fn link_target(&self, place: Place) -> Option<&[u8]> {
        match place {
            Place::Layer(id) => match self.tree.node(id) {
                Node::Symlink(target) => Some(target),
                _ => None,
            },
            Place::Device(_) => None,
            Place::Scratch(id) => match &self.scratch.node(id).ok()?.content {
                scratch::Content::Symlink(target) => Some(target),
                _ => None,
            },
        }
    }

    pub fn stat(&self, place: Place, channels: &[Channel]) -> Result<Filestat, Errno> {
        // Apart for the three, never 0, and the same in every run of a job.
        let inode = |base: u64, number: u64| {
            let other = noise(Source::Inode).map_or(0, |noise| noise % 1000);
            (base << 32) + number + 1 + other
        };
        let later = noise(Source::ModifiedTime).map_or(0, |noise| noise % 1000);
        let start = self.start_nanoseconds;
        // By which a program can tell that images were laid over the one that it
        // comes from.
        let file_system = (self.tree.layers() as u64).max(1);
        match place {
            Place::Layer(id) => {
                let (file_type, size) = match self.tree.node(id) {
                    Node::Directory => (FileType::Directory, 0),
                    Node::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
                    Node::Symlink(target) => {
                        (FileType::SymbolicLink, target.len() as u64)
                    }
                };
                let seconds = self.tree.modified_seconds(id);
                let nanoseconds =
                    seconds.and_then(|time| time.checked_mul(1_000_000_000));
                Ok(Filestat {
                    device: file_system,
                    inode: inode(0, u64::from(id)),
                    file_type,
                    links: 1,
                    size,
                    times: Times::all(nanoseconds.unwrap_or(start) + later),
                })
            }
            Place::Device(id) => {
                let device = self.devices.device(id);
                let file_type = device
                    .map_or(FileType::Directory, |device| device.file_type(channels));
                Ok(Filestat {
                    device: file_system,
                    inode: inode(1, u64::from(id)),
                    file_type,
                    links: 1,
                    size: device.map_or(0, |device| device.size(channels)),
                    times: Times::all(start),
                })
            }
            Place::Scratch(id) => {
                let stat = self.scratch.stat(id)?;
                Ok(Filestat {
                    device: file_system,
                    inode: inode(2, stat.serial),
                    file_type: stat.file_type,
                    links: stat.links,
                    size: stat.size,
                    times: stat.times,
                })
            }
        }
    }

    /// Visits the entries of a directory in the order of their names, from entry
    /// number `skip` on, or behind `after` if that is given; ends when `visit`
    /// returns false.
    pub fn list(
        &mut self,
        directory: Place,
        skip: usize,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&Self, &[u8], Place) -> bool,
    ) {
        match directory {
            Place::Layer(id) => {
                // Sorts on the first visit, then only reads.
                let count = self.tree.children(id).len();
                for number in skip..count {
                    let number = match noise(Source::DirectoryOrder) {
                        Some(noise) => noise as usize % count,
                        None => number,
                    };
                    let Some(child) = self.tree.children(id).get(number).copied() else {
                        return;
                    };
                    let place = self.over(child);
                    if !visit(self, self.tree.name(child), place) {
                        return;
                    }
                }
            }
            Place::Device(id) => {
                for child in self.devices.children(id).iter().skip(skip) {
                    if !visit(self, self.devices.name(*child), Place::Device(*child)) {
                        return;
                    }
                }
            }
            Place::Scratch(id) => {
                let Ok(entries) = self.scratch.entries(id) else {
                    return;
                };
                let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
                let skip = if after.is_some() { 0 } else { skip };
                let entries = entries
                    .range::<[u8], _>((bound, Bound::Unbounded))
                    .skip(skip);
                for (name, child) in entries {
                    if !visit(self, name, Place::Scratch(*child)) {
                        return;
                    }
                }
            }
        }
    }

    /// Follows `path` from the directory `start`; a symbolic link at its end only
    /// if `follow`, or if a slash comes after it.
    ///
    /// Fails if anything before the last name is missing (`Noent`), is no
    /// directory (`Notdir`), or the links never end (`Loop`).
    pub fn resolve<'a>(
        &self,
        start: Place,
        path: &'a [u8],
        follow: bool,
    ) -> Result<Resolved<'a>, Errno> {
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(Errno::Nametoolong);
        }
        if path.contains(&0) {
            return Err(Errno::Inval);
        }
        Walk {
            namespace: self,
            at: start,
            rest: Cow::Borrowed(path),
            links: 0,
        }
        .run(follow)
    }
}

/// A path on its way to being resolved.
struct Walk<'a, 'n> {
    namespace: &'n Namespace,
    /// The directory reached so far.
    at: Place,
    /// What is still to be followed.
    rest: Cow<'a, [u8]>,
    links: u32,
}

impl<'a> Walk<'a, '_> {
    fn run(mut self, follow: bool) -> Result<Resolved<'a>, Errno> {
        loop {
            if self.rest.starts_with(b"/") {
                self.at = ROOT;
            }
            // Each turn follows names up to the next symbolic link.
            match self.follow_names(follow)? {
                Step::Done(resolved) => return Ok(resolved),
                Step::Link(rest) => {
                    self.links += 1;
                    if self.links > MAX_LINKS {
                        return Err(Errno::Loop);
                    }
                    if rest.len() > 2 * MAX_PATH_BYTES {
                        return Err(Errno::Nametoolong);
                    }
                    self.rest = Cow::Owned(rest);
                }
            }
        }
    }

    fn follow_names(&mut self, follow: bool) -> Result<Step<'a>, Errno> {
        let mut position = 0;
        loop {
            let rest = self.rest.get(position..).unwrap_or_default();
            let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
            let rest = rest.get(slashes..).unwrap_or_default();
            let start = position + slashes;
            let length = rest
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(rest.len());
            let (name, behind) = rest.split_at(length);
            let has_slash = !behind.is_empty();
            let is_last = behind.iter().all(|byte| *byte == b'/');
            if !self.namespace.is_directory(self.at) {
                return Err(Errno::Notdir);
            }
            if matches!(name, b"" | b"." | b"..") {
                if name == b".." {
                    self.at = self.namespace.parent(self.at);
                }
                if is_last {
                    return Ok(Step::Done(Resolved {
                        parent: self.namespace.parent(self.at),
                        name: Cow::Borrowed(b""),
                        found: Some(self.at),
                        must_be_directory: true,
                    }));
                }
                position = start + length;
                continue;
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(Errno::Nametoolong);
            }
            let found = self.namespace.lookup(self.at, name);
            if let Some(place) = found
                && (!is_last || follow || has_slash)
                && let Some(target) = self.namespace.link_target(place)
            {
                return Ok(Step::Link([target, behind].concat()));
            }
            if is_last {
                let end = start + length;
                return Ok(Step::Done(Resolved {
                    parent: self.at,
                    name: cut(&self.rest, start..end),
                    found,
                    must_be_directory: has_slash,
                }));
            }
            self.at = found.ok_or(Errno::Noent)?;
            position = start + length;
        }
    }
}

enum Step<'a> {
    Done(Resolved<'a>),
    /// A symbolic link: its target with the rest of the path behind it.
    Link(Vec<u8>),
}

fn cut<'a>(path: &Cow<'a, [u8]>, range: std::ops::Range<usize>) -> Cow<'a, [u8]> {
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(range).unwrap_or_default()),
        Cow::Owned(path) => Cow::Owned(path.get(range).unwrap_or_default().to_vec()),
    }
}
