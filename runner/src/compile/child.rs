//! Runs `zvm-compile` as a child and tells apart the ways in which it can end.
//!
//! The child's standard input is the module, its standard output the artefact, its
//! standard error a file that holds the JSON of a refusal or the text of a crash.
//! It locks itself down before it reads (`compiler`); here we keep the time on the
//! wall, and end it when nobody waits for the artefact any more.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::error::{Code, Error};
use crate::exit;
use crate::lockdown::layers;
use crate::sys;

use super::Settings;
use super::refusals::{KEPT_FOR, KEPT_IF_STARVED};

/// Why there is no artefact.
pub struct Unmade {
    pub error: Error,
    /// How long it can be taken that another try would end the same.
    pub lasting: Duration,
}

impl From<Error> for Unmade {
    fn from(error: Error) -> Self {
        Unmade {
            error,
            lasting: Duration::ZERO,
        }
    }
}

/// How the child ended.
enum End {
    /// By itself, after so long.
    Itself(ExitStatus, Duration),
    /// At the deadline, with so much processor time.
    Overdue(Duration),
}

/// Refusing at once costs no more than to remember it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How much of what the child says is read.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// Compiles `module` into `artefact`, an empty file open for writing.
pub fn compile(
    module: &[u8],
    artefact: &File,
    settings: &Settings,
) -> Result<(), Unmade> {
    let source = memory_file(module)?;
    let text = memory_file(b"")?;
    let copy = |file: &File| -> Result<OwnedFd, Error> {
        let copy = file
            .try_clone()
            .map_err(|error| Error::failure("dup", error))?;
        Ok(copy.into())
    };
    let mut child = Command::new(&settings.compiler)
        .args(words(settings))
        .env_clear()
        .envs(layers::variables())
        .current_dir("/")
        .stdin(Stdio::from(source))
        .stdout(Stdio::from(copy(artefact)?))
        .stderr(Stdio::from(copy(&text)?))
        .spawn()
        .map_err(|error| {
            let path = settings.compiler.display();
            Error::Failure(format!("start the compiler {path}: {error}"))
        })?;
    let end = wait(&mut child, Duration::from_secs_f64(settings.seconds))?;
    let mut said = vec![0; MAX_TEXT_BYTES];
    let count = text.read_at(&mut said, 0).unwrap_or(0);
    said.truncate(count);
    judge(end, &String::from_utf8_lossy(&said), settings)
}

/// The command line of `zvm-compile`.
fn words(settings: &Settings) -> Vec<String> {
    let mut words = vec![
        settings.memory_bytes.to_string(),
        settings.seconds.to_string(),
        settings.output_bytes.to_string(),
    ];
    if settings.determinism.is_strict() {
        words.push("--strict".to_owned());
    }
    words.extend(settings.lockdown.words());
    words
}

/// A file without a name that holds `content`, at its start.
fn memory_file(content: &[u8]) -> Result<File, Error> {
    let fd = rustix::fs::memfd_create("zvm", MemfdFlags::CLOEXEC)
        .map_err(|errno| Error::failure("memfd", errno))?;
    let mut file = File::from(fd);
    file.write_all(content)
        .map_err(|error| Error::failure("memfd", error))?;
    rustix::fs::seek(&file, SeekFrom::Start(0))
        .map_err(|errno| Error::failure("memfd", errno))?;
    Ok(file)
}

/// Waits for the child, and kills it at the deadline.
fn wait(child: &mut Child, limit: Duration) -> Result<End, Error> {
    let started = Instant::now();
    let deadline = started + limit;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::failure("pid", child.id()))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| Error::failure("pidfd_open", errno))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        // Our standard output is asked for nothing but the error that a pipe has
        // when its reader is gone: whoever asked for the artefact was killed.
        let stdout = std::io::stdout();
        let mut fds = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::new(&stdout, PollFlags::empty()),
        ];
        let told = matches!(poll(&mut fds, Some(&timeout)), Ok(count) if count > 0);
        let [ended, unread] = fds.map(|fd| told && !fd.revents().is_empty());
        if unread && !ended {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Failure(
                "nobody waits for the artefact any more".to_owned(),
            ));
        }
        if ended || left.is_zero() {
            // Has ended, or is ended now; either way it can be reaped.
            let used = sys::cpu_time_of(pid).unwrap_or_default();
            let killed = !ended && child.kill().is_ok();
            let status = child
                .wait()
                .map_err(|error| Error::failure("wait", error))?;
            return Ok(match killed {
                true => End::Overdue(used),
                false => End::Itself(status, started.elapsed()),
            });
        }
    }
}

