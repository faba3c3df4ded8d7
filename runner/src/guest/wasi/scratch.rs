//! /tmp: a writable tree in memory, gone with the VM.
//!
//! Counted against the job's limits: the bytes of files and of symbolic links
//! against `tmp_bytes`, the number of names (of files, directories, links, and each
//! further one of a file) against `files`: a name takes as much memory as a small
//! file does. What a limit refuses is `Nospc`, and noted for the report.
//!
//! A file or directory that is still open lives on without a name, and keeps its
//! share of the limits until it is closed.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;

use std::collections::BTreeMap;
use std::io::IoSlice;

use super::abi::{Errno, FileType, Times};
use crate::ledger::Ledger;
use crate::outcome::Limit;

/// Number of a node; 0 is /tmp itself. Numbers are used again.
pub type ScratchId = u32;

/// /tmp.
pub const ROOT: ScratchId = 0;

pub enum Content {
    Directory {
        parent: ScratchId,
        entries: BTreeMap<Box<[u8]>, ScratchId>,
    },
    File(Vec<u8>),
    Symlink(Box<[u8]>),
}

impl Content {
    /// What counts against `tmp_bytes`.
    fn size(&self) -> u64 {
        match self {
            Content::Directory { .. } => 0,
            Content::File(bytes) => bytes.len() as u64,
            Content::Symlink(target) => target.len() as u64,
        }
    }
}

pub struct Node {
    pub content: Content,
    /// Names that lead here. A directory has one; none once it is removed.
    links: u32,
    /// Descriptors that are open on it.
    opens: u32,
    /// Never used again, unlike the node's number.
    serial: u64,
    times: Times,
}

pub struct Limits {
    pub tmp_bytes: u64,
    pub files: u64,
}

pub struct Scratch {
    nodes: Vec<Option<Node>>,
    free: Vec<ScratchId>,
    used_bytes: u64,
    used_files: u64,
    next_serial: u64,
    limits: Limits,
    ledger: Ledger,
}

/// What `*_filestat_get` needs of a node.
pub struct Stat {
    pub file_type: FileType,
    pub serial: u64,
    pub links: u64,
    pub size: u64,
    pub times: Times,
}

impl Scratch {
    /// An empty /tmp, last modified at `now`.
    pub fn new(limits: Limits, ledger: Ledger, now: u64) -> Self {
        let root = Node {
            content: Content::Directory {
                parent: ROOT,
                entries: BTreeMap::new(),
            },
            links: 1,
            opens: 0,
            serial: 0,
            times: Times::all(now),
        };
        Scratch {
            nodes: vec![Some(root)],
            free: Vec::new(),
            used_bytes: 0,
            used_files: 0,
            next_serial: 1,
            limits,
            ledger,
        }
    }

    pub fn node(&self, id: ScratchId) -> Result<&Node, Errno> {
        self.nodes
            .get(id as usize)
            .and_then(Option::as_ref)
            .ok_or(Errno::Stale)
    }

    fn node_mut(&mut self, id: ScratchId) -> Result<&mut Node, Errno> {
        self.nodes
            .get_mut(id as usize)
            .and_then(Option::as_mut)
            .ok_or(Errno::Stale)
    }

