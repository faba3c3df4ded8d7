//! The child: from a fork to a running guest to nothing, step by step.
//!
//! Each step gives something up that the next ones do not need; `lockdown` has them
//! in their order. Between its last two, all that was given is opened and mapped;
//! after the last, what users wrote is parsed and the guest runs.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::{Pid, Signal};

use crate::channel::{Channel, Direction};
use crate::engine;
use crate::error::{Code, Error};
use crate::guest::run::{Ahead, Ready, run};
use crate::guest::tree::{TarLayer, Tree, TreeError};
use crate::guest::wasi::{Wasi, WasiConfig, WasiLimits};
use crate::ledger::Ledger;
use crate::lockdown::{Filter, Limits, Plan, descriptors};
use crate::manifest::Manifest;
use crate::outcome::Outcome;
use crate::sys;
use crate::weights;

use super::verdict::Verdict;
use super::warm::{Kind, Warm};
use super::{Session, Setting};

/// Native stack for host functions, on top of the guest's budget.
const HOST_STACK_BYTES: u64 = 1 << 20;
/// Memory of our own beside the guest's: an index of its images' files, tables,
/// relocated code. Large images take tens of MiB of it.
const HOST_DATA_BYTES: u64 = 512 << 20;

/// Runs the VM and ends the process. `parent` is the session's other process.
pub fn main(session: Session, ledger: &Ledger, plan: Plan, parent: Pid) -> ! {
    end_panics_in(ledger);
    let result = live(session, ledger, plan, parent);
    Verdict::of(result).store(ledger);
    sys::exit_now(0)
}

/// A panic is our mistake; its text has no other way out of this process. What
/// follows a panic (a signal to ourselves) is nothing that a VM may do.
pub(crate) fn end_panics_in(ledger: &Ledger) {
    let ledger = ledger.clone();
    std::panic::set_hook(Box::new(move |info| {
        Verdict::Failed(format!("the VM's process panicked: {info}")).store(&ledger);
        sys::exit_now(0)
    }));
}

fn live(
    session: Session,
    ledger: &Ledger,
    mut plan: Plan,
    parent: Pid,
) -> Result<Outcome, Error> {
    die_with(parent)?;
    sys::release_end_signals()?;
    if session.setting == Setting::Node {
        weights::yield_to_storage();
    }
    descriptors::silence()?;
    plan.keep_only(&descriptors_of(&session))?;
    #[cfg(feature = "planted-holes")]
    {
        plant_holes(parent);
        aim_holes(&session);
    }
    plan.restrict(&limits_of(&session)?)?;
    // A change of the user makes the kernel forget it.
    die_with(parent)?;

    run_session(session, ledger, &plan, Held::default())
}

/// What a process has before its job comes.
#[derive(Default)]
pub(crate) struct Held<'a> {
    pub warm: Option<&'a Warm>,
    /// The instance of the program that is kept warm.
    pub ahead: Option<Ahead>,
    /// It has taken the last step of the lock-down.
    pub sealed: bool,
}

/// Runs the session in this process, which is its VM's: tied to its parent, with
/// nothing open but what is the session's, and confined; with what it holds already.
///
/// Everything is opened and mapped, nothing of it is looked at: that is for after
/// the last step of the lock-down.
pub(crate) fn run_session(
    session: Session,
    ledger: &Ledger,
    plan: &Plan,
    held: Held<'_>,
) -> Result<Outcome, Error> {
    let Held {
        warm,
        ahead,
        sealed,
    } = held;
    let Session {
        manifest,
        program,
        layers,
        channels,
        setting,
    } = session;
    let channels = open_channels(&manifest, channels, ledger, setting)?;
    let images = warm.and_then(|warm| warm.images(&manifest));
    let mapped = images.map_or(0, |(_, count)| count);
    let layers = map_layers(&manifest, layers, mapped)?;
    let loaded;
    let (ready, ahead) = match warm.and_then(|warm| warm.program(&manifest)) {
        Some(ready) => (ready, ahead),
        None if sealed => {
            return Err(Error::failure("program", "it is not the one that is kept"));
        }
        None => {
            loaded = load(&manifest, program, warm)?;
            (&loaded, None)
        }
    };
    if !sealed {
        plan.seal(Filter::Vm)?;
    }

    let tree = match images {
        Some((images, _)) => Tree::over(&images.stack, layers),
        None => Tree::new(layers),
    };
    let tree = tree.map_err(bad_layer)?;
    let limits = manifest.limits;
    let wasi = Wasi::new(wasi_config(manifest, tree, channels, ledger)?);
    let mut ended = run(ready, ahead, wasi, ledger, &limits)?;
    for (index, channel) in ended.channels().iter().enumerate() {
        if let Some(digest) = channel.delivered_blake3() {
            ledger.set_digest(index, digest);
        }
    }
    Ok(ended.abandon())
}

