//! What makes a process yield to storage: VMs and the compiler, on a node.
//!
//! First to go when memory is short, last to get the processor and the disk. Best
//! effort: a container may forbid any of it, and none of it is a boundary.

use crate::sys;

const OOM_SCORE: &[u8] = b"1000";
const NICE: i32 = 5;

/// Lowers the weights of this process, and of its children to come.
pub fn yield_to_storage() {
    yield_memory_and_disk();
    yield_processor();
}

/// First to go when memory is short, last to get the disk.
pub fn yield_memory_and_disk() {
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let _ = sys::lower_io_weight();
}

/// Last to get the processor.
pub fn yield_processor() {
    let _ = rustix::process::nice(NICE);
}
