//! What a process gives up before a stranger's code may run in it, in a fixed order.
//!
//! The engine is the first wall around a guest; everything here is the second, for
//! the day on which the engine has a hole. Each layer assumes that all others have
//! failed:
//!
//! | step | layer | what it leaves |
//! |---|---|---|
//! | [`Plan::keep_only`] | `descriptors` | the manifest's descriptors |
//! | [`Plan::deny`], [`Plan::limit`] | `rlimits` | bounded time, memory, files; no processes |
//! | [`Plan::confine`] | `identity` | a user that owns nothing, where zvm may change users |
//! | | `privileges` | no capability, and no way to gain one |
//! | | `landlock` | no file, no port, no process outside, where the kernel can |
//! | [`Plan::seal`] | `seccomp` | a handful of system calls, none that reaches out |
//!
//! A [`Plan`] is made once, before the fork; the child takes the steps. What needs
//! more than the last one leaves is done just before it: artefacts and layers are
//! mapped, code is made executable, and [`warm_up`] runs. A process that is made
//! before its job is known confines itself first, and seals itself too if it has its
//! program already; it takes its limits ([`Plan::limit`]) when the job comes, with
//! the calls that are left. A step that fails ends the session; none is taken back.

pub mod descriptors;
pub mod identity;
pub mod landlock;
pub mod layers;
pub mod privileges;
pub mod rlimits;
pub mod seccomp;

use std::hash::RandomState;
use std::os::fd::RawFd;

use crate::error::Error;
use crate::sys;

use identity::{Identity, Wish};
use landlock::DenyAll;
use layers::{Layer, Layers};
use rlimits::Allowed;
pub use rlimits::Limits;
pub use seccomp::Filter;

/// What an operator can choose; everything else is always on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// User ids of locked-down processes (`--vm-uid`).
    pub uid: Wish,
    /// Refuse to run where the kernel has no Landlock (`--require-landlock`).
    pub require_landlock: bool,
}

impl Options {
    /// The command line that says the same, for a process of ours that locks
    /// itself down.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.uid != Wish::Whatever {
            words.extend(["--vm-uid".to_owned(), self.uid.to_string()]);
        }
        if self.require_landlock {
            words.push("--require-landlock".to_owned());
        }
        words
    }
}

/// A lock-down that has been prepared and not yet been entered.
#[derive(Debug)]
pub struct Plan {
    identity: Option<Identity>,
    landlock: DenyAll,
    allowed: Allowed,
    layers: Layers,
}

impl Plan {
    /// Prepares what is the same for every child. One plan serves any number of
    /// forks: each child uses up its own copy.
    ///
    /// # Errors
    ///
    /// When something that the operator asked for cannot be had here.
    pub fn prepare(options: &Options) -> Result<Self, Error> {
        #[cfg(feature = "planted-holes")]
        sys::holes::age_kernel();
        let landlock = DenyAll::prepare()?;
        if options.require_landlock && !landlock.is_available() {
            return Err(Error::Failure(
                "this kernel has no Landlock, which --require-landlock asks for"
                    .to_owned(),
            ));
        }
        Ok(Plan {
            identity: Identity::choose(options.uid)?,
            landlock,
            allowed: Allowed::here(),
            layers: Layers::of_this_build(),
        })
    }

    /// Closes all descriptors but `keep`, the standard ones, and what this plan
    /// itself still needs.
    pub fn keep_only(&self, keep: &[RawFd]) -> Result<(), Error> {
        if !self.layers.has(Layer::Descriptors) {
            return Ok(());
        }
        let mut keep = keep.to_vec();
        keep.extend(self.landlock.descriptor());
        descriptors::keep_only(&keep)
    }

    /// Gives up resources, user, privileges and files: [`Plan::limit`], then
    /// [`Plan::confine`].
    pub fn restrict(&mut self, limits: &Limits) -> Result<(), Error> {
        self.deny()?;
        self.limit(limits)?;
        self.confine()
    }

    /// Denies the process the resources that none is given.
    pub fn deny(&self) -> Result<(), Error> {
        if self.layers.has(Layer::Rlimits) {
            rlimits::deny()?;
        }
        Ok(())
    }

    /// Holds the process to its limits. It gets no new descriptor after this, also
    /// none that another process would send; what is open stays open.
    pub fn limit(&self, limits: &Limits) -> Result<(), Error> {
        if self.layers.has(Layer::Rlimits) {
            rlimits::apply(limits, &self.allowed)?;
        }
        Ok(())
    }

    /// Gives up user, privileges and files: no path can be opened any more. What
    /// is open can be read, written and mapped, and more can be received.
    ///
    /// Clears the parent death signal where it changes the user.
    pub fn confine(&mut self) -> Result<(), Error> {
        if let Some(identity) = self.identity
            && self.layers.has(Layer::Identity)
        {
            identity.assume()?;
        }
        if self.layers.has(Layer::Privileges) {
            privileges::give_up()?;
        }
        if self.layers.has(Layer::Landlock) {
            self.landlock.enter()?;
        }
        Ok(())
    }

    /// Gives up all system calls but those of `filter`. The last step: from here
    /// on, code and data of strangers may be looked at.
    pub fn seal(&self, filter: Filter) -> Result<(), Error> {
        warm_up();
        if self.layers.has(Layer::Seccomp) {
            seccomp::apply(filter)?;
        }
        Ok(())
    }
}

/// Makes this thread do now what it does once and could not do later: the engine's
/// stack for signals, the standard library's seed for hash tables, where the kernel
/// keeps its clock. [`Plan::seal`] does it; a process with little memory does it
/// before its limits.
pub fn warm_up() {
    wasmtime::Engine::tls_eager_initialize();
    let _ = RandomState::new();
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
}

/// User ids of processes under `options` on this host: `FIRST-LAST`, or `same`.
///
/// # Errors
///
/// When ids were asked for that cannot be had; then nothing runs.
pub fn user_ids(options: &Options) -> Result<String, Error> {
    let identity = Identity::choose(options.uid)?;
    Ok(identity.map_or_else(|| Wish::Same.to_string(), |ids| ids.to_string()))
}

/// True if Landlock holds processes on this host.
pub fn has_landlock() -> bool {
    sys::landlock_version().is_some()
}

/// What isolates here, for `zvm version`: one line each.
pub fn describe(options: &Options) -> String {
    let landlock = match sys::landlock_version() {
        Some(version) => format!("version {version} of the kernel's"),
        None => "none: this kernel has none, or it is switched off".to_owned(),
    };
    let uid = match Identity::choose(options.uid) {
        Ok(Some(identity)) => format!("of their own, {identity}"),
        Ok(None) => "the one that zvm runs as".to_owned(),
        Err(error) => error.to_string(),
    };
    let calls = Filter::Vm.calls().len();
    format!(
        "seccomp   {calls} system calls for a VM\nlandlock  {landlock}\nuser ids  {uid}\n"
    )
}
