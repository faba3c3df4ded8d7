//! The read-only part of a guest's file tree: tar layers laid over each other.
//!
//! A [`TarLayer`] is one tar file, mapped and never unpacked. [`Tree::new`] reads
//! the headers of all layers once (`blocks`) and indexes them; what a file holds stays where
//! it is in the mapping, and opening it gives a slice of that mapping.
//!
//! Rules of the merge: a name in a higher layer hides the same name in a lower
//! one, directories merge, a directory that only a longer name implies exists.
//! Hard links are resolved while indexing, to an earlier file of the same layer.
//! Symbolic links are kept as text; `wasi::namespace` follows them at use, inside
//! the guest's root, so a dangling one is an ordinary "no such file".
//!
//! A layer is a user's upload, thus hostile: every number is checked before use,
//! time and memory are linear in the size of the tar, and nothing panics. What
//! the index cannot represent faithfully (devices, FIFOs, sparse files, `..`) is
//! refused with an error that names the layer and the entry.

mod archive;
mod blocks;
mod builder;
mod children;
mod error;
mod header;
mod index;
mod layer;
mod pax;
mod stack;

pub use error::TreeError;
pub use index::{Node, NodeId, ROOT, Tree};
pub use layer::TarLayer;
pub use stack::Stack;

/// Longest path of an entry, or of a symbolic link's target, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;
/// Longest single name in a path, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Entries of all layers of one tree.
pub const MAX_ENTRIES: usize = 1_000_000;

#[cfg(test)]
pub mod tests;
