//! The cache of artefacts at its cap: who goes, who stays, what is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use support::{Ended, folder, guest, zvm};

fn compile(cache: &Path, name: &str, options: &[&str]) -> Ended {
    let program = guest(name);
    let mut args = vec!["compile", "--cache", cache.to_str().unwrap()];
    args.extend(options);
    args.push(program.to_str().unwrap());
    zvm(&args, b"")
}

fn compile_within(cache: &Path, name: &str, cap: u64) -> Ended {
    compile(cache, name, &["--cache-bytes", &cap.to_string()])
}

fn artefact_of(ended: &Ended) -> PathBuf {
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.json()["artefact"].as_str().unwrap().into()
}

/// The artefact of a guest, used so many seconds ago, and its size.
fn aged(cache: &Path, name: &str, seconds: u64) -> (PathBuf, u64) {
    let path = artefact_of(&compile(cache, name, &[]));
    let file = File::open(&path).unwrap();
    let when = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(when).unwrap();
    (path, file.metadata().unwrap().len())
}

fn names(cache: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    found
}

fn sorted(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths
}

#[test]
fn the_least_recently_used_artefact_goes_with_all_that_is_its() {
    let cache = folder("cache").join("new");
    let (hello, hello_bytes) = aged(&cache, "hello", 1000);
    let (cat, cat_bytes) = aged(&cache, "cat", 2000);
    // Using it makes it the younger one.
    assert_eq!(compile(&cache, "cat", &[]).json()["cached"], true);
    let cap = hello_bytes + cat_bytes;
    let trap = artefact_of(&compile_within(&cache, "trap", cap));
    assert_eq!(names(&cache, ".cwasm"), sorted(vec![cat.clone(), trap]));
    assert_eq!(names(&cache, ".mac").len(), 2);
    assert!(!hello.with_extension("lock").exists());
    // At the cap to the byte nothing goes.
    let all: u64 = names(&cache, ".cwasm")
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    let again = compile_within(&cache, "hello", all + hello_bytes);
    assert_eq!(again.json()["cached"], false);
    assert_eq!(names(&cache, ".cwasm").len(), 3);
}

#[test]
fn an_artefact_in_use_is_not_evicted() {
    let cache = folder("cache").join("new");
    let (hello, hello_bytes) = aged(&cache, "hello", 2000);
    let (cat, _) = aged(&cache, "cat", 1000);
    let used = File::open(&hello).unwrap();
    flock(&used, FlockOperation::LockShared).unwrap();
    let trap = artefact_of(&compile_within(&cache, "trap", 2 * hello_bytes));
    assert_eq!(names(&cache, ".cwasm"), sorted(vec![hello, trap]));
    assert!(!cat.exists());
}

#[test]
fn a_cache_full_of_what_is_in_use_refuses_with_its_figures_and_recovers() {
    let cache = folder("cache").join("new");
    let (hello, hello_bytes) = aged(&cache, "hello", 1000);
    let used = File::open(&hello).unwrap();
    flock(&used, FlockOperation::LockShared).unwrap();
    let cap = hello_bytes + 1;
    let ended = compile_within(&cache, "cat", cap);
    assert_eq!(ended.status, Some(65), "{ended:?}");
    let (code, message) = ended.error();
    assert_eq!(code, "no_room");
    let end = format!("bytes, all of them in use; it may have {cap}");
    assert!(message.ends_with(&end), "{message}");
    assert_eq!(names(&cache, ".draft"), Vec::<PathBuf>::new());
    drop(used);
    artefact_of(&compile_within(&cache, "cat", cap));
    assert!(!hello.exists());
}

#[test]
fn a_disk_below_its_reserve_is_evicted_and_then_refused() {
    let cache = folder("cache").join("new");
    let (hello, _) = aged(&cache, "hello", 1000);
    let reserve = ["--reserve-bytes", "4000000G"];
    let (code, message) = compile(&cache, "cat", &reserve).error();
    assert_eq!(code, "no_room");
    assert!(
        message.contains("bytes free, and a reserve of 4"),
        "{message}"
    );
    // Storage comes first: what could go is gone.
    assert!(!hello.exists());
    artefact_of(&compile(&cache, "cat", &["--reserve-bytes", "1"]));
}

#[test]
fn what_killed_processes_left_is_swept_and_what_others_write_is_not() {
    let cache = folder("cache").join("new");
    artefact_of(&compile(&cache, "hello", &[]));
    for ending in ["lock", "draft", "mac.draft"] {
        std::fs::write(cache.join(format!("dead.{ending}")), b"x").unwrap();
        std::fs::write(cache.join(format!("alive.{ending}")), b"x").unwrap();
    }
    let held = File::open(cache.join("alive.lock")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    artefact_of(&compile(&cache, "cat", &[]));
    let alive = |ending: &str| cache.join(format!("alive.{ending}"));
    assert_eq!(
        names(&cache, ".draft"),
        sorted(vec![alive("draft"), alive("mac.draft")])
    );
    assert!(alive("lock").exists());
    assert!(!cache.join("dead.lock").exists());
}

#[test]
fn what_another_version_keeps_in_the_cache_is_left_to_it_and_makes_room_in_its_turn() {
    let cache = folder("cache").join("new");
    let (hello, bytes) = aged(&cache, "hello", 1000);
    // By another name, for its engine is another; under the same key.
    let other = cache.join(format!("{}.cwasm", "f".repeat(64)));
    for ending in ["cwasm", "mac", "lock"] {
        std::fs::write(other.with_extension(ending), b"of another version").unwrap();
    }
    assert_eq!(compile(&cache, "hello", &[]).json()["cached"], true);
    artefact_of(&compile(&cache, "cat", &[]));
    for ending in ["cwasm", "mac", "lock"] {
        let kept = std::fs::read(other.with_extension(ending)).unwrap();
        assert_eq!(kept, b"of another version");
    }
    // It was used longest ago, and goes first.
    let file = File::options().write(true).open(&other).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(5000))
        .unwrap();
    let all: u64 = names(&cache, ".cwasm")
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    let trap = compile_within(&cache, "trap", all + bytes);
    assert_eq!(trap.status, Some(0), "{trap:?}");
    if !other.exists() {
        assert!(!other.with_extension("mac").exists());
        assert!(!other.with_extension("lock").exists());
    }
    let cap = all - b"of another version".len() as u64;
    artefact_of(&compile_within(&cache, "exit_code", cap));
    assert!(!other.exists() && !hello.with_extension("draft").exists());
}
