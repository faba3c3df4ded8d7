//! `zvm compile`: the cache, what it believes, and what it refuses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::modules::{module_of, name};
use support::{Ended, folder, guest, zvm};

fn compile_in(cache: &Path, program: &Path) -> Ended {
    let args = [
        "compile",
        "--cache",
        cache.to_str().unwrap(),
        program.to_str().unwrap(),
    ];
    zvm(&args, b"")
}

fn artefact_of(ended: &Ended) -> PathBuf {
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.json()["artefact"].as_str().unwrap().into()
}

fn refused(bytes: &[u8]) -> (String, String) {
    let ended = zvm(
        &[
            "compile",
            "--cache",
            support::cache().to_str().unwrap(),
            "-",
        ],
        bytes,
    );
    assert_eq!(ended.status, Some(65), "{ended:?}");
    ended.error()
}

#[test]
fn the_second_time_the_artefact_comes_from_the_cache() {
    let cache = folder("cache").join("new");
    let first = compile_in(&cache, &guest("hello"));
    let second = compile_in(&cache, &guest("hello"));
    assert_eq!(first.json()["cached"], false);
    assert_eq!(second.json()["cached"], true);
    assert_eq!(artefact_of(&first), artefact_of(&second));
    assert_eq!(first.json()["sha256"], second.json()["sha256"]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&cache.join("key")), 0o600);
    assert_eq!(mode(&artefact_of(&first)), 0o400);
}

#[test]
fn a_tampered_artefact_is_thrown_away_and_compiled_again() {
    let cache = folder("cache").join("new");
    let artefact = artefact_of(&compile_in(&cache, &guest("hello")));
    let genuine = std::fs::read(&artefact).unwrap();
    let mut altered = genuine.clone();
    *altered.get_mut(5000).unwrap() ^= 1;
    std::fs::remove_file(&artefact).unwrap();
    std::fs::write(&artefact, &altered).unwrap();
    let again = compile_in(&cache, &guest("hello"));
    assert_eq!(again.json()["cached"], false);
    assert!(
        again.stderr.contains("event=artefact_mac_wrong"),
        "{again:?}"
    );
    assert_eq!(std::fs::read(artefact_of(&again)).unwrap(), genuine);
}

#[test]
fn links_planted_in_the_cache_lead_nowhere() {
    let cache = folder("cache").join("new");
    let artefact = artefact_of(&compile_in(&cache, &guest("hello")));
    let genuine = std::fs::read(&artefact).unwrap();
    let victim = folder("victim").join("file");
    std::fs::write(&victim, "precious").unwrap();
    for ending in ["cwasm", "draft", "mac.draft", "lock"] {
        let path = artefact.with_extension(ending);
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(&victim, &path).unwrap();
    }
    let again = compile_in(&cache, &guest("hello"));
    assert_eq!(again.json()["cached"], false, "{again:?}");
    assert!(
        again.stderr.contains("event=cache_entry_removed"),
        "{again:?}"
    );
    assert_eq!(std::fs::read(&artefact).unwrap(), genuine);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn pipes_planted_in_the_cache_are_not_waited_for() {
    let cache = folder("cache").join("new");
    let artefact = artefact_of(&compile_in(&cache, &guest("hello")));
    for ending in ["cwasm", "mac", "lock"] {
        std::fs::remove_file(&artefact).unwrap();
        let path = artefact.with_extension(ending);
        let _ = std::fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let again = compile_in(&cache, &guest("hello"));
        assert_eq!(again.json()["cached"], false, "{again:?}");
        assert!(path.metadata().unwrap().is_file());
    }
    // Of another program, which has to make room.
    let (path, lock) = (cache.join("x.cwasm"), cache.join("x.lock"));
    for path in [path, lock] {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }
    std::fs::remove_file(&artefact).unwrap();
    let hello = guest("hello");
    let words = ["compile", "--cache-bytes", "1", "--cache"];
    let words = [
        &words[..],
        &[cache.to_str().unwrap(), hello.to_str().unwrap()],
    ];
    assert_eq!(zvm(&words.concat(), b"").error().0, "no_room");
    assert_eq!(compile_in(&cache, &guest("hello")).status, Some(0));
}

#[test]
fn a_key_that_is_none_is_our_failure_and_is_not_replaced() {
    let cache = folder("cache").join("new");
    artefact_of(&compile_in(&cache, &guest("hello")));
    let key = cache.join("key");
    let plant: [(&str, &dyn Fn()); 3] = [
        ("failed to fill whole buffer", &|| {
            std::fs::write(&key, [1; 31]).unwrap();
            std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        }),
        ("failed to fill whole buffer", &|| {
            let made = Command::new("mkfifo")
                .args(["-m", "600"])
                .arg(&key)
                .status();
            assert!(made.unwrap().success());
        }),
        ("Is a directory", &|| {
            std::fs::create_dir(&key).unwrap();
            std::fs::set_permissions(&key, PermissionsExt::from_mode(0o700)).unwrap();
        }),
    ];
    for (text, plant) in plant {
        std::fs::remove_file(&key).unwrap();
        plant();
        let ended = compile_in(&cache, &guest("hello"));
        assert_eq!(ended.status, Some(70), "{ended:?}");
        assert!(ended.stderr.contains(text), "{ended:?}");
        assert!(ended.stderr.contains("/key"), "{ended:?}");
    }
}

#[test]
fn a_cache_of_another_user_is_our_failure() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can own one without root; the check is the same code.
        return;
    }
    let cache = folder("cache").join("new");
    artefact_of(&compile_in(&cache, &guest("hello")));
    std::os::unix::fs::chown(&cache, Some(65534), None).unwrap();
    let ended = compile_in(&cache, &guest("hello"));
    assert_eq!(ended.status, Some(70), "{ended:?}");
    assert!(ended.stderr.contains("belongs to user 65534"), "{ended:?}");
}

