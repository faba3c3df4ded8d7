//! The socket's file: one daemon has it, a dead one's is taken over, and a peer is
//! who it must be.
//!
//! Beside `PATH` lies `PATH.lock`, locked (flock) as long as the daemon takes new
//! work: the kernel gives the lock back however the daemon ends, so whoever holds
//! it knows that a socket file in the way is a dead one's. The socket is made under
//! another name and renamed into place once it listens: whoever sees it can connect.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen,
    socket_with,
};

use crate::error::{Code, Error};

const BACKLOG: i32 = 1024;
/// Longest path that fits into a socket's address.
const MAX_ADDRESS_BYTES: usize = 100;

/// The daemon's socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Endpoint {
    listener: OwnedFd,
    path: PathBuf,
    identity: (u64, u64),
    // Released last: then the path is free.
    _lock: File,
}

impl Endpoint {
    /// Takes the path and listens; `owner` is who may connect besides root.
    ///
    /// # Errors
    ///
    /// [`Code::InUse`] when another daemon has it; [`Code::Usage`] when the path
    /// cannot be a socket.
    pub fn open(path: &Path, owner: Option<u32>) -> Result<Self, Error> {
        let refused = |what: String| Error::refused(Code::Usage, what);
        let name = path.file_name().filter(|_| path.is_absolute());
        let Some(name) = name else {
            let message = format!("{}: not an absolute path of a file", path.display());
            return Err(refused(message));
        };
        let lock = lock(path)?;
        check_place(path)?;
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}", std::process::id()));
        let draft = path.with_file_name(draft);
        let shown = path.display();
        let _ = std::fs::remove_file(&draft);
        let listener = listen_at(&draft)
            .map_err(|errno| refused(format!("{shown}: cannot listen: {errno}")))?;
        let made = finish(&draft, path, owner);
        let identity = made.map_err(|error| {
            let _ = std::fs::remove_file(&draft);
            refused(format!("{shown}: {error}"))
        })?;
        Ok(Endpoint {
            listener,
            path: path.to_owned(),
            identity,
            _lock: lock,
        })
    }

    pub fn listener(&self) -> &OwnedFd {
        &self.listener
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Somebody may have put another one there; that is not ours to remove.
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let shown = path.display();
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(PathBuf::from(name))
        .map_err(|error| Error::refused(Code::Usage, format!("{shown}.lock: {error}")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(in_use(path)),
        Err(errno) => Err(Error::failure("flock", errno)),
    }
}

fn in_use(path: &Path) -> Error {
    let message = format!("{}: another daemon has this socket", path.display());
    Error::refused(Code::InUse, message)
}

/// Checks that nothing is in the way but perhaps a dead daemon's socket.
fn check_place(path: &Path) -> Result<(), Error> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        let message = format!("{}: exists and is not a socket", path.display());
        return Err(Error::refused(Code::Usage, message));
    }
    // It may be of a program that knows nothing of our lock.
    let probe = with_address(path, |address| {
        let socket = new_socket()?;
        connect(&socket, address)
    });
    match probe {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Ok(()) | Err(_) => Err(in_use(path)),
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Calls `action` with the address of `path`, however long that is.
fn with_address<T>(
    path: &Path,
    action: impl FnOnce(&SocketAddrUnix) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if path.as_os_str().as_bytes().len() <= MAX_ADDRESS_BYTES {
        return action(&SocketAddrUnix::new(path)?);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd")
        .join(folder.as_fd().as_raw_fd().to_string())
        .join(name);
    action(&SocketAddrUnix::new(short)?)
}

fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = new_socket()?;
    // Nobody else may connect, from the very first moment.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = with_address(path, |address| bind(&socket, address));
    rustix::process::umask(before);
    bound?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn finish(draft: &Path, path: &Path, owner: Option<u32>) -> std::io::Result<(u64, u64)> {
    if let Some(uid) = owner {
        std::os::unix::fs::chown(draft, Some(uid), None)?;
    }
    std::fs::rename(draft, path)?;
    identity(path)
}

/// Checks who is at the other end of a connection.
///
/// Allowed are the daemon's own user, root, and `others`: whoever may connect can
/// run programs here and cancel only its own, and is believed in its manifests.
pub fn check_peer(connection: impl AsFd, others: &[u32]) -> Result<(), Error> {
    let peer = rustix::net::sockopt::socket_peercred(connection)
        .map_err(|errno| Error::failure("SO_PEERCRED", errno))?;
    let uid = peer.uid.as_raw();
    let ours = rustix::process::geteuid().as_raw();
    if uid == 0 || uid == ours || others.contains(&uid) {
        return Ok(());
    }
    let message =
        format!("the peer's user is {uid}; allowed are {ours}, 0 and --peer-uid");
    Err(Error::refused(Code::Forbidden, message))
}

/// Tells systemd, if it wants to know, that the daemon serves.
pub fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else {
        return;
    };
    let text = b"READY=1";
    // An abstract name is written with an @ in front.
    let sent = match path.as_bytes().split_first() {
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| socket.send_to_addr(text, &address))
        }
        _ => socket.send_to(text, Path::new(&path)),
    };
    if let Err(error) = sent {
        eprintln!("event=notify_failed error={:?}", error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir()
            .join(format!("zvm-endpoint-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn refusal(path: &Path) -> (Code, String) {
        match Endpoint::open(path, None) {
            Err(Error::Refused { code, message }) => (code, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_daemon_has_the_path_and_the_next_one_gets_it_afterwards() {
        let folder = folder("one");
        let path = folder.join("socket");
        let first = Endpoint::open(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (code, message) = refusal(&path);
        assert_eq!(code, Code::InUse);
        assert!(
            message.ends_with("another daemon has this socket"),
            "{message}"
        );
        drop(first);
        assert!(!path.exists());
        drop(Endpoint::open(&path, None).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_dead_daemon_left_is_taken_over() {
        let folder = folder("dead");
        let path = folder.join("socket");
        drop(listen_at(&path).unwrap());
        let taken = Endpoint::open(&path, None).unwrap();
        assert!(path.exists());
        drop(taken);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_strangers_socket_or_file_is_left_alone() {
        let folder = folder("stranger");
        let path = folder.join("socket");
        let stranger = listen_at(&path).unwrap();
        assert_eq!(refusal(&path).0, Code::InUse);
        drop(stranger);
        let file = folder.join("file");
        std::fs::write(&file, "mine").unwrap();
        let (code, message) = refusal(&file);
        assert_eq!(code, Code::Usage);
        assert!(message.ends_with("exists and is not a socket"), "{message}");
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        assert_eq!(refusal(Path::new("relative")).0, Code::Usage);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_path_longer_than_an_address_works() {
        let folder = folder("long").join("f".repeat(150));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let endpoint = Endpoint::open(&path, None).unwrap();
        let connected = with_address(&path, |address| {
            let socket = new_socket()?;
            connect(&socket, address)
        });
        assert_eq!(connected, Ok(()));
        drop(endpoint);
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}
