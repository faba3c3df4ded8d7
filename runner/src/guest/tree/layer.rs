//! One tar file of the tree, mapped for reading.

use std::os::fd::{AsFd, OwnedFd};

use super::TreeError;
use super::header::Header;
use crate::sys::Mapping;

/// A mapped tar file. It is parsed when a [`super::Tree`] is made of it.
pub struct TarLayer {
    name: String,
    bytes: Bytes,
    /// Until it is indexed, if that is known to be asked for.
    file: Option<OwnedFd>,
}

/// Where a layer's bytes are: a mapping, or memory in tests and under fuzzing.
enum Bytes {
    Mapped(Mapping),
    #[cfg(any(test, feature = "fuzzing"))]
    Owned(Vec<u8>),
}

impl TarLayer {
    /// Maps the regular file `fd` whole; `name` is for error texts.
    ///
    /// Fails when it cannot be mapped, or is compressed: layers are stored
    /// inflated so that nothing has to be unpacked at the start of a VM.
    pub fn open(fd: impl AsFd, name: &str) -> Result<Self, TreeError> {
        let mapping = Mapping::open(fd).map_err(|error| {
            TreeError::new(name, format!("cannot be mapped: {error}"))
        })?;
        Self::check(&mapping, name)?;
        Ok(TarLayer {
            name: name.to_owned(),
            bytes: Bytes::Mapped(mapping),
            file: None,
        })
    }

    /// As [`TarLayer::open`], and keeps `fd` until the layer is indexed, which is
    /// faster with it.
    pub fn open_to_index(fd: OwnedFd, name: &str) -> Result<Self, TreeError> {
        let mut layer = Self::open(&fd, name)?;
        layer.file = Some(fd);
        Ok(layer)
    }

    /// The file, if it is still kept.
    pub fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }

    /// Closes the file; its mapping stays.
    pub fn close_file(&mut self) {
        self.file = None;
    }

    /// A layer of bytes in memory.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, TreeError> {
        Self::check(&bytes, name)?;
        Ok(TarLayer {
            name: name.to_owned(),
            bytes: Bytes::Owned(bytes),
            file: None,
        })
    }

    fn check(bytes: &[u8], name: &str) -> Result<(), TreeError> {
        // A tar may begin with a file whose name looks like one of these.
        if bytes
            .first_chunk()
            .is_some_and(|block| Header::parse(block).is_ok())
        {
            return Ok(());
        }
        const COMPRESSED: [(&[u8], &str); 4] = [
            (b"\x1f\x8b", "gzip"),
            (b"BZh", "bzip2"),
            (b"\xfd7zXZ\0", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
        ];
        for (magic, format) in COMPRESSED {
            if bytes.starts_with(magic) {
                let message =
                    format!("is compressed with {format}; a layer is a plain tar");
                return Err(TreeError::new(name, message));
            }
        }
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole tar file.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(mapping) => mapping,
            #[cfg(any(test, feature = "fuzzing"))]
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for TarLayer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TarLayer({}, {} bytes)", self.name, self.bytes().len())
    }
}
