//! One session: a manifest and its descriptors become a report. The whole story.
//!
//! ```text
//! parent                                  child (`vm`)
//! ------                                  ------------
//! make the ledger, catch signals
//! fork ─────────────────────────────────▶ die with the parent
//! drop inputs                             close everything that is not its own
//! watch the deadlines (`watch`)           limits, user, privileges, Landlock
//!   kill at wall, CPU, our own end        map layers, channels, artefact
//!                                         seccomp
//!                                         layers → tree, run the guest
//! reap ◀───────────────────────────────── verdict into the ledger, gone
//! hash the outputs (`outputs`)
//! receipt, report
//! ```
//!
//! The child is the VM: it parses what users wrote (tar layers, the module's
//! native code) and runs it. The parent never touches any of that; it only counts
//! time and reads the ledger and the staged outputs.

pub(crate) mod outputs;
pub(crate) mod verdict;
pub(crate) mod vm;
pub(crate) mod warm;
pub(crate) mod watch;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::channel::Direction;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::lockdown::Plan;
use crate::manifest::{ChannelEntry, Manifest, hex};
use crate::outcome::{Limit, Outcome};
use crate::receipt;
use crate::report::{self, ChannelReport, Report};
use crate::sys::{self, Fork};

use outputs::{Digests, Kept};
use verdict::Verdict;
use watch::Stopped;

/// What a session is made of. Descriptors are in the manifest's order.
pub struct Session {
    pub manifest: Manifest,
    pub program: OwnedFd,
    pub layers: Vec<OwnedFd>,
    pub channels: Vec<OwnedFd>,
    pub setting: Setting,
}

/// Where a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// On a storage node: outputs are staged regular files, VMs yield to storage.
    Node,
    /// In a user's shell: outputs may be streams, priorities stay.
    Shell,
}

impl Setting {
    /// True for a channel whose bytes go by the descriptor's own offset.
    fn is_stream(self, entry: &ChannelEntry) -> bool {
        self == Setting::Shell && entry.is_standard()
    }
}

/// Runs the session to its end. Blocks at most until the wall limit, and then as
/// long as it takes to hash the outputs.
///
/// # Errors
///
/// [`Error::Refused`] when a channel, layer or artefact is bad; [`Error::Failure`]
/// when zvm or the host fails. All that the guest does is in the report.
pub fn run(session: Session, plan: Plan) -> Result<Report, Error> {
    let started = Instant::now();
    set_title(&session.manifest);
    let limits = session.manifest.limits;
    let ledger = Ledger::new(
        session.manifest.channels.len(),
        limits.stderr_bytes as usize,
    )?;
    let signals = sys::catch_end_signals()?;
    let parent = rustix::process::getpid();
    #[cfg(feature = "planted-holes")]
    sys::holes::before_fork();
    let child = match sys::fork()? {
        Fork::Child => vm::main(session, &ledger, plan, parent),
        Fork::Parent(child) => child,
    };
    let Session {
        manifest,
        program,
        layers,
        channels,
        setting,
    } = session;
    // An input that is a pipe must see its reader go when the VM goes.
    drop((program, layers));
    let outputs = outputs::keep(&manifest, channels, setting);
    let deadlines = watch::Deadlines::new(&limits, started);
    let listener = (setting == Setting::Node).then(rustix::stdio::stdout);
    let (ended, stopped) = watch::watch(child, &deadlines, &signals, listener)?;
    let wall = started.elapsed();
    let ending = Ending {
        outcome: conclude(&manifest, ended, stopped, &ledger)?,
        wall,
        cpu: ended.cpu,
    };
    let digests = match ending.is_complete() {
        true => outputs
            .iter()
            .map(Kept::digests)
            .collect::<Result<_, _>>()?,
        false => Vec::new(),
    };
    report(&manifest, &ledger, ending, &outputs, &digests)
}

