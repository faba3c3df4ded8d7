//! `fd_readdir`: the entries of a directory, sorted by the bytes of their names,
//! after `.` and `..`.
//!
//! A cookie is the number of the entry behind it. In /tmp entries may vanish
//! while they are listed, so a listing goes on behind the *name* it last gave
//! whole, if its cookie is the one that is asked for: deleting what has been
//! listed skips nothing.

use super::abi::{Errno, FileType, encode_dirent, rights};
use super::namespace::Place;
use super::table::Object;
use super::{Call, Fault};

/// `.` and `..` come first.
const DOTS: u64 = 2;

/// The guest's buffer as it fills. The last entry may be cut off, by which the
/// guest sees that there is more.
struct Filling<'a> {
    buffer: &'a mut [u8],
    used: usize,
    /// The cookie behind the last entry given whole, and its name.
    last: Option<(u64, Box<[u8]>)>,
}

impl Filling<'_> {
    /// Adds an entry; false when the buffer is full.
    fn add(&mut self, cookie: u64, inode: u64, name: &[u8], file_type: FileType) -> bool {
        let next = cookie + 1;
        // Names are at most 255 bytes.
        let head = encode_dirent(next, inode, name.len() as u32, file_type);
        let is_whole = self.append(&head) && self.append(name);
        if is_whole && next > DOTS {
            self.last = Some((next, name.into()));
        }
        is_whole && self.used < self.buffer.len()
    }

    /// Adds as many bytes as fit; whether that was all.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let rest = self.buffer.get_mut(self.used..).unwrap_or_default();
        let (piece, left) = bytes.split_at(bytes.len().min(rest.len()));
        rest.split_at_mut(piece.len()).0.copy_from_slice(piece);
        self.used += piece.len();
        left.is_empty()
    }
}

pub fn fd_readdir(
    call: &mut Call<'_>,
    fd: u32,
    buffer: u32,
    length: u32,
    cookie: u64,
    out: u32,
) -> Result<(), Fault> {
    call.memory.check(out, 4)?;
    let wasi = &mut *call.wasi;
    let descriptor = wasi.table.kept(fd, rights::FD_READDIR)?;
    let Object::Directory(directory) = descriptor.object else {
        return Err(Errno::Notdir.into());
    };
    let last = descriptor
        .last_entry
        .clone()
        .filter(|(last, _)| *last == cookie);
    let buffer = call.memory.slice_mut(buffer, length)?;
    let mut filling = Filling {
        buffer,
        used: 0,
        last: None,
    };

    let (namespace, channels) = (&mut wasi.namespace, &wasi.channels);
    let mut has_room = length > 0;
    let dots: [(&[u8], Place); 2] =
        [(b".", directory), (b"..", namespace.parent(directory))];
    for (number, (name, place)) in (0u64..).zip(dots) {
        if has_room && cookie <= number {
            let inode = namespace.stat(place, channels)?.inode;
            has_room = filling.add(number, inode, name, FileType::Directory);
        }
    }
    if has_room {
        let skip = usize::try_from(cookie.saturating_sub(DOTS)).unwrap_or(usize::MAX);
        let after = last.as_ref().map(|(_, name)| &**name);
        let mut next = cookie.max(DOTS);
        namespace.list(directory, skip, after, |namespace, name, place| {
            let Ok(stat) = namespace.stat(place, channels) else {
                return true;
            };
            let goes_on = filling.add(next, stat.inode, name, stat.file_type);
            next = next.saturating_add(1);
            goes_on
        });
    }
    let (used, last) = (filling.used, filling.last);
    if last.is_some() {
        wasi.table.get_mut(fd)?.last_entry = last;
    }
    Ok(call.memory.write_u32(out, used as u32)?)
}
