//! Limits of compiling from both sides, and how long their refusals are remembered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use support::modules::{module_of, name};
use support::{Ended, folder, guest, zvm};

/// What an artefact has beyond what the compiler writes (`artefact`).
const TRAILER_BYTES: u64 = 48;

struct Cache(PathBuf);

impl Cache {
    fn new() -> Self {
        Cache(folder("cache").join("new"))
    }

    fn compile(&self, options: &[&str], program: &Path) -> Ended {
        let mut args = vec!["compile", "--cache", self.0.to_str().unwrap()];
        args.extend(options);
        args.push(program.to_str().unwrap());
        zvm(&args, b"")
    }

    /// Asserts that it is refused; the message.
    fn refused(&self, code: &str, options: &[&str], program: &Path) -> String {
        let ended = self.compile(options, program);
        assert_eq!(ended.status, Some(65), "{ended:?}");
        let (found, message) = ended.error();
        assert_eq!(found, code, "{message}");
        message
    }

    fn compiled(&self, options: &[&str], program: &Path) -> PathBuf {
        let ended = self.compile(options, program);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        ended.json()["artefact"].as_str().unwrap().into()
    }

    fn with_ending(&self, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect()
    }

    fn refusal(&self) -> PathBuf {
        let [only] = &self.with_ending(".refused")[..] else {
            panic!("{:?}", self.with_ending(""));
        };
        only.clone()
    }
}

/// A module that is dear to compile: one function of so many additions.
fn bomb(additions: usize, end: &[u8]) -> PathBuf {
    let mut code = vec![0, 0x41, 0];
    for _ in 0..additions {
        code.extend(b"\x41\x01\x6a");
    }
    code.extend(end);
    code.push(0x0b);
    let body = [support::modules::leb(code.len()), code].concat();
    let exports = [
        vec![2],
        name("_start"),
        vec![0, 0],
        name("memory"),
        vec![2, 0],
    ];
    let module = module_of(&[
        (1, vec![1, 0x60, 0, 0]),
        (3, vec![1, 0]),
        (5, vec![1, 0, 1]),
        (7, exports.concat()),
        (10, [vec![1], body].concat()),
    ]);
    let path = folder("bomb").join("bomb.wasm");
    std::fs::write(&path, module).unwrap();
    path
}

/// Drops what is left on the stack, so that the function is valid.
const DROP: &[u8] = b"\x1a";

