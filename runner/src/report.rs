//! The report: what became of one run, as the JSON document of docs/protocol.md.
//!
//! Built by the session's parent from the ledger, the outcome and the digests of
//! the outputs; never from anything that only the child says, except numbers and
//! the outcome itself. The twin in Python is `zerocloud/protocol/report.py`.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::determinism::Determinism;
use crate::outcome::Outcome;

pub const VERSION: u64 = 1;
/// The version of a strict run's: with `determinism` and `fuel_used`.
pub const STRICT_VERSION: u64 = 2;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: u64,
    #[serde(serialize_with = "outcome")]
    pub outcome: Outcome,
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub memory_peak_bytes: u64,
    pub channels: Vec<ChannelReport>,
    pub stderr_tail: String,
    pub limits_reached: Vec<&'static str>,
    pub program_sha256: String,
    pub receipt: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub strict: Option<Strict>,
}

/// What the report of a strict run says besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Strict {
    pub determinism: Determinism,
    /// None when the run was ended before it could tell.
    pub fuel_used: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelReport {
    pub path: String,
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub write_bytes: u64,
    /// Length of a regular input, or of the staged output at the end; of a stream,
    /// what went through.
    pub size: u64,
    pub blake3: Option<String>,
    pub md5: Option<String>,
}

/// Seconds to the microsecond; more digits would only be noise.
pub fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// Writes an outcome as `{kind, code, message}`; the code is a number for `exit`
/// and `killed`, a word for the others.
fn outcome<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    let mut out = serializer.serialize_struct("outcome", 3)?;
    match outcome {
        Outcome::Exit(code) => {
            out.serialize_field("kind", "exit")?;
            out.serialize_field("code", code)?;
            out.serialize_field("message", "")?;
        }
        Outcome::Trap { word, message } => {
            out.serialize_field("kind", "trap")?;
            out.serialize_field("code", word)?;
            out.serialize_field("message", message)?;
        }
        Outcome::Limit { limit, message } => {
            out.serialize_field("kind", "limit")?;
            out.serialize_field("code", limit.name())?;
            out.serialize_field("message", message)?;
        }
        Outcome::Killed { signal, message } => {
            out.serialize_field("kind", "killed")?;
            out.serialize_field("code", signal)?;
            out.serialize_field("message", message)?;
        }
        // A failure of ours has no report; see `session`.
        Outcome::Failure(_) => {
            return Err(serde::ser::Error::custom("a failure has no report"));
        }
    }
    out.end()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::outcome::Limit;

    fn json(value: Outcome) -> String {
        json_with(value, Vec::new())
    }

    fn json_with(value: Outcome, channels: Vec<ChannelReport>) -> String {
        let report = Report {
            version: VERSION,
            outcome: value,
            wall_seconds: 0.004,
            cpu_seconds: 0.002,
            memory_peak_bytes: 65536,
            channels,
            stderr_tail: String::new(),
            limits_reached: Vec::new(),
            program_sha256: "00".repeat(32),
            receipt: None,
            strict: None,
        };
        serde_json::to_string(&report).unwrap()
    }

    #[test]
    fn exit_code_is_a_number() {
        let text = json(Outcome::Exit(3));
        assert!(text.contains(r#""outcome":{"kind":"exit","code":3,"message":""}"#));
    }

    #[test]
    fn limit_is_named() {
        let text = json(Outcome::Limit {
            limit: Limit::OutputBytes,
            message: "/dev/stdout".into(),
        });
        assert!(text.contains(r#""kind":"limit","code":"output_bytes""#));
    }

    /// All keys of `value`, with those inside of objects and lists as paths.
    fn keys(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    found.insert(format!("{path}/{key}"));
                    keys(value, &format!("{path}/{key}"), found);
                }
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|item| keys(item, path, found));
            }
            _ => {}
        }
    }

    #[test]
    fn fixture_has_the_keys_that_are_written() {
        let channel = ChannelReport {
            path: String::new(),
            reads: 0,
            read_bytes: 0,
            writes: 0,
            write_bytes: 0,
            size: 0,
            blake3: None,
            md5: None,
        };
        let written: serde_json::Value =
            serde_json::from_str(&json_with(Outcome::Exit(0), vec![channel])).unwrap();
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/report-exit.json"))
                .unwrap();
        let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        keys(&written, "", &mut ours);
        keys(&fixture, "", &mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn strict_fixture_has_the_keys_that_are_written() {
        let strict = Strict {
            determinism: Determinism::Strict,
            fuel_used: Some(1),
        };
        let keys = |value: &serde_json::Value| {
            let keys = value.as_object().unwrap().keys();
            keys.cloned().collect::<BTreeSet<String>>()
        };
        let mut usual: serde_json::Value =
            serde_json::from_str(&json(Outcome::Exit(0))).unwrap();
        let usual = usual.as_object_mut().unwrap();
        let more = serde_json::to_value(strict).unwrap();
        usual.extend(more.as_object().unwrap().clone());
        let fixture: serde_json::Value = serde_json::from_str(include_str!(
            "../tests/fixtures/report-strict-exit.json"
        ))
        .unwrap();
        assert_eq!(keys(&usual.clone().into()), keys(&fixture));
    }

    #[test]
    fn seconds_keep_microseconds() {
        assert_eq!(
            seconds(std::time::Duration::from_nanos(4_123_999)),
            0.004123
        );
    }
}
