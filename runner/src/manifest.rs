//! The manifest: all that a session is told, parsed and checked.
//!
//! [`parse`] turns at most [`MAX_BYTES`] of JSON into a [`Manifest`] in which every
//! number is in range and every name is well formed, or refuses it with a message
//! that names the JSON pointer. Unknown keys are refused: a misspelled limit must
//! not be ignored. The twin in Python is `zerocloud/protocol/manifest.py`; both
//! read the fixtures in `runner/tests/fixtures`.
//!
//! The manifest comes from our own executor, so it is believed once its form is
//! right; it is checked all the same because a mistake found here has a name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::channel::{Access, ChannelSpec, Direction};
use crate::determinism::Determinism;
use crate::error::{Code, Error};

/// The version of a manifest of the default mode, and the oldest that is known.
const VERSION: u64 = 1;
/// The version of a strict one: with `determinism` and `limits.fuel`. A runner that
/// does not know it says so, instead of running what is not strict.
const STRICT_VERSION: u64 = 2;
/// Fuel of a strict run that names none.
pub const DEFAULT_FUEL: u64 = 100_000_000_000;
/// Most fuel; it fits the engine's counter with room.
pub const MAX_FUEL: u64 = 1 << 60;
/// Largest manifest, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

const MAX_LAYERS: usize = 64;
const MAX_CHANNELS: usize = 4096;
const MAX_NAME_BYTES: usize = 1024;
const MAX_PATH_BYTES: usize = 4096;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u64,
    pub job: String,
    pub node: String,
    pub program: Program,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub layers: Vec<Layer>,
    pub channels: Vec<ChannelEntry>,
    pub limits: Limits,
    pub clock_nanoseconds: u64,
    pub seed: String,
    #[serde(default, skip_serializing_if = "Determinism::is_default")]
    pub determinism: Determinism,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub descriptor: usize,
    pub sha256: String,
    pub name: String,
    /// The module whose template this is: what the job named. Nobody can tell the
    /// two apart, so a receipt names this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_of: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    pub descriptor: usize,
    pub sha256: String,
    pub name: String,
    /// It is the operator's, and the same for all: a process may have it mapped
    /// and indexed before it has a job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelEntry {
    pub path: String,
    pub direction: Direction,
    pub access: Access,
    pub descriptor: usize,
    pub identity: String,
    pub limit_bytes: u64,
    pub limit_calls: u64,
}

impl ChannelEntry {
    /// True for the three channels that every process has.
    pub fn is_standard(&self) -> bool {
        matches!(
            self.path.as_str(),
            "/dev/stdin" | "/dev/stdout" | "/dev/stderr"
        )
    }

