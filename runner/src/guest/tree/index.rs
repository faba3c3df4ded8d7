//! The merged index of all layers: an arena of nodes and one hash table from
//! (parent, name) to node.
//!
//! Built at each start of a VM, so it is cheap: one pass over the headers, no
//! string is copied, and consecutive entries of one directory find their parent
//! without a lookup. Lists of children are made when a directory is first read.
//!
//! Layers are added from the lowest up, each over what is there. A replaced file
//! keeps its node; a directory that a file replaces is left behind unreachable,
//! with all that is under it.

use super::archive::{Archive, Entry, Kind, Path};
use super::error::shown;
use super::{MAX_ENTRIES, MAX_NAME_BYTES, MAX_PATH_BYTES, TarLayer, TreeError};

/// Number of a node. Depends on the layers alone, so it serves as inode number.
pub type NodeId = u32;

/// The guest's root directory.
pub const ROOT: NodeId = 0;

/// Parent of a directory that a higher layer has replaced.
const DETACHED: NodeId = NodeId::MAX;

/// The two directories that belong to the VM. They are nodes of the tree too, so
/// that they are found and listed like all others.
const RESERVED: &[u8] = b"devtmp";
/// The layer of these two.
const NO_LAYER: u32 = u32::MAX;

/// Names whose hashes collide cost time. An honest tree needs fewer than 2 steps
/// for a name; a crafted one is refused when the average passes this.
const MAX_STEPS_PER_NAME: usize = 64;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    Directory,
    File(&'a [u8]),
    /// With its target, as written.
    Symlink(&'a [u8]),
}

/// Where some bytes are in a layer.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    length: usize,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Directory,
    File(Span),
    Symlink(Span),
}

#[derive(Clone, Copy, Debug)]
struct Record {
    parent: NodeId,
    hash: u32,
    /// The layer that name and content are in.
    layer: u32,
    name: Span,
    content: Content,
    /// `None` for a directory that no layer lists.
    modified_seconds: Option<u64>,
}

/// The read-only files of a guest.
#[derive(Debug)]
pub struct Tree {
    layers: Vec<TarLayer>,
    index: Index,
    /// Children of all directories, grouped by parent; made at first use.
    children: Option<Children>,
}

impl Tree {
    /// Indexes `layers`, topmost first.
    ///
    /// Fails when a layer is not a tar, or holds what a tree cannot.
    pub fn new(layers: Vec<TarLayer>) -> Result<Self, TreeError> {
        let mut index = Index::new();
        let (dev, tmp) = RESERVED.split_at(3);
        for name in [dev, tmp] {
            let layers = &layers;
            Builder {
                index: &mut index,
                layers,
                layer: NO_LAYER,
                last: None,
            }
            .insert(ROOT, name, hash(ROOT, name), Content::Directory, None)
            .map_err(|message| TreeError::new("", message))?;
        }
        for (number, layer) in layers.iter().enumerate().rev() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            Builder {
                index: &mut index,
                layers: &layers,
                layer: number,
                last: None,
            }
            .add_all(layer)
            .map_err(|message| TreeError::new(layer.name(), message))?;
        }
        Ok(Tree {
            layers,
            index,
            children: None,
        })
    }

    /// The node called `name` in directory `parent`.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let hash = hash(parent, name);
        match self.index.find(&self.layers, parent, name, hash).slot {
            Slot::Taken(_, id) => Some(id),
            Slot::Free(_) => None,
        }
    }

    /// What `id` is. An unknown id is an empty directory.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        let Some(record) = self.index.record(id) else {
            return Node::Directory;
        };
        let bytes = |span| bytes_of(&self.layers, record.layer, span);
        match record.content {
            Content::Directory => Node::Directory,
            Content::File(span) => Node::File(bytes(span)),
            Content::Symlink(span) => Node::Symlink(bytes(span)),
        }
    }

    /// The directory that holds `id`; the root holds itself.
    pub fn parent(&self, id: NodeId) -> NodeId {
        self.index.record(id).map_or(ROOT, |record| record.parent)
    }

    pub fn name(&self, id: NodeId) -> &[u8] {
        let record = self.index.record(id);
        record.map_or(b"", |record| {
            bytes_of(&self.layers, record.layer, record.name)
        })
    }

    /// Seconds since 1970, as the layer says; `None` for a directory that no
    /// layer lists.
    pub fn modified_seconds(&self, id: NodeId) -> Option<u64> {
        self.index.record(id)?.modified_seconds
    }

    /// The nodes in directory `id`, sorted by the bytes of their names.
    pub fn children(&mut self, id: NodeId) -> &[NodeId] {
        let children = self
            .children
            .get_or_insert_with(|| Children::group(&self.index));
        let layers = &self.layers;
        let index = &self.index;
        children.sorted(id, |id| {
            let record = index.record(id);
            record.map_or(b"", |record| bytes_of(layers, record.layer, record.name))
        })
    }
}

