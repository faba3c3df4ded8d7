//! The child: from a fork to a running guest to nothing, step by step.
//!
//! Each step gives something up that the next ones do not need. The order matters
//! and is fixed: descriptors, limits, privileges; then what users wrote is parsed;
//! then, with nothing left to open or to map, the guest runs. What locks the
//! process down further belongs between `load` and `guest::run`.

use std::fs::File;
use std::mem::forget;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::artefact;
use crate::channel::{Channel, Direction};
use crate::engine;
use crate::error::{Code, Error};
use crate::guest::run::{Ended, run};
use crate::guest::tree::{TarLayer, Tree};
use crate::guest::wasi::{Wasi, WasiConfig, WasiLimits};
use crate::ledger::Ledger;
use crate::manifest::Manifest;
use crate::outcome::Outcome;
use crate::sys;
use crate::weights;

use super::verdict::Verdict;
use super::{Session, Setting};

/// Native stack for host functions, on top of the guest's budget.
const HOST_STACK_BYTES: u64 = 1 << 20;

/// Runs the VM and ends the process. `parent` is the session's other process.
pub fn main(session: Session, ledger: &Ledger, parent: Pid) -> ! {
    report_panics_to(ledger);
    let result = live(session, ledger, parent);
    Verdict::of(result).store(ledger);
    sys::exit_now(0)
}

/// A panic is our mistake; its text has no other way out of this process.
fn report_panics_to(ledger: &Ledger) {
    let ledger = ledger.clone();
    std::panic::set_hook(Box::new(move |info| {
        Verdict::Failed(format!("the VM's process panicked: {info}")).store(&ledger);
    }));
}

fn live(session: Session, ledger: &Ledger, parent: Pid) -> Result<Outcome, Error> {
    die_with(parent)?;
    let session = close_all_but(session)?;
    set_limits(&session)?;
    if session.setting == Setting::Node {
        weights::yield_to_storage();
    }
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;

    let Session {
        manifest,
        program,
        layers,
        channels,
        setting,
    } = session;
    let channels = open_channels(&manifest, channels, ledger, setting)?;
    let tree = open_layers(&manifest, layers)?;
    let engine = engine::engine(manifest.limits.stack_bytes as usize)
        .map_err(|error| Error::failure("engine", error))?;
    let program = File::from(program);
    artefact::check(&program, &manifest.program.sha256)?;
    let module = sys::load_artefact(&engine, program).map_err(|error| {
        Error::refused(Code::BadArtefact, format!("program: {error:#}"))
    })?;
    let memory_bytes = manifest.limits.memory_bytes;
    let wasi = Wasi::new(wasi_config(manifest, tree, channels, ledger)?);

    let Ended { outcome, wasi } = run(&engine, &module, wasi, ledger, memory_bytes)?;
    for (index, mut channel) in wasi.into_channels().into_iter().enumerate() {
        if let Some(digest) = channel.delivered_blake3() {
            ledger.set_digest(index, digest);
        }
    }
    Ok(outcome)
}

fn failed(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |errno| Error::failure(what, errno)
}

/// Ties this process's life to the session's parent.
fn die_with(parent: Pid) -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("parent death signal"))?;
    // It may have died before the line above; then nobody would tell us.
    if rustix::process::getppid() != Some(parent) {
        sys::exit_now(1);
    }
    sys::release_end_signals()?;
    Ok(())
}

/// Closes all descriptors but the session's; standard ones become /dev/null, so
/// that no stray message of ours can land in a channel.
fn close_all_but(session: Session) -> Result<Session, Error> {
    let null = File::open("/dev/null").map_err(|error| Error::failure("null", error))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed("dup2"))?;
    rustix::stdio::dup2_stdout(&null).map_err(failed("dup2"))?;
    rustix::stdio::dup2_stderr(&null).map_err(failed("dup2"))?;
    // Closed below, with all others.
    forget(null);
    let mut keep: Vec<RawFd> = vec![0, 1, 2, session.program.as_raw_fd()];
    keep.extend(session.layers.iter().map(AsRawFd::as_raw_fd));
    keep.extend(session.channels.iter().map(AsRawFd::as_raw_fd));
    sys::close_all_except(&keep)?;
    Ok(session)
}

