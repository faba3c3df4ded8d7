//! The functions as a guest calls them, with pointers into a memory; only the
//! engine is missing.

mod descriptors;
mod directories;
mod paths_in_tmp;
mod pointers;
mod scratch;
mod streams;
mod tree;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use super::abi::{Errno, FileType, SYMLINK_FOLLOW, oflags, rights};
use super::open::Opening;
use super::*;
use crate::channel::{Access, ChannelSpec, Direction};
use crate::guest::tree::TarLayer;

pub const START: u64 = 946_684_800_000_000_000;
/// Where results go.
const OUT: u32 = 8;
/// Where paths and buffers go; the memory ends a while behind it.
const DATA: u32 = 4096;
const MEMORY: usize = 1 << 20;
pub const ROOT_FD: u32 = 3;

pub const READ: u64 = rights::FD_READ;
pub const WRITE: u64 = rights::FD_WRITE;

/// A guest without a program.
pub struct Machine {
    pub memory: Vec<u8>,
    pub wasi: Wasi,
    pub ledger: Ledger,
}

pub struct Stat {
    pub inode: u64,
    pub file_type: u8,
    pub links: u64,
    pub size: u64,
    pub accessed: u64,
    pub modified: u64,
    pub changed: u64,
}

impl Machine {
    pub fn new(channels: Vec<(ChannelSpec, File)>, layers: Vec<TarLayer>) -> Self {
        Self::with_limits(
            channels,
            layers,
            WasiLimits {
                tmp_bytes: 1 << 16,
                files: 32,
            },
        )
    }

    pub fn with_limits(
        channels: Vec<(ChannelSpec, File)>,
        layers: Vec<TarLayer>,
        limits: WasiLimits,
    ) -> Self {
        let ledger = Ledger::new(channels.len(), 64).unwrap();
        let channels = channels
            .into_iter()
            .enumerate()
            .map(|(index, (spec, file))| {
                Channel::open(spec, OwnedFd::from(file), ledger.clone(), index).unwrap()
            });
        let wasi = Wasi::new(WasiConfig {
            args: vec!["name".into(), "an argument".into()],
            env: vec![("KEY".into(), "value=x".into())],
            clock_nanoseconds: START,
            seed: [7; 32],
            tree: Tree::new(layers).unwrap(),
            channels: channels.collect(),
            limits,
            ledger: ledger.clone(),
        });
        Machine {
            memory: vec![0; MEMORY],
            wasi,
            ledger,
        }
    }

    /// One with nothing but what every guest has.
    pub fn bare() -> Self {
        Self::new(Vec::new(), Vec::new())
    }

