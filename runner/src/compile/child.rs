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

use super::Settings;

/// How much of what the child says is read.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// Compiles `module` into `artefact`, an empty file open for writing.
pub fn compile(module: &[u8], artefact: &File, settings: &Settings) -> Result<(), Error> {
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
    let status = wait(&mut child, Duration::from_secs_f64(settings.seconds))?;
    let mut said = vec![0; MAX_TEXT_BYTES];
    let count = text.read_at(&mut said, 0).unwrap_or(0);
    said.truncate(count);
    judge(status, &String::from_utf8_lossy(&said), settings)
}

/// The command line of `zvm-compile`.
fn words(settings: &Settings) -> Vec<String> {
    let mut words = vec![
        settings.memory_bytes.to_string(),
        settings.seconds.to_string(),
        settings.output_bytes.to_string(),
    ];
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

/// Waits for the child; none if it had to be killed at the deadline.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Error> {
    let deadline = Instant::now() + limit;
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
            let killed = !ended && child.kill().is_ok();
            let status = child
                .wait()
                .map_err(|error| Error::failure("wait", error))?;
            return Ok((!killed).then_some(status));
        }
    }
}

/// What the end of the compiler says about the module.
fn judge(
    status: Option<ExitStatus>,
    text: &str,
    settings: &Settings,
) -> Result<(), Error> {
    let limit = |what: String| Err(Error::refused(Code::CompileLimit, what));
    let Some(status) = status else {
        return limit(format!("compiling took longer than {} s", settings.seconds));
    };
    match (status.code().map(|code| code as u8), status.signal()) {
        (Some(exit::OK), _) => Ok(()),
        (Some(exit::REFUSED), _) => Err(refusal(text)),
        (_, Some(libc::SIGXCPU)) => limit(format!(
            "compiling took longer than {} s of processor time",
            settings.seconds
        )),
        // How Rust's allocator reports the end of the address space it may use; to
        // abort by a signal is more than the filter of system calls allows.
        (_, Some(libc::SIGABRT | libc::SIGSYS))
            if text.contains("memory allocation of") =>
        {
            limit(format!(
                "compiling took more than {} bytes of memory",
                settings.memory_bytes
            ))
        }
        (_, Some(libc::SIGXFSZ)) => limit(format!(
            "the compiled program is larger than {} bytes",
            settings.output_bytes
        )),
        (_, Some(libc::SIGSYS)) => Err(Error::Failure(format!(
            "the filter of system calls ended the compiler (SIGSYS): {text}"
        ))),
        // The stack could not grow, by the limit of memory or by a module made to
        // nest deeply. The log has it, should it be a mistake of the compiler.
        (_, Some(libc::SIGSEGV)) => {
            eprintln!("event=compiler_crashed signal=SIGSEGV action=refuse_module");
            limit("compiling took more stack or memory than is allowed".to_owned())
        }
        (_, Some(libc::SIGKILL)) => {
            limit("compiling was ended from outside, or memory ran out".to_owned())
        }
        _ => Err(Error::Failure(format!(
            "the compiler ended with {status}: {text}"
        ))),
    }
}

/// The error document that the compiler printed.
fn refusal(text: &str) -> Error {
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
            Some(code) => Error::Refused { code, message },
            None => Error::Failure(message),
        },
        Err(_) => Error::Failure(format!("the compiler's answer is no document: {text}")),
    }
}
