//! The merged index of all layers: an arena of nodes and one hash table from
//! (parent, name) to node.
//!
//! It is cheap to build: one pass over the headers, no string is copied, and
//! consecutive entries of one directory find their parent without a lookup. Lists
//! of children are made when a directory is first read.
//!
//! Layers are added from the lowest up (`stack`), each over what is there. A
//! replaced file keeps its node; a directory that a file replaces is left behind
//! unreachable, with all that is under it.

use std::rc::Rc;

use super::children::Children;
use super::stack::Stack;
use super::{MAX_ENTRIES, TarLayer, TreeError};

/// Number of a node. Depends on the layers alone, so it serves as inode number.
pub type NodeId = u32;

/// The guest's root directory.
pub const ROOT: NodeId = 0;

/// Parent of a directory that a higher layer has replaced.
pub const DETACHED: NodeId = NodeId::MAX;

/// The two directories that belong to the VM. They are nodes of the tree too, so
/// that they are found and listed like all others.
pub static RESERVED: [u8; 6] = *b"devtmp";
/// The layer of these two.
pub const NO_LAYER: u32 = u32::MAX;

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
pub struct Span {
    pub start: usize,
    pub length: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Content {
    Directory,
    File(Span),
    Symlink(Span),
}

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub parent: NodeId,
    pub hash: u32,
    /// The layer that name and content are in, from the lowest up.
    pub layer: u32,
    pub name: Span,
    pub content: Content,
    /// `None` for a directory that no layer lists.
    pub modified_seconds: Option<u64>,
}

/// The read-only files of a guest.
pub struct Tree {
    stack: Rc<Stack>,
    /// Children of all directories, grouped by parent; made at first use.
    children: Option<Children>,
}

impl Tree {
    /// Indexes `layers`, topmost first.
    ///
    /// Fails when a layer is not a tar, or holds what a tree cannot.
    pub fn new(layers: Vec<TarLayer>) -> Result<Self, TreeError> {
        Stack::new(layers).map(|stack| Tree::of(Rc::new(stack)))
    }

    /// Indexes `layers`, topmost first, over a stack that is indexed already.
    pub fn over(base: &Rc<Stack>, layers: Vec<TarLayer>) -> Result<Self, TreeError> {
        if layers.is_empty() {
            return Ok(Tree::of(Rc::clone(base)));
        }
        Stack::over(base, layers).map(|stack| Tree::of(Rc::new(stack)))
    }

    fn of(stack: Rc<Stack>) -> Self {
        Tree {
            stack,
            children: None,
        }
    }

    /// How many layers lie over each other.
    pub fn layers(&self) -> usize {
        self.stack.layers.len()
    }

    /// The node called `name` in directory `parent`.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let hash = hash(parent, name);
        match self
            .stack
            .index
            .find(&self.stack.layers, parent, name, hash)
            .slot
        {
            Slot::Taken(_, id) => Some(id),
            Slot::Free(_) => None,
        }
    }

    /// What `id` is. An unknown id is an empty directory.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        let Some(record) = self.stack.index.record(id) else {
            return Node::Directory;
        };
        let bytes = |span| bytes_of(&self.stack.layers, record.layer, span);
        match record.content {
            Content::Directory => Node::Directory,
            Content::File(span) => Node::File(bytes(span)),
            Content::Symlink(span) => Node::Symlink(bytes(span)),
        }
    }

    /// The directory that holds `id`; the root holds itself.
    pub fn parent(&self, id: NodeId) -> NodeId {
        self.stack
            .index
            .record(id)
            .map_or(ROOT, |record| record.parent)
    }

    pub fn name(&self, id: NodeId) -> &[u8] {
        self.stack.index.name(&self.stack.layers, id)
    }

    /// Seconds since 1970, as the layer says; `None` for a directory that no
    /// layer lists.
    pub fn modified_seconds(&self, id: NodeId) -> Option<u64> {
        self.stack.index.record(id)?.modified_seconds
    }

    /// The nodes in directory `id`, sorted by the bytes of their names.
    pub fn children(&mut self, id: NodeId) -> &[NodeId] {
        let Stack {
            layers,
            index,
            lists,
        } = &*self.stack;
        if let Some(lists) = lists {
            return lists.of(id);
        }
        let children = self.children.get_or_insert_with(|| Children::group(index));
        children.sorted(id, |id| index.name(layers, id))
    }
}

/// Names the layers only; the whole would be too long to be of use.
impl std::fmt::Debug for Tree {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list()
            .entries(self.stack.layers.iter().map(|layer| layer.name()))
            .finish()
    }
}

pub fn bytes_of(layers: &[Rc<TarLayer>], layer: u32, span: Span) -> &[u8] {
    let end = span.start.saturating_add(span.length);
    all_bytes(layers, layer)
        .get(span.start..end)
        .unwrap_or_default()
}

pub fn all_bytes(layers: &[Rc<TarLayer>], layer: u32) -> &[u8] {
    match layers.get(layer as usize) {
        Some(layer) => layer.bytes(),
        None if layer == NO_LAYER => &RESERVED,
        None => &[],
    }
}

/// Nodes and the open-addressing table that finds them.
#[derive(Clone)]
pub struct Index {
    pub records: Vec<Record>,
    /// Node ids; `ROOT` marks a free slot, as the root has no name. The length
    /// is a power of two and at least twice the number of records.
    slots: Vec<NodeId>,
}

/// A slot of the table: its number, and the node there.
pub enum Slot {
    Free(usize),
    Taken(usize, NodeId),
}

pub struct Found {
    pub slot: Slot,
    pub steps: usize,
}

impl Index {
    /// The name of `id` in its directory.
    pub fn name<'a>(&self, layers: &'a [Rc<TarLayer>], id: NodeId) -> &'a [u8] {
        let record = self.record(id);
        record.map_or(b"", |record| bytes_of(layers, record.layer, record.name))
    }

    pub fn new() -> Self {
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

    pub fn record(&self, id: NodeId) -> Option<&Record> {
        self.records.get(id as usize)
    }

    pub fn find(
        &self,
        layers: &[Rc<TarLayer>],
        parent: NodeId,
        name: &[u8],
        hash: u32,
    ) -> Found {
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

    pub fn fill(&mut self, at: usize, id: NodeId) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = id;
        }
    }

    /// Appends a record and gives its id; the caller fills the slot.
    pub fn push(&mut self, record: Record) -> Result<NodeId, String> {
        let id = self.records.len();
        if id > MAX_ENTRIES {
            return Err(format!("has more than {MAX_ENTRIES} files and directories"));
        }
        self.records.push(record);
        NodeId::try_from(id).map_err(|error| error.to_string())
    }

    /// Doubles the table when it is half full.
    pub fn make_room(&mut self) {
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
pub fn hash(parent: NodeId, name: &[u8]) -> u32 {
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
