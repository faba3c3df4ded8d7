//! Resource limits: what the kernel counts for a process, as a second lock behind
//! our own counts, and as the first one for what should not happen at all.
//!
//! | limit | value | why |
//! |---|---|---|
//! | CPU | the task's, and a second | should the parent be slow to look |
//! | FSIZE | the largest output, on a node | staging has a disk to protect |
//! | STACK | the guest's and our own | the same depth of recursion everywhere |
//! | DATA | all that the task may hold, and some | see below |
//! | NOFILE | 0 | descriptors that are open stay so; there are no new ones |
//! | NPROC | 0 | no process, no thread (of other users than root) |
//! | CORE, MEMLOCK, MSGQUEUE, NICE, RTPRIO | 0 | nothing of it is needed |
//!
//! Memory is bounded by DATA, not by AS: an engine reserves 4 GiB of addresses for
//! each memory, maps artefacts and layers of any size, and none of that costs
//! memory. DATA counts private pages that can be written, which is what does; the
//! seccomp filter refuses shared ones. A guest never meets this limit: its own are
//! far below, and their answers must not depend on the host.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;

/// What a process may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time; SIGXCPU at its end, SIGKILL a second later.
    pub cpu_seconds: u64,
    /// Length of any file that is written; none for no limit.
    pub file_bytes: Option<u64>,
    /// Native stack; none for what it was.
    pub stack_bytes: Option<u64>,
    /// Private memory that can be written, stack aside.
    pub data_bytes: u64,
    /// All of the address space; none for no limit.
    pub address_bytes: Option<u64>,
}

/// Holds this process to `limits`, never above what it was held to before.
pub fn apply(limits: &Limits) -> Result<(), Error> {
    let cpu = limits.cpu_seconds;
    set(Resource::Cpu, cpu, cpu.saturating_add(1))?;
    set(Resource::Data, limits.data_bytes, limits.data_bytes)?;
    if let Some(bytes) = limits.file_bytes {
        set(Resource::Fsize, bytes, bytes)?;
    }
    if let Some(bytes) = limits.address_bytes {
        set(Resource::As, bytes, bytes)?;
    }
    if let Some(bytes) = limits.stack_bytes {
        set_stack(bytes)?;
    }
    for resource in [
        Resource::Core,
        Resource::Nofile,
        Resource::Nproc,
        Resource::Memlock,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
    ] {
        set(resource, 0, 0)?;
    }
    Ok(())
}

/// The main thread's stack grows on demand up to this limit, whatever it was when
/// the process started. Less than a task was promised is no session.
fn set_stack(bytes: u64) -> Result<(), Error> {
    let hard = getrlimit(Resource::Stack).maximum;
    if let Some(hard) = hard.filter(|hard| *hard < bytes) {
        return Err(Error::Failure(format!(
            "the hard limit of the stack ({hard} bytes) is below {bytes}"
        )));
    }
    put(Resource::Stack, Some(bytes), hard)
}

fn set(resource: Resource, current: u64, maximum: u64) -> Result<(), Error> {
    let hard = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let maximum = maximum.min(hard);
    put(resource, Some(current.min(maximum)), Some(maximum))
}

fn put(
    resource: Resource,
    current: Option<u64>,
    maximum: Option<u64>,
) -> Result<(), Error> {
    let what = |errno| Error::Failure(format!("setrlimit {resource:?}: {errno}"));
    setrlimit(resource, Rlimit { current, maximum }).map_err(what)
}