    pub fn spec(&self) -> ChannelSpec {
        ChannelSpec {
            path: self.path.clone(),
            direction: self.direction,
            access: self.access,
            limit_bytes: self.limit_bytes,
            limit_calls: self.limit_calls,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub memory_bytes: u64,
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub stack_bytes: u64,
    pub tmp_bytes: u64,
    pub files: u64,
    pub stderr_bytes: u64,
    /// Of a strict run, and only of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
}

impl Default for Limits {
    /// What a job gets that asks for nothing (contracts: 30 s, 512 MiB).
    fn default() -> Self {
        Limits {
            memory_bytes: 512 << 20,
            wall_seconds: 30.0,
            cpu_seconds: 30.0,
            stack_bytes: crate::engine::DEFAULT_STACK_BYTES,
            tmp_bytes: 64 << 20,
            files: 4096,
            stderr_bytes: 64 << 10,
            fuel: None,
        }
    }
}

/// Parses and checks a manifest for a session that was given `descriptors`
/// descriptors.
pub fn parse(text: &[u8], descriptors: usize) -> Result<Manifest, Error> {
    let manifest: Manifest =
        serde_json::from_slice(text).map_err(|error| complaint(text, error))?;
    check_version(manifest.version)?;
    manifest.check(descriptors)?;
    Ok(manifest)
}

/// What to say of a manifest that cannot be read because of `error`.
fn complaint(text: &[u8], error: serde_json::Error) -> Error {
    // The version first: what else a later version holds is not for us to judge.
    #[derive(Deserialize)]
    struct Head {
        version: u64,
    }
    match serde_json::from_slice::<Head>(text) {
        Ok(head) => check_version(head.version)
            .err()
            .unwrap_or_else(|| not_json(error)),
        Err(error) => not_json(error),
    }
}

fn check_version(version: u64) -> Result<(), Error> {
    if (VERSION..=STRICT_VERSION).contains(&version) {
        return Ok(());
    }
    let message = format!(
        "manifest: /version is {version}; this zvm knows {VERSION} to {STRICT_VERSION}"
    );
    Err(Error::refused(Code::UnknownVersion, message))
}

/// The version of a manifest of this mode.
pub fn version_of(determinism: Determinism) -> u64 {
    match determinism {
        Determinism::Default => VERSION,
        Determinism::Strict => STRICT_VERSION,
    }
}

fn not_json(error: serde_json::Error) -> Error {
    Error::refused(Code::BadManifest, format!("manifest: {error}"))
}

fn bad(pointer: impl AsRef<str>, what: impl AsRef<str>) -> Error {
    let message = format!("manifest: {} {}", pointer.as_ref(), what.as_ref());
    Error::refused(Code::BadManifest, message)
}

impl Manifest {
    /// The generator's seed.
    pub fn seed_bytes(&self) -> Option<[u8; 32]> {
        parse_digest(&self.seed)
    }

    /// The lowest layers, as far as they are system images, topmost first.
    pub fn system_layers(&self) -> &[Layer] {
        let users = self.layers.iter().rposition(|layer| !layer.system);
        let first = users.map_or(0, |last| last + 1);
        self.layers.get(first..).unwrap_or_default()
    }

    /// The descriptor of each entry, in the order program, layers, channels.
    pub fn descriptors(&self) -> impl Iterator<Item = usize> {
        let layers = self.layers.iter().map(|layer| layer.descriptor);
        let channels = self.channels.iter().map(|channel| channel.descriptor);
        std::iter::once(self.program.descriptor)
            .chain(layers)
            .chain(channels)
    }

    fn check(&self, descriptors: usize) -> Result<(), Error> {
        check_name("/job", &self.job)?;
        check_name("/node", &self.node)?;
        check_name("/program/name", &self.program.name)?;
        check_digest("/program/sha256", &self.program.sha256)?;
        if let Some(module) = &self.program.template_of {
            check_digest("/program/template_of", module)?;
        }
        check_digest("/seed", &self.seed)?;
        self.check_words()?;
        self.check_layers()?;
        self.check_mode()?;
        self.limits.check()?;
        check_channels(&self.channels)?;
        self.check_descriptors(descriptors)
    }

    /// Checks that version, mode and fuel say the same.
    fn check_mode(&self) -> Result<(), Error> {
        let (mode, version) = (self.determinism, self.version);
        if version_of(mode) != version {
            let mode = mode.name();
            let what = format!("is {mode:?} in a manifest of version {version}");
            return Err(bad("/determinism", what));
        }
        match (self.limits.fuel, mode) {
            (None, Determinism::Strict) => {
                Err(bad("/limits/fuel", "is missing; a strict run has one"))
            }
            (Some(_), Determinism::Default) => {
                Err(bad("/limits/fuel", "is for strict runs only"))
            }
            _ => Ok(()),
        }
    }

    /// Checks arguments and environment.
    pub fn check_words(&self) -> Result<(), Error> {
        for (index, arg) in self.args.iter().enumerate() {
            if arg.contains('\0') {
                return Err(bad(format!("/args/{index}"), "holds a NUL"));
            }
        }
        for (index, (name, value)) in self.env.iter().enumerate() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let what = "is empty or holds \"=\" or a NUL";
                return Err(bad(format!("/env/{index}/0"), what));
            }
            if value.contains('\0') {
                return Err(bad(format!("/env/{index}/1"), "holds a NUL"));
            }
        }
        Ok(())
    }

    fn check_layers(&self) -> Result<(), Error> {
        if self.layers.len() > MAX_LAYERS {
            return Err(bad(
                "/layers",
                format!("has more than {MAX_LAYERS} entries"),
            ));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            check_name(&format!("/layers/{index}/name"), &layer.name)?;
            check_digest(&format!("/layers/{index}/sha256"), &layer.sha256)?;
        }
        Ok(())
    }

