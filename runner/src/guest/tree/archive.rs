//! The entries of a tar file, in order, each with its long name, link and size
//! from the headers before it.
//!
//! All slices point into the archive. Entry types that a read-only tree cannot
//! hold are refused, not skipped: a program must not find half an image.

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
    position: usize,
}

impl<'a> Archive<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Archive { bytes, position: 0 }
    }

    /// The next entry, or `None` at the end of the archive.
    ///
    /// Fails with what is wrong, naming the entry or the offset.
    pub fn next(&mut self) -> Result<Option<Entry<'a>>, String> {
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.kind() {
                b'x' => {
                    let data = self.extension(&header)?;
                    pax::parse(data, &mut extensions.pax)
                        .map_err(|message| self.at_header(message))?;
                }
                b'g' => {
                    let data = self.extension(&header)?;
                    self.check_global(data)?;
                }
                b'L' => extensions.path = Some(until_nul(self.extension(&header)?)),
                b'K' => extensions.link = Some(until_nul(self.extension(&header)?)),
                // A volume label.
                b'V' => {}
                _ => return self.entry(&header, &extensions).map(Some),
            }
        }
    }

    /// The header at the position, which then is behind it. `None` at the end:
    /// a block of zeros, or the end of the file.
    fn header(&mut self) -> Result<Option<Header<'a>>, String> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(block) = rest.first_chunk::<BLOCK>() else {
            return Err(format!("ends inside a header at byte {}", self.position));
        };
        let header = Header::parse(block).map_err(|_| {
            format!(
                "is no tar: the header at byte {} has a wrong checksum",
                self.position
            )
        })?;
        self.position += BLOCK;
        Ok(header)
    }

    /// A message about the header just read.
    fn at_header(&self, message: &str) -> String {
        format!(
            "the entry at byte {} {message}",
            self.position.saturating_sub(BLOCK)
        )
    }

    /// The `size` bytes at the position, which then is behind their padding.
    fn data(&mut self, size: u64) -> Option<&'a [u8]> {
        let end = self.position.checked_add(usize::try_from(size).ok()?)?;
        let data = self.bytes.get(self.position..end)?;
        // The padding of the last file may be missing.
        self.position = end.checked_next_multiple_of(BLOCK)?.min(self.bytes.len());
        Some(data)
    }

    fn extension(&mut self, header: &Header<'a>) -> Result<&'a [u8], String> {
        let start = self.position;
        let size = header
            .size()
            .map_err(|error| self.at_header(&text(error)))?;
        let data = self.data(size).ok_or("has a header that passes the end");
        let data = data.map_err(|message| format!("{message} at byte {start}"))?;
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

    fn entry(
        &mut self,
        header: &Header<'a>,
        extensions: &Extensions<'a>,
    ) -> Result<Entry<'a>, String> {
        let path = extensions.path(header);
        let fail = |message: &str| format!("entry {} {message}", path.shown());
        let kind = match header.kind() {
            b'0' | b'\0' | b'7' if path.name.ends_with(b"/") => Kind::Directory,
            b'0' | b'\0' | b'7' => {
                let header_size = header.size().map_err(|error| fail(&text(error)))?;
                let size = extensions.pax.size.unwrap_or(header_size);
                let data = self.data(size).ok_or_else(|| {
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
        })
    }
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
    fn path(&self, header: &Header<'a>) -> Path<'a> {
        match self.pax.path.or(self.path) {
            Some(name) => Path { prefix: b"", name },
            None => Path {
                prefix: header.prefix(),
                name: header.name(),
            },
        }
    }

    fn link(&self, header: &Header<'a>) -> &'a [u8] {
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
