//! The first layer: of all that the parent has open, only what the process needs.

use std::fs::File;
use std::mem::forget;
use std::os::fd::RawFd;

use crate::error::Error;
use crate::sys;

/// Closes every descriptor but `keep` and the three standard ones.
///
/// Owned values of what is closed here must be forgotten, not dropped; in a freshly
/// forked child those are all that the parent owned.
pub fn keep_only(keep: &[RawFd]) -> Result<(), Error> {
    let mut all = vec![0, 1, 2];
    all.extend_from_slice(keep);
    Ok(sys::close_all_except(&all)?)
}

/// Puts /dev/null in the place of the standard descriptors, so that no stray
/// message of ours can land in a channel.
pub fn silence() -> Result<(), Error> {
    let failed = |errno| Error::failure("dup2", errno);
    let null = File::open("/dev/null").map_err(|error| Error::failure("null", error))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed)?;
    rustix::stdio::dup2_stdout(&null).map_err(failed)?;
    rustix::stdio::dup2_stderr(&null).map_err(failed)?;
    // Closed with all others, or in use already if it was one of the three.
    forget(null);
    Ok(())
}
