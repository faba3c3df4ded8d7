//! Keeps a cache of artefacts within its cap, and its disk off the reserve.
//!
//! What was used longest ago goes first; nothing that somebody uses goes at all:
//! whoever has an artefact open holds a shared lock on it. What killed processes
//! left behind (drafts, locks of programs that are not here) goes on the way; both
//! belong to whoever holds the program's lock file, and a lock that can be had is
//! a lock whose holder is gone.

use std::fs::{DirEntry, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock, statvfs};

use crate::error::{Code, Error};

/// What the cache may take.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// All artefacts together.
    pub cache_bytes: u64,
    /// Free space that must be left on the disk.
    pub reserve_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Caps {
            cache_bytes: 2 << 30,
            reserve_bytes: 0,
        }
    }
}

struct Artefact {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Makes room for an artefact of `draft_bytes`, which are on the disk already.
///
/// # Errors
///
/// [`Code::NoRoom`] with the figures, when what is left is in use or not ours.
pub fn make_room(folder: &Path, caps: Caps, draft_bytes: u64) -> Result<(), Error> {
    let mut artefacts = look_through(folder)?;
    artefacts.sort_by_key(|artefact| artefact.used);
    let mut total = draft_bytes;
    total += artefacts.iter().map(|artefact| artefact.bytes).sum::<u64>();
    let mut free = free_bytes(folder)?;
    for artefact in artefacts {
        if total <= caps.cache_bytes && free >= caps.reserve_bytes {
            return Ok(());
        }
        if evict(&artefact.path) {
            total -= artefact.bytes;
            free += artefact.bytes;
        }
    }
    if total > caps.cache_bytes {
        let message = format!(
            "the cache would have {total} bytes, all of them in use; it may have {}",
            caps.cache_bytes
        );
        return Err(Error::refused(Code::NoRoom, message));
    }
    // What the disk says itself now: other things are on it, too.
    let free = free_bytes(folder)?;
    if free < caps.reserve_bytes {
        let message = format!(
            "the disk of the cache has {free} bytes free, and a reserve of {}",
            caps.reserve_bytes
        );
        return Err(Error::refused(Code::NoRoom, message));
    }
    Ok(())
}

fn free_bytes(folder: &Path) -> Result<u64, Error> {
    let state = statvfs(folder).map_err(|errno| Error::failure("statvfs", errno))?;
    Ok(state.f_bavail.saturating_mul(state.f_frsize))
}

/// The artefacts of the folder; sweeps what nobody will finish.
fn look_through(folder: &Path) -> Result<Vec<Artefact>, Error> {
    let failed = |error| Error::failure("read the cache", error);
    let mut artefacts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.as_bytes().ends_with(b".cwasm") {
            artefacts.extend(artefact_of(&entry));
        } else if name.as_bytes().ends_with(b".lock") {
            sweep(&entry.path());
        }
    }
    Ok(artefacts)
}

/// `None` when another process has just evicted it.
fn artefact_of(entry: &DirEntry) -> Option<Artefact> {
    let state = entry.metadata().ok()?;
    Some(Artefact {
        used: state.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        bytes: state.len(),
        path: entry.path(),
    })
}

/// Removes an artefact unless somebody uses it; whether it is gone.
fn evict(path: &Path) -> bool {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) => return error.kind() == ErrorKind::NotFound,
    };
    if !lock_at_once(&file) {
        return false;
    }
    // The artefact first: its MAC without it harms nobody.
    let gone = std::fs::remove_file(path).is_ok();
    let _ = std::fs::remove_file(path.with_extension("mac"));
    sweep(&path.with_extension("lock"));
    gone
}

/// Removes a lock and the drafts that it stands for, if nobody holds it and there
/// is no artefact.
fn sweep(lock: &Path) {
    let Ok(file) = open(lock) else {
        return;
    };
    if !lock_at_once(&file) {
        return;
    }
    let _ = std::fs::remove_file(lock.with_extension("draft"));
    let _ = std::fs::remove_file(lock.with_extension("mac.draft"));
    if !lock.with_extension("cwasm").exists() {
        let _ = std::fs::remove_file(lock);
    }
}

/// Opens what should be a file of ours, and does not wait for it if it is a pipe.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn lock_at_once(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}