    pub fn fault(
        &mut self,
        function: impl FnOnce(&mut Call<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let memory = Memory::new(&mut self.memory);
        function(&mut Call {
            memory,
            wasi: &mut self.wasi,
        })
    }

    pub fn call(
        &mut self,
        function: impl FnOnce(&mut Call<'_>) -> Result<(), Fault>,
    ) -> Result<(), Errno> {
        self.fault(function).map_err(|fault| match fault {
            Fault::Errno(errno) => errno,
            Fault::End(outcome) => panic!("ended with {outcome:?}"),
        })
    }

    pub fn put(&mut self, at: u32, bytes: &[u8]) {
        self.memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub fn out32(&self) -> u32 {
        self.u64_at(OUT) as u32
    }

    pub fn u64_at(&self, at: u32) -> u64 {
        u64::from_le_bytes(
            self.memory[at as usize..at as usize + 8]
                .try_into()
                .unwrap(),
        )
    }

    /// Puts `path` into memory; gives its pointer and length.
    pub fn path(&mut self, path: &str) -> (u32, u32) {
        self.put(DATA, path.as_bytes());
        (DATA, path.len() as u32)
    }

    pub fn second_path(&mut self, path: &str) -> (u32, u32) {
        self.put(2 * DATA, path.as_bytes());
        (2 * DATA, path.len() as u32)
    }

    pub fn open_at(
        &mut self,
        fd: u32,
        path: &str,
        opening: Opening,
    ) -> Result<u32, Errno> {
        let path = self.path(path);
        self.call(|call| open::path_open(call, fd, path, opening, OUT))?;
        Ok(self.out32())
    }

    pub fn open(&mut self, path: &str, oflags: u32, rights: u64) -> Result<u32, Errno> {
        self.open_at(ROOT_FD, path, opening(oflags, rights))
    }

    /// Opens for writing, as `open(path, O_CREAT | O_TRUNC | O_RDWR)`.
    pub fn create(&mut self, path: &str) -> Result<u32, Errno> {
        self.open(path, oflags::CREAT | oflags::TRUNC, READ | WRITE)
    }

    pub fn iovec(&mut self, pointer: u32, length: usize) -> (u32, u32) {
        let words = [pointer.to_le_bytes(), (length as u32).to_le_bytes()];
        self.put(64, &words.concat());
        (64, 1)
    }

    pub fn try_write(&mut self, fd: u32, bytes: &[u8]) -> Result<usize, Fault> {
        self.put(DATA, bytes);
        let (iovecs, count) = self.iovec(DATA, bytes.len());
        self.fault(|call| files::fd_write(call, fd, iovecs, count, OUT))?;
        Ok(self.out32() as usize)
    }

    pub fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<usize, Errno> {
        self.try_write(fd, bytes).map_err(|fault| match fault {
            Fault::Errno(errno) => errno,
            Fault::End(outcome) => panic!("ended with {outcome:?}"),
        })
    }

    pub fn read(&mut self, fd: u32, length: usize) -> Result<Vec<u8>, Errno> {
        let (iovecs, count) = self.iovec(DATA, length);
        self.call(|call| files::fd_read(call, fd, iovecs, count, OUT))?;
        let got = self.out32() as usize;
        Ok(self.memory[DATA as usize..DATA as usize + got].to_vec())
    }

    pub fn pread(&mut self, fd: u32, length: usize, at: u64) -> Result<Vec<u8>, Errno> {
        let (iovecs, count) = self.iovec(DATA, length);
        self.call(|call| files::fd_pread(call, fd, iovecs, count, at, OUT))?;
        let got = self.out32() as usize;
        Ok(self.memory[DATA as usize..DATA as usize + got].to_vec())
    }

    pub fn pwrite(&mut self, fd: u32, bytes: &[u8], at: u64) -> Result<usize, Errno> {
        self.put(DATA, bytes);
        let (iovecs, count) = self.iovec(DATA, bytes.len());
        self.call(|call| files::fd_pwrite(call, fd, iovecs, count, at, OUT))?;
        Ok(self.out32() as usize)
    }

    pub fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Result<u64, Errno> {
        self.call(|call| files::fd_seek(call, fd, offset, whence, OUT))?;
        Ok(self.u64_at(OUT))
    }

    pub fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.call(|call| files::fd_close(call, fd))
    }

    fn stat_out(&self) -> Stat {
        let at = |offset| self.u64_at(DATA * 3 + offset);
        assert_eq!(at(0), 1, "device");
        Stat {
            inode: at(8),
            file_type: at(16) as u8,
            links: at(24),
            size: at(32),
            accessed: at(40),
            modified: at(48),
            changed: at(56),
        }
    }

    pub fn stat(&mut self, path: &str) -> Result<Stat, Errno> {
        let (path, length) = self.path(path);
        self.call(|call| {
            stat::path_filestat_get(call, ROOT_FD, SYMLINK_FOLLOW, path, length, DATA * 3)
        })?;
        Ok(self.stat_out())
    }

    pub fn lstat(&mut self, path: &str) -> Result<Stat, Errno> {
        let (path, length) = self.path(path);
        self.call(|call| {
            stat::path_filestat_get(call, ROOT_FD, 0, path, length, DATA * 3)
        })?;
        Ok(self.stat_out())
    }

    pub fn fstat(&mut self, fd: u32) -> Result<Stat, Errno> {
        self.call(|call| stat::fd_filestat_get(call, fd, DATA * 3))?;
        Ok(self.stat_out())
    }

    pub fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        let (path, length) = self.path(path);
        self.call(|call| paths::path_create_directory(call, ROOT_FD, path, length))
    }

    pub fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        let (path, length) = self.path(path);
        self.call(|call| paths::path_remove_directory(call, ROOT_FD, path, length))
    }