#[test]
fn an_artefact_under_the_name_of_another_is_not_believed() {
    let cache = folder("cache").join("new");
    let hello = artefact_of(&compile_in(&cache, &guest("hello")));
    let cat = artefact_of(&compile_in(&cache, &guest("cat")));
    for ending in ["cwasm", "mac"] {
        std::fs::rename(cat.with_extension(ending), hello.with_extension(ending))
            .unwrap();
    }
    let again = compile_in(&cache, &guest("hello"));
    assert_eq!(again.json()["cached"], false);
}

#[test]
fn artefacts_are_bound_to_the_key() {
    let cache = folder("cache").join("new");
    artefact_of(&compile_in(&cache, &guest("hello")));
    std::fs::remove_file(cache.join("key")).unwrap();
    assert_eq!(compile_in(&cache, &guest("hello")).json()["cached"], false);
}

#[test]
fn a_cache_or_key_that_others_can_read_is_our_failure() {
    let cache = folder("cache");
    std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o755)).unwrap();
    let ended = compile_in(&cache, &guest("hello"));
    assert_eq!(ended.status, Some(70));
    assert!(ended.stderr.contains("mode 0755"), "{ended:?}");
    std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(cache.join("key"), [1; 32]).unwrap();
    std::fs::set_permissions(cache.join("key"), PermissionsExt::from_mode(0o644))
        .unwrap();
    let ended = compile_in(&cache, &guest("hello"));
    assert_eq!(ended.status, Some(70));
    assert!(ended.stderr.contains("is open to others"), "{ended:?}");
}

#[test]
fn compiling_the_same_module_at_once_does_the_work_once() {
    let cache = folder("cache").join("new");
    let program = guest("hello");
    let results: Vec<bool> = std::thread::scope(|scope| {
        let runs = [(); 4].map(|()| scope.spawn(|| compile_in(&cache, &program)));
        runs.map(|run| run.join().unwrap().json()["cached"].as_bool().unwrap())
            .into()
    });
    assert_eq!(
        results.iter().filter(|cached| !**cached).count(),
        1,
        "{results:?}"
    );
}

#[test]
fn a_script_is_told_what_a_module_starts_with() {
    let (code, message) = refused(b"#!/bin/sh\necho hello\n");
    assert_eq!(code, "not_wasm");
    assert_eq!(
        message,
        "not a WebAssembly module: starts with \"#!/b\", \
         a module starts with \"\\0asm\""
    );
}

