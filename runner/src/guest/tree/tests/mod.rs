//! Trees of tar files that the tests build byte by byte.

mod hostile;
mod merge;

use super::{Node, NodeId, ROOT, TarLayer, Tree};

/// One tar header. The test may alter `block` before taking its checksum.
pub struct Entry {
    block: [u8; 512],
    data: Vec<u8>,
}

impl Entry {
    pub fn new(kind: u8, name: &str) -> Self {
        let mut entry = Entry {
            block: [0; 512],
            data: Vec::new(),
        };
        entry.put(0, name.as_bytes());
        entry.put(100, b"0000644\0");
        entry.put(124, b"00000000000\0");
        entry.put(136, b"00000000021\0");
        entry.block[156] = kind;
        entry.put(257, b"ustar\x0000");
        entry
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn link(mut self, target: &str) -> Self {
        self.put(157, target.as_bytes());
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.put(124, format!("{:011o}\0", data.len()).as_bytes());
        self.data = data.to_vec();
        self
    }

    pub fn bytes(mut self) -> Vec<u8> {
        self.put(148, b"        ");
        let sum: u32 = self.block.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.block.to_vec();
        bytes.extend(self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

pub fn file(name: &str, data: &str) -> Vec<u8> {
    Entry::new(b'0', name).data(data.as_bytes()).bytes()
}

pub fn directory(name: &str) -> Vec<u8> {
    Entry::new(b'5', name).bytes()
}

pub fn symlink(name: &str, target: &str) -> Vec<u8> {
    Entry::new(b'2', name).link(target).bytes()
}

pub fn hard_link(name: &str, target: &str) -> Vec<u8> {
    Entry::new(b'1', name).link(target).bytes()
}

/// A pax header with these records, for the entry that follows.
pub fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        // The length counts its own digits.
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length += 1;
        }
        data.extend(format!("{length}{rest}").as_bytes());
    }
    Entry::new(b'x', "pax").data(&data).bytes()
}

pub fn layer(name: &str, entries: &[Vec<u8>]) -> TarLayer {
    TarLayer::from_bytes([entries.concat(), vec![0; 1024]].concat(), name).unwrap()
}

/// A tree of one layer.
pub fn tree(entries: &[Vec<u8>]) -> Tree {
    Tree::new(vec![layer("image", entries)]).unwrap()
}

/// What is wrong with a layer.
pub fn refusal(entries: &[Vec<u8>]) -> String {
    Tree::new(vec![layer("image", entries)])
        .unwrap_err()
        .to_string()
}

/// The node at a path without links.
pub fn at(tree: &Tree, path: &str) -> Option<NodeId> {
    path.split('/')
        .try_fold(ROOT, |node, name| tree.lookup(node, name.as_bytes()))
}

/// What is at a path: a file's text, a link's target after `->`, or `/`.
pub fn shown(tree: &Tree, path: &str) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    at(tree, path).map(|id| match tree.node(id) {
        Node::Directory => "/".to_owned(),
        Node::File(bytes) => text(bytes),
        Node::Symlink(target) => format!("->{}", text(target)),
    })
}

/// The names in a directory.
pub fn names(tree: &mut Tree, path: &str) -> Vec<String> {
    let id = if path.is_empty() {
        ROOT
    } else {
        at(tree, path).unwrap()
    };
    let ids = tree.children(id).to_vec();
    ids.into_iter()
        .map(|id| String::from_utf8(tree.name(id).to_vec()).unwrap())
        .collect()
}

/// Looks at everything in a tree, and tells it; each name must lead back to its
/// node.
pub fn walk(tree: &mut Tree) -> Vec<String> {
    let mut told = Vec::new();
    let mut open = vec![ROOT];
    while let Some(directory) = open.pop() {
        for id in tree.children(directory).to_vec() {
            let name = tree.name(id).to_vec();
            assert_eq!(tree.lookup(directory, &name), Some(id));
            assert_eq!(tree.parent(id), directory);
            let node = tree.node(id);
            let seconds = tree.modified_seconds(id);
            told.push(format!("{directory}/{id} {name:?} {node:?} {seconds:?}"));
            match node {
                Node::Directory => open.push(id),
                Node::File(bytes) | Node::Symlink(bytes) => {
                    assert!(bytes.len() < 1 << 20);
                }
            }
        }
    }
    told
}
