//! A process that waits for its job, and then is that job's VM.
//!
//! It was forked from a zygote: an engine, perhaps the program, nothing of any job.
//! While it waits it is locked down already: a user of its own, no privilege, no file
//! to be opened, and, if it has its program, the filter of system calls. What it can
//! still be given comes over one socket, which is its descriptor 0: one manifest with
//! its descriptors. It closes the socket, takes what is left of the lock-down, runs,
//! writes its verdict into the ledger and is gone. It is never used twice. The end of
//! the socket ends it.
//!
//! ```text
//! packet 1   number of descriptors in all, length of the manifest (4 bytes each),
//!            the manifest, or nothing of it: then the first descriptor is a file
//!            that holds it
//! packets    a zero byte each; 2 and on only carry descriptors
//! ```
//!
//! There is one descriptor for each entry of the manifest: the program's, the
//! layers', the channels'.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::{preadv, retry_on_intr, writev};
use rustix::net::RecvFlags;
use rustix::process::Pid;

use crate::error::Error;
use crate::guest::run::Ahead;
use crate::guest::tree::Tree;
use crate::guest::wasi::Wasi;
use crate::ledger::Ledger;
use crate::lockdown::{Filter, Plan};
use crate::manifest::{self, Manifest};
use crate::outcome::Outcome;
use crate::session::verdict::Verdict;
use crate::session::vm::{
    Held, die_with, end_panics_in, limits_of, run_session, wasi_config,
};
use crate::session::warm::Warm;
use crate::session::{self, Session, Setting};
use crate::sys::{self, CommandLine};
use crate::weights;

use super::packet::{self, Outbox};

/// How this process shows in the process table until it has a job.
pub const NAME: &std::ffi::CStr = c"zvm-idle";

const HEADER_BYTES: usize = 8;
/// Where a process writes what it is to be called.
const OWN_NAME: &str = "/proc/self/comm";
/// Room for what most jobs bring.
const ROOM_BYTES: usize = 16 << 10;

/// What the process is given.
pub struct Waiting<'a> {
    pub socket: &'a OwnedFd,
    pub ledger: OwnedFd,
    /// Channels and bytes of stderr that the ledger has room for.
    pub capacity: (usize, usize),
    pub warm: &'a Warm,
    pub plan: &'a mut Plan,
    pub daemon: Pid,
    /// Descriptors that the engine holds for the program: the artefact, from which
    /// the guest's first memory is mapped.
    pub held: &'a [RawFd],
    pub title: Option<&'a CommandLine>,
}

/// Waits for a job, runs it, and ends the process.
pub fn wait(mut waiting: Waiting<'_>) -> ! {
    let _ = rustix::thread::set_name(NAME);
    if let Some(title) = waiting.title {
        title.write(NAME.to_bytes());
    }
    match Prepared::new(&mut waiting) {
        Ok(prepared) => prepared.receive_and_run(&waiting),
        // Nobody can be told why; the daemon sees that it ended.
        Err(error) => sys::exit_now(crate::exit::of_error(&error).into()),
    }
}

/// What a process has that can be given its job.
struct Prepared {
    socket: OwnedFd,
    ledger: Ledger,
    ahead: Option<Ahead>,
    /// By which it can change its name; none where the host has no such file.
    name: Option<OwnedFd>,
    sealed: bool,
}

impl Prepared {
    fn new(waiting: &mut Waiting<'_>) -> Result<Self, Error> {
        let (channels, stderr_bytes) = waiting.capacity;
        let ledger = Ledger::open(&waiting.ledger, channels, stderr_bytes)?;
        rustix::stdio::dup2_stdin(waiting.socket)
            .map_err(|errno| Error::failure("dup2", errno))?;
        let socket = sys::take_descriptor(0)?;
        // Nobody can change another process's name, and nobody may have none.
        let name = File::options().write(true).open(OWN_NAME);
        let name = name.map(OwnedFd::from).ok();
        let plan = &mut *waiting.plan;
        let mut keep = waiting.held.to_vec();
        keep.extend(name.as_ref().map(AsRawFd::as_raw_fd));
        plan.keep_only(&keep)?;
        plan.deny()?;
        plan.confine()?;
        // A change of the user makes the kernel forget it.
        die_with(waiting.daemon)?;
        #[cfg(feature = "planted-holes")]
        crate::session::vm::plant_holes(waiting.daemon);
        weights::yield_processor();
        // Once more than it must be, so that also the end of one has been tried.
        drop(rehearse(&ledger)?);
        let ahead = waiting.warm.go_ahead(rehearse(&ledger)?);
        end_panics_in(&ledger);
        // Another program would have to be made executable first.
        let sealed = waiting.warm.has_program();
        if sealed {
            plan.seal(Filter::Vm)?;
        }
        Ok(Prepared {
            socket,
            ledger,
            ahead,
            name,
            sealed,
        })
    }

