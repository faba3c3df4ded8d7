//! Adds the entries of a layer to the index, over those of the layers below.
//!
//! This is where names are judged: what could leave the tree, hide part of its
//! own layer, or cost more than its size, is refused.

use std::rc::Rc;

use super::archive::{Archive, Entry, Kind, Path, Place};
use super::error::shown;
use super::index::{
    Content, DETACHED, Index, NodeId, ROOT, Record, Slot, Span, all_bytes, hash,
};
use super::{MAX_ENTRIES, MAX_NAME_BYTES, MAX_PATH_BYTES, TarLayer};

/// Names whose hashes collide cost time. An honest tree needs fewer than 2 steps
/// for a name; a crafted one is refused when the average passes this.
const MAX_STEPS_PER_NAME: usize = 64;

/// Their nodes, right behind the root.
const RESERVED_NODES: std::ops::RangeInclusive<NodeId> = 1..=2;
/// Said of what an image puts there.
const RESERVED_MESSAGE: &str = "is in /dev or /tmp, which belong to the VM; an image may \
                                hold them only as empty directories";

/// Adds one layer to the index.
pub struct Builder<'a> {
    index: &'a mut Index,
    layers: &'a [Rc<TarLayer>],
    layer: u32,
    /// Where the slices of the entry that is being added come from.
    place: Option<Place>,
    last: Option<Last>,
}

/// The directory of the last entry: prefix and path as written, and node.
#[derive(Default)]
struct Last {
    prefix: Vec<u8>,
    path: Vec<u8>,
    node: NodeId,
}

impl<'a> Builder<'a> {
    pub fn new(index: &'a mut Index, layers: &'a [Rc<TarLayer>], layer: u32) -> Self {
        Builder {
            index,
            layers,
            layer,
            place: None,
            last: None,
        }
    }

