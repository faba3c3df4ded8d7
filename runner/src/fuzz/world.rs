//! What the guest of [`super::wasi`] finds: its layers, channels and limits, and
//! what lies in its memory before the first call.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;

use super::tar::tar_of;
use crate::channel::{Access, Channel, ChannelSpec, Direction};
use crate::guest::tree::{TarLayer, Tree};
use crate::guest::wasi::{Wasi, WasiConfig, WasiLimits};
use crate::ledger::Ledger;

pub const STDERR_BYTES: usize = 64;
/// Longest output.
pub const OUTPUT_BYTES: u64 = 8192;

const PATHS: [&str; 40] = [
    "",
    "/",
    ".",
    "..",
    "tmp",
    "/tmp",
    "/tmp/",
    "tmp/a",
    "/tmp/a",
    "/tmp/b",
    "/tmp/a/b",
    "/tmp/b/a",
    "/tmp/a/",
    "/tmp/../tmp/b",
    "a",
    "b",
    "../a",
    "a/../../b",
    "/etc",
    "/etc/file",
    "/etc/link",
    "/etc/loop",
    "/etc/out",
    "/etc/dangling",
    "/etc/file/x",
    "/none/x",
    "/dev",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/in",
    "/dev/in/random",
    "/dev/out/random",
    "/dev/in/stream",
    "/dev/out/stream",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/null/x",
    "\u{e9}\0x",
];
const PATHS_AT: usize = 0x1000;
const PATH_ROOM: usize = 32;

/// Vectors of buffers: pointer and length of each.
const VECTORS: [&[(u32, u32)]; 16] = [
    &[],
    &[(0x4000, 0)],
    &[(0x4000, 1)],
    &[(0x4000, 10)],
    &[(0x4000, 100)],
    &[(0x4000, 0x1000)],
    &[(0x4000, 0xc000)],
    &[(0x4000, 10), (0x5000, 10)],
    &[(0x5000, 10), (0x4000, 10)],
    &[(0x4000, 10), (0x4005, 10)],
    &[(0x4000, 5), (0x6000, 0), (0x5000, 5), (0x4010, 5)],
    // Over the vectors themselves.
    &[(0x2000, 64)],
    &[(0xffff, 1), (0xffff, 1)],
    &[(0x4000, 10), (0xfff8, 9)],
    &[(0x4000, 0xffff_ffff)],
    &[(0xffff_ffff, 1)],
];
const VECTORS_AT: usize = 0x2000;
const VECTOR_ROOM: usize = 64;

pub struct World {
    pub wasi: Wasi,
    pub ledger: Ledger,
    /// Those of the channels that can be looked at.
    pub outputs: Vec<File>,
}

/// Address and length.
pub fn path(number: u8) -> (u64, u64) {
    let number = usize::from(number) % PATHS.len();
    let length = PATHS[number].len();
    ((PATHS_AT + PATH_ROOM * number) as u64, length as u64)
}

/// Address and count.
pub fn vector(number: u8) -> (u64, u64) {
    let number = usize::from(number);
    let at = VECTORS_AT + VECTOR_ROOM * number;
    (at as u64, VECTORS[number].len() as u64)
}

pub fn fill(memory: &mut [u8]) {
    for (number, path) in PATHS.iter().enumerate() {
        let at = PATHS_AT + PATH_ROOM * number;
        memory[at..at + path.len()].copy_from_slice(path.as_bytes());
    }
    for (number, vector) in VECTORS.iter().enumerate() {
        let words = vector.iter().flat_map(|(at, length)| [*at, *length]);
        let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let at = VECTORS_AT + VECTOR_ROOM * number;
        memory[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    memory[0x4000..0x4100]
        .copy_from_slice(&std::array::from_fn::<u8, 256, _>(|at| at as u8));
}

/// With limits that are soon met, or others that are not.
pub fn make(narrow: bool) -> World {
    use Access::{Random, Sequential};
    use Direction::{Read, Write};
    let limit = |narrow_at: u64, else_at| if narrow { narrow_at } else { else_at };
    let (calls, bytes) = (limit(6, 1000), limit(50, OUTPUT_BYTES));
    let spec = |path: &str, direction, access| ChannelSpec {
        path: path.to_owned(),
        direction,
        access,
        limit_bytes: bytes,
        limit_calls: calls,
    };
    let (stream, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"through a pipe").unwrap();
    drop(writer);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let channels = [
        (spec("/dev/stdin", Read, Sequential), file(&[b'i'; 300])),
        (spec("/dev/stdout", Write, Sequential), file(b"")),
        (spec("/dev/stderr", Write, Sequential), file(b"")),
        (spec("/dev/in/random", Read, Random), file(&[b'r'; 1000])),
        (spec("/dev/out/random", Write, Random), file(b"")),
        (
            spec("/dev/in/stream", Read, Sequential),
            File::from(OwnedFd::from(stream)),
        ),
        (spec("/dev/out/stream", Write, Sequential), null),
    ];
    let outputs = [1, 2, 4].map(|number: usize| channels[number].1.try_clone().unwrap());
    let ledger = Ledger::new(channels.len(), STDERR_BYTES).unwrap();
    let channels = channels
        .into_iter()
        .enumerate()
        .map(|(index, (spec, file))| {
            Channel::open(spec, file.into(), ledger.clone(), index).unwrap()
        });
    let wasi = Wasi::new(WasiConfig {
        args: vec!["name".into(), "an argument".into()],
        env: vec![("KEY".into(), "value".into())],
        clock_nanoseconds: 946_684_800_000_000_000,
        seed: [7; 32],
        tree: tree(),
        channels: channels.collect(),
        limits: WasiLimits {
            tmp_bytes: limit(100, 10_000),
            files: limit(6, 12),
        },
        ledger: ledger.clone(),
    });
    let outputs = outputs.into();
    World {
        wasi,
        ledger,
        outputs,
    }
}

fn file(content: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("channel", MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn tree() -> Tree {
    let bytes = tar_of(&[
        (b'0', "etc/file", "", b"what a layer holds"),
        (b'2', "etc/link", "file", b""),
        (b'2', "etc/loop", "loop", b""),
        (b'2', "etc/out", "../../tmp/a", b""),
        (b'2', "etc/dangling", "/tmp/b/c", b""),
    ]);
    Tree::new(vec![TarLayer::from_bytes(bytes, "image").unwrap()]).unwrap()
}