    fn receive_and_run(self, waiting: &Waiting<'_>) -> ! {
        let ledger = self.ledger.clone();
        let result = match receive(&self.socket) {
            Ok(None) => sys::exit_now(0),
            Ok(Some((manifest, fds))) => self.run(waiting, manifest, fds),
            Err(error) => Err(error),
        };
        Verdict::of(result).store(&ledger);
        sys::exit_now(0)
    }

    fn run(
        self,
        waiting: &Waiting<'_>,
        manifest: Manifest,
        fds: Vec<OwnedFd>,
    ) -> Result<Outcome, Error> {
        // Nothing is said over the socket any more; the guest must not have it.
        drop(self.socket);
        take_name(self.name, waiting.title, &manifest);
        let ledger = shaped(&self.ledger, &manifest)
            .ok_or_else(|| Error::failure("ledger", "it is too small"))?;
        let session = Session::of(manifest, fds, Setting::Node)?;
        #[cfg(feature = "planted-holes")]
        crate::session::vm::aim_holes(&session);
        waiting.plan.limit(&limits_of(&session)?)?;
        let held = Held {
            warm: Some(waiting.warm),
            ahead: self.ahead,
            sealed: self.sealed,
        };
        run_session(session, &ledger, waiting.plan, held)
    }
}

/// Does with a job of nobody's what will be done with the real one: each page that
/// is touched for the first time costs a microsecond, and this is the time for it.
/// Gives the world of nobody.
fn rehearse(ledger: &Ledger) -> Result<Wasi, Error> {
    const NOBODYS: &[u8] = br#"{"version": 1, "job": "", "node": "",
        "program": {"descriptor": 0, "name": "", "sha256":
        "0000000000000000000000000000000000000000000000000000000000000000"},
        "args": ["x"], "env": [["A", "b"]], "layers": [],
        "channels": [{"path": "/dev/stdin", "direction": "read",
        "access": "sequential", "descriptor": 0, "identity": "",
        "limit_bytes": 0, "limit_calls": 0}],
        "limits": {"memory_bytes": 0, "wall_seconds": 1.0, "cpu_seconds": 1.0,
        "stack_bytes": 65536, "tmp_bytes": 0, "files": 0, "stderr_bytes": 0},
        "clock_nanoseconds": 0, "seed":
        "0000000000000000000000000000000000000000000000000000000000000000"}"#;
    let manifest = manifest::parse(NOBODYS, 1)?;
    let _ = session::title(&manifest);
    let tree = Tree::new(Vec::new()).map_err(|error| Error::failure("tree", error))?;
    let config = wasi_config(manifest, tree, Vec::new(), ledger)?;
    let _ = serde_json::to_vec(&Verdict::of(Ok(Outcome::Exit(0))));
    drop(std::hint::black_box(vec![u8::MAX; ROOM_BYTES]));
    ledger.touch();
    Ok(Wasi::new(config))
}

/// Shows this process as the VM that it is now.
fn take_name(name: Option<OwnedFd>, title: Option<&CommandLine>, manifest: &Manifest) {
    if let Some(name) = name {
        // A name is a courtesy; a session runs without it.
        let _ = writev(&name, &[IoSlice::new(&session::short_title(manifest))]);
    }
    if let Some(title) = title {
        title.write(session::title(manifest).as_bytes());
    }
}

/// Receives the job; none when the daemon has closed its end.
fn receive(socket: &OwnedFd) -> Result<Option<(Manifest, Vec<OwnedFd>)>, Error> {
    let failed = |what: &str| Error::failure("receive the job", what);
    // Exactly as long as it must be: what is not touched need not be freed.
    let length = packet::next_length(socket)
        .map_err(|errno| Error::failure("receive the job", errno))?;
    let mut buffer = vec![0; length.max(1)];
    let Some(first) = next(socket, &mut buffer)? else {
        return Ok(None);
    };
    let packet = buffer.get(..first.bytes).unwrap_or_default();
    let (header, text) = packet
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| failed("no header"))?;
    let [a, b, c, d, length @ ..] = *header;
    let descriptors = u32::from_ne_bytes([a, b, c, d]) as usize;
    let length = u32::from_ne_bytes(length) as usize;
    let mut text = text.to_vec();
    let mut fds = first.fds;
    while fds.len() < descriptors {
        let more = next(socket, &mut [0; 8])?.ok_or_else(|| failed("it ends early"))?;
        fds.extend(more.fds);
    }
    if text.is_empty() && !fds.is_empty() {
        text = read_whole(&fds.remove(0), length)?;
    }
    if text.len() != length {
        return Err(failed("the manifest is not whole"));
    }
    // The daemon has checked the numbers of descriptors, which these are not.
    let manifest = manifest::parse(&text, usize::MAX)?;
    Ok(Some((manifest, fds)))
}

