//! Layers, written down shorter than tars are, or as they are.
//!
//! A mutated tar has a wrong checksum and is refused at once; so the entries are
//! given by their parts, and the headers are made here, with the right checksum but
//! for those that want a wrong one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::script::Script;
use crate::guest::tree::{MAX_NAME_BYTES, MAX_PATH_BYTES, Node, NodeId, ROOT};
use crate::guest::tree::{Stack, TarLayer, Tree, TreeError};

const KINDS: [u8; 14] = *b"0521xgLK\x007VS3Z";
const NEXT_LAYER: u8 = 14;

const MAX_LAYERS: usize = 4;

/// Layers are refused, each by itself or not at all; or become a tree whose parts
/// agree with each other, and which is the layers' own trees laid over one another.
/// It is the same, to the numbers of its nodes, when headers are read from the file
/// instead of the mapping, and when some layers were indexed before the others.
pub fn tar(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mode = script.byte();
    let layers = match mode & 1 {
        0 => written(&mut script, mode & 2 != 0),
        _ => vec![script.rest().to_vec()],
    };
    let (none, from_file) = (Vec::new(), mode & 4 != 0);
    let alone = layers
        .iter()
        .map(|layer| read(std::slice::from_ref(layer), &none, false));
    let alone: Vec<_> = alone.map(|one| one.map(|seen| seen.files)).collect();
    let merged = read(&layers, &none, false);
    let (upper, lower) = layers.split_at(usize::from(mode >> 4) % (layers.len() + 1));
    assert_eq!(
        read(upper, lower, from_file),
        merged,
        "in turns, or by the file"
    );
    let merged = merged.map(|seen| seen.files);
    let Ok(merged) = merged else {
        // What is wrong with a layer is wrong with it alone too.
        return assert!(alone.contains(&merged), "{merged:?}");
    };
    let alone = alone.into_iter().map(Result::unwrap);
    let expected = alone.rev().reduce(lay_over).unwrap();
    assert_eq!(merged, expected);
}

/// The layers of a script, topmost first.
fn written(script: &mut Script<'_>, ends: bool) -> Vec<Vec<u8>> {
    let mut layers = vec![Vec::new()];
    while !script.is_empty() {
        let head = script.byte();
        match head % 16 {
            NEXT_LAYER if layers.len() < MAX_LAYERS => layers.push(Vec::new()),
            15 | NEXT_LAYER => put_raw(layers.last_mut().unwrap(), script.string()),
            kind => put(layers.last_mut().unwrap(), kind, head, script),
        }
    }
    for layer in layers.iter_mut().filter(|_| ends) {
        layer.extend([0; 1024]);
    }
    layers
}

fn put_raw(layer: &mut Vec<u8>, bytes: &[u8]) {
    layer.extend(bytes);
    layer.resize(layer.len().next_multiple_of(512), 0);
}

/// Adds one entry: name, link, data; then what to write over its header.
fn put(layer: &mut Vec<u8>, kind: u8, head: u8, script: &mut Script<'_>) {
    let kind = KINDS[usize::from(kind)];
    let name = script.string();
    let prefix = if head & 0x10 != 0 {
        script.string()
    } else {
        b""
    };
    let link = match kind {
        b'1' | b'2' => script.string(),
        _ => b"",
    };
    let data = match kind {
        // Long enough for headers to lie far apart.
        b'7' => vec![0; usize::from(script.byte()) * 256],
        b'1' | b'2' | b'5' | b'V' => Vec::new(),
        _ => script.string().to_vec(),
    };
    let mut block = block(kind, name, link, data.len(), script.byte());
    write(&mut block, 345, 155, prefix);
    if head & 0x20 != 0 {
        write(&mut block, 257, 8, b"ustar  ");
    }
    if head & 0x40 != 0 {
        let at = script.number(2) as usize % 512;
        write(&mut block, at, 512 - at, script.string());
    }
    if head & 0x80 == 0 {
        seal(&mut block);
    }
    layer.extend(block);
    put_raw(layer, &data);
}

fn write(block: &mut [u8; 512], at: usize, most: usize, bytes: &[u8]) {
    let length = bytes.len().min(most);
    block[at..at + length].copy_from_slice(&bytes[..length]);
}

fn block(kind: u8, name: &[u8], link: &[u8], length: usize, seconds: u8) -> [u8; 512] {
    let mut block = [0; 512];
    write(&mut block, 0, 100, name);
    write(&mut block, 124, 12, format!("{length:011o}").as_bytes());
    write(&mut block, 136, 12, format!("{seconds:011o}").as_bytes());
    write(&mut block, 156, 1, &[kind]);
    write(&mut block, 157, 100, link);
    write(&mut block, 257, 8, b"ustar\x0000");
    block
}