    pub fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        let (path, length) = self.path(path);
        self.call(|call| paths::path_unlink_file(call, ROOT_FD, path, length))
    }

    pub fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        let target = self.second_path(target);
        let (path, length) = self.path(path);
        self.call(|call| paths::path_symlink(call, target, ROOT_FD, path, length))
    }

    pub fn link(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (self.path(from), self.second_path(to));
        self.call(|call| paths::path_link(call, (ROOT_FD, 0), from, ROOT_FD, to))
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = (self.path(from), self.second_path(to));
        self.call(|call| paths::path_rename(call, ROOT_FD, from, ROOT_FD, to))
    }

    pub fn readlink(&mut self, path: &str, room: u32) -> Result<String, Errno> {
        let path = self.path(path);
        let buffer = (2 * DATA, room);
        self.call(|call| paths::path_readlink(call, ROOT_FD, path, buffer, OUT))?;
        let start = 2 * DATA as usize;
        let bytes = self.memory[start..start + self.out32() as usize].to_vec();
        Ok(String::from_utf8(bytes).unwrap())
    }

    /// One `fd_readdir` into a buffer of `room` bytes.
    pub fn readdir_once(
        &mut self,
        fd: u32,
        cookie: u64,
        room: u32,
    ) -> Result<Vec<u8>, Errno> {
        self.call(|call| dirs::fd_readdir(call, fd, DATA, room, cookie, OUT))?;
        let used = self.out32() as usize;
        Ok(self.memory[DATA as usize..DATA as usize + used].to_vec())
    }

    /// All entries of the directory at `path`, read as libc does with a buffer of
    /// `room` bytes: names with their type and inode.
    pub fn list(&mut self, path: &str, room: u32) -> Vec<Listed> {
        let fd = self.open(path, oflags::DIRECTORY, READ).unwrap();
        let (mut listed, mut cookie) = (Vec::new(), 0);
        loop {
            let bytes = self.readdir_once(fd, cookie, room).unwrap();
            let (entries, next) = parse_entries(&bytes);
            listed.extend(entries);
            if bytes.len() < room as usize {
                break;
            }
            cookie = next.unwrap();
        }
        self.close(fd).unwrap();
        listed
    }

    pub fn names(&mut self, path: &str) -> Vec<String> {
        let listed = self.list(path, 4096).into_iter();
        listed
            .map(|entry| entry.name)
            .filter(|name| name != "." && name != "..")
            .collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub inode: u64,
    pub file_type: u8,
}

/// The whole entries in a buffer, and the cookie behind the last of them.
pub fn parse_entries(mut bytes: &[u8]) -> (Vec<Listed>, Option<u64>) {
    let (mut entries, mut next) = (Vec::new(), None);
    while let Some((head, rest)) = bytes.split_first_chunk::<24>() {
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let Some(name) = rest.get(..word(16) as u32 as usize) else {
            break;
        };
        entries.push(Listed {
            name: String::from_utf8(name.to_vec()).unwrap(),
            inode: word(8),
            file_type: head[20],
        });
        next = Some(word(0));
        bytes = &rest[name.len()..];
    }
    (entries, next)
}

pub fn opening(oflags: u32, rights: u64) -> Opening {
    Opening {
        follow: true,
        oflags,
        rights,
        inheriting: rights::ALL,
        flags: 0,
    }
}

pub fn spec(path: &str, direction: Direction, access: Access) -> ChannelSpec {
    let (limit_bytes, limit_calls) = (1 << 20, 1 << 20);
    ChannelSpec {
        path: path.to_owned(),
        direction,
        access,
        limit_bytes,
        limit_calls,
    }
}

/// A channel over a file that holds `content`.
pub fn channel(
    path: &str,
    direction: Direction,
    access: Access,
    content: &[u8],
) -> (ChannelSpec, File) {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    (spec(path, direction, access), file)
}

/// All that a file holds.
pub fn content(file: &File) -> Vec<u8> {
    let mut file = file.try_clone().unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

pub const DIRECTORY: u8 = FileType::Directory as u8;
pub const REGULAR: u8 = FileType::RegularFile as u8;
pub const CHARACTER: u8 = FileType::CharacterDevice as u8;
pub const SYMLINK: u8 = FileType::SymbolicLink as u8;
