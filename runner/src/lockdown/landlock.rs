//! Landlock: no file, no TCP port, no process outside, whoever the process is.
//!
//! A ruleset that handles every right the kernel knows and grants none. It is made
//! once, before the fork; the child only enters it. Descriptors that are open
//! already keep working, which is all that a VM needs.
//!
//! | since | what is denied |
//! |---|---|
//! | 5.13 (1) | opening, executing, making and removing files |
//! | 5.19 (2), 6.2 (3) | linking across folders; truncating |
//! | 6.7 (4) | binding and connecting TCP |
//! | 6.10 (5) | ioctl of devices |
//! | 6.12 (6) | abstract Unix sockets, signals to processes outside |
//! | 7.1 (9), 7.2 (10) | named Unix sockets; UDP |
//!
//! From version 1 on, processes outside cannot be traced either. A kernel without
//! it is no reason not to run, unless the operator says so
//! ([`super::Options::require_landlock`]); `zvm version` tells.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    Scope,
};

use crate::error::Error;
use crate::sys;

/// The newest version whose rights are handled; on an older kernel, what it knows.
const NEWEST: ABI = ABI::V10;

/// A ruleset that grants nothing; none where the kernel has no Landlock.
#[derive(Debug)]
pub struct DenyAll(Option<OwnedFd>);

impl DenyAll {
    /// Makes the ruleset.
    pub fn prepare() -> Result<Self, Error> {
        let failed = |error: landlock::RulesetError| Error::failure("landlock", error);
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        Ok(DenyAll(ruleset.into()))
    }

    pub fn is_available(&self) -> bool {
        self.0.is_some()
    }

    /// The descriptor behind it, for whoever closes all others.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.0.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Denies this process everything, for ever, and closes the ruleset. Does
    /// nothing without Landlock.
    ///
    /// Needs `no_new_privs`, or privileges.
    pub fn enter(&mut self) -> Result<(), Error> {
        match self.0.take() {
            Some(ruleset) => Ok(sys::restrict_by_landlock(ruleset)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_made_exactly_where_the_kernel_has_landlock() {
        let ruleset = DenyAll::prepare().unwrap();
        assert_eq!(
            ruleset.is_available(),
            sys::landlock_version().is_some(),
            "{ruleset:?}"
        );
    }
}
