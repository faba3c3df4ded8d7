//! How a run of a guest ended, and which of its limits it met.
//!
//! An outcome is data about the guest, never an error of ours: a trap, a limit
//! or an exit code are results that travel in the report. The one exception is
//! [`Outcome::Failure`], by which code inside the VM tells the session that zvm
//! itself failed; it becomes exit status 70 and never a report.

use serde::{Deserialize, Serialize};

/// The limits of a manifest, by the names that reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    WallSeconds,
    CpuSeconds,
    MemoryBytes,
    TableElements,
    InputBytes,
    OutputBytes,
    ChannelCalls,
    TmpBytes,
    Files,
    StderrBytes,
    Fuel,
}

impl Limit {
    /// All limits, in the order of their bits in the ledger.
    pub const ALL: [Limit; 11] = [
        Limit::WallSeconds,
        Limit::CpuSeconds,
        Limit::MemoryBytes,
        Limit::TableElements,
        Limit::InputBytes,
        Limit::OutputBytes,
        Limit::ChannelCalls,
        Limit::TmpBytes,
        Limit::Files,
        Limit::StderrBytes,
        Limit::Fuel,
    ];

    /// The name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Limit::WallSeconds => "wall_seconds",
            Limit::CpuSeconds => "cpu_seconds",
            Limit::MemoryBytes => "memory_bytes",
            Limit::TableElements => "table_elements",
            Limit::InputBytes => "input_bytes",
            Limit::OutputBytes => "output_bytes",
            Limit::ChannelCalls => "channel_calls",
            Limit::TmpBytes => "tmp_bytes",
            Limit::Files => "files",
            Limit::StderrBytes => "stderr_bytes",
            Limit::Fuel => "fuel",
        }
    }
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The guest called `proc_exit`, or returned from `_start` (code 0).
    Exit(u32),
    /// The guest did what WebAssembly forbids; `word` is from `guest::trap`.
    Trap { word: String, message: String },
    /// A limit that ends the run was passed.
    Limit { limit: Limit, message: String },
    /// A signal from outside ended the VM's process.
    Killed { signal: i32, message: String },
    /// zvm or the host failed; never the guest's doing.
    Failure(String),
}