#[test]
fn a_native_program_a_component_and_a_cut_module_are_refused() {
    let native = std::fs::read(support::ZVM).unwrap();
    assert_eq!(refused(native.get(..4096).unwrap()).0, "not_wasm");
    assert_eq!(refused(b"").0, "not_wasm");
    let (code, message) = refused(b"\0asm\x0d\0\x01\0");
    assert_eq!(code, "invalid_module");
    assert!(message.contains("component"), "{message}");
    let whole = std::fs::read(guest("hello")).unwrap();
    assert_eq!(
        refused(whole.get(..whole.len() / 2).unwrap()).0,
        "invalid_module"
    );
}

#[test]
fn code_that_does_not_validate_is_refused() {
    // _start: () → () with the body `i32.const 1`, which leaves a value behind.
    let module = b"\0asm\x01\0\0\0\
        \x01\x04\x01\x60\0\0\
        \x03\x02\x01\0\
        \x05\x03\x01\0\x01\
        \x07\x13\x02\x06_start\0\0\x06memory\x02\0\
        \x0a\x06\x01\x04\0\x41\x01\x0b";
    let (code, message) = refused(module);
    assert_eq!(code, "invalid_module");
    assert!(message.contains("values remaining on stack"), "{message}");
}

#[test]
fn an_import_of_a_wrong_type_is_refused() {
    let module = b"\0asm\x01\0\0\0\
        \x01\x04\x01\x60\0\0\
        \x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0\
        \x03\x02\x01\0\
        \x05\x03\x01\0\x01\
        \x07\x13\x02\x06_start\0\x01\x06memory\x02\0\
        \x0a\x04\x01\x02\0\x0b";
    let (code, message) = refused(module);
    assert_eq!(code, "unknown_import");
    assert!(message.contains("proc_exit"), "{message}");
}

#[test]
fn compiling_is_bounded_in_time_memory_and_output() {
    let cache = folder("cache").join("new");
    let cache = cache.to_str().unwrap();
    let hello = guest("hello");
    let hello = hello.to_str().unwrap();
    let args = ["compile", "--cache", cache, "--seconds", "0.001", hello];
    let ended = zvm(&args, b"");
    assert_eq!(ended.error().0, "compile_limit", "{ended:?}");
    let args = ["compile", "--cache", cache, "--memory-bytes", "1M", hello];
    let ended = zvm(&args, b"");
    assert_eq!(ended.error().0, "compile_limit", "{ended:?}");
    let args = ["compile", "--cache", cache, "--output-bytes", "4K", hello];
    let ended = zvm(&args, b"");
    let (code, message) = ended.error();
    assert_eq!(code, "compile_limit", "{ended:?}");
    assert_eq!(message, "the compiled program is larger than 4096 bytes");
    // And afterwards the cache is as if nothing had been tried.
    let ended = zvm(&["compile", "--cache", cache, hello], b"");
    assert_eq!(ended.json()["cached"], false);
}

