//! The receipt: one digest over all that is a function of the job.
//!
//! BLAKE3 in key-derivation mode (its context names this format) over fields in a
//! fixed order. A field is its length as 8 bytes, little-endian, then its bytes; a
//! number is a field of 8 bytes, little-endian; a list is the number of its items,
//! then the items. So no two different sessions have the same encoding.
//!
//! Not part of it: job id, node name, times, fuel used, and the programs' host. Calls are not
//! part of it either: how often a guest reads is its program's affair and already
//! determined. A receipt is null when the end of the run was a matter of time.

use crate::channel::{Access, Direction};
use crate::determinism::Determinism;
use crate::guest::trap::HOST_STACK;
use crate::manifest::{Manifest, hex};
use crate::outcome::{Limit, Outcome};
use crate::report::ChannelReport;

const CONTEXT: &str = "zerocloud 2026-11 receipt of one session, version 1";
/// In strict mode the limit of fuel is one more field, at the end of the limits.
const STRICT_CONTEXT: &str = "zerocloud 2026-11 receipt of one strict session, version 1";

/// Computes the receipt, or none if the outcome depends on time.
pub fn receipt(
    manifest: &Manifest,
    outcome: &Outcome,
    channels: &[ChannelReport],
    stderr_tail: &[u8],
) -> Option<String> {
    let (kind, code) = deterministic(outcome)?;
    let context = match manifest.determinism {
        Determinism::Default => CONTEXT,
        Determinism::Strict => STRICT_CONTEXT,
    };
    let mut fields = Fields(blake3::Hasher::new_derive_key(context));
    fields.text(program(manifest));
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
    if let Some(fuel) = limits.fuel {
        fields.number(fuel);
    }
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

/// The digest that stands for the program. A template is as good as its program, but
/// for the fuel that the start has used up.
fn program(manifest: &Manifest) -> &str {
    let named = match manifest.determinism {
        Determinism::Default => manifest.program.template_of.as_ref(),
        Determinism::Strict => None,
    };
    named.unwrap_or(&manifest.program.sha256)
}

/// Kind and code of an outcome that the job alone decides.
fn deterministic(outcome: &Outcome) -> Option<(&'static str, String)> {
    match outcome {
        Outcome::Exit(code) => Some(("exit", code.to_string())),
        Outcome::Trap { word, .. } if word == HOST_STACK => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let text = include_bytes!("../tests/fixtures/manifest-full.json");
        crate::manifest::parse(text, 8).unwrap()
    }

    fn channels() -> Vec<ChannelReport> {
        let report = |path: &str| ChannelReport {
            path: path.to_owned(),
            reads: 1,
            read_bytes: 2,
            writes: 0,
            write_bytes: 0,
            size: 2,
            blake3: None,
            md5: None,
        };
        manifest()
            .channels
            .iter()
            .map(|entry| report(&entry.path))
            .collect()
    }

    fn of(manifest: &Manifest, channels: &[ChannelReport]) -> Option<String> {
        receipt(manifest, &Outcome::Exit(0), channels, b"")
    }

    #[test]
    fn receipt_of_the_fixture_stays_what_it_is() {
        // A change here is a change of format: it needs a new context and version.
        assert_eq!(
            of(&manifest(), &channels()).as_deref(),
            Some(FIXTURE_RECEIPT)
        );
    }

    const FIXTURE_RECEIPT: &str =
        "f35b0381f9fabf4e280d288d028dbaa2fad3ffbf1c3ec826f128bb052d758440";

    const STRICT_FIXTURE_RECEIPT: &str =
        "2c262e991a733fe81a8a336a33d373a181c18da8fb834f4f63f604657d9436bb";

    #[test]
    fn strict_receipt_covers_the_mode_and_the_fuel() {
        let text = include_bytes!("../tests/fixtures/manifest-strict.json");
        let strict = crate::manifest::parse(text, 8).unwrap();
        let receipt = of(&strict, &channels());
        assert_eq!(receipt.as_deref(), Some(STRICT_FIXTURE_RECEIPT));
        let mut more = strict.clone();
        more.limits.fuel = strict.limits.fuel.map(|fuel| fuel + 1);
        let seen = [
            receipt,
            of(&more, &channels()),
            of(&manifest(), &channels()),
        ];
        assert!(seen[0] != seen[1] && seen[0] != seen[2] && seen[1] != seen[2]);
    }

    /// Alters one thing of a session.
    type Change = fn(&mut Manifest, &mut Vec<ChannelReport>);

    #[test]
    fn everything_that_decides_the_result_changes_the_receipt() {
        let changes: [Change; 14] = [
            |m, _| m.program.sha256 = "00".repeat(32),
            |m, _| m.args.push(String::new()),
            |m, _| m.args.swap(0, 1),
            |m, _| m.env.push(("A".to_owned(), String::new())),
            |m, _| m.layers.swap(0, 1),
            |m, _| m.layers.truncate(1),
            |m, _| m.limits.tmp_bytes += 1,
            |m, _| m.limits.wall_seconds += 0.5,
            |m, _| m.clock_nanoseconds += 1,
            |m, _| m.seed = "00".repeat(32),
            |m, _| m.channels[0].identity.push('x'),
            |m, _| m.channels[0].limit_calls += 1,
            |_, c| c[0].blake3 = Some("00".repeat(32)),
            |_, c| c[0].read_bytes += 1,
        ];
        let mut seen = vec![of(&manifest(), &channels())];
        for change in changes {
            let (mut manifest, mut channels) = (manifest(), channels());
            change(&mut manifest, &mut channels);
            seen.push(of(&manifest, &channels));
        }
        let number = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), number);
    }

    #[test]
    fn a_template_has_the_receipt_of_its_program_where_no_fuel_is_counted() {
        let template_of = |mut manifest: Manifest| {
            let program = manifest.program.sha256.clone();
            manifest.program.template_of = Some(program);
            manifest.program.sha256 = "00".repeat(32);
            manifest
        };
        let receipt = of(&manifest(), &channels());
        assert_eq!(of(&template_of(manifest()), &channels()), receipt);
        let text = include_bytes!("../tests/fixtures/manifest-strict.json");
        let strict = crate::manifest::parse(text, 8).unwrap();
        let receipt = of(&strict, &channels());
        assert_ne!(of(&template_of(strict), &channels()), receipt);
    }

    #[test]
    fn names_and_descriptors_do_not_change_the_receipt() {
        let mut other = manifest();
        other.job = "another".to_owned();
        other.node = "another".to_owned();
        other.program.descriptor = 7;
        other.program.name = "another".to_owned();
        assert_eq!(of(&other, &channels()), of(&manifest(), &channels()));
    }

    #[test]
    fn outcomes_that_depend_on_time_have_none() {
        let of = |outcome| receipt(&manifest(), &outcome, &channels(), b"");
        let message = String::new;
        let over = |limit| Outcome::Limit {
            limit,
            message: message(),
        };
        assert!(of(over(Limit::OutputBytes)).is_some());
        assert_eq!(of(over(Limit::WallSeconds)), None);
        assert_eq!(of(over(Limit::CpuSeconds)), None);
        assert_eq!(
            of(Outcome::Killed {
                signal: 9,
                message: message()
            }),
            None
        );
        let trap = |word: &str, message: &str| Outcome::Trap {
            word: word.to_owned(),
            message: message.to_owned(),
        };
        // The text is for people.
        let trapped = of(trap("unreachable", "in a"));
        assert!(trapped.is_some());
        assert_eq!(trapped, of(trap("unreachable", "in b")));
        // The host's stack is none of the job's.
        assert_eq!(of(trap(HOST_STACK, "in a")), None);
        assert!(of(over(Limit::Fuel)).is_some());
    }
}
