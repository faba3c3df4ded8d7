//! WASI preview 1, from nothing.

use wasmtime::{Linker, Result};

use crate::channel::Channel;
use crate::guest::Guest;
use crate::guest::tree::Tree;
use crate::ledger::Ledger;

/// The functions of `wasi_snapshot_preview1` that a module may import.
pub const FUNCTIONS: &[&str] = &["fd_write", "proc_exit"];

/// Error numbers of WASI preview 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Errno {
    Badf = 8,
    Fbig = 22,
    Inval = 28,
    Overflow = 61,
    Spipe = 70,
}

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
    pub tmp_bytes: u64,
    pub files: u64,
}

pub struct Wasi {
    channels: Vec<Channel>,
}

impl Wasi {
    pub fn new(config: WasiConfig) -> Self {
        Wasi {
            channels: config.channels,
        }
    }

    /// Gives the channels back, in the order in which they came.
    pub fn into_channels(self) -> Vec<Channel> {
        self.channels
    }
}

pub fn add_to_linker(_linker: &mut Linker<Guest>) -> Result<()> {
    Ok(())
}
