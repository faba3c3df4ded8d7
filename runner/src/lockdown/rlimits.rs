//! Resource limits: what the kernel counts for a process, as a second lock behind
//! our own counts, and as the first one for what should not happen at all.
//!
//! | limit | value | why |
//! |---|---|---|
//! | CPU | the task's, and a second | should the parent be slow to look |
//! | FSIZE | the largest output, on a node | staging has a disk to protect |
//! | STACK | the guest's and our own | the same depth of recursion everywhere; it counts as no data |
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

/// The limits that a process can have, and cannot raise.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    cpu: Option<u64>,
    data: Option<u64>,
    file: Option<u64>,
    stack: Option<u64>,
    address: Option<u64>,
}

impl Allowed {
    /// Those of this process, and of its children to come.
    pub fn here() -> Self {
        let hard = |resource| getrlimit(resource).maximum;
        Allowed {
            cpu: hard(Resource::Cpu),
            data: hard(Resource::Data),
            file: hard(Resource::Fsize),
            stack: hard(Resource::Stack),
            address: hard(Resource::As),
        }
    }
}

/// Denies this process what no task is given.
pub fn deny() -> Result<(), Error> {
    let denied = [
        Resource::Core,
        Resource::Nproc,
        Resource::Memlock,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
    ];
    denied
        .into_iter()
        .try_for_each(|resource| put(resource, 0, 0))
}

/// Holds this process to `limits`, never above what it is `allowed`. It gets no new
/// descriptor after this.
pub fn apply(limits: &Limits, allowed: &Allowed) -> Result<(), Error> {
    let cpu = limits.cpu_seconds;
    set(Resource::Cpu, cpu, cpu.saturating_add(1), allowed.cpu)?;
    set(
        Resource::Data,
        limits.data_bytes,
        limits.data_bytes,
        allowed.data,
    )?;
    if let Some(bytes) = limits.file_bytes {
        set(Resource::Fsize, bytes, bytes, allowed.file)?;
    }
    if let Some(bytes) = limits.address_bytes {
        set(Resource::As, bytes, bytes, allowed.address)?;
    }
    if let Some(bytes) = limits.stack_bytes {
        set_stack(bytes, allowed.stack)?;
    }
    put(Resource::Nofile, 0, 0)
}

/// The main thread's stack grows on demand up to this limit, whatever it was when
/// the process started. Less than a task was promised is no session.
fn set_stack(bytes: u64, allowed: Option<u64>) -> Result<(), Error> {
    if let Some(hard) = allowed.filter(|hard| *hard < bytes) {
        return Err(Error::Failure(format!(
            "the hard limit of the stack ({hard} bytes) is below {bytes}"
        )));
    }
    put(Resource::Stack, bytes, bytes)
}

fn set(
    resource: Resource,
    current: u64,
    maximum: u64,
    allowed: Option<u64>,
) -> Result<(), Error> {
    let maximum = maximum.min(allowed.unwrap_or(u64::MAX));
    put(resource, current.min(maximum), maximum)
}

fn put(resource: Resource, current: u64, maximum: u64) -> Result<(), Error> {
    let limit = Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    setrlimit(resource, limit)
        .map_err(|errno| Error::Failure(format!("setrlimit {resource:?}: {errno}")))
}
