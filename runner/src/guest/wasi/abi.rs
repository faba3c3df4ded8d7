//! Numbers and layouts of WASI preview 1, as its specification fixes them.
//!
//! Only what this implementation reads or writes. All integers are
//! little-endian; a structure is encoded whole before it goes to guest memory,
//! with its padding zeroed, so that no byte of the host shows.

/// Error numbers. 0 is success and therefore no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Errno {
    TooBig = 1,
    Acces = 2,
    Addrinuse = 3,
    Addrnotavail = 4,
    Afnosupport = 5,
    Again = 6,
    Already = 7,
    Badf = 8,
    Badmsg = 9,
    Busy = 10,
    Canceled = 11,
    Child = 12,
    Connaborted = 13,
    Connrefused = 14,
    Connreset = 15,
    Deadlk = 16,
    Destaddrreq = 17,
    Dom = 18,
    Dquot = 19,
    Exist = 20,
    Fault = 21,
    Fbig = 22,
    Hostunreach = 23,
    Idrm = 24,
    Ilseq = 25,
    Inprogress = 26,
    Intr = 27,
    Inval = 28,
    Io = 29,
    Isconn = 30,
    Isdir = 31,
    Loop = 32,
    Mfile = 33,
    Mlink = 34,
    Msgsize = 35,
    Multihop = 36,
    Nametoolong = 37,
    Netdown = 38,
    Netreset = 39,
    Netunreach = 40,
    Nfile = 41,
    Nobufs = 42,
    Nodev = 43,
    Noent = 44,
    Noexec = 45,
    Nolck = 46,
    Nolink = 47,
    Nomem = 48,
    Nomsg = 49,
    Noprotoopt = 50,
    Nospc = 51,
    Nosys = 52,
    Notconn = 53,
    Notdir = 54,
    Notempty = 55,
    Notrecoverable = 56,
    Notsock = 57,
    Notsup = 58,
    Notty = 59,
    Nxio = 60,
    Overflow = 61,
    Ownerdead = 62,
    Perm = 63,
    Pipe = 64,
    Proto = 65,
    Protonosupport = 66,
    Prototype = 67,
    Range = 68,
    Rofs = 69,
    Spipe = 70,
    Srch = 71,
    Stale = 72,
    Timedout = 73,
    Txtbsy = 74,
    Xdev = 75,
    Notcapable = 76,
}

/// What kind of thing a descriptor or a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SymbolicLink = 7,
}

/// `path_open`: what to do with the name.
pub mod oflags {
    pub const CREAT: u32 = 1;
    pub const DIRECTORY: u32 = 2;
    pub const EXCL: u32 = 4;
    pub const TRUNC: u32 = 8;
    pub const ALL: u32 = 15;
}

/// Flags that stay with a descriptor.
pub mod fdflags {
    pub const APPEND: u32 = 1;
    pub const ALL: u32 = 31;
}

/// `path_*`: follow a symbolic link at the end of the path.
pub const SYMLINK_FOLLOW: u32 = 1;

/// `*_set_times`: which times to set, and whether to the present.
pub mod fstflags {
    pub const ATIM: u32 = 1;
    pub const ATIM_NOW: u32 = 2;
    pub const MTIM: u32 = 4;
    pub const MTIM_NOW: u32 = 8;
    pub const ALL: u32 = 15;
}

/// What a descriptor may be used for. Reading and writing are enforced, as POSIX
/// does. The others are enforced once a guest has given them up by
/// `fd_fdstat_set_rights`; that it did not ask for one when it opened something is
/// no reason to refuse a call, because many libraries never ask.
pub mod rights {
    pub const FD_DATASYNC: u64 = 1;
    pub const FD_READ: u64 = 1 << 1;
    pub const FD_SEEK: u64 = 1 << 2;
    pub const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub const FD_SYNC: u64 = 1 << 4;
    pub const FD_TELL: u64 = 1 << 5;
    pub const FD_WRITE: u64 = 1 << 6;
    pub const FD_ADVISE: u64 = 1 << 7;
    pub const FD_ALLOCATE: u64 = 1 << 8;
    pub const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
    pub const PATH_CREATE_FILE: u64 = 1 << 10;
    pub const PATH_LINK_SOURCE: u64 = 1 << 11;
    pub const PATH_LINK_TARGET: u64 = 1 << 12;
    pub const PATH_OPEN: u64 = 1 << 13;
    pub const FD_READDIR: u64 = 1 << 14;
    pub const PATH_READLINK: u64 = 1 << 15;
    pub const PATH_RENAME_SOURCE: u64 = 1 << 16;
    pub const PATH_RENAME_TARGET: u64 = 1 << 17;
    pub const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
    pub const FD_FILESTAT_GET: u64 = 1 << 21;
    pub const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    pub const PATH_SYMLINK: u64 = 1 << 24;
    pub const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    pub const PATH_UNLINK_FILE: u64 = 1 << 26;
    pub const POLL_FD_READWRITE: u64 = 1 << 27;
    /// All thirty, up to `sock_accept`.
    pub const ALL: u64 = (1 << 30) - 1;
    /// What goes with writing.
    pub const WRITING: u64 = FD_DATASYNC | FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
    /// What makes sense with anything but a directory: `fd_*` without
    /// `fd_readdir`, and `poll_fd_readwrite`.
    pub const FILE: u64 = 0x1ff | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 27;
    /// What makes sense with a directory.
    pub const DIRECTORY: u64 = ALL & !(FD_READ | FD_SEEK | FD_TELL | WRITING);
}

