//! `zvm run`: one program from a shell, by the same way as on a storage node.
//!
//! It builds the manifest that an executor would have sent (`request`), gets the
//! artefact through the user's own cache, and runs the session; only the standard
//! channels are streams instead of staged files, so that pipes and terminals work.

mod program;
mod request;

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Write, stderr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::compile::{self, Settings};
use crate::error::Error;
use crate::exit;
use crate::lockdown::Plan;
use crate::manifest::{self, ChannelEntry, Layer, Manifest, Program};
use crate::outcome::Outcome;
use crate::report::Report;
use crate::session::{self, Session, Setting};

use request::Request;

/// Where a guest's clock starts: 2000-01-01, as in a job.
const CLOCK_NANOSECONDS: u64 = 946_684_800_000_000_000;
/// Compiling a module of more bytes than this is announced on a terminal.
const LONG_COMPILE_BYTES: usize = 4 << 20;

pub fn main(words: Vec<OsString>) -> u8 {
    let result = Request::parse(words).and_then(|request| {
        let report = run(&request)?;
        deliver(&request, &report)?;
        Ok((request, report))
    });
    match result {
        Ok((request, report)) => {
            explain(&request, &report.outcome);
            exit::of_outcome(&report.outcome)
        }
        Err(error) => {
            super::complain(&error);
            exit::of_run_error(&error)
        }
    }
}

fn run(request: &Request) -> Result<Report, Error> {
    let layers = program::open_layers(&request.layers)?;
    let module = program::find(&request.program, &layers)?;
    let compiled = compile::compile(&module, &settings(request, &module)?)?;
    drop(module);
    let artefact = File::open(&compiled.artefact)
        .map_err(|error| Error::failure("open the artefact", error))?;
    let mut channels = Channels::default();
    for file in &request.files {
        channels.add(
            file.path.clone(),
            file.direction,
            file.open()?,
            file.limit_bytes,
        );
    }
    channels.add_standard()?;
    let env = program::environment(request, &layers)?;
    let manifest = Manifest {
        version: manifest::version_of(request.determinism()),
        job: "run".to_owned(),
        node: program::base_name(&request.program),
        program: Program {
            descriptor: 0,
            sha256: compiled.sha256.clone(),
            name: request.program.clone(),
            template_of: None,
        },
        args: request.args.clone(),
        env,
        layers: layers
            .iter()
            .map(program::OpenLayer::entry)
            .collect::<Vec<Layer>>(),
        channels: channels.entries,
        limits: request.limits,
        clock_nanoseconds: CLOCK_NANOSECONDS,
        determinism: request.determinism(),
        // The module itself, unless told otherwise: repeatable, and not the same
        // for all programs.
        seed: request.seed.clone().unwrap_or(compiled.sha256),
    };
    manifest.check_words()?;
    let session = Session {
        manifest,
        program: artefact.into(),
        layers: layers.into_iter().map(|layer| layer.file.into()).collect(),
        channels: channels.fds,
        setting: Setting::Shell,
    };
    session::run(session, Plan::prepare(&request.lockdown)?)
}

fn settings(request: &Request, module: &[u8]) -> Result<Settings, Error> {
    let cache = user_cache()?;
    if module.len() > LONG_COMPILE_BYTES && stderr().is_terminal() {
        let megabytes = module.len() >> 20;
        let _ = writeln!(stderr(), "zvm: {megabytes} MB; compiled at its first use");
    }
    Ok(Settings {
        cache,
        key_file: None,
        caps: compile::Caps::default(),
        memory_bytes: compile::DEFAULT_MEMORY_BYTES,
        seconds: compile::DEFAULT_SECONDS,
        output_bytes: compile::DEFAULT_OUTPUT_BYTES,
        compiler: compile::compiler_beside_us()?,
        determinism: request.determinism(),
        lockdown: request.lockdown,
    })
}

/// The user's own cache of artefacts, which an embedded cluster of the same user shares.
///
/// A storage node's is elsewhere (`cache_dir` of the executor), with a secret key.
fn user_cache() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let below = |name| set(name).map(PathBuf::from);
    let folder = below("ZEROCLOUD_CACHE")
        .or_else(|| below("XDG_CACHE_HOME").map(|base| base.join("zerocloud")))
        .or_else(|| below("HOME").map(|home| home.join(".cache").join("zerocloud")));
    let folder = folder.ok_or_else(|| {
        Error::Failure("neither HOME nor XDG_CACHE_HOME says where to cache".to_owned())
    })?;
    Ok(folder.join("artefacts").join("programs"))
}

/// Channels with their descriptors, in one order.
#[derive(Default)]
struct Channels {
    entries: Vec<ChannelEntry>,
    fds: Vec<OwnedFd>,
}

impl Channels {
    fn add(
        &mut self,
        path: String,
        direction: crate::channel::Direction,
        fd: OwnedFd,
        limit_bytes: u64,
    ) {
        let standard = request::STANDARD.iter().any(|(name, _)| *name == path);
        let access = match standard {
            true => crate::channel::Access::Sequential,
            false => crate::channel::Access::Random,
        };
        self.entries.push(ChannelEntry {
            path,
            direction,
            access,
            descriptor: self.fds.len() + 1,
            identity: String::new(),
            limit_bytes,
            limit_calls: u64::MAX,
        });
        self.fds.push(fd);
    }

    /// Adds the shell's own standard descriptors where no file stands for them.
    fn add_standard(&mut self) -> Result<(), Error> {
        for (number, (path, direction)) in request::STANDARD.into_iter().enumerate() {
            if self.entries.iter().any(|entry| entry.path == path) {
                continue;
            }
            let fd = match number {
                0 => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3),
                1 => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3),
                _ => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3),
            };
            // Closed by the caller (`<&-`): then the guest has none either.
            if let Ok(fd) = fd {
                self.add(path.to_owned(), direction, fd, u64::MAX);
            }
        }
        Ok(())
    }
}

/// Puts the report where it was asked for.
fn deliver(request: &Request, report: &Report) -> Result<(), Error> {
    if !request.json && request.report.is_none() {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| Error::failure("report", error))?;
    if let Some(path) = &request.report {
        std::fs::write(path, format!("{text}\n")).map_err(|error| {
            Error::Failure(format!("write {}: {error}", path.display()))
        })?;
    }
    if request.json {
        let _ = writeln!(stderr(), "{text}");
    }
    Ok(())
}

/// Says in one line what the exit status alone does not.
fn explain(request: &Request, outcome: &Outcome) {
    let what = match outcome {
        Outcome::Exit(_) | Outcome::Failure(_) => return,
        // What every filter at the head of a broken pipe does in silence.
        Outcome::Killed {
            signal: libc::SIGPIPE | libc::SIGINT,
            ..
        } => return,
        Outcome::Trap { word, message } => format!("trap {word}: {message}"),
        Outcome::Limit { limit, message } => format!("limit {}: {message}", limit.name()),
        Outcome::Killed { message, .. } => format!("killed: {message}"),
    };
    let _ = writeln!(stderr(), "zvm: {}: {what}", request.program);
}
