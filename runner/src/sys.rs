//! The only place with `unsafe`: memory shared between processes, files mapped
//! into memory, and the few system calls that have no safe wrapper.
//!
//! Each function here is safe to call with any argument; what the compiler cannot
//! check is stated in the SAFETY comment beside it.

#![allow(unsafe_code)]

mod code;
mod confinement;
mod descriptors;
#[cfg(feature = "planted-holes")]
pub mod holes;
mod memory;
mod process;
mod signals;
mod text;

use std::fmt;

use rustix::io::Errno;

#[cfg(feature = "compiler")]
pub use code::enable_processor_feature;
pub use code::load_artefact;
pub use confinement::{filter_system_calls, landlock_version, restrict_by_landlock};
pub use descriptors::{close_all_except, open_descriptors, take_descriptor};
pub use memory::{Mapping, SharedMemory, give_memory_back, map_pages, own_pages};
pub use process::{
    CommandLine, Ended, Fork, cpu_time_of, ended_child, exit_now, fork, fork_sibling,
    lower_io_weight, wait,
};
pub use signals::{catch_end_signals, pending_end_signal, release_end_signals};
pub use text::move_code_to_huge_pages;

/// A system call that failed: what was tried and why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysError {
    pub call: &'static str,
    pub errno: Errno,
}

impl fmt::Display for SysError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.call, self.errno)
    }
}

impl std::error::Error for SysError {}

/// Turns an `Errno` into a [`SysError`] that says which call it came from.
pub fn failed(call: &'static str) -> impl FnOnce(Errno) -> SysError {
    move |errno| SysError { call, errno }
}

fn last_error(call: &'static str) -> SysError {
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    SysError {
        call,
        errno: Errno::from_raw_os_error(number),
    }
}