/// Stands for a compiler that is killed, or is never given the processor.
fn instead(script: &str) -> PathBuf {
    let path = folder("instead").join("zvm-compile");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_compiled_program_is_limited_to_the_byte() {
    let (cache, hello) = (Cache::new(), guest("hello"));
    let artefact = cache.compiled(&[], &hello);
    let bytes = artefact.metadata().unwrap().len() - TRAILER_BYTES;
    let (exact, short) = (bytes.to_string(), (bytes - 1).to_string());
    let cache = Cache::new();
    let message = cache.refused("compile_limit", &["--output-bytes", &short], &hello);
    let expected = format!("the compiled program is larger than {short} bytes");
    assert_eq!(message, expected);
    cache.compiled(&["--output-bytes", &exact], &hello);
}

#[test]
fn the_module_is_limited_to_the_byte() {
    // A module of exactly so many bytes, nearly all of them in a section that
    // nobody reads, sparse on the disk.
    const MOST: u64 = 256 << 20;
    let sized = |bytes: u64| {
        let small = std::fs::read(bomb(0, DROP)).unwrap();
        let path = folder("large").join("large.wasm");
        let rest = bytes - small.len() as u64 - 1;
        // Five bytes of length, padded, of which they are no part.
        let length = u32::try_from(rest - 5).unwrap();
        let mut head = small;
        head.push(0);
        head.extend((0..5).map(|n| {
            let more = if n < 4 { 0x80 } else { 0 };
            ((length >> (7 * n)) & 0x7f) as u8 | more
        }));
        std::fs::write(&path, head).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        file.set_len(bytes).unwrap();
        path
    };
    let cache = Cache::new();
    cache.compiled(&[], &sized(MOST));
    let message = cache.refused("too_large", &[], &sized(MOST + 1));
    let expected = "the module is larger than 268435456 bytes, the limit";
    assert_eq!(message, expected);
}

#[test]
fn memory_of_the_compiler_is_limited_to_the_mebibyte() {
    let hello = guest("hello");
    let fits = |mebibytes: u64| {
        let limit = format!("{mebibytes}M");
        let ended = Cache::new().compile(&["--memory-bytes", &limit], &hello);
        if ended.status != Some(0) {
            assert_eq!(ended.error().0, "compile_limit", "{ended:?}");
        }
        ended.status == Some(0)
    };
    let (mut short, mut enough) = (1, 1024);
    assert!(!fits(short) && fits(enough));
    while enough - short > 1 {
        let middle = u64::midpoint(short, enough);
        match fits(middle) {
            true => enough = middle,
            false => short = middle,
        }
    }
    // The same again, however the address space is laid out this time.
    assert!((0..3).all(|_| fits(enough + 1) && !fits(short - 1)));
}

#[test]
fn a_refusal_is_remembered_and_costs_nothing_the_second_time() {
    let bomb = bomb(1_300_000, DROP);
    let cache = Cache::new();
    let limit = ["--seconds", "1"];
    let began = Instant::now();
    let first = cache.refused("compile_limit", &limit, &bomb);
    let dear = began.elapsed();
    assert!(
        first.starts_with("compiling took longer than 1 s"),
        "{first}"
    );
    assert!(dear >= Duration::from_secs(1));

    let began = Instant::now();
    let second = cache.refused("compile_limit", &limit, &bomb);
    assert!(began.elapsed() < dear / 2, "{:?}", began.elapsed());
    assert!(
        second.starts_with(&format!("{first}; known for ")),
        "{second}"
    );
    assert!(
        second.ends_with(" s more, unless with larger limits"),
        "{second}"
    );
    // With less it would end the same; with more it is tried, and hits the limit.
    let smaller = cache.refused("compile_limit", &["--seconds", "0.5"], &bomb);
    assert!(smaller.contains("known for "), "{smaller}");
    let larger = cache.refused("compile_limit", &["--seconds", "1.2"], &bomb);
    assert!(
        larger.starts_with("compiling took longer than 1.2 s"),
        "{larger}"
    );
    assert!(!larger.contains("known for "), "{larger}");
    // Other modules are none of its business.
    cache.compiled(&limit, &guest("hello"));
}

#[test]
fn a_refusal_is_forgotten_in_time_and_when_a_larger_limit_suffices() {
    let (cache, hello) = (Cache::new(), guest("hello"));
    let limit = ["--output-bytes", "4K"];
    let tried = "the compiled program is larger than 4096 bytes";
    assert_eq!(cache.refused("compile_limit", &limit, &hello), tried);
    assert_ne!(cache.refused("compile_limit", &limit, &hello), tried);
    let age = |seconds| {
        let file = File::options().append(true).open(cache.refusal()).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    };
    age(3500);
    let message = cache.refused("compile_limit", &limit, &hello);
    assert!(message.contains("; known for 35"), "{message}");
    age(3600);
    assert_eq!(cache.refused("compile_limit", &limit, &hello), tried);
    cache.compiled(&[], &hello);
    assert_eq!(cache.with_ending(".refused"), Vec::<PathBuf>::new());
    // What is there is there, whatever the limit.
    cache.compiled(&limit, &hello);
}

#[test]
fn what_is_dear_to_find_invalid_is_remembered_and_what_is_cheap_is_not() {
    let cache = Cache::new();
    // The last function leaves a value behind.
    let cheap = bomb(10, b"");
    cache.refused("invalid_module", &[], &cheap);
    assert_eq!(cache.with_ending(".refused"), Vec::<PathBuf>::new());
    let slow = instead(
        "sleep 1; echo '{\"error\": {\"code\": \"invalid_module\", \"message\": \
         \"invalid module: x\"}}' >&2; exit 65",
    );
    let slow = ["--compiler", slow.to_str().unwrap()];
    let first = cache.refused("invalid_module", &slow, &cheap);
    assert_eq!(first, "invalid module: x");
    let second = cache.refused("invalid_module", &[], &cheap);
    assert!(
        second.starts_with("invalid module: x; known for "),
        "{second}"
    );
}

#[test]
fn what_is_no_fault_of_the_module_is_not_remembered() {
    let (cache, hello) = (Cache::new(), guest("hello"));
    // Ended from outside; a compiler that cannot.
    for (script, status) in [("kill -9 $$", Some(65)), ("exit 70", Some(70))] {
        let compiler = instead(script);
        let compiler = compiler.to_str().unwrap();
        let options = ["--compiler", compiler];
        let ended = cache.compile(&options, &hello);
        assert_eq!(ended.status, status, "{ended:?}");
        assert_eq!(cache.with_ending(".refused"), Vec::<PathBuf>::new());
    }
    cache.compiled(&[], &hello);
}

#[test]
fn what_may_be_the_machines_fault_is_remembered_for_a_shorter_time() {
    let (cache, hello) = (Cache::new(), guest("hello"));
    // It has a second, and is not given the processor.
    let compiler = instead("exec sleep 20");
    let options = ["--compiler", compiler.to_str().unwrap(), "--seconds", "1"];
    let first = cache.refused("compile_limit", &options, &hello);
    assert_eq!(first, "compiling took longer than 1 s");
    let second = cache.refused("compile_limit", &options, &hello);
    let left = second.rsplit_once(" and kept for ").unwrap().1;
    let left: u64 = left.split(' ').next().unwrap().parse().unwrap();
    assert!((500..=600).contains(&left), "{second}");
}

#[test]
fn a_crowd_that_brings_one_bomb_tries_it_once() {
    let cache = Cache::new();
    let bomb = bomb(1_300_000, DROP);
    let messages: Vec<String> = std::thread::scope(|scope| {
        let run = || cache.refused("compile_limit", &["--seconds", "1"], &bomb);
        let runs = [(); 4].map(|()| scope.spawn(run));
        runs.map(|run| run.join().unwrap()).into()
    });
    let tried = messages.iter().filter(|text| !text.contains("known for "));
    assert_eq!(tried.count(), 1, "{messages:?}");
    assert_eq!(cache.with_ending("draft"), Vec::<PathBuf>::new());
}

#[test]
fn a_cache_that_cannot_be_written_still_refuses() {
    let (cache, hello) = (Cache::new(), guest("hello"));
    let limit = ["--output-bytes", "4K"];
    cache.refused("compile_limit", &limit, &hello);
    // A folder in the draft's place, which is not removed as a file is.
    let refusal = cache.refusal();
    std::fs::remove_file(&refusal).unwrap();
    std::fs::create_dir(refusal.with_extension("refused.draft")).unwrap();
    let ended = cache.compile(&limit, &hello);
    assert_eq!(ended.error().0, "compile_limit");
    assert!(ended.stderr.contains("event=refusal_not_kept"), "{ended:?}");
    assert!(!refusal.exists());
}