fn set_limits(session: &Session) -> Result<(), Error> {
    let limits = &session.manifest.limits;
    // Behind the parent's own count, should the parent be slow.
    let cpu = limits.cpu_seconds.ceil() as u64 + 1;
    set_limit(Resource::Cpu, cpu, cpu + 1)?;
    set_limit(Resource::Core, 0, 0)?;
    if session.setting == Setting::Node {
        let entries = session.manifest.channels.iter();
        let outputs = entries.filter(|entry| entry.direction == Direction::Write);
        let largest = outputs.map(|entry| entry.limit_bytes).max().unwrap_or(0);
        set_limit(Resource::Fsize, largest, largest)?;
    }
    // The main thread's stack grows on demand up to this limit, whatever it was
    // when the process started.
    let stack = limits.stack_bytes + HOST_STACK_BYTES;
    let hard = rustix::process::getrlimit(Resource::Stack).maximum;
    if hard.is_some_and(|hard| hard < stack) {
        return Err(Error::Failure(format!(
            "the hard limit of the stack ({hard:?} bytes) is below {stack}"
        )));
    }
    let limit = Rlimit {
        current: Some(stack),
        maximum: hard,
    };
    rustix::process::setrlimit(Resource::Stack, limit).map_err(failed("setrlimit"))
}

fn set_limit(resource: Resource, current: u64, maximum: u64) -> Result<(), Error> {
    let hard = rustix::process::getrlimit(resource)
        .maximum
        .unwrap_or(u64::MAX);
    let maximum = maximum.min(hard);
    let limit = Rlimit {
        current: Some(current.min(maximum)),
        maximum: Some(maximum),
    };
    rustix::process::setrlimit(resource, limit).map_err(failed("setrlimit"))
}

fn open_channels(
    manifest: &Manifest,
    fds: Vec<OwnedFd>,
    ledger: &Ledger,
    setting: Setting,
) -> Result<Vec<Channel>, Error> {
    let entries = manifest.channels.iter().zip(fds).enumerate();
    let open = entries.map(|(index, (entry, fd))| {
        let channel = if setting.is_stream(entry) {
            Channel::open_stream(entry.spec(), fd, ledger.clone(), index)
        } else {
            Channel::open(entry.spec(), fd, ledger.clone(), index)
                .and_then(|channel| check_staged(channel, setting))
        };
        channel.map_err(|why| {
            let message = format!("/channels/{index} ({}): descriptor {why}", entry.path);
            Error::refused(Code::BadChannel, message)
        })
    });
    open.collect()
}

/// On a node, an output is staged: a regular file, empty.
fn check_staged(channel: Channel, setting: Setting) -> Result<Channel, String> {
    match (setting, channel.direction(), channel.size()) {
        (Setting::Node, Direction::Write, None) => {
            Err("is a stream; an output is a regular file".to_owned())
        }
        (Setting::Node, Direction::Write, Some(size)) if size > 0 => {
            Err(format!("is a file of {size} bytes; an output is empty"))
        }
        _ => Ok(channel),
    }
}

fn open_layers(manifest: &Manifest, fds: Vec<OwnedFd>) -> Result<Tree, Error> {
    let refused = |error: crate::guest::tree::TreeError| {
        Error::refused(Code::BadLayer, error.to_string())
    };
    let entries = manifest.layers.iter().zip(fds);
    let layers: Result<Vec<TarLayer>, _> = entries
        .map(|(entry, fd)| TarLayer::open(fd, &entry.name))
        .collect();
    Tree::new(layers.map_err(refused)?).map_err(refused)
}

fn wasi_config(
    manifest: Manifest,
    tree: Tree,
    channels: Vec<Channel>,
    ledger: &Ledger,
) -> Result<WasiConfig, Error> {
    let seed = manifest.seed_bytes();
    Ok(WasiConfig {
        seed: seed.ok_or_else(|| Error::refused(Code::BadManifest, "/seed"))?,
        args: manifest.args,
        env: manifest.env,
        clock_nanoseconds: manifest.clock_nanoseconds,
        tree,
        channels,
        limits: WasiLimits {
            tmp_bytes: manifest.limits.tmp_bytes,
            files: manifest.limits.files,
        },
        ledger: ledger.clone(),
    })
}
