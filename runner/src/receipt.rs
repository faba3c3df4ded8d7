//! The receipt: one digest over all that is a function of the job.
//!
//! BLAKE3 in key-derivation mode (its context names this format) over fields in a
//! fixed order. A field is its length as 8 bytes, little-endian, then its bytes; a
//! number is a field of 8 bytes, little-endian; a list is the number of its items,
//! then the items. So no two different sessions have the same encoding.
//!
//! Not part of it: job id, node name, times, and the programs' host. Calls are not
//! part of it either: how often a guest reads is its program's affair and already
//! determined. A receipt is null when the end of the run was a matter of time.

use crate::channel::{Access, Direction};
use crate::manifest::{Manifest, hex};
use crate::outcome::{Limit, Outcome};
use crate::report::ChannelReport;

const CONTEXT: &str = "zerocloud 2026-11 receipt of one session, version 1";

/// Computes the receipt, or none if the outcome depends on time.
pub fn receipt(
    manifest: &Manifest,
    outcome: &Outcome,
    channels: &[ChannelReport],
    stderr_tail: &[u8],
) -> Option<String> {
    let (kind, code) = deterministic(outcome)?;
    let mut fields = Fields(blake3::Hasher::new_derive_key(CONTEXT));
    fields.text(&manifest.program.sha256);
    fields.number(manifest.args.len() as u64);
    manifest.args.iter().for_each(|arg| fields.text(arg));
    fields.number(manifest.env.len() as u64);
    for (name, value) in &manifest.env {
        fields.text(name);
        fields.text(value);
    }
    fields.number(manifest.layers.len() as u64);
    manifest
        .layers
        .iter()
        .for_each(|layer| fields.text(&layer.sha256));
    let limits = &manifest.limits;
    fields.number(limits.memory_bytes);
    fields.number(limits.wall_seconds.to_bits());
    fields.number(limits.cpu_seconds.to_bits());
    fields.number(limits.stack_bytes);
    fields.number(limits.tmp_bytes);
    fields.number(limits.files);
    fields.number(limits.stderr_bytes);
    fields.number(manifest.clock_nanoseconds);
    fields.text(&manifest.seed);
    fields.number(manifest.channels.len() as u64);
    for (entry, report) in manifest.channels.iter().zip(channels) {
        fields.text(&entry.path);
        fields.number(u64::from(entry.direction == Direction::Write));
        fields.number(u64::from(entry.access == Access::Random));
        fields.text(&entry.identity);
        fields.number(entry.limit_bytes);
        fields.number(entry.limit_calls);
        fields.number(report.read_bytes);
        fields.number(report.write_bytes);
        fields.text(report.blake3.as_deref().unwrap_or(""));
    }
    fields.bytes(stderr_tail);
    fields.text(kind);
    fields.text(&code);
    Some(hex(fields.0.finalize().as_bytes()))
}

/// Kind and code of an outcome that the job alone decides.
fn deterministic(outcome: &Outcome) -> Option<(&'static str, String)> {
    match outcome {
        Outcome::Exit(code) => Some(("exit", code.to_string())),
        Outcome::Trap { word, .. } => Some(("trap", word.clone())),
        Outcome::Limit {
            limit: Limit::WallSeconds | Limit::CpuSeconds,
            ..
        } => None,
        Outcome::Limit { limit, .. } => Some(("limit", limit.name().to_owned())),
        Outcome::Killed { .. } | Outcome::Failure(_) => None,
    }
}

struct Fields(blake3::Hasher);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }
}
