//! By what a program is known again.

use std::os::fd::{AsFd, OwnedFd};

use crate::manifest::Manifest;
use crate::session::warm::Kind;

/// A program as an artefact, and the system images that it comes with: another file
/// is another one, whatever it claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) kind: Kind,
    /// The artefact; then the images, topmost first.
    files: Vec<KeyFile>,
}

/// A file and the digest that it is said to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KeyFile {
    sha256: String,
    file: (u64, u64, u64, i64, i64),
}

impl KeyFile {
    fn of(sha256: &str, fd: impl AsFd) -> Option<Self> {
        let stat = rustix::fs::fstat(fd).ok()?;
        let size = u64::try_from(stat.st_size).ok()?;
        let time = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).ok()?);
        Some(KeyFile {
            sha256: sha256.to_owned(),
            file: (stat.st_dev, stat.st_ino, size, time.0, time.1),
        })
    }
}

impl Key {
    /// The key of a manifest's program with its descriptors; none if those are no
    /// files.
    pub fn of(manifest: &Manifest, fds: &[OwnedFd]) -> Option<Self> {
        let files = named(manifest).map(|(sha256, at)| KeyFile::of(sha256, fds.get(at)?));
        Some(Key {
            kind: Kind::of(manifest),
            files: files.collect::<Option<_>>()?,
        })
    }

    /// Digest of the module, and of each image.
    pub(super) fn digests(&self) -> (String, Vec<String>) {
        let mut digests = self.files.iter().map(|file| file.sha256.clone());
        (digests.next().unwrap_or_default(), digests.collect())
    }
}

/// Copies of the descriptors of a key's files: the artefact, the images.
pub fn files_of_key(
    manifest: &Manifest,
    fds: &[OwnedFd],
) -> std::io::Result<Vec<OwnedFd>> {
    let files = named(manifest).filter_map(|(_, at)| fds.get(at));
    files.map(OwnedFd::try_clone).collect()
}

/// The files that make a key: what each is said to be, and its place among the
/// descriptors.
fn named(manifest: &Manifest) -> impl Iterator<Item = (&str, usize)> {
    let program = &manifest.program;
    let images = manifest.system_layers().iter();
    std::iter::once((program.sha256.as_str(), program.descriptor))
        .chain(images.map(|image| (image.sha256.as_str(), image.descriptor)))
}