fn bytes_of(layers: &[TarLayer], layer: u32, span: Span) -> &[u8] {
    let end = span.start.saturating_add(span.length);
    all_bytes(layers, layer)
        .get(span.start..end)
        .unwrap_or_default()
}

fn all_bytes(layers: &[TarLayer], layer: u32) -> &[u8] {
    match layers.get(layer as usize) {
        Some(layer) => layer.bytes(),
        None if layer == NO_LAYER => RESERVED,
        None => &[],
    }
}

/// Nodes and the open-addressing table that finds them.
#[derive(Debug)]
struct Index {
    records: Vec<Record>,
    /// Node ids; `ROOT` marks a free slot, as the root has no name. The length
    /// is a power of two and at least twice the number of records.
    slots: Vec<NodeId>,
}

/// A slot of the table: its number, and the node there.
enum Slot {
    Free(usize),
    Taken(usize, NodeId),
}

struct Found {
    slot: Slot,
    steps: usize,
}

impl Index {
    fn new() -> Self {
        let root = Record {
            parent: ROOT,
            hash: 0,
            layer: 0,
            name: Span::default(),
            content: Content::Directory,
            modified_seconds: None,
        };
        Index {
            records: vec![root],
            slots: vec![ROOT; 1024],
        }
    }

    fn record(&self, id: NodeId) -> Option<&Record> {
        self.records.get(id as usize)
    }

    fn find(&self, layers: &[TarLayer], parent: NodeId, name: &[u8], hash: u32) -> Found {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        let mut steps = 1;
        loop {
            let id = self.slots.get(at).copied().unwrap_or(ROOT);
            let matches = |record: &Record| {
                record.hash == hash
                    && record.parent == parent
                    && bytes_of(layers, record.layer, record.name) == name
            };
            if id == ROOT {
                return Found {
                    slot: Slot::Free(at),
                    steps,
                };
            }
            if self.record(id).is_some_and(matches) {
                return Found {
                    slot: Slot::Taken(at, id),
                    steps,
                };
            }
            at = (at + 1) & mask;
            steps += 1;
        }
    }

    fn fill(&mut self, at: usize, id: NodeId) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = id;
        }
    }

    /// Appends a record and gives its id; the caller fills the slot.
    fn push(&mut self, record: Record) -> Result<NodeId, String> {
        let id = self.records.len();
        if id > MAX_ENTRIES {
            return Err(format!("has more than {MAX_ENTRIES} files and directories"));
        }
        self.records.push(record);
        NodeId::try_from(id).map_err(|error| error.to_string())
    }

    /// Doubles the table when it is half full.
    fn make_room(&mut self) {
        if self.records.len() * 2 < self.slots.len() {
            return;
        }
        let mask = self.slots.len() * 2 - 1;
        let old = std::mem::replace(&mut self.slots, vec![ROOT; mask + 1]);
        for id in old.into_iter().filter(|id| *id != ROOT) {
            let mut at = self.record(id).map_or(0, |record| record.hash as usize) & mask;
            while self.slots.get(at).is_some_and(|id| *id != ROOT) {
                at = (at + 1) & mask;
            }
            self.fill(at, id);
        }
    }
}

/// Mixes 8 bytes at a time by multiplication. Not proof against crafted names;
/// [`MAX_STEPS_PER_NAME`] bounds what those can cost.
fn hash(parent: NodeId, name: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut state = mix(u64::from(parent) + 1, name.len() as u64);
    let (words, rest) = name.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (target, byte) in last.iter_mut().zip(rest) {
        *target = *byte;
    }
    state = mix(state, u64::from_le_bytes(last));
    (state ^ (state >> 32)) as u32
}

/// Adds one layer to the index.
struct Builder<'a> {
    index: &'a mut Index,
    layers: &'a [TarLayer],
    layer: u32,
    /// The directory of the last entry: prefix and path as written, and node.
    last: Option<(&'a [u8], &'a [u8], NodeId)>,
}

