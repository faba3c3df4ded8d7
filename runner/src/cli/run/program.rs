//! Finds the program and the environment that the layers bring along.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::compile;
use crate::error::{Code, Error};
use crate::guest::tree::{Node, NodeId, ROOT, TarLayer, Tree};
use crate::manifest::{Layer, hex};

use super::request::Request;

/// What an image says of itself, in its own tar.
const IMAGE_FILE: &str = ".zerocloud/image.json";
const MAX_IMAGE_BYTES: usize = 64 << 10;
const IMAGE_VERSION: u64 = 1;
/// Symbolic links followed on the way to a file.
const MAX_LINKS: usize = 16;

/// A layer of the command line.
pub struct OpenLayer {
    pub file: File,
    pub name: String,
    pub sha256: String,
    index: usize,
}

impl OpenLayer {
    pub fn entry(&self) -> Layer {
        Layer {
            descriptor: self.index,
            sha256: self.sha256.clone(),
            name: self.name.clone(),
            system: false,
        }
    }

    fn map(&self) -> Result<TarLayer, Error> {
        TarLayer::open(&self.file, &self.name)
            .map_err(|error| Error::refused(Code::BadLayer, error.to_string()))
    }
}

pub fn open_layers(paths: &[PathBuf]) -> Result<Vec<OpenLayer>, Error> {
    let open = paths.iter().enumerate().map(|(index, path)| {
        let file = compile::open_module(path)?;
        let digest = digest_of(&file)?;
        let name = base_name(&path.to_string_lossy());
        Ok(OpenLayer {
            file,
            name,
            sha256: digest,
            index,
        })
    });
    open.collect()
}

fn digest_of(file: &File) -> Result<String, Error> {
    let bytes = crate::sys::Mapping::open(file)?;
    Ok(hex(&Sha256::digest(&*bytes)))
}

/// Reads the program: a file of that name, else a member of the layers.
pub fn find(program: &str, layers: &[OpenLayer]) -> Result<Vec<u8>, Error> {
    let path = Path::new(program);
    if path.is_file() {
        return compile::read_module(compile::open_module(path)?);
    }
    let tree = tree_of(layers)?;
    // Plain names are also looked for where images keep their programs.
    let in_bin = format!("bin/{program}");
    let found = read(&tree, program).or_else(|| {
        if program.contains('/') {
            None
        } else {
            read(&tree, &in_bin)
        }
    });
    let Some(bytes) = found else {
        let mut message = format!("{program}: no such file");
        if !layers.is_empty() {
            message.push_str(", and no such member of the layers");
        }
        return Err(Error::refused(Code::NotFound, message));
    };
    compile::read_module(bytes)
}

fn tree_of(layers: &[OpenLayer]) -> Result<Tree, Error> {
    let maps: Result<Vec<TarLayer>, Error> = layers.iter().map(OpenLayer::map).collect();
    Tree::new(maps?).map_err(|error| Error::refused(Code::BadLayer, error.to_string()))
}

/// The environment: of the images, the lowest first, then of the command line.
pub fn environment(
    request: &Request,
    layers: &[OpenLayer],
) -> Result<Vec<(String, String)>, Error> {
    let mut merged = BTreeMap::new();
    for layer in layers.iter().rev() {
        merged.extend(image_environment(layer)?);
    }
    merged.extend(request.env.iter().cloned());
    Ok(merged.into_iter().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    version: u64,
    #[serde(rename = "name")]
    _name: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// For who starts many VMs of an image: the result is the same without.
    #[serde(default, rename = "templates")]
    _templates: Vec<serde_json::Value>,
}

fn image_environment(layer: &OpenLayer) -> Result<BTreeMap<String, String>, Error> {
    let tree = Tree::new(vec![layer.map()?]);
    let tree = tree.map_err(|error| Error::refused(Code::BadLayer, error.to_string()))?;
    let Some(text) = read(&tree, IMAGE_FILE) else {
        return Ok(BTreeMap::new());
    };
    let refused = |what: String| {
        let message = format!("{}: {IMAGE_FILE}: {what}", layer.name);
        Error::refused(Code::BadLayer, message)
    };
    if text.len() > MAX_IMAGE_BYTES {
        return Err(refused(format!("longer than {MAX_IMAGE_BYTES} bytes")));
    }
    let image: Image =
        serde_json::from_slice(text).map_err(|error| refused(error.to_string()))?;
    if image.version != IMAGE_VERSION {
        return Err(refused(format!("version {} is not known", image.version)));
    }
    Ok(image.env)
}

/// Content of the file at `path`, symbolic links followed.
fn read<'a>(tree: &'a Tree, path: &str) -> Option<&'a [u8]> {
    let mut links = MAX_LINKS;
    match tree.node(walk(tree, ROOT, path.as_bytes(), &mut links)?) {
        Node::File(bytes) => Some(bytes),
        _ => None,
    }
}

fn walk(tree: &Tree, from: NodeId, path: &[u8], links: &mut usize) -> Option<NodeId> {
    let mut at = if path.starts_with(b"/") { ROOT } else { from };
    for part in path.split(|byte| *byte == b'/') {
        at = match part {
            b"" | b"." => at,
            b".." => tree.parent(at),
            name => {
                let found = tree.lookup(at, name)?;
                match tree.node(found) {
                    Node::Symlink(target) => {
                        *links = links.checked_sub(1)?;
                        walk(tree, at, target, links)?
                    }
                    _ => found,
                }
            }
        };
    }
    Some(at)
}

/// The last part of a path.
pub fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
