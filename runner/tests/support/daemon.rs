//! A daemon of a test's own, and a client of its protocol that can also misbehave.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, sendmsg, socket_with,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Session, ZVM, folder};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// True when the process has ended; dead and not reaped is not enough here.
pub fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// True when the process runs no more, reaped or not.
pub fn is_dead(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().unwrap().starts_with('Z'),
        Err(_) => true,
    }
}

/// Name and state of a process, if there is one.
fn look_at(pid: u32) -> Option<(String, char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((name, state, fields.next()?.parse().ok()?))
}

pub struct Daemon {
    pub process: Child,
    pub socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    pub fn start(options: &[&str]) -> Self {
        let folder = folder("serve");
        Self::start_at(&folder.join("socket"), options)
    }

    pub fn start_at(socket: &Path, options: &[&str]) -> Self {
        Self::start_by(socket, options, &[])
    }

    /// Starts it by way of `before` (`env NAME=VALUE`), and waits for its socket.
    pub fn start_by(socket: &Path, options: &[&str], before: &[&str]) -> Self {
        let daemon = Self::spawn_at(socket, options, before);
        wait_for("the socket", || {
            let served = UnixClient::connect(&daemon.socket).is_ok();
            served.then_some(())
        });
        daemon
    }

    /// Starts it by way of `before` (`prlimit …`), and waits for nothing.
    pub fn spawn_at(socket: &Path, options: &[&str], before: &[&str]) -> Self {
        let log = socket.with_extension("log");
        let mut words: Vec<&str> = before.to_vec();
        words.extend([ZVM, "serve", "--socket", socket.to_str().unwrap()]);
        words.extend(options);
        let stderr = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        let process = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Daemon {
            process,
            socket: socket.to_owned(),
            log,
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn client(&self) -> Client {
        let mut client = Client::silent(&self.socket);
        client.hello();
        client
    }

    /// The daemon's children by name; dead ones as `Z`.
    pub fn children(&self) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some((name, state, parent)) = look_at(pid)
                && parent == self.process.id()
            {
                let name = if state == 'Z' { "Z".to_owned() } else { name };
                found.push((name, pid));
            }
        }
        found.sort();
        found
    }

    pub fn named(&self, prefix: &str) -> Vec<u32> {
        let children = self.children().into_iter();
        children
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, pid)| pid)
            .collect()
    }

    /// Waits for a VM; its process.
    pub fn vm(&self) -> u32 {
        wait_for("a VM", || self.named("zvm:").first().copied())
    }

    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    pub fn terminate(&self) {
        signal(self.process.id(), Signal::TERM);
    }

    pub fn status(&mut self) -> Option<i32> {
        wait_for("the daemon's end", || self.process.try_wait().unwrap()).code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct UnixClient;

impl UnixClient {
    fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let timeout = Some(PATIENCE);
        let which = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, which, timeout)?;
        Ok(socket)
    }
}

/// One connection.
pub struct Client {
    pub socket: OwnedFd,
    next: u32,
}

impl Client {
    /// A connection that has not said anything.
    pub fn silent(path: &Path) -> Self {
        Client {
            socket: UnixClient::connect(path).unwrap(),
            next: 1,
        }
    }

