//! `zvm serve`: one daemon per storage node that runs each request as a VM.
//!
//! ```text
//! client ──packets──▶ daemon ──manifest, descriptors──▶ a process that waits
//!        ◀──answer───    │  ◀──────ledger, its end────── (then the job's VM)
//!                        └──orders──▶ zygote ──forks──▶ processes that wait
//! ```
//!
//! | file | what |
//! |---|---|
//! | `daemon` | the state, and what each event does to it |
//! | `endpoint`, `connection`, `packet`, `protocol` | clients and what they say |
//! | `admission`, `job` | slots, the queue; a request from arrival to answer |
//! | `nursery`, `zygote`, `idle` | processes before they have a job |
//! | `digesting` | digests of outputs |
//! | `poller` | the one loop |
//!
//! Promises: a VM's process runs one job and no other. It was forked from a process
//! that holds the engine and at most its own program, and never a byte of any job.
//! The daemon waits for nothing but events, so one VM, client or output never delays
//! another. When the daemon ends, however it ends, the kernel ends every VM.

pub(crate) mod admission;
pub(crate) mod connection;
mod daemon;
mod digesting;
mod endpoint;
mod idle;
pub(crate) mod job;
mod nursery;
pub(crate) mod packet;
mod poller;
pub(crate) mod protocol;
pub mod zygote;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit};

use crate::error::Error;
use crate::lockdown;
use crate::sys;

use daemon::Daemon;
use endpoint::Endpoint;

/// How the daemon shows in the process table.
const NAME: &std::ffi::CStr = c"zvm-serve";
/// Most descriptors of one request, if the limit on open files allows it.
const MAX_DESCRIPTORS: usize = 10_000;

/// What the daemon is told.
#[derive(Clone, Debug)]
pub struct Options {
    pub socket: PathBuf,
    /// VMs at once.
    pub slots: usize,
    /// Requests that wait for a slot.
    pub queue: usize,
    /// Processes kept waiting, per pool.
    pub idle: usize,
    /// Programs that have a pool of their own.
    pub programs: usize,
    /// How long running VMs may go on when the daemon is told to end.
    pub drain_seconds: f64,
    /// Users that may connect, besides the daemon's own and root; the socket's file
    /// belongs to the first.
    pub peer_uids: Vec<u32>,
    /// How VMs are locked down.
    pub lockdown: lockdown::Options,
}

/// Serves until told to end and drained.
///
/// # Errors
///
/// [`crate::error::Code::InUse`] when another daemon has the socket,
/// [`crate::error::Code::Usage`] when it cannot be one; a failure when the host
/// cannot give what the daemon needs.
pub fn run(options: Options) -> Result<(), Error> {
    let _ = rustix::thread::set_name(NAME);
    let open_files = raise_open_files()?;
    let signals = sys::catch_end_signals()?;
    let owner = options.peer_uids.first().copied();
    let endpoint = Endpoint::open(&options.socket, owner)?;
    eprintln!(
        "event=serving socket={:?} slots={} queue={} descriptors={}",
        options.socket,
        options.slots,
        options.queue,
        max_descriptors(open_files)
    );
    let mut daemon = Daemon::new(options, endpoint, signals, open_files)?;
    endpoint::notify_ready();
    daemon.serve()?;
    eprintln!("event=stopped");
    Ok(())
}

/// Most descriptors of one request.
fn max_descriptors(open_files: usize) -> usize {
    MAX_DESCRIPTORS.min(open_files / 4)
}

/// Raises the limit on open files as far as it goes, and gives it.
fn raise_open_files() -> Result<usize, Error> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    rustix::process::setrlimit(Resource::Nofile, limit)
        .map_err(|errno| Error::failure("setrlimit", errno))?;
    Ok(hard
        .and_then(|hard| usize::try_from(hard).ok())
        .unwrap_or(usize::MAX))
}

/// Starts the zygote of the general pool: this very program, without this process's
/// memory.
fn start_zygote(
    lockdown: &lockdown::Options,
) -> Result<(Pid, std::os::fd::OwnedFd), Error> {
    let failed = |error: std::io::Error| Error::failure("start a zygote", error);
    let (ours, theirs) =
        packet::pair().map_err(|errno| Error::failure("socketpair", errno))?;
    let child = Command::new("/proc/self/exe")
        .arg0(zygote::NAME.to_string_lossy().as_ref())
        .arg(zygote::COMMAND)
        .arg(std::process::id().to_string())
        .arg(" ".repeat(zygote::TITLE_BYTES))
        .args(lockdown.words())
        .env_clear()
        .envs(lockdown::layers::variables())
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // Reaped by its number, as all our children are.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::failure("start a zygote", "no number"))?;
    Ok((pid, ours))
}