/// Clocks: realtime, monotonic, CPU time of the process and of the thread.
pub mod clock {
    pub const REALTIME: u32 = 0;
    pub const LAST: u32 = 3;
}

/// Lengths of the structures in guest memory.
pub mod sizes {
    pub const DIRENT: usize = 24;
    pub const EVENT: usize = 32;
    pub const FDSTAT: usize = 24;
    pub const FILESTAT: usize = 64;
    pub const IOVEC: usize = 8;
    pub const SUBSCRIPTION: usize = 48;
}

/// What `*_filestat_get` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filestat {
    pub device: u64,
    pub inode: u64,
    pub file_type: FileType,
    pub links: u64,
    pub size: u64,
    pub times: Times,
}

/// The times of something, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub accessed: u64,
    pub modified: u64,
    pub changed: u64,
}

impl Times {
    /// All three at once.
    pub fn all(nanoseconds: u64) -> Self {
        Times {
            accessed: nanoseconds,
            modified: nanoseconds,
            changed: nanoseconds,
        }
    }
}

impl Filestat {
    pub fn encode(&self) -> [u8; sizes::FILESTAT] {
        encode_words([
            self.device,
            self.inode,
            u64::from(self.file_type as u8),
            self.links,
            self.size,
            self.times.accessed,
            self.times.modified,
            self.times.changed,
        ])
    }
}

/// What `fd_fdstat_get` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fdstat {
    pub file_type: FileType,
    pub flags: u16,
    pub rights: u64,
    pub rights_inheriting: u64,
}

impl Fdstat {
    pub fn encode(&self) -> [u8; sizes::FDSTAT] {
        let head = u64::from(self.file_type as u8) | u64::from(self.flags) << 16;
        encode_words([head, self.rights, self.rights_inheriting])
    }
}

/// The fixed part of a directory entry; its name follows it.
pub fn encode_dirent(
    next_cookie: u64,
    inode: u64,
    name_length: u32,
    file_type: FileType,
) -> [u8; sizes::DIRENT] {
    let tail = u64::from(name_length) | u64::from(file_type as u8) << 32;
    encode_words([next_cookie, inode, tail])
}

/// An event of `poll_oneoff`.
pub fn encode_event(
    userdata: u64,
    error: Option<Errno>,
    tag: u8,
    available_bytes: u64,
) -> [u8; sizes::EVENT] {
    let error = error.map_or(0, |errno| errno as u64);
    encode_words([userdata, error | u64::from(tag) << 16, available_bytes, 0])
}

fn encode_words<const WORDS: usize, const BYTES: usize>(
    words: [u64; WORDS],
) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (target, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *target = word.to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filestat_has_its_fields_where_the_specification_puts_them() {
        let stat = Filestat {
            device: 1,
            inode: 2,
            file_type: FileType::RegularFile,
            links: 3,
            size: 4,
            times: Times {
                accessed: 5,
                modified: 6,
                changed: 7,
            },
        };
        let words = [1, 2, 4, 3, 4, 5, 6, 7];
        assert_eq!(stat.encode(), encode_words::<8, 64>(words));
    }

    #[test]
    fn fdstat_has_flags_at_2_and_rights_at_8() {
        let stat = Fdstat {
            file_type: FileType::Directory,
            flags: 0x0102,
            rights: 9,
            rights_inheriting: 7,
        };
        let bytes = stat.encode();
        assert_eq!(bytes[..4], [3, 0, 2, 1]);
        assert_eq!(bytes[8..16], u64::to_le_bytes(9));
        assert_eq!(bytes[16..], u64::to_le_bytes(7));
    }

    #[test]
    fn dirent_has_length_at_16_and_type_at_20() {
        let bytes = encode_dirent(1, 2, 3, FileType::SymbolicLink);
        assert_eq!(bytes[16..], [3, 0, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn event_has_error_at_8_and_type_at_10() {
        let bytes = encode_event(1, Some(Errno::Badf), 2, 3);
        assert_eq!(
            bytes[8..24],
            [8, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        );
    }
}