    /// The names in a directory. `Notdir` for anything else.
    pub fn entries(
        &self,
        id: ScratchId,
    ) -> Result<&BTreeMap<Box<[u8]>, ScratchId>, Errno> {
        match &self.node(id)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            _ => Err(Errno::Notdir),
        }
    }

    fn entries_mut(
        &mut self,
        id: ScratchId,
    ) -> Result<&mut BTreeMap<Box<[u8]>, ScratchId>, Errno> {
        match &mut self.node_mut(id)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            _ => Err(Errno::Notdir),
        }
    }

    pub fn lookup(&self, directory: ScratchId, name: &[u8]) -> Option<ScratchId> {
        self.entries(directory).ok()?.get(name).copied()
    }

    /// The directory above a directory; /tmp for /tmp and for removed ones.
    pub fn parent(&self, id: ScratchId) -> ScratchId {
        match self.node(id).map(|node| &node.content) {
            Ok(Content::Directory { parent, .. }) => *parent,
            _ => ROOT,
        }
    }

    pub fn stat(&self, id: ScratchId) -> Result<Stat, Errno> {
        let node = self.node(id)?;
        let file_type = match node.content {
            Content::Directory { .. } => FileType::Directory,
            Content::File(_) => FileType::RegularFile,
            Content::Symlink(_) => FileType::SymbolicLink,
        };
        Ok(Stat {
            file_type,
            serial: node.serial,
            links: u64::from(node.links),
            size: node.content.size(),
            times: node.times,
        })
    }

    /// What is in `id` was changed `now`.
    fn set_modified(&mut self, id: ScratchId, now: u64) -> Result<(), Errno> {
        let times = &mut self.node_mut(id)?.times;
        (times.modified, times.changed) = (now, now);
        Ok(())
    }

    /// What is known about `id` was changed `now`: its names, its times.
    fn set_changed(&mut self, id: ScratchId, now: u64) -> Result<(), Errno> {
        self.node_mut(id)?.times.changed = now;
        Ok(())
    }

    /// Sets those times that are given.
    pub fn set_times(
        &mut self,
        id: ScratchId,
        accessed: Option<u64>,
        modified: Option<u64>,
        now: u64,
    ) -> Result<(), Errno> {
        if accessed.is_none() && modified.is_none() {
            return Ok(());
        }
        let times = &mut self.node_mut(id)?.times;
        times.accessed = accessed.unwrap_or(times.accessed);
        times.modified = modified.unwrap_or(times.modified);
        self.set_changed(id, now)
    }

    /// Adds `name`, which must not exist, to a directory that has not been
    /// removed.
    pub fn create(
        &mut self,
        directory: ScratchId,
        name: &[u8],
        content: Content,
        now: u64,
    ) -> Result<ScratchId, Errno> {
        self.check_linked(directory)?;
        self.check_files()?;
        self.check_bytes(content.size())?;
        self.used_bytes += content.size();
        self.used_files += 1;
        let serial = self.next_serial;
        self.next_serial += 1;
        let node = Node {
            content,
            links: 1,
            opens: 0,
            serial,
            times: Times::all(now),
        };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.nodes.get_mut(id as usize) {
                    *slot = Some(node);
                }
                id
            }
            None => {
                let id =
                    ScratchId::try_from(self.nodes.len()).map_err(|_| Errno::Nospc)?;
                self.nodes.push(Some(node));
                id
            }
        };
        self.entries_mut(directory)?.insert(name.into(), id);
        self.set_modified(directory, now)?;
        Ok(id)
    }

    /// Nothing can be added to a directory that has no name any more.
    fn check_linked(&self, directory: ScratchId) -> Result<(), Errno> {
        if self.node(directory)?.links == 0 {
            Err(Errno::Noent)
        } else {
            Ok(())
        }
    }

    fn check_bytes(&self, more: u64) -> Result<(), Errno> {
        if self.used_bytes.saturating_add(more) > self.limits.tmp_bytes {
            self.ledger.note(Limit::TmpBytes);
            return Err(Errno::Nospc);
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), Errno> {
        if self.used_files >= self.limits.files {
            self.ledger.note(Limit::Files);
            return Err(Errno::Nospc);
        }
        Ok(())
    }

    /// Gives a file one more name.
    pub fn link(
        &mut self,
        id: ScratchId,
        directory: ScratchId,
        name: &[u8],
        now: u64,
    ) -> Result<(), Errno> {
        self.check_linked(directory)?;
        let node = self.node(id)?;
        if matches!(node.content, Content::Directory { .. }) {
            return Err(Errno::Perm);
        }
        // A file without a name that is open has its share already.
        let more = u64::from(node.links > 0);
        if more > 0 {
            self.check_files()?;
        }
        let node = self.node_mut(id)?;
        node.links = node.links.checked_add(1).ok_or(Errno::Mlink)?;
        self.set_changed(id, now)?;
        self.used_files += more;
        self.entries_mut(directory)?.insert(name.into(), id);
        self.set_modified(directory, now)
    }

    /// Takes `name` out of `directory`; its target goes when nothing uses it.
    pub fn unlink(
        &mut self,
        directory: ScratchId,
        name: &[u8],
        now: u64,
    ) -> Result<(), Errno> {
        let id = self
            .entries_mut(directory)?
            .remove(name)
            .ok_or(Errno::Noent)?;
        self.set_modified(directory, now)?;
        let node = self.node_mut(id)?;
        node.links = node.links.saturating_sub(1);
        node.times.changed = now;
        let has_others = node.links > 0;
        if let Content::Directory { parent, .. } = &mut node.content {
            // The parent may go before this does, and its number to another.
            *parent = ROOT;
        }
        // The last name's share is the file's own, until that is released.
        self.used_files -= u64::from(has_others);
        self.release(id);
        Ok(())
    }

    /// Moves a name. The caller has made sure that the target does not exist.
    pub fn rename(
        &mut self,
        from: (ScratchId, &[u8]),
        to: (ScratchId, &[u8]),
        now: u64,
    ) -> Result<(), Errno> {
        self.check_linked(to.0)?;
        let id = self
            .entries_mut(from.0)?
            .remove(from.1)
            .ok_or(Errno::Noent)?;
        self.entries_mut(to.0)?.insert(to.1.into(), id);
        if let Content::Directory { parent, .. } = &mut self.node_mut(id)?.content {
            *parent = to.0;
        }
        self.set_changed(id, now)?;
        self.set_modified(from.0, now)?;
        self.set_modified(to.0, now)
    }

    /// Whether `id` is `directory` or below it.
    pub fn is_within(&self, mut id: ScratchId, directory: ScratchId) -> bool {
        // Ends: parents form a tree, and a removed directory's is the root.
        loop {
            if id == directory {
                return true;
            }
            if id == ROOT {
                return false;
            }
            id = self.parent(id);
        }
    }

    /// Counts a descriptor on `id`.
    pub fn open(&mut self, id: ScratchId) -> Result<(), Errno> {
        self.node_mut(id)?.opens += 1;
        Ok(())
    }

    /// A descriptor on `id` is gone.
    pub fn close(&mut self, id: ScratchId) {
        if let Ok(node) = self.node_mut(id) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.release(id);
    }

    fn release(&mut self, id: ScratchId) {
        let Some(slot) = self.nodes.get_mut(id as usize) else {
            return;
        };
        if let Some(node) = slot.take_if(|node| node.links == 0 && node.opens == 0) {
            self.used_bytes -= node.content.size();
            self.used_files -= 1;
            self.free.push(id);
        }
    }

    pub fn file(&self, id: ScratchId) -> Result<&[u8], Errno> {
        match &self.node(id)?.content {
            Content::File(bytes) => Ok(bytes),
            _ => Err(Errno::Badf),
        }
    }

    fn file_mut(&mut self, id: ScratchId) -> Result<&mut Vec<u8>, Errno> {
        match &mut self.node_mut(id)?.content {
            Content::File(bytes) => Ok(bytes),
            _ => Err(Errno::Badf),
        }
    }

    /// Cuts or extends a file; new bytes are zero.
    pub fn resize(&mut self, id: ScratchId, length: u64, now: u64) -> Result<(), Errno> {
        let old = self.file(id)?.len() as u64;
        self.check_bytes(length.saturating_sub(old))?;
        let wanted = usize::try_from(length).map_err(|_| Errno::Fbig)?;
        let bytes = self.file_mut(id)?;
        if wanted > bytes.len() {
            grow(bytes, wanted)?;
        } else {
            bytes.truncate(wanted);
            // What a file gave back must not stay allocated: it is not counted.
            if bytes.capacity() / 2 > wanted {
                bytes.shrink_to_fit();
            }
        }
        self.used_bytes = self.used_bytes - old + length;
        self.set_modified(id, now)
    }

    /// Writes as much of `buffers` as the limit allows; `Nospc` if that is
    /// nothing.
    pub fn write(
        &mut self,
        id: ScratchId,
        buffers: &[IoSlice<'_>],
        offset: u64,
        now: u64,
    ) -> Result<usize, Errno> {
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted == 0 {
            return Ok(0);
        }
        let length = self.file(id)?.len() as u64;
        let room = self.limits.tmp_bytes.saturating_sub(self.used_bytes);
        let end = offset.checked_add(wanted as u64).ok_or(Errno::Fbig)?;
        let end = if end > length && end - length > room {
            self.ledger.note(Limit::TmpBytes);
            length + room
        } else {
            end
        };
        if end <= offset {
            return Err(Errno::Nospc);
        }
        if end > length {
            self.resize(id, end, now)?;
        }
        let file = self.file_mut(id)?;
        let start = usize::try_from(offset).map_err(|_| Errno::Fbig)?;
        let target = file.get_mut(start..).unwrap_or_default();
        let target = target.split_at_mut(target.len().min(wanted)).0;
        let written = target.len();
        let mut rest = target;
        for buffer in buffers {
            let (piece, tail) = rest.split_at_mut(rest.len().min(buffer.len()));
            piece.copy_from_slice(buffer.split_at(piece.len()).0);
            rest = tail;
        }
        self.set_modified(id, now)?;
        Ok(written)
    }
}

/// Extends `bytes` with zeros, reserving half as much again as it holds so that
/// many small writes stay linear.
fn grow(bytes: &mut Vec<u8>, length: usize) -> Result<(), Errno> {
    if length > bytes.capacity() {
        let roomy = length.max(bytes.len() + bytes.len() / 2);
        bytes
            .try_reserve_exact(roomy - bytes.len())
            .map_err(|_| Errno::Nospc)?;
    }
    bytes.resize(length, 0);
    Ok(())
}