    /// Checks that each descriptor exists, and that one which is written to has
    /// no other use.
    fn check_descriptors(&self, descriptors: usize) -> Result<(), Error> {
        let mut uses: BTreeMap<usize, (String, bool)> = BTreeMap::new();
        let program = ("/program".to_owned(), self.program.descriptor, false);
        let layers =
            self.layers.iter().enumerate().map(|(index, layer)| {
                (format!("/layers/{index}"), layer.descriptor, false)
            });
        let channels = self.channels.iter().enumerate().map(|(index, channel)| {
            let writes = channel.direction == Direction::Write;
            (format!("/channels/{index}"), channel.descriptor, writes)
        });
        for (user, descriptor, writes) in
            std::iter::once(program).chain(layers).chain(channels)
        {
            let pointer = format!("{user}/descriptor");
            if descriptor >= descriptors {
                let what = format!("is {descriptor}; {descriptors} were given");
                return Err(bad(pointer, what));
            }
            if let Some((other, other_writes)) = uses.get(&descriptor)
                && (writes || *other_writes)
            {
                let what = format!("is {descriptor}, which {other} uses too");
                return Err(bad(pointer, what));
            }
            uses.insert(descriptor, (user, writes));
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<(), Error> {
        const DAYS: f64 = 86400.0 * 30.0;
        check_range("memory_bytes", self.memory_bytes, 0, 4 << 30)?;
        check_range("stack_bytes", self.stack_bytes, 64 << 10, 64 << 20)?;
        check_range("tmp_bytes", self.tmp_bytes, 0, 1 << 40)?;
        check_range("files", self.files, 0, 1 << 24)?;
        check_range("stderr_bytes", self.stderr_bytes, 0, 16 << 20)?;
        check_range("fuel", self.fuel.unwrap_or(0), 0, MAX_FUEL)?;
        for (name, value) in [
            ("wall_seconds", self.wall_seconds),
            ("cpu_seconds", self.cpu_seconds),
        ] {
            // A NaN fails this comparison as well.
            if !(value > 0.0 && value <= DAYS) {
                let what = format!("is {value}; above 0 and at most {DAYS} is allowed");
                return Err(bad(format!("/limits/{name}"), what));
            }
        }
        Ok(())
    }
}

fn check_range(name: &str, value: u64, low: u64, high: u64) -> Result<(), Error> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let what = format!("is {value}; {low} to {high} is allowed");
    Err(bad(format!("/limits/{name}"), what))
}

fn check_channels(channels: &[ChannelEntry]) -> Result<(), Error> {
    if channels.len() > MAX_CHANNELS {
        return Err(bad(
            "/channels",
            format!("has more than {MAX_CHANNELS} entries"),
        ));
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, channel) in channels.iter().enumerate() {
        let pointer = format!("/channels/{index}");
        let path = channel.path.as_str();
        check_path(&format!("{pointer}/path"), path)?;
        let expected = match path {
            "/dev/stdin" => Direction::Read,
            "/dev/stdout" | "/dev/stderr" => Direction::Write,
            _ => channel.direction,
        };
        if channel.direction != expected {
            let what = format!("does not fit {path}");
            return Err(bad(format!("{pointer}/direction"), what));
        }
        if let Some(other) = seen.insert(path, index) {
            let what = format!("is {path:?}, as /channels/{other} is");
            return Err(bad(format!("{pointer}/path"), what));
        }
    }
    // A channel cannot lie "inside" another one.
    for (path, index) in &seen {
        let mut parents = path.match_indices('/').skip(1);
        let inside =
            parents.find_map(|(at, _)| path.get(..at).and_then(|up| seen.get(up)));
        if let Some(other) = inside {
            let what = format!("is {path:?}, inside of /channels/{other}");
            return Err(bad(format!("/channels/{index}/path"), what));
        }
    }
    Ok(())
}

/// Checks for `/dev/…` without empty, `.` or `..` parts or control characters.
fn check_path(pointer: &str, path: &str) -> Result<(), Error> {
    let well_formed = path.len() <= MAX_PATH_BYTES
        && path.strip_prefix("/dev/").is_some_and(|rest| {
            rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
        && !path.chars().any(char::is_control);
    if well_formed {
        Ok(())
    } else {
        Err(bad(pointer, "is not a path below /dev/"))
    }
}

fn check_name(pointer: &str, name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let what =
            format!("is longer than {MAX_NAME_BYTES} bytes or holds control characters");
        return Err(bad(pointer, what));
    }
    Ok(())
}

fn check_digest(pointer: &str, text: &str) -> Result<(), Error> {
    match parse_digest(text) {
        Some(_) => Ok(()),
        None => Err(bad(pointer, "is not 64 lower-case hexadecimal digits")),
    }
}

/// Parses 64 lower-case hexadecimal digits.
pub fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let high = char::from(high).to_digit(16)?;
        let low = char::from(low).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(digest)
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
