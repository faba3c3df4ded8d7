//! The entries of a tar file, in order, each with its long name, link and size
//! from the headers before it.
//!
//! Slices point into the archive or into the copy of an entry's header, which lasts
//! until the next entry is read. Entry types that a read-only tree cannot
//! hold are refused, not skipped: a program must not find half an image.

use std::os::fd::OwnedFd;

use super::blocks::Blocks;
use super::error::shown;
use super::header::{BLOCK, Header, HeaderError};
use super::pax::{self, Overrides};

/// Extended headers longer than this are refused; long names need 4 KiB.
const MAX_EXTENSION_BYTES: usize = 1 << 20;

/// One file, directory or link.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub path: Path<'a>,
    pub kind: Kind<'a>,
    pub modified_seconds: u64,
    pub place: Place,
}

/// Where the copy of an entry's header is, and its original: what turns a slice of
/// an entry into a place in the file.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    copy: usize,
    original: usize,
}

impl Place {
    /// Offset in the file of a slice of the entry; `bytes` is the file's mapping.
    pub fn offset(self, slice: &[u8], bytes: &[u8]) -> usize {
        let at = slice.as_ptr().addr();
        match at.checked_sub(self.copy) {
            Some(inside) if inside < BLOCK => self.original + inside,
            _ => at.saturating_sub(bytes.as_ptr().addr()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    Directory,
    File(&'a [u8]),
    Symlink(&'a [u8]),
    /// Another name of the file at this path.
    HardLink(&'a [u8]),
}

/// A path in one or two pieces, as headers store it; a slash belongs between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<'a> {
    pub prefix: &'a [u8],
    pub name: &'a [u8],
}

impl Path<'_> {
    pub fn len(&self) -> usize {
        self.prefix.len() + self.name.len() + usize::from(!self.prefix.is_empty())
    }

    /// The path as error texts show it.
    pub fn shown(&self) -> String {
        if self.prefix.is_empty() {
            shown(self.name)
        } else {
            shown(&[self.prefix, b"/", self.name].concat())
        }
    }
}

/// Reads a tar file from its start.
pub struct Archive<'a> {
    bytes: &'a [u8],
    blocks: Blocks<'a>,
    position: usize,
    /// The header read last.
    block: [u8; BLOCK],
}

impl<'a> Archive<'a> {
    /// `bytes` is the mapping of the file.
    pub fn new(bytes: &'a [u8], file: Option<&'a OwnedFd>) -> Self {
        Archive {
            bytes,
            blocks: Blocks::new(bytes, file),
            position: 0,
            block: [0; BLOCK],
        }
    }

    /// The next entry, or `None` at the end of the archive.
    ///
    /// Fails with what is wrong, naming the entry or the offset.
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, String> {
        let mut extensions = Extensions::default();
        loop {
            let Some((kind, size)) = self.header()? else {
                return Ok(None);
            };
            match kind {
                b'x' => {
                    let data = self.extension(size)?;
                    pax::parse(data, &mut extensions.pax)
                        .map_err(|message| self.at_header(message))?;
                }
                b'g' => {
                    let data = self.extension(size)?;
                    self.check_global(data)?;
                }
                b'L' => extensions.path = Some(until_nul(self.extension(size)?)),
                b'K' => extensions.link = Some(until_nul(self.extension(size)?)),
                // A volume label.
                b'V' => {}
                _ => break,
            }
        }
        self.entry(&extensions).map(Some)
    }

    /// Reads the header at the position, which then is behind it; its kind and
    /// size. `None` at the end: a block of zeros, or the end of the file.
    fn header(&mut self) -> Result<Option<(u8, Size)>, String> {
        if self.position >= self.bytes.len() {
            return Ok(None);
        }
        let Some(block) = self.blocks.at(self.position) else {
            return Err(format!("ends inside a header at byte {}", self.position));
        };
        // The data of extensions is looked at before the entry is.
        self.block = *block;
        let header = Header::parse(&self.block).map_err(|_| {
            format!(
                "is no tar: the header at byte {} has a wrong checksum",
                self.position
            )
        })?;
        self.position += BLOCK;
        Ok(header.map(|header| (header.kind(), header.size())))
    }

    /// A message about the header just read.
    fn at_header(&self, message: &str) -> String {
        format!(
            "the entry at byte {} {message}",
            self.position.saturating_sub(BLOCK)
        )
    }

    fn extension(&mut self, size: Size) -> Result<&'a [u8], String> {
        let start = self.position;
        let size = size.map_err(|error| self.at_header(&text(error)))?;
        let data = take(self.bytes, &mut self.position, size);
        let data = data
            .ok_or_else(|| format!("has a header that passes the end at byte {start}"))?;
        if data.len() > MAX_EXTENSION_BYTES {
            let message = format!(
                "has a header of {} bytes at byte {start}; at most {MAX_EXTENSION_BYTES} \
                 are allowed",
                data.len()
            );
            return Err(message);
        }
        Ok(data)
    }

    /// Global headers may carry comments, but not rename what follows.
    fn check_global(&self, data: &[u8]) -> Result<(), String> {
        let mut global = Overrides::default();
        pax::parse(data, &mut global).map_err(|message| self.at_header(message))?;
        if global.path.is_some() || global.link_path.is_some() || global.size.is_some() {
            return Err(self.at_header("is a global header that sets a path or a size"));
        }
        Ok(())
    }

    /// The entry of the header read last.
    fn entry(&mut self, extensions: &Extensions<'a>) -> Result<Entry<'_>, String> {
        let place = Place {
            copy: self.block.as_ptr().addr(),
            original: self.position.saturating_sub(BLOCK),
        };
        let header = &Header::of_checked(&self.block);
        let path = extensions.path(header);
        let fail = |message: &str| format!("entry {} {message}", path.shown());
        let kind = match header.kind() {
            b'0' | b'\0' | b'7' if path.name.ends_with(b"/") => Kind::Directory,
            b'0' | b'\0' | b'7' => {
                let header_size = header.size().map_err(|error| fail(&text(error)))?;
                let size = extensions.pax.size.unwrap_or(header_size);
                let data = take(self.bytes, &mut self.position, size);
                let data = data.ok_or_else(|| {
                    fail(&format!(
                        "has {size} bytes, which passes the end of the tar"
                    ))
                })?;
                Kind::File(data)
            }
            b'1' => Kind::HardLink(extensions.link(header)),
            b'2' => Kind::Symlink(extensions.link(header)),
            b'5' => Kind::Directory,
            b'3' | b'4' => return Err(fail("is a device; devices are not allowed")),
            b'6' => return Err(fail("is a FIFO; FIFOs are not allowed")),
            b'S' => {
                return Err(fail("is a sparse file; write the tar without sparse files"));
            }
            kind => {
                let shown = kind.escape_ascii();
                return Err(fail(&format!("has the unknown type '{shown}'")));
            }
        };
        let modified = extensions.pax.modified_seconds;
        let modified_seconds = modified.unwrap_or_else(|| header.modified_seconds());
        Ok(Entry {
            path,
            kind,
            modified_seconds,
            place,
        })
    }
}

/// A header's size, or why it has none.
type Size = Result<u64, HeaderError>;

/// The `size` bytes at the position, which then is behind their padding.
fn take<'a>(bytes: &'a [u8], position: &mut usize, size: u64) -> Option<&'a [u8]> {
    let end = position.checked_add(usize::try_from(size).ok()?)?;
    let data = bytes.get(*position..end)?;
    // The padding of the last file may be missing.
    *position = end.checked_next_multiple_of(BLOCK)?.min(bytes.len());
    Some(data)
}

/// What the headers before an entry's own say about it.
#[derive(Default)]
struct Extensions<'a> {
    pax: Overrides<'a>,
    /// GNU long name and long link.
    path: Option<&'a [u8]>,
    link: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    fn path<'e>(&self, header: &Header<'e>) -> Path<'e>
    where
        'a: 'e,
    {
        match self.pax.path.or(self.path) {
            Some(name) => Path { prefix: b"", name },
            None => Path {
                prefix: header.prefix(),
                name: header.name(),
            },
        }
    }

    fn link<'e>(&self, header: &Header<'e>) -> &'e [u8]
    where
        'a: 'e,
    {
        self.pax
            .link_path
            .or(self.link)
            .unwrap_or_else(|| header.link_name())
    }
}

fn text(error: HeaderError) -> String {
    match error {
        HeaderError::Checksum => "has a wrong checksum".to_owned(),
        HeaderError::Number(field) => format!("has a {field} that is no number"),
    }
}

fn until_nul(data: &[u8]) -> &[u8] {
    data.split(|byte| *byte == 0).next().unwrap_or_default()
}
