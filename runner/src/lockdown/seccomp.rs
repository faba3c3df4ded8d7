//! The last layer: the few system calls that are left, by a filter in the kernel.
//!
//! The lists are data, in `syscalls.toml`, each entry with its reason; build.rs
//! makes them into BPF. Whatever is not listed ends the process at once with
//! SIGSYS: a guest's code cannot make system calls and ours makes no others, so a
//! call that is not listed means that somebody else is speaking.
//!
//! All that needs another call happens before: files are mapped, code is made
//! executable, signal handlers and their stack are set up, the seed of hash tables
//! is drawn ([`super::warm_up`]).

use libc::sock_filter;

use crate::sys::{self, SysError};

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

/// Which list a process is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A process that runs a guest.
    Vm,
    /// `zvm-compile`.
    Compile,
}

impl Filter {
    fn program(self) -> &'static [sock_filter] {
        match self {
            Filter::Vm => VM,
            Filter::Compile => COMPILE,
        }
    }

    /// The system calls that are allowed, some of them under conditions.
    pub fn calls(self) -> &'static [&'static str] {
        match self {
            Filter::Vm => VM_CALLS,
            Filter::Compile => COMPILE_CALLS,
        }
    }
}

/// Leaves this process the system calls of `filter`, for ever.
///
/// Needs `no_new_privs`, or privileges.
pub fn apply(filter: Filter) -> Result<(), SysError> {
    sys::filter_system_calls(filter.program())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: [Filter; 2] = [Filter::Vm, Filter::Compile];

    #[test]
    fn lists_are_short_and_name_each_call_once() {
        for filter in FILTERS {
            let calls = filter.calls();
            assert!(calls.len() <= 20, "{filter:?}: {}", calls.len());
            let mut sorted = calls.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), calls.len(), "{filter:?}");
        }
    }

    #[test]
    fn no_list_has_a_call_that_reaches_out() {
        let reaching = [
            "open",
            "exec",
            "socket",
            "connect",
            "clone",
            "fork",
            "ptrace",
            "kill",
            "chmod",
            "xattr",
            "utime",
            "send",
            "dup",
            "pipe",
            "memfd",
            "process_vm",
            "prctl",
            "setns",
            "mount",
            "ioctl",
            "io_uring",
            "bpf",
        ];
        for filter in FILTERS {
            for call in filter.calls() {
                let bad = reaching.iter().find(|word| call.contains(*word));
                assert_eq!(bad, None, "{call}");
            }
        }
    }

    #[test]
    fn programs_begin_with_the_architecture() {
        // Load the word at offset 4 of seccomp_data, which is `arch`.
        for filter in FILTERS {
            let first = filter.program().first().unwrap();
            assert_eq!((first.code, first.k), (0x20, 4), "{filter:?}");
        }
    }
}