/// Writes the checksum.
fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    write(block, 148, 7, format!("{sum:06o}\0").as_bytes());
}

/// A tar of entries: kind, name, link, data.
pub fn tar_of(entries: &[(u8, &str, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, link, data) in entries {
        let (name, link) = (name.as_bytes(), link.as_bytes());
        let mut block = block(*kind, name, link, data.len(), 9);
        seal(&mut block);
        bytes.extend(block);
        put_raw(&mut bytes, data);
    }
    bytes
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
}

/// What is at each path, with its time. The root is the empty path.
type Files = BTreeMap<Vec<u8>, (Content, Option<u64>)>;

/// A tree as it is found by walking.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    files: Files,
    /// In the order of the walk.
    nodes: Vec<NodeId>,
}

/// The tree of `upper` over `lower`, which are indexed first; topmost first.
fn read(
    upper: &[Vec<u8>],
    lower: &[Vec<u8>],
    from_file: bool,
) -> Result<Seen, TreeError> {
    let open = |layers: &[Vec<u8>]| -> Result<Vec<TarLayer>, TreeError> {
        let layers = layers.iter().map(|bytes| match from_file {
            true => TarLayer::open_to_index(memory_file(bytes), "layer"),
            false => TarLayer::from_bytes(bytes.clone(), "layer"),
        });
        layers.collect()
    };
    // All are opened before one is indexed, so that the same error comes first.
    let (upper, lower) = (open(upper)?, open(lower)?);
    let mut tree = match lower.is_empty() {
        true => Tree::new(upper)?,
        false => Tree::over(&Rc::new(Stack::new(lower)?), upper)?,
    };
    Ok(walk(&mut tree))
}

fn memory_file(bytes: &[u8]) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("layer", flags).unwrap());
    file.write_all(bytes).unwrap();
    file.into()
}

/// All that a guest can reach, each once, by a name that it is found by.
fn walk(tree: &mut Tree) -> Seen {
    let Seen {
        mut files,
        mut nodes,
    } = Seen::default();
    let mut seen = std::collections::BTreeSet::new();
    let mut rest = vec![(ROOT, Vec::new())];
    while let Some((id, path)) = rest.pop() {
        assert!(seen.insert(id), "node {id} is in two places");
        let content = match tree.node(id) {
            Node::Directory => Content::Directory,
            Node::File(bytes) => Content::File(bytes.to_vec()),
            Node::Symlink(target) => {
                assert!((1..=MAX_PATH_BYTES).contains(&target.len()));
                assert!(!target.contains(&0));
                Content::Symlink(target.to_vec())
            }
        };
        let children = tree.children(id).to_vec();
        assert!(content == Content::Directory || children.is_empty());
        let mut last: Option<Vec<u8>> = None;
        for child in children {
            let name = tree.name(child).to_vec();
            assert!((1..=MAX_NAME_BYTES).contains(&name.len()));
            assert!(!name.contains(&b'/') && !name.contains(&0));
            assert!(name != b"." && name != b"..");
            assert!(last.is_none_or(|last| last < name), "not sorted");
            assert_eq!(tree.lookup(id, &name), Some(child));
            assert_eq!(tree.parent(child), id);
            rest.push((child, [&path[..], b"/", &name].concat()));
            last = Some(name);
        }
        files.insert(path, (content, tree.modified_seconds(id)));
        nodes.push(id);
    }
    for reserved in [&b"/dev"[..], b"/tmp"] {
        assert_eq!(files[reserved].0, Content::Directory);
        let mut below = files.range([reserved, b"/"].concat()..);
        let first = below.next().map(|(path, _)| path);
        assert!(first.is_none_or(|path| !path.starts_with(&[reserved, b"/"].concat())));
    }
    Seen { files, nodes }
}

/// The rules of the merge, once more, without an index.
fn lay_over(mut lower: Files, upper: Files) -> Files {
    // A directory comes before all that is in it.
    for (path, (content, modified)) in upper {
        let there = lower.get(&path).map(|(content, _)| content.clone());
        let merges = content == Content::Directory && there == Some(Content::Directory);
        if merges && modified.is_none() {
            continue;
        }
        if content != Content::Directory {
            let inside = [&path[..], b"/"].concat();
            lower.retain(|path, _| !path.starts_with(&inside));
        }
        lower.insert(path, (content, modified));
    }
    lower
}
