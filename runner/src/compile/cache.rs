//! The cache of artefacts: a private folder, one file per module and engine.
//!
//! An artefact is native code that a VM maps and runs, so it is believed only with
//! a MAC under the installation's key: keyed BLAKE3 over its name and its bytes
//! (the name binds it to module, engine and settings, so that artefacts cannot be
//! exchanged). One whose MAC is wrong is deleted. Files appear by rename and are
//! never altered in place, because running VMs have them mapped. What is kept, and
//! for how long, is decided in `room`.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use super::room::{Caps, make_room};
use crate::artefact;
use crate::determinism::Determinism;
use crate::engine;
use crate::error::Error;
use crate::manifest::{hex, parse_digest};

const KEY_BYTES: usize = 32;
const NAME_CONTEXT: &str = "zerocloud 2026-11 name of an artefact, version 2";

/// How stale the time of last use on the disk may get.
const TOUCH_SECONDS: u64 = 60;

pub struct Cache {
    folder: PathBuf,
    caps: Caps,
    key: [u8; KEY_BYTES],
}

/// An artefact being written; removed unless published.
pub struct Draft {
    pub file: File,
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already if it was published.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The name, without ending, of the artefact of a module on this engine.
pub fn name_of(module_sha256: &[u8; 32], determinism: Determinism) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(NAME_CONTEXT);
    hasher.update(module_sha256);
    hasher.update(engine::FINGERPRINT.as_bytes());
    hasher.update(engine::variant().as_bytes());
    if determinism.is_strict() {
        hasher.update(b"; strict");
    }
    hex(hasher.finalize().as_bytes())
}

fn failed<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(std::io::Error) -> Error + 'a {
    move |error| Error::Failure(format!("{what} {}: {error}", path.display()))
}

