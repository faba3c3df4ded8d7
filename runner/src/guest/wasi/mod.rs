//! WASI preview 1, from nothing: all that a guest can ask for, answered out of
//! the job's channels, the mapped layers and this VM's memory.
//!
//! No answer depends on the host: time is logical, chance comes from the job's
//! seed, directories are sorted, numbers of descriptors and inodes are functions
//! of what the guest did. No answer needs the host either: apart from moving
//! bytes through [`crate::channel`], nothing here makes a system call but to get
//! memory.
//!
//! A guest starts with descriptors 0, 1 and 2 (its standard streams) and 3, the
//! directory `/`. Every function of preview 1 can be imported; those for sockets
//! and signals only say that there are none. A bad pointer is the error `Fault`.
//!
//! | file | functions |
//! |---|---|
//! | `process` | arguments, environment, leaving |
//! | `files` | read, write, seek, close |
//! | `stat` | what a descriptor or a path is; the preopened directory |
//! | `open` | open |
//! | `paths` | make, move, remove |
//! | `dirs` | list |
//! | `clock`, `random`, `poll`, `sockets` | as they say |
//! | `namespace` | paths to places, over `devices`, `scratch` and `guest::tree` |

mod abi;
#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod clock;
mod devices;
mod dirs;
mod files;
mod linking;
mod memory;
mod namespace;
mod open;
mod paths;
mod poll;
mod process;
mod random;
mod scratch;
mod sockets;
mod stat;
mod table;

pub use abi::Errno;
#[cfg(any(test, feature = "fuzzing"))]
pub use linking::add_named;
pub use linking::{FUNCTIONS, add_to_linker, parameters};

use crate::chance::{Source, noise};
use crate::channel::{Channel, Fault};
use crate::guest::tree::Tree;
use crate::ledger::Ledger;
use abi::{SYMLINK_FOLLOW, rights};
use clock::Clock;
use devices::{Device, Devices};
use memory::Memory;
use namespace::{Namespace, Place};
use process::Strings;
use random::Random;
use scratch::Scratch;
use stat::file_rights;
use table::{Descriptor, Object, Table};

/// What a guest is given. `args` and `env` hold no NUL.
pub struct WasiConfig {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub clock_nanoseconds: u64,
    pub seed: [u8; 32],
    pub tree: Tree,
    pub channels: Vec<Channel>,
    pub limits: WasiLimits,
    /// Takes stderr's tail (`append_stderr`, for every write to fd 2 and
    /// /dev/stderr) and notes of limits (`note`).
    pub ledger: Ledger,
}

#[derive(Clone, Copy, Debug)]
pub struct WasiLimits {
    /// Bytes in /tmp.
    pub tmp_bytes: u64,
    /// Files, directories and links in /tmp; also, descriptors open at once.
    pub files: u64,
}

/// Fewer open descriptors than this would not even hold the first four.
const MIN_OPEN: usize = 4;

/// The state of one guest's system interface.
pub struct Wasi {
    args: Strings,
    env: Strings,
    clock: Clock,
    random: Random,
    namespace: Namespace,
    table: Table,
    channels: Vec<Channel>,
    /// The channel whose output is kept as stderr's tail too.
    stderr_channel: Option<usize>,
    ledger: Ledger,
    /// The guest's memory, once it has been looked up.
    memory: Option<wasmtime::Memory>,
}

/// One call of the guest: its memory, and all else that it can reach.
struct Call<'a> {
    memory: Memory<'a>,
    wasi: &'a mut Wasi,
}

impl Wasi {
    pub fn new(config: WasiConfig) -> Self {
        let WasiConfig {
            channels,
            limits,
            ledger,
            ..
        } = config;
        let clock = Clock::new(config.clock_nanoseconds);
        let devices = Devices::new(&channels);
        let tmp = scratch::Limits {
            tmp_bytes: limits.tmp_bytes,
            files: limits.files,
        };
        let scratch = Scratch::new(tmp, ledger.clone(), clock.start());
        let namespace = Namespace::new(config.tree, devices, scratch, clock.start());
        let stderr_channel = channels
            .iter()
            .position(|channel| channel.path() == "/dev/stderr");
        let max_open = usize::try_from(limits.files)
            .unwrap_or(usize::MAX)
            .max(MIN_OPEN);
        let mut table = Table::new(max_open);
        open_standard(&mut table, &namespace.devices, &channels);
        let mut env = config.env;
        if let (Some(noise), length @ 1..) = (noise(Source::EnvironmentOrder), env.len())
        {
            env.rotate_left(noise as usize % length);
        }
        let env = env
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"));
        Wasi {
            args: Strings::new(config.args.into_iter()),
            env: Strings::new(env),
            clock,
            random: Random::new(&config.seed),
            namespace,
            table,
            channels,
            stderr_channel,
            ledger,
            memory: None,
        }
    }

    /// The channels, in the order in which they came.
    pub fn channels_mut(&mut self) -> &mut [Channel] {
        &mut self.channels
    }

    /// How often the clocks were read; sleeping counts as many readings.
    #[cfg(feature = "template")]
    pub fn clock_readings(&self) -> u64 {
        self.clock.readings()
    }

    /// What the guest has done that another run could not take over, if anything.
    #[cfg(feature = "template")]
    pub fn trace(&self) -> Option<&'static str> {
        // Three standard streams and the directory `/`.
        const AT_START: usize = 4;
        if self.random.is_used() {
            return Some("drew random bytes");
        }
        if self.table.open() != AT_START {
            return Some("left a descriptor open, or closed one");
        }
        if !self.ledger.stderr_tail().is_empty() {
            return Some("wrote to its standard error");
        }
        None
    }

    /// A descriptor is gone.
    fn closed(&mut self, descriptor: Descriptor) {
        match descriptor.object {
            Object::ScratchFile(id) | Object::Directory(Place::Scratch(id)) => {
                self.namespace.scratch.close(id);
            }
            _ => {}
        }
    }
}

/// Opens descriptors 0 to 3 of an empty table, which has room for them.
fn open_standard(table: &mut Table, devices: &Devices, channels: &[Channel]) {
    let streams: [(&[u8], Device); 3] = [
        (b"stdin", Device::Empty),
        (b"stdout", Device::Discard),
        (b"stderr", Device::StderrTail),
    ];
    for (name, absent) in streams {
        let device = devices.named(name).unwrap_or(absent);
        let (reads, writes) = device.directions(channels);
        let granted = file_rights(rights::ALL, reads, writes);
        let _ = table.insert(Descriptor::new(Object::Device(device), granted));
    }
    let mut root = Descriptor::new(Object::Directory(namespace::ROOT), rights::DIRECTORY);
    root.inheriting = rights::ALL;
    let _ = table.insert(root);
}

#[cfg(test)]
mod tests;