/// The first `length` bytes of a file, by calls that are left to a VM.
fn read_whole(file: &OwnedFd, length: usize) -> Result<Vec<u8>, Error> {
    let length = length.min(manifest::MAX_BYTES as usize);
    let mut text = vec![0; length];
    let mut at = 0;
    while let Some(rest) = text.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let mut rest = [IoSliceMut::new(rest)];
        let count = retry_on_intr(|| preadv(file, &mut rest, at as u64))
            .map_err(|errno| Error::failure("read the manifest", errno))?;
        if count == 0 {
            break;
        }
        at += count;
    }
    text.truncate(at);
    Ok(text)
}

fn next(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<packet::Received>, Error> {
    let received = packet::receive(socket, buffer, RecvFlags::empty());
    let received = received.map_err(|errno| Error::failure("receive the job", errno))?;
    if received.as_ref().is_some_and(|received| received.cut) {
        let message = "a descriptor could not be taken (limit on open files)";
        return Err(Error::Failure(message.to_owned()));
    }
    Ok(received)
}

/// The ledger as a session of this manifest uses it; none if it is too small.
pub fn shaped(ledger: &Ledger, manifest: &Manifest) -> Option<Ledger> {
    let stderr_bytes = usize::try_from(manifest.limits.stderr_bytes).ok()?;
    ledger.shaped(manifest.channels.len(), stderr_bytes)
}

/// The packets by which the daemon sends a job; see the module's text.
pub fn job_packets(text: &[u8], mut fds: Vec<OwnedFd>) -> Result<Outbox, Error> {
    const INLINE_BYTES: usize = packet::MAX_BYTES - HEADER_BYTES;
    let mut inline = text;
    if text.len() > INLINE_BYTES {
        fds.insert(0, in_file(text)?);
        inline = &[];
    }
    let mut bytes = (fds.len() as u32).to_ne_bytes().to_vec();
    bytes.extend((text.len() as u32).to_ne_bytes());
    bytes.extend(inline);
    let mut outbox = Outbox::default();
    loop {
        let rest = fds.split_off(fds.len().min(packet::MAX_DESCRIPTORS));
        outbox.push(bytes, fds);
        if rest.is_empty() {
            return Ok(outbox);
        }
        fds = rest;
        bytes = vec![0];
    }
}

fn in_file(text: &[u8]) -> Result<OwnedFd, Error> {
    use std::io::{Seek, Write};
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let fd = rustix::fs::memfd_create("manifest", flags)
        .map_err(|errno| Error::failure("memfd_create", errno))?;
    let mut file = File::from(fd);
    file.write_all(text)
        .and_then(|()| file.rewind())
        .map_err(|error| Error::failure("write the manifest", error))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::packet::pair;

    fn descriptors(number: usize) -> Vec<OwnedFd> {
        let null = File::open("/dev/null").unwrap();
        (0..number)
            .map(|_| null.try_clone().unwrap().into())
            .collect()
    }

    fn sent_and_received(text: &[u8], number: usize) -> (Manifest, usize) {
        let (ours, theirs) = pair().unwrap();
        let mut outbox = job_packets(text, descriptors(number)).unwrap();
        assert!(outbox.flush(&ours).unwrap());
        let (manifest, fds) = receive(&theirs).unwrap().unwrap();
        (manifest, fds.len())
    }

    #[test]
    fn a_job_arrives_with_all_of_its_descriptors() {
        let text = include_bytes!("../../tests/fixtures/manifest-full.json");
        for number in [8, 253, 254, 600] {
            let (manifest, fds) = sent_and_received(text, number);
            assert_eq!((manifest.channels.is_empty(), fds), (false, number));
        }
    }

    #[test]
    fn a_long_manifest_goes_by_a_file() {
        let text = include_bytes!("../../tests/fixtures/manifest-minimal.json");
        let mut manifest = manifest::parse(text, 1).unwrap();
        manifest.args = vec!["x".repeat(200_000)];
        let text = serde_json::to_vec(&manifest).unwrap();
        let (received, fds) = sent_and_received(&text, 253);
        assert_eq!((received.args, fds), (manifest.args, 253));
    }

    #[test]
    fn no_job_is_the_end() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert!(receive(&theirs).unwrap().is_none());
    }
}