    pub fn add_all(&mut self, layer: &'a TarLayer) -> Result<(), String> {
        let mut archive = Archive::new(layer.bytes(), layer.file());
        let (mut entries, mut steps) = (0, 0);
        while let Some(entry) = archive.next()? {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(format!("has more than {MAX_ENTRIES} entries"));
            }
            self.add(&entry, &mut steps)
                .map_err(|message| format!("entry {} {message}", entry.path.shown()))?;
            if steps > MAX_STEPS_PER_NAME * (self.index.records.len() + entries + 1024) {
                return Err("has too many names with one hash; rename some".to_owned());
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: &Entry<'_>, steps: &mut usize) -> Result<(), String> {
        self.place = Some(entry.place);
        let Path { prefix, name } = entry.path;
        if entry.path.len() > MAX_PATH_BYTES {
            return Err(format!("has a path longer than {MAX_PATH_BYTES} bytes"));
        }
        if prefix.starts_with(b"/") || (prefix.is_empty() && name.starts_with(b"/")) {
            return Err("has an absolute path; a relative one is needed".to_owned());
        }
        let (directory, last) = split_last(name);
        let parent = match &self.last {
            Some(last) if last.path == directory && last.prefix == prefix => last.node,
            _ => {
                let mut parent = ROOT;
                for component in components(prefix).chain(components(directory)) {
                    parent = self.enter(parent, component?, steps)?;
                }
                let last = self.last.get_or_insert_default();
                last.prefix.clear();
                last.prefix.extend_from_slice(prefix);
                last.path.clear();
                last.path.extend_from_slice(directory);
                last.node = parent;
                parent
            }
        };
        let Some(last) = components(last).next().transpose()? else {
            return self.add_root(entry);
        };
        let content = self.content(entry, steps)?;
        self.put(parent, last, content, entry.modified_seconds, steps)
    }

    /// `./` is the root itself.
    fn add_root(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        if !matches!(entry.kind, Kind::Directory) {
            return Err("has no name".to_owned());
        }
        if let Some(root) = self.index.records.first_mut() {
            root.modified_seconds = Some(entry.modified_seconds);
        }
        Ok(())
    }

    fn span(&self, bytes: &[u8]) -> Span {
        let all = all_bytes(self.layers, self.layer);
        let start = match self.place {
            Some(place) => place.offset(bytes, all),
            // Ours, of no entry.
            None => bytes.as_ptr().addr().saturating_sub(all.as_ptr().addr()),
        };
        Span {
            start,
            length: bytes.len(),
        }
    }

    fn content(&self, entry: &Entry<'_>, steps: &mut usize) -> Result<Content, String> {
        match entry.kind {
            Kind::Directory => Ok(Content::Directory),
            Kind::File(data) => Ok(Content::File(self.span(data))),
            Kind::Symlink(target) => {
                if target.is_empty()
                    || target.len() > MAX_PATH_BYTES
                    || target.contains(&0)
                {
                    return Err(format!(
                        "is a symbolic link to nothing, to more than {MAX_PATH_BYTES} \
                         bytes or to a NUL"
                    ));
                }
                Ok(Content::Symlink(self.span(target)))
            }
            Kind::HardLink(target) => self.linked(target, steps),
        }
    }

    /// The content of the earlier file that a hard link names.
    fn linked(&self, target: &[u8], steps: &mut usize) -> Result<Content, String> {
        let fail = |why: &str| format!("is a hard link to {}, {why}", shown(target));
        if target.starts_with(b"/") {
            return Err(fail("an absolute path; a relative one is needed"));
        }
        let mut id = ROOT;
        for component in components(target) {
            let component = component.map_err(|why| fail(&format!("which {why}")))?;
            let key = hash(id, component);
            let found = self.index.find(self.layers, id, component, key);
            *steps += found.steps;
            let Slot::Taken(_, next) = found.slot else {
                return Err(fail("which is no earlier file of this layer"));
            };
            id = next;
        }
        match self.index.record(id) {
            Some(record)
                if record.layer == self.layer
                    && !matches!(record.content, Content::Directory) =>
            {
                Ok(record.content)
            }
            _ => Err(fail("which is no earlier file of this layer")),
        }
    }

    /// The directory `name` in `parent`, made if need be: an entry below it
    /// implies it.
    fn enter(
        &mut self,
        parent: NodeId,
        name: &[u8],
        steps: &mut usize,
    ) -> Result<NodeId, String> {
        if RESERVED_NODES.contains(&parent) {
            return Err(RESERVED_MESSAGE.to_owned());
        }
        let hash = hash(parent, name);
        let found = self.index.find(self.layers, parent, name, hash);
        *steps += found.steps;
        let (layer, span) = (self.layer, self.span(name));
        let Slot::Taken(_, id) = found.slot else {
            return self.insert(parent, name, hash, Content::Directory, None);
        };
        if let Some(record) = self.index.records.get_mut(id as usize) {
            if !matches!(record.content, Content::Directory) {
                if record.layer == layer {
                    let under = shown(name);
                    return Err(format!("lies under {under}, which is not a directory"));
                }
                record.content = Content::Directory;
                record.modified_seconds = None;
            }
            // This layer now has the directory too.
            (record.layer, record.name) = (layer, span);
        }
        Ok(id)
    }

    fn put(
        &mut self,
        parent: NodeId,
        name: &[u8],
        content: Content,
        modified_seconds: u64,
        steps: &mut usize,
    ) -> Result<(), String> {
        if RESERVED_NODES.contains(&parent) {
            return Err(RESERVED_MESSAGE.to_owned());
        }
        let hash = hash(parent, name);
        let found = self.index.find(self.layers, parent, name, hash);
        *steps += found.steps;
        let modified_seconds = Some(modified_seconds);
        let Slot::Taken(at, id) = found.slot else {
            return self
                .insert(parent, name, hash, content, modified_seconds)
                .map(drop);
        };
        let (layer, span) = (self.layer, self.span(name));
        let Some(record) = self.index.records.get_mut(id as usize) else {
            return Ok(());
        };
        let was_directory = matches!(record.content, Content::Directory);
        let is_directory = matches!(content, Content::Directory);
        if RESERVED_NODES.contains(&id) && !is_directory {
            return Err(RESERVED_MESSAGE.to_owned());
        }
        if was_directory != is_directory && record.layer == layer {
            return Err("is a directory in one place and none in another".to_owned());
        }
        let new = Record {
            parent,
            hash,
            layer,
            name: span,
            content,
            modified_seconds,
        };
        if was_directory && !is_directory {
            // Its children name it as their parent, so it cannot be reused.
            record.parent = DETACHED;
            let id = self.index.push(new)?;
            self.index.fill(at, id);
        } else {
            *record = new;
        }
        Ok(())
    }

    pub fn insert(
        &mut self,
        parent: NodeId,
        name: &[u8],
        hash: u32,
        content: Content,
        modified_seconds: Option<u64>,
    ) -> Result<NodeId, String> {
        let (layer, span) = (self.layer, self.span(name));
        let record = Record {
            parent,
            hash,
            layer,
            name: span,
            content,
            modified_seconds,
        };
        self.index.make_room();
        let id = self.index.push(record)?;
        if let Slot::Free(at) = self.index.find(self.layers, parent, name, hash).slot {
            self.index.fill(at, id);
        }
        Ok(id)
    }
}

/// Splits off the last component; slashes at the end belong to it.
fn split_last(name: &[u8]) -> (&[u8], &[u8]) {
    let end = name
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let trimmed = name.get(..end).unwrap_or_default();
    let start = trimmed
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    name.split_at_checked(start).unwrap_or_default()
}

/// The names in a path, without empty ones and `.`. `..` and what cannot be a
/// name are errors.
fn components(path: &[u8]) -> impl Iterator<Item = Result<&[u8], String>> {
    let names = path.split(|byte| *byte == b'/');
    names
        .filter(|name| !name.is_empty() && *name != b".")
        .map(|name| {
            if name == b".." {
                Err("has '..' in its path".to_owned())
            } else if name.len() > MAX_NAME_BYTES {
                Err(format!(
                    "has a name longer than {MAX_NAME_BYTES} bytes in its path"
                ))
            } else if name.contains(&0) {
                Err("has a NUL in its path".to_owned())
            } else {
                Ok(name)
            }
        })
}