#[test]
fn the_compiler_yields_to_storage() {
    // It waits for its module; by then its weights are set.
    let mut child = Command::new(env!("CARGO_BIN_EXE_zvm-compile"))
        .args(["1000000000", "30", "1000000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read_of = |pid: u32, file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
    };
    let read = |file: &str| read_of(child.id(), file);
    // The nineteenth field, counted from behind the name.
    let nice = |pid: u32| -> i32 {
        let stat = read_of(pid, "stat");
        let fields = stat.rsplit_once(") ").unwrap().1;
        fields.split(' ').nth(16).unwrap().parse().unwrap()
    };
    // These tests may run under nice themselves; 19 is the most.
    let expected = (nice(std::process::id()) + 5).min(19);
    let started = Instant::now();
    while nice(child.id()) != expected {
        assert!(started.elapsed().as_secs() < 20, "{}", nice(child.id()));
        std::thread::yield_now();
    }
    assert_eq!(read("oom_score_adj"), "1000\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_missing_program_and_a_missing_cache_are_told() {
    let ended = compile_in(&folder("cache"), Path::new("/nowhere.wasm"));
    assert_eq!(ended.error().0, "not_found");
    let ended = zvm(&["compile", "x.wasm"], b"");
    assert_eq!(
        (ended.status, ended.error().0.as_str()),
        (Some(64), "usage")
    );
}

#[test]
fn names_of_any_length_are_told_in_one_short_line() {
    let long = "\u{1b}[31m\n".repeat(16_000);
    let types = (1, vec![1, 0x60, 0, 0]);
    let import = [vec![1], name("env"), name(&long), vec![0, 0]].concat();
    let twice = [vec![2], name(&long), vec![0, 0], name(&long), vec![0, 0]].concat();
    let exporting = [
        types.clone(),
        (3, vec![1, 0]),
        (5, vec![1, 0, 1]),
        (
            7,
            [
                vec![4],
                name("_start"),
                vec![0, 0],
                name("memory"),
                vec![2, 0],
                twice[1..].to_vec(),
            ]
            .concat(),
        ),
        (10, vec![1, 2, 0, 0x0b]),
    ];
    for (module, expected) in [
        (module_of(&[types, (2, import)]), "unknown_import"),
        (module_of(&exporting), "invalid_module"),
    ] {
        let (code, message) = refused(&module);
        assert_eq!(code, expected, "{message}");
        assert!(message.contains("\\u{1b}[31m"), "{message}");
        assert!(!message.contains(char::is_control), "{message}");
        assert!(message.chars().count() <= 701, "{message}");
    }
}

/// A command that does this in its function `f`.
fn command_with(memory: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") {memory})
          (func $f (export "f") (param i64) (result i64) {body})
          (func (export "_start") (drop (call $f (i64.const 1)))))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn what_could_differ_between_processors_or_in_time_is_refused_in_both_modes() {
    let relaxed = "(i64x2.extract_lane 0 (f64x2.relaxed_madd
        (f64x2.splat (f64.const 1)) (f64x2.splat (f64.const 2)) (v128.const i64x2 0 0)))";
    let cases = [
        (command_with("1", relaxed), "relaxed SIMD"),
        (command_with("1 1 shared", "(local.get 0)"), "threads"),
        (
            command_with("1", "(i64.atomic.rmw.add (i32.const 0) (local.get 0))"),
            "threads",
        ),
        (command_with("i64 1", "(local.get 0)"), "memory64"),
    ];
    let path = support::folder("features").join("module.wasm");
    for (module, feature) in cases {
        std::fs::write(&path, module).unwrap();
        for options in [&[][..], &["--strict"]] {
            let cache = support::cache();
            let mut words = vec!["compile", "--cache", cache.to_str().unwrap()];
            words.extend(options);
            words.push(path.to_str().unwrap());
            let ended = support::zvm(&words, b"");
            assert_eq!(ended.status, Some(65), "{feature}: {ended:?}");
            let (code, message) = ended.error();
            assert_eq!(code, "invalid_module");
            assert!(message.contains(feature), "{feature}: {message}");
        }
    }
}

/// Whatever the processor that compiles has, compiled code has the baseline's
/// instructions alone: LZCNT, which each processor of the last ten years has, is not
/// among them, and an older one would take it for BSR and count wrongly.
#[test]
#[cfg(target_arch = "x86_64")]
fn compiled_code_has_no_instruction_beyond_the_baseline() {
    let path = support::folder("baseline").join("module.wasm");
    std::fs::write(&path, command_with("1", "(i64.clz (local.get 0))")).unwrap();
    let (artefact, _) = support::compile_file(&path);
    let code = std::fs::read(artefact).unwrap();
    // F3 says LZCNT, a REX prefix may stand between; without it, it is BSR.
    let is_bsr = |bytes: &[u8]| matches!(bytes, [0x40..=0x4f, 0x0f, 0xbd]);
    let is_lzcnt = |bytes: &[u8]| matches!(bytes, [0xf3, 0x40..=0x4f, 0x0f, 0xbd]);
    assert!(
        code.windows(3).any(is_bsr),
        "it counts in another way by now"
    );
    assert!(!code.windows(4).any(is_lzcnt));
}