    pub fn hello(&mut self) -> Value {
        self.send(&packet(b'H', 0, br#"{"version": 1}"#), &[]);
        let (kind, _, document) = self.receive().unwrap();
        assert_eq!(kind, 'H');
        document
    }

    pub fn send(&self, bytes: &[u8], fds: &[OwnedFd]) {
        self.try_send(bytes, fds).unwrap();
    }

    pub fn try_send(&self, bytes: &[u8], fds: &[OwnedFd]) -> rustix::io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        let slices = [IoSlice::new(bytes)];
        sendmsg(&self.socket, &slices, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next answer, whole: its kind, its request, its document. None at the end.
    pub fn receive(&self) -> Option<(char, u32, Value)> {
        let mut text = Vec::new();
        let mut buffer = vec![0; 70_000];
        loop {
            let flags = rustix::net::RecvFlags::empty();
            let got =
                rustix::io::retry_on_intr(|| recv(&self.socket, &mut buffer[..], flags));
            let (bytes, _) = match got {
                Ok(got) => got,
                // Closed with something of ours unread; what it said comes after.
                Err(rustix::io::Errno::CONNRESET) => continue,
                Err(errno) => panic!("{errno}"),
            };
            if bytes == 0 {
                return None;
            }
            let header = &buffer[..8];
            text.extend(&buffer[8..bytes]);
            if header[1] == 0 {
                let number = u32::from_be_bytes(header[4..].try_into().unwrap());
                let document = serde_json::from_slice(&text).unwrap();
                return Some((header[0].into(), number, document));
            }
        }
    }

    /// Sends a session that may wait 20 s for a slot; its number.
    pub fn begin(&mut self, session: &Session) -> u32 {
        self.begin_with(session, 20_000)
    }

    pub fn begin_with(&mut self, session: &Session, queue_milliseconds: u32) -> u32 {
        self.begin_of(&session.text(), session.open(), queue_milliseconds)
    }

    /// Sends a manifest and its descriptors.
    pub fn begin_of(
        &mut self,
        text: &[u8],
        fds: Vec<OwnedFd>,
        queue_milliseconds: u32,
    ) -> u32 {
        let number = self.next;
        self.next += 1;
        for (bytes, fds) in request(number, text, fds, queue_milliseconds) {
            self.send(&bytes, &fds);
        }
        number
    }

    pub fn cancel(&self, number: u32) {
        self.send(&packet(b'C', number, b""), &[]);
    }

    pub fn answer_to(&self, number: u32) -> Value {
        let (kind, to, document) = self.receive().unwrap();
        assert_eq!((kind, to), ('R', number), "{document:#}");
        document
    }

    /// Runs a session; its whole answer.
    pub fn run(&mut self, session: &Session) -> Value {
        let number = self.begin(session);
        self.answer_to(number)
    }

    /// Runs a session; its report.
    pub fn report(&mut self, session: &Session) -> Value {
        let answer = self.run(session);
        assert!(answer["report"].is_object(), "{answer:#}");
        answer["report"].clone()
    }

    /// Runs a session that is refused; code and message.
    pub fn refused(&mut self, session: &Session) -> (String, String) {
        error_of(&self.run(session))
    }

    /// What the daemon says when it ends the connection; code and message.
    pub fn last_word(&self) -> (String, String) {
        loop {
            match self.receive().unwrap() {
                ('E', 0, document) => {
                    assert!(self.receive().is_none());
                    return error_of(&document);
                }
                other => assert_eq!(other.0, 'R', "{other:?}"),
            }
        }
    }

    pub fn status(&self) -> Value {
        self.send(&packet(b'S', 77, b""), &[]);
        let (kind, number, document) = self.receive().unwrap();
        assert_eq!((kind, number), ('S', 77));
        document
    }
}

pub fn error_of(document: &Value) -> (String, String) {
    let text = |key: &str| document["error"][key].as_str().unwrap_or("").to_owned();
    assert!(document["error"].is_object(), "{document:#}");
    (text("code"), text("message"))
}

pub fn packet(kind: u8, number: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(number.to_be_bytes());
    packet.extend(body);
    packet
}

pub fn begin(number: u32, bytes: usize, descriptors: usize, first: &[u8]) -> Vec<u8> {
    let mut body = (bytes as u32).to_be_bytes().to_vec();
    body.extend((descriptors as u32).to_be_bytes());
    body.extend(20_000u32.to_be_bytes());
    body.extend(first);
    packet(b'B', number, &body)
}

/// The packets of a request.
pub fn request(
    number: u32,
    text: &[u8],
    mut fds: Vec<OwnedFd>,
    queue_milliseconds: u32,
) -> Vec<(Vec<u8>, Vec<OwnedFd>)> {
    let first = text.len().min(60_000);
    let mut packet_1 = begin(number, text.len(), fds.len(), &text[..first]);
    packet_1[16..20].copy_from_slice(&queue_milliseconds.to_be_bytes());
    let mut packets = Vec::new();
    let mut bytes = packet_1;
    let mut rest = &text[first..];
    loop {
        let after = fds.split_off(fds.len().min(253));
        packets.push((bytes, fds));
        fds = after;
        if fds.is_empty() && rest.is_empty() {
            return packets;
        }
        let next = rest.len().min(60_000);
        bytes = packet(b'M', number, &rest[..next]);
        rest = &rest[next..];
    }
}

/// A file's address space is of no interest here: any descriptor will do.
pub fn nulls(number: usize) -> Vec<OwnedFd> {
    let null = std::fs::File::open("/dev/null").unwrap();
    (0..number)
        .map(|_| null.try_clone().unwrap().into())
        .collect()
}

/// A session of `cat` from a pipe that a test holds: it lives until that ends.
pub fn waiting() -> (Session, OwnedFd) {
    let folder = folder("fifo");
    let path = folder.join("pipe");
    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    let session = Session::new("cat").channel(
        "/dev/stdin",
        "read",
        "sequential",
        format!("<{}", path.display()),
        u64::MAX,
    );
    let holder = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    (session, holder.into())
}