/// Loads the program that the manifest names.
fn load(
    manifest: &Manifest,
    program: OwnedFd,
    warm: Option<&Warm>,
) -> Result<Ready, Error> {
    let kind = Kind::of(manifest);
    let fresh;
    let warm = match warm.filter(|warm| warm.kind() == kind) {
        Some(warm) => warm,
        None => {
            fresh = Warm::new(kind)?;
            &fresh
        }
    };
    warm.load(File::from(program), &manifest.program.sha256)
}

fn failed(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |errno| Error::failure(what, errno)
}

/// Ties this process's life to the session's parent.
pub(crate) fn die_with(parent: Pid) -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("parent death signal"))?;
    // It may have died before the line above; then nobody would tell us.
    if rustix::process::getppid() != Some(parent) {
        sys::exit_now(1);
    }
    Ok(())
}

/// Gets what the attempts of a test need while it can be had.
#[cfg(feature = "planted-holes")]
pub(crate) fn plant_holes(parent: Pid) {
    sys::holes::prepare(parent.as_raw_nonzero().get());
}

/// Tells the attempts of a test which descriptor they are about.
#[cfg(feature = "planted-holes")]
pub(crate) fn aim_holes(session: &Session) {
    sys::holes::aim(session.channels.first().map_or(-1, AsRawFd::as_raw_fd));
}

/// What the manifest gives to this VM, and nothing else.
pub(crate) fn descriptors_of(session: &Session) -> Vec<RawFd> {
    let mut keep = vec![session.program.as_raw_fd()];
    keep.extend(session.layers.iter().map(AsRawFd::as_raw_fd));
    keep.extend(session.channels.iter().map(AsRawFd::as_raw_fd));
    keep
}

pub(crate) fn limits_of(session: &Session) -> Result<Limits, Error> {
    let limits = &session.manifest.limits;
    let mode = session.manifest.determinism;
    let native = engine::native_stack_bytes(limits.stack_bytes, mode);
    // While it is loaded, an artefact is mapped as if it were to be written.
    let artefact = rustix::fs::fstat(&session.program).map_err(failed("fstat"))?;
    let entries = session.manifest.channels.iter();
    let outputs = entries.filter(|entry| entry.direction == Direction::Write);
    let largest = outputs.map(|entry| entry.limit_bytes).max().unwrap_or(0);
    Ok(Limits {
        // Behind the parent's own count, should the parent be slow.
        cpu_seconds: limits.cpu_seconds.ceil() as u64 + 1,
        file_bytes: (session.setting == Setting::Node).then_some(largest),
        stack_bytes: Some(native + HOST_STACK_BYTES),
        data_bytes: limits
            .memory_bytes
            // Buffers double when they grow.
            .saturating_add(limits.tmp_bytes.saturating_mul(2))
            .saturating_add(artefact.st_size.unsigned_abs())
            .saturating_add(HOST_DATA_BYTES),
        address_bytes: None,
    })
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

/// On a node, an output is staged: a regular file, empty, read back for its
/// digests.
fn check_staged(channel: Channel, setting: Setting) -> Result<Channel, String> {
    match (setting, channel.direction(), channel.size()) {
        (Setting::Node, Direction::Write, None) => {
            Err("is a stream; an output is a regular file".to_owned())
        }
        (Setting::Node, Direction::Write, Some(size)) if size > 0 => {
            Err(format!("is a file of {size} bytes; an output is empty"))
        }
        (Setting::Node, Direction::Write, _) if channel.is_write_only() => {
            Err("is opened for writing only; an output is read back".to_owned())
        }
        _ => Ok(channel),
    }
}

/// Maps the layers, but for the lowest ones that are `mapped` already.
fn map_layers(
    manifest: &Manifest,
    fds: Vec<OwnedFd>,
    mapped: usize,
) -> Result<Vec<TarLayer>, Error> {
    let count = fds.len().saturating_sub(mapped);
    let entries = manifest.layers.iter().zip(fds).take(count);
    let layers = entries.map(|(entry, fd)| TarLayer::open_to_index(fd, &entry.name));
    layers.collect::<Result<_, _>>().map_err(bad_layer)
}

fn bad_layer(error: TreeError) -> Error {
    Error::refused(Code::BadLayer, error.to_string())
}

pub(crate) fn wasi_config(
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