/// What the end of the compiler says about the module.
fn judge(end: End, text: &str, settings: &Settings) -> Result<(), Unmade> {
    let limit = |what: String, lasting: Duration| {
        let error = Error::refused(Code::CompileLimit, what);
        Err(Unmade { error, lasting })
    };
    let (status, took) = match end {
        End::Itself(status, took) => (status, took),
        End::Overdue(used) => {
            let what = format!("compiling took longer than {} s", settings.seconds);
            let had_half = used.as_secs_f64() * 2.0 >= settings.seconds;
            return limit(what, if had_half { KEPT_FOR } else { KEPT_IF_STARVED });
        }
    };
    match (status.code().map(|code| code as u8), status.signal()) {
        (Some(exit::OK), _) => Ok(()),
        (Some(exit::REFUSED), _) => Err(refusal(text, took)),
        (_, Some(libc::SIGXCPU)) => limit(
            format!(
                "compiling took longer than {} s of processor time",
                settings.seconds
            ),
            KEPT_FOR,
        ),
        // How Rust's allocator reports the end of the address space it may use; to
        // abort by a signal is more than the filter of system calls allows.
        (_, Some(libc::SIGABRT | libc::SIGSYS))
            if text.contains("memory allocation of") =>
        {
            limit(
                format!(
                    "compiling took more than {} bytes of memory",
                    settings.memory_bytes
                ),
                KEPT_FOR,
            )
        }
        (_, Some(libc::SIGXFSZ)) => limit(
            format!(
                "the compiled program is larger than {} bytes",
                settings.output_bytes
            ),
            KEPT_FOR,
        ),
        (_, Some(libc::SIGSYS)) => Err(failure(format!(
            "the filter of system calls ended the compiler (SIGSYS): {text}"
        ))),
        // The stack could not grow, by the limit of memory or by a module made to
        // nest deeply. The log has it, should it be a mistake of the compiler.
        (_, Some(libc::SIGSEGV)) => {
            eprintln!("event=compiler_crashed signal=SIGSEGV action=refuse_module");
            let what = "compiling took more stack or memory than is allowed";
            limit(what.to_owned(), KEPT_FOR)
        }
        // By the machine's memory, or an operator's hand: no fault of the module.
        (_, Some(libc::SIGKILL)) => {
            let what = "compiling was ended from outside, or memory ran out";
            limit(what.to_owned(), Duration::ZERO)
        }
        _ => Err(failure(format!("the compiler ended with {status}: {text}"))),
    }
}

fn failure(what: String) -> Unmade {
    Error::Failure(what).into()
}

/// The error document that the compiler printed after so long. Functions are
/// validated as they are compiled: that the last one is invalid may be as dear to
/// find out as a limit.
fn refusal(text: &str, took: Duration) -> Unmade {
    #[derive(Deserialize)]
    struct Document {
        error: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        code: String,
        message: String,
    }
    match serde_json::from_str::<Document>(text) {
        Ok(Document {
            error: Body { code, message },
        }) => match Code::from_name(&code) {
            Some(code) => {
                let was_dear = code == Code::CompileLimit || took >= AT_ONCE;
                Unmade {
                    error: Error::Refused { code, message },
                    lasting: if was_dear { KEPT_FOR } else { Duration::ZERO },
                }
            }
            None => failure(message),
        },
        Err(_) => failure(format!("the compiler's answer is no document: {text}")),
    }
}
