//! Modules that were dear to refuse, remembered: the second time costs nothing.
//!
//! What takes the whole of its time to be refused, by a limit or by an invalid
//! function behind all others, would take it again each time it is sent. So a
//! refusal stands in the cache beside the artefacts, under the name that the artefact
//! would have had (module, engine, settings), with the version of zvm and the limits
//! that it was tried with. It answers for whoever allows no more than was tried; a
//! larger limit, another version, and everybody after [`KEPT_FOR`] tries anew.
//!
//! Kept are [`MOST`] of them, the latest. They are believed without a MAC: who can
//! write here can make compiling fail in simpler ways, and no more than that.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

use super::Settings;

/// How long a refusal answers.
pub const KEPT_FOR: Duration = Duration::from_secs(3600);
/// How long, if the compiler had less than half of a processor: then it may have been
/// the machine that was slow, and the module is no more than suspected.
pub const KEPT_IF_STARVED: Duration = Duration::from_secs(600);
/// Refusals in one cache.
const MOST: usize = 1024;
/// Longest file that is read; a message has at most 700 characters.
const MAX_BYTES: u64 = 16 << 10;
const ENDING: &str = "refused";

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    zvm: String,
    kept_seconds: u64,
    memory_bytes: u64,
    seconds: f64,
    output_bytes: u64,
    code: String,
    message: String,
}

impl Entry {
    /// True if `settings` allow nothing that was not tried.
    fn covers(&self, settings: &Settings) -> bool {
        self.zvm == env!("CARGO_PKG_VERSION")
            && settings.memory_bytes <= self.memory_bytes
            && settings.seconds <= self.seconds
            && settings.output_bytes <= self.output_bytes
    }
}

/// The place of one module's refusal.
pub struct Refusal {
    folder: PathBuf,
    path: PathBuf,
}

impl Refusal {
    pub fn of(folder: &Path, name: &str) -> Self {
        Refusal {
            folder: folder.to_owned(),
            path: folder.join(format!("{name}.{ENDING}")),
        }
    }

    /// Refuses, if the module was refused under `settings` or larger limits.
    pub fn check(&self, settings: &Settings) -> Result<(), Error> {
        let Some((entry, age)) = self.read(SystemTime::now()) else {
            return Ok(());
        };
        let left = entry.kept_seconds.saturating_sub(age.as_secs());
        if left == 0 || !entry.covers(settings) {
            return Ok(());
        }
        let message = format!(
            "{}; known for {} s and kept for {left} s more, unless with larger limits",
            entry.message,
            age.as_secs()
        );
        let code = Code::from_name(&entry.code).unwrap_or(Code::CompileLimit);
        Err(Error::refused(code, message))
    }

    /// Keeps `refusal` for so long, at most [`KEPT_FOR`]. Call with the module's lock held.
    ///
    /// That it cannot be kept (a full disk) costs time later, and fails nothing now.
    pub fn keep(&self, settings: &Settings, refusal: &Error, lasting: Duration) {
        let Error::Refused { code, message } = refusal else {
            return;
        };
        if lasting.is_zero() {
            return;
        }
        let entry = Entry {
            zvm: env!("CARGO_PKG_VERSION").to_owned(),
            kept_seconds: lasting.as_secs(),
            memory_bytes: settings.memory_bytes,
            seconds: settings.seconds,
            output_bytes: settings.output_bytes,
            code: code.name().to_owned(),
            message: message.clone(),
        };
        let kept = make_room(&self.folder, SystemTime::now())
            .and_then(|()| self.write(&entry).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            eprintln!("event=refusal_not_kept error={error:?}");
        }
    }

    /// Forgets: there is an artefact now.
    pub fn forget(&self) {
        // Most often there was none.
        let _ = std::fs::remove_file(&self.path);
    }

    /// What is kept and its age; none if it is too old, or no entry at all.
    fn read(&self, now: SystemTime) -> Option<(Entry, Duration)> {
        let mut options = OpenOptions::new();
        // A link leads nowhere, a pipe is not waited for.
        options
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&self.path).ok()?;
        let state = file.metadata().ok().filter(|state| state.is_file())?;
        let age = age_of(state.modified().ok()?, now)?;
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
        Some((serde_json::from_slice(&text).ok()?, age))
    }

    fn write(&self, entry: &Entry) -> std::io::Result<()> {
        let draft = self.path.with_extension("refused.draft");
        let mut file: File = super::cache::make_anew(&draft)?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        std::fs::rename(&draft, &self.path)
    }
}

/// The age of what was made at `made`; none if it is over, or in the future: then a
/// clock was set, and nothing is known.
fn age_of(made: SystemTime, now: SystemTime) -> Option<Duration> {
    let age = now.duration_since(made).ok()?;
    (age < KEPT_FOR).then_some(age)
}

/// Removes what is too old, and the oldest beyond [`MOST`] with one more.
fn make_room(folder: &Path, now: SystemTime) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.as_os_str().as_bytes();
        if !name.ends_with(b".refused") && !name.ends_with(b".refused.draft") {
            continue;
        }
        let made = path.symlink_metadata().and_then(|state| state.modified());
        match made.map(|made| (made, age_of(made, now))) {
            Ok((made, Some(_))) => kept.push((made, path)),
            Ok((_, None)) => remove(&path)?,
            // Another process has just removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    kept.sort();
    let beyond = (kept.len() + 1).saturating_sub(MOST);
    kept.iter()
        .take(beyond)
        .try_for_each(|(_, path)| remove(path))
}

fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(memory_bytes: u64, seconds: f64, output_bytes: u64) -> Settings {
        Settings {
            cache: PathBuf::new(),
            key_file: None,
            caps: super::super::Caps::default(),
            memory_bytes,
            seconds,
            output_bytes,
            determinism: crate::determinism::Determinism::Default,
            compiler: PathBuf::new(),
            lockdown: crate::lockdown::Options::default(),
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir()
            .join(format!("zvm-refusals-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn kept(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    fn age(path: &Path, by: Duration) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }

    const REFUSAL: &str = "compiling took too long";

    fn refusal() -> Error {
        Error::refused(Code::CompileLimit, REFUSAL)
    }

    #[test]
    fn it_answers_for_the_same_and_smaller_limits_and_not_for_larger_ones() {
        let folder = folder("limits");
        let ours = Refusal::of(&folder, "a");
        let tried = settings(100, 2.0, 50);
        assert_eq!(ours.check(&tried), Ok(()));
        ours.keep(&tried, &refusal(), KEPT_FOR);
        for known in [tried, settings(99, 1.0, 49), settings(100, 2.0, 0)] {
            let error = ours.check(&known).unwrap_err().to_string();
            assert!(
                error.starts_with("compiling took too long; known for 0 s and kept for"),
                "{error}"
            );
        }
        for larger in [
            settings(101, 2.0, 50),
            settings(100, 2.1, 50),
            settings(100, 2.0, 51),
        ] {
            assert_eq!(ours.check(&larger), Ok(()));
        }
        assert_eq!(
            Refusal::of(&folder, "b").check(&settings(0, 0.1, 0)),
            Ok(())
        );
        ours.forget();
        assert_eq!(ours.check(&settings(1, 1.0, 1)), Ok(()));
        assert_eq!(kept(&folder), 0);
        std::fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn it_ends_after_its_time_and_with_another_version() {
        let folder = folder("time");
        let (ours, tried) = (Refusal::of(&folder, "a"), settings(1, 1.0, 1));
        ours.keep(&tried, &refusal(), KEPT_FOR);
        age(&ours.path, KEPT_FOR - Duration::from_secs(60));
        assert!(ours.check(&tried).is_err());
        age(&ours.path, KEPT_FOR);
        assert_eq!(ours.check(&tried), Ok(()));
        ours.keep(&tried, &refusal(), KEPT_IF_STARVED);
        age(&ours.path, KEPT_IF_STARVED - Duration::from_secs(60));
        assert!(ours.check(&tried).is_err());
        age(&ours.path, KEPT_IF_STARVED);
        assert_eq!(ours.check(&tried), Ok(()));
        // A clock that was set back.
        let file = File::options().append(true).open(&ours.path).unwrap();
        file.set_modified(SystemTime::now() + KEPT_FOR).unwrap();
        assert_eq!(ours.check(&tried), Ok(()));

        ours.keep(&tried, &refusal(), KEPT_FOR);
        let text = std::fs::read_to_string(&ours.path).unwrap();
        let other = text.replace(env!("CARGO_PKG_VERSION"), "0.0.1");
        assert_ne!(text, other);
        std::fs::write(&ours.path, other).unwrap();
        assert_eq!(ours.check(&tried), Ok(()));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn garbage_links_and_pipes_in_its_place_say_nothing() {
        let folder = folder("garbage");
        let (ours, tried) = (Refusal::of(&folder, "a"), settings(1, 1.0, 1));
        ours.keep(&tried, &refusal(), KEPT_FOR);
        let elsewhere = folder.join("elsewhere");
        std::fs::rename(&ours.path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &ours.path).unwrap();
        assert_eq!(ours.check(&tried), Ok(()));
        std::fs::remove_file(&ours.path).unwrap();
        std::fs::write(&ours.path, "{\"zvm\": 1").unwrap();
        assert_eq!(ours.check(&tried), Ok(()));
        std::fs::remove_file(&ours.path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &ours.path, mode).unwrap();
        assert_eq!(ours.check(&tried), Ok(()));
        // And what is kept next stands in their place.
        ours.keep(&tried, &refusal(), KEPT_FOR);
        assert!(ours.check(&tried).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn so_many_are_kept_and_the_oldest_goes_for_one_more() {
        let folder = folder("many");
        let tried = settings(1, 1.0, 1);
        let name = |number: usize| format!("{number:04}");
        for number in 0..MOST {
            let one = Refusal::of(&folder, &name(number));
            let entry = "{}";
            std::fs::write(&one.path, entry).unwrap();
            age(&one.path, Duration::from_secs(2000 - number as u64));
        }
        let (first, second) = (&name(0), &name(1));
        let is_there = |name: &str| Refusal::of(&folder, name).path.exists();
        std::fs::write(folder.join("an.cwasm"), "").unwrap();
        Refusal::of(&folder, "new").keep(&tried, &refusal(), KEPT_FOR);
        assert!(!is_there(first) && is_there(second) && is_there("new"));
        assert_eq!(kept(&folder), MOST + 1);
        age(&Refusal::of(&folder, second).path, KEPT_FOR);
        Refusal::of(&folder, "newer").keep(&tried, &refusal(), KEPT_FOR);
        assert!(!is_there(second) && is_there(&name(2)) && is_there("newer"));
        assert!(folder.join("an.cwasm").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