impl Cache {
    /// Opens the cache in `folder`, making folder and key at the first use.
    pub fn open(
        folder: &Path,
        key_file: Option<&Path>,
        caps: Caps,
    ) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed("make", folder))?;
        let folder = folder.canonicalize().map_err(failed("find", folder))?;
        let status = folder.metadata().map_err(failed("stat", &folder))?;
        let user = rustix::process::geteuid().as_raw();
        if status.uid() != user || status.mode() & 0o077 != 0 {
            return Err(Error::Failure(format!(
                "cache {} must belong to user {user} alone (mode 0700); it belongs to \
                 user {} with mode {:04o}",
                folder.display(),
                status.uid(),
                status.mode() & 0o7777
            )));
        }
        let key_file = key_file.map_or_else(|| folder.join("key"), Path::to_owned);
        let key = load_or_make_key(&key_file)?;
        Ok(Cache { folder, caps, key })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of the artefact `name` if it is there and its MAC is right.
    pub fn find(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        let path = self.path(name, "cwasm");
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
        {
            Ok(file) if is_regular(&file) => file,
            Ok(_) => {
                remove_foreign(&path)?;
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if is_link(&error) => {
                remove_foreign(&path)?;
                return Ok(None);
            }
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let expected = self.read_mac(name)?;
        let actual = self.mac(name, &file).map_err(failed("read", &path))?;
        // blake3::Hash compares in constant time.
        if expected.is_some_and(|expected| expected == actual) {
            touch(&file);
            return Ok(Some(path));
        }
        eprintln!("event=artefact_mac_wrong artefact={name} action=compile_again");
        std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        Ok(None)
    }

    /// Waits until this process is the only one to compile `name`.
    pub fn lock(&self, name: &str) -> Result<File, Error> {
        let path = self.path(name, "lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        // A pipe is not waited for: without a reader it cannot be opened.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        loop {
            let file = match options.open(&path) {
                Ok(file) if is_regular(&file) => file,
                Err(error) if !is_link(&error) && !is_pipe(&error) => {
                    return Err(failed("open", &path)(error));
                }
                _ => {
                    remove_foreign(&path)?;
                    continue;
                }
            };
            rustix::io::retry_on_intr(|| {
                rustix::fs::flock(&file, FlockOperation::LockExclusive)
            })
            .map_err(|errno| Error::failure("lock the cache", errno))?;
            // Swept before it was locked, it would be a lock of nothing.
            let ours = file.metadata().map_err(failed("stat", &path))?.ino();
            if path.metadata().is_ok_and(|there| there.ino() == ours) {
                return Ok(file);
            }
        }
    }

    /// A new file for the compiler to write to. Call with the lock held.
    pub fn draft(&self, name: &str) -> Result<Draft, Error> {
        let path = self.path(name, "draft");
        let file = make_anew(&path).map_err(failed("make", &path))?;
        Ok(Draft { file, path })
    }

    /// Gives `draft` its trailer, its MAC and its name, once there is room.
    pub fn publish(
        &self,
        draft: Draft,
        name: &str,
        module_sha256: &[u8; 32],
        determinism: Determinism,
    ) -> Result<PathBuf, Error> {
        let path = self.path(name, "cwasm");
        let bytes = draft.file.metadata().map_err(failed("stat", &path))?.len();
        make_room(&self.folder, self.caps, bytes)?;
        let write = || -> std::io::Result<()> {
            let end = draft.file.metadata()?.len();
            let trailer = artefact::trailer(module_sha256, determinism);
            draft.file.write_all_at(&trailer, end)?;
            draft.file.set_permissions(Permissions::from_mode(0o400))?;
            let mac = self.mac(name, &draft.file)?;
            // The MAC first: an artefact without one would be thrown away.
            let mac_draft = self.path(name, "mac.draft");
            make_anew(&mac_draft)?.write_all(mac.to_hex().as_bytes())?;
            std::fs::rename(&mac_draft, self.path(name, "mac"))?;
            std::fs::rename(&draft.path, &path)
        };
        write().map_err(failed("store", &path))?;
        Ok(path)
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    fn read_mac(&self, name: &str) -> Result<Option<blake3::Hash>, Error> {
        let path = self.path(name, "mac");
        let mut text = String::new();
        let mut options = OpenOptions::new();
        // A pipe without a writer is empty then, and not waited for.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        match options
            .open(&path)
            .and_then(|file| file.take(65).read_to_string(&mut text))
        {
            Ok(_) => Ok(parse_digest(&text).map(blake3::Hash::from_bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn mac(&self, name: &str, file: &File) -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes());
        let mut block = vec![0; 256 << 10];
        let mut offset = 0;
        loop {
            let count = file.read_at(&mut block, offset)?;
            if count == 0 {
                return Ok(hasher.finalize());
            }
            hasher.update(block.get(..count).unwrap_or_default());
            offset += count as u64;
        }
    }
}

/// A new file at `path`, whatever was there: what a crash left, or a link that
/// someone planted, through which another file would be written.
pub fn make_anew(path: &Path) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path)
}

/// True if a file was not opened because its name is a symbolic link.
fn is_link(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// True if a file was not opened for writing because it is a pipe or a socket.
fn is_pipe(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|state| state.is_file())
}

/// Removes a link, or a pipe, where the cache has files of its own.
fn remove_foreign(path: &Path) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().display();
    eprintln!("event=cache_entry_removed file={name}");
    std::fs::remove_file(path).map_err(failed("remove", path))
}

/// Notes on the disk that the artefact was used now.
fn touch(file: &File) {
    let now = SystemTime::now();
    let stale = file.metadata().and_then(|state| state.modified());
    let stale = stale.is_ok_and(|used| {
        now.duration_since(used)
            .is_ok_and(|age| age.as_secs() >= TOUCH_SECONDS)
    });
    if stale {
        // A cache that cannot be written can be read nevertheless.
        let _ = file.set_modified(now);
    }
}

/// Reads the installation's key; makes one if there is none.
fn load_or_make_key(path: &Path) -> Result<[u8; KEY_BYTES], Error> {
    for _ in 0..2 {
        let mut options = OpenOptions::new();
        // A pipe without a writer is empty then, and not waited for.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        match options.open(path) {
            Ok(file) => return read_key(&file, path),
            Err(error) if error.kind() == ErrorKind::NotFound => make_key(path)?,
            Err(error) => return Err(failed("open", path)(error)),
        }
    }
    Err(Error::Failure(format!("key {} vanished", path.display())))
}

fn read_key(mut file: &File, path: &Path) -> Result<[u8; KEY_BYTES], Error> {
    let mode = file.metadata().map_err(failed("stat", path))?.mode();
    if mode & 0o077 != 0 {
        return Err(Error::Failure(format!(
            "key {} is open to others (mode {:04o}; 0600 is allowed)",
            path.display(),
            mode & 0o7777
        )));
    }
    let mut key = [0; KEY_BYTES];
    file.read_exact(&mut key).map_err(failed("read", path))?;
    Ok(key)
}

/// Makes a key file whole at once: a link appears only when the key is in it, and
/// never replaces one that another process made first.
fn make_key(path: &Path) -> Result<(), Error> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .map_err(failed("make a key for", path))?;
    let draft = path.with_extension(format!("draft.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&key)?;
        match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    };
    let result = write().map_err(failed("make key", path));
    let _ = std::fs::remove_file(&draft);
    result
}