impl<'a> Builder<'a> {
    fn add_all(&mut self, layer: &'a TarLayer) -> Result<(), String> {
        let mut archive = Archive::new(layer.bytes());
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

    fn add(&mut self, entry: &Entry<'a>, steps: &mut usize) -> Result<(), String> {
        let Path { prefix, name } = entry.path;
        if entry.path.len() > MAX_PATH_BYTES {
            return Err(format!("has a path longer than {MAX_PATH_BYTES} bytes"));
        }
        if prefix.starts_with(b"/") || (prefix.is_empty() && name.starts_with(b"/")) {
            return Err("has an absolute path; a relative one is needed".to_owned());
        }
        let (directory, last) = split_last(name);
        let parent = match self.last {
            Some((same, path, parent)) if path == directory && same == prefix => parent,
            _ => {
                let mut parent = ROOT;
                for component in components(prefix).chain(components(directory)) {
                    parent = self.enter(parent, component?, steps)?;
                }
                self.last = Some((prefix, directory, parent));
                parent
            }
        };
        let Some(last) = components(last).next().transpose()? else {
            return self.add_root(entry);
        };
        self.check_reserved(parent, last, &entry.kind)?;
        let content = self.content(entry, steps)?;
        self.put(parent, last, content, entry.modified_seconds, steps)
    }

    /// `./` is the root itself.
    fn add_root(&mut self, entry: &Entry<'a>) -> Result<(), String> {
        if !matches!(entry.kind, Kind::Directory) {
            return Err("has no name".to_owned());
        }
        if let Some(root) = self.index.records.first_mut() {
            root.modified_seconds = Some(entry.modified_seconds);
        }
        Ok(())
    }

    /// `/dev` and `/tmp` belong to the VM; an image may list them, empty.
    fn check_reserved(
        &self,
        parent: NodeId,
        name: &[u8],
        kind: &Kind<'a>,
    ) -> Result<(), String> {
        let reserved = |name: &[u8]| RESERVED.chunks(3).any(|reserved| name == reserved);
        let below = self.index.record(parent).is_some_and(|record| {
            record.parent == ROOT
                && parent != ROOT
                && reserved(bytes_of(self.layers, record.layer, record.name))
        });
        let is_file = !matches!(kind, Kind::Directory);
        if below || (parent == ROOT && reserved(name) && is_file) {
            return Err(
                "is in /dev or /tmp, which belong to the VM; an image may hold \
                        them only as empty directories"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn span(&self, bytes: &[u8]) -> Span {
        let base = all_bytes(self.layers, self.layer).as_ptr().addr();
        let start = bytes.as_ptr().addr().saturating_sub(base);
        Span {
            start,
            length: bytes.len(),
        }
    }

    fn content(&self, entry: &Entry<'a>, steps: &mut usize) -> Result<Content, String> {
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

    fn insert(
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

/// The children of each directory, as ranges of one list.
#[derive(Debug)]
struct Children {
    /// `starts[id]..starts[id + 1]` is the range of directory `id`.
    starts: Vec<u32>,
    ids: Vec<NodeId>,
    is_sorted: Vec<bool>,
}

impl Children {
    /// Groups all nodes by parent, in one pass of counting and one of placing.
    fn group(index: &Index) -> Self {
        let count = index.records.len();
        let linked = || {
            let records = index.records.iter().enumerate().skip(1);
            records.filter(|(_, record)| record.parent != DETACHED)
        };
        let mut starts = vec![0u32; count + 2];
        for (_, record) in linked() {
            if let Some(start) = starts.get_mut(record.parent as usize + 2) {
                *start += 1;
            }
        }
        let mut total = 0;
        for start in &mut starts {
            total += *start;
            *start = total;
        }
        // Now `starts[id + 1]` is where the next child of `id` goes; once all
        // are placed it is the end of `id`'s range.
        let mut ids = vec![ROOT; count];
        for (id, record) in linked() {
            if let Some(start) = starts.get_mut(record.parent as usize + 1) {
                if let Some(slot) = ids.get_mut(*start as usize) {
                    *slot = id as NodeId;
                }
                *start += 1;
            }
        }
        Children {
            starts,
            ids,
            is_sorted: vec![false; count],
        }
    }

    fn sorted<'a>(&mut self, id: NodeId, name: impl Fn(NodeId) -> &'a [u8]) -> &[NodeId] {
        let bound = |at: usize| self.starts.get(at).map_or(0, |start| *start as usize);
        let range = bound(id as usize)..bound(id as usize + 1);
        let Some(ids) = self.ids.get_mut(range) else {
            return &[];
        };
        if let Some(is_sorted) = self.is_sorted.get_mut(id as usize)
            && !*is_sorted
        {
            ids.sort_unstable_by(|left, right| name(*left).cmp(name(*right)));
            *is_sorted = true;
        }
        ids
    }
}