impl Session {
    /// A session of descriptors [`in_order`].
    pub fn of(
        manifest: Manifest,
        fds: Vec<OwnedFd>,
        setting: Setting,
    ) -> Result<Self, Error> {
        let mut fds = fds.into_iter();
        let missing = || Error::failure("descriptors", "there are too few");
        let program = fds.next().ok_or_else(missing)?;
        let layers: Vec<OwnedFd> = fds.by_ref().take(manifest.layers.len()).collect();
        let channels: Vec<OwnedFd> = fds.collect();
        if (layers.len(), channels.len())
            != (manifest.layers.len(), manifest.channels.len())
        {
            return Err(missing());
        }
        Ok(Session {
            manifest,
            program,
            layers,
            channels,
            setting,
        })
    }
}

/// A descriptor for each entry of a manifest out of those that it numbers: the
/// program's, the layers', the channels'. What several entries name is copied.
pub fn in_order(manifest: &Manifest, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Error> {
    let mut uses = vec![0usize; fds.len()];
    for descriptor in manifest.descriptors() {
        if let Some(count) = uses.get_mut(descriptor) {
            *count += 1;
        }
    }
    let mut fds: Vec<Option<OwnedFd>> = fds.into_iter().map(Some).collect();
    let mut take = |descriptor: usize| -> Result<OwnedFd, Error> {
        let missing = || Error::failure("descriptor", descriptor);
        let count = uses.get_mut(descriptor).ok_or_else(missing)?;
        let fd = fds.get_mut(descriptor).ok_or_else(missing)?;
        *count = count.saturating_sub(1);
        if *count == 0 {
            return fd.take().ok_or_else(missing);
        }
        let fd = fd.as_ref().ok_or_else(missing)?;
        fd.try_clone().map_err(|error| Error::failure("dup", error))
    };
    manifest.descriptors().map(&mut take).collect()
}

/// How a VM ended, and what it used.
pub(crate) struct Ending {
    pub outcome: Outcome,
    pub wall: Duration,
    pub cpu: Duration,
}

impl Ending {
    /// False when a deadline or a signal cut the run off: the caller drops its
    /// outputs, and hashing them would only keep it waiting.
    pub fn is_complete(&self) -> bool {
        !matches!(
            self.outcome,
            Outcome::Killed { .. }
                | Outcome::Limit {
                    limit: Limit::WallSeconds | Limit::CpuSeconds,
                    ..
                }
        )
    }
}

/// Writes the report. `digests` are those of `outputs`, in the same order; empty
/// for an ending that is not complete.
pub(crate) fn report(
    manifest: &Manifest,
    ledger: &Ledger,
    ending: Ending,
    outputs: &[Kept],
    digests: &[Option<Digests>],
) -> Result<Report, Error> {
    let channels = channel_reports(manifest, ledger, outputs, digests)?;
    let stderr_tail = ledger.stderr_tail();
    let complete = ending.is_complete();
    let strict = manifest.determinism.is_strict().then(|| report::Strict {
        determinism: manifest.determinism,
        fuel_used: complete.then(|| ledger.fuel_used()),
    });
    let receipt = receipt::receipt(manifest, &ending.outcome, &channels, &stderr_tail);
    let limits = ledger.limits_reached().into_iter();
    Ok(Report {
        version: match strict {
            None => report::VERSION,
            Some(_) => report::STRICT_VERSION,
        },
        outcome: ending.outcome,
        wall_seconds: report::seconds(ending.wall),
        cpu_seconds: report::seconds(ending.cpu),
        memory_peak_bytes: ledger.memory_peak(),
        channels,
        stderr_tail: String::from_utf8_lossy(&stderr_tail).into_owned(),
        limits_reached: limits.map(Limit::name).collect(),
        program_sha256: manifest.program.sha256.clone(),
        receipt,
        strict,
    })
}

/// How a VM shows in the process table.
pub(crate) fn title(manifest: &Manifest) -> String {
    format!("zvm:{}:{}", manifest.job, manifest.node)
}

/// The same as far as the kernel's name of a process goes: 15 bytes.
pub(crate) fn short_title(manifest: &Manifest) -> Vec<u8> {
    title(manifest).bytes().take(15).collect()
}

/// Names this process `zvm:<job>:<node>`, as far as 15 bytes go; the command line
/// holds it in full.
pub(crate) fn set_title(manifest: &Manifest) {
    if let Ok(name) = CString::new(short_title(manifest)) {
        // A name is a courtesy; a session runs without it.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Decides the outcome from how the child ended, why it was stopped (if it was)
/// and its verdict (if it came so far).
pub(crate) fn conclude(
    manifest: &Manifest,
    ended: sys::Ended,
    stopped: Option<Stopped>,
    ledger: &Ledger,
) -> Result<Outcome, Error> {
    let verdict = Verdict::load(ledger);
    if ended.signal == Some(libc::SIGSYS) {
        // Before all else: whoever got so far could have written any verdict, or
        // have taken until a deadline.
        return Err(Error::Failure(
            "the filter of system calls ended the VM's process (SIGSYS): it made a \
             call that no VM makes, or aborted for want of memory"
                .to_owned(),
        ));
    }
    if ended.status == Some(0)
        && let Some(verdict) = verdict
    {
        // It may have finished just before it was to be stopped; then it did.
        return verdict.into_outcome();
    }
    let limits = &manifest.limits;
    match stopped {
        Some(Stopped::Wall) => {
            return Ok(over(Limit::WallSeconds, limits.wall_seconds));
        }
        Some(Stopped::Cpu) => return Ok(over(Limit::CpuSeconds, limits.cpu_seconds)),
        Some(Stopped::Told(signal)) => {
            let message = format!("zvm was told to end by signal {signal}");
            return Ok(Outcome::Killed { signal, message });
        }
        Some(Stopped::NobodyListens) => {
            return Err(Error::Failure(
                "nobody reads the report any more".to_owned(),
            ));
        }
        None => {}
    }
    match (ended.signal, verdict) {
        (Some(libc::SIGXCPU), _) => Ok(over(Limit::CpuSeconds, limits.cpu_seconds)),
        // It was about to end, and had said how.
        (Some(_), Some(verdict)) => verdict.into_outcome(),
        (Some(signal), None) if is_crash(signal) => Err(Error::Failure(format!(
            "the VM's process crashed with signal {signal}"
        ))),
        (Some(signal), None) => {
            let message = format!("signal {signal} from outside ended the VM");
            Ok(Outcome::Killed { signal, message })
        }
        (None, _) => Err(Error::Failure(format!(
            "the VM's process ended with status {:?} and no verdict",
            ended.status
        ))),
    }
}

fn over(limit: Limit, seconds: f64) -> Outcome {
    let message = format!("the limit is {seconds} s ({})", limit.name());
    Outcome::Limit { limit, message }
}

/// Signals that a process brings upon itself.
fn is_crash(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGILL
            | libc::SIGABRT
            | libc::SIGFPE
            | libc::SIGTRAP
    )
}

fn channel_reports(
    manifest: &Manifest,
    ledger: &Ledger,
    outputs: &[Kept],
    digests: &[Option<Digests>],
) -> Result<Vec<ChannelReport>, Error> {
    let mut reports = Vec::with_capacity(manifest.channels.len());
    let entries = manifest.channels.iter().zip(outputs);
    for (index, (entry, output)) in entries.enumerate() {
        let counts = ledger.counts(index);
        let mut report = ChannelReport {
            path: entry.path.clone(),
            reads: counts.reads,
            read_bytes: counts.read_bytes,
            writes: counts.writes,
            write_bytes: counts.write_bytes,
            size: output
                .size()?
                // A VM taken over can have counted anything.
                .unwrap_or(counts.read_bytes.saturating_add(counts.write_bytes)),
            blake3: None,
            md5: None,
        };
        if entry.direction == Direction::Read {
            report.blake3 = ledger.digest(index).map(|digest| hex(&digest));
        } else if let Some(Some(digests)) = digests.get(index) {
            report.blake3 = Some(hex(&digests.blake3));
            report.md5 = Some(hex(&digests.md5));
        }
        reports.push(report);
    }
    Ok(reports)
}

#[cfg(test)]
mod tests;
