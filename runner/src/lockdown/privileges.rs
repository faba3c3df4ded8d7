//! What a process could still be, or become: capabilities and setuid programs.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::error::Error;

/// Gives up all capabilities and the ability to ever gain any.
///
/// * No capability is left, whatever the process was started with.
/// * `no_new_privs`: no program that it would execute gains privileges; also what
///   lets an unprivileged process enter Landlock and seccomp.
/// * Not dumpable: no core file, and no process of the same user may look into its
///   memory or reopen its descriptors under /proc.
pub fn give_up() -> Result<(), Error> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|e| Error::failure("capset", e))?;
    set_no_new_privs(true).map_err(|e| Error::failure("no_new_privs", e))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| Error::failure("not dumpable", e))
}
