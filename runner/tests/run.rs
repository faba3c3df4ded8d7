//! `zvm run` and `zvm inspect`, as a person types them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Ended, folder, guest, zvm};

fn run(options: &[&str], name: &str, args: &[&str], input: &[u8]) -> Ended {
    let program = guest(name);
    let words = [&["run"], options, &[program.to_str().unwrap()], args].concat();
    zvm(&words, input)
}

/// A tar of the files in `folder`.
fn tar(folder: &Path) -> PathBuf {
    let tar = folder.with_extension("tar");
    let status = Command::new("tar")
        .args(["--format=ustar", "-cf"])
        .arg(&tar)
        .arg("-C")
        .arg(folder)
        .arg(".")
        .status();
    assert!(status.unwrap().success());
    tar
}

#[test]
fn standard_input_and_output_are_the_shells() {
    let ended = run(&[], "cat", &[], b"through\n");
    assert_eq!(
        (ended.status, ended.stdout.as_str()),
        (Some(0), "through\n")
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn the_exit_status_is_the_guests() {
    assert_eq!(run(&[], "exit_code", &["7"], b"").status, Some(7));
}

#[test]
fn traps_and_limits_have_a_status_and_a_line() {
    let ended = run(&[], "trap", &["divide"], b"");
    assert_eq!(ended.status, Some(134));
    assert!(
        ended.stderr.contains("trap integer_divide_by_zero"),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1);
    let ended = run(&["--wall", "0.3"], "spin", &[], b"");
    assert_eq!(ended.status, Some(124));
    assert!(ended.stderr.contains("limit wall_seconds"), "{ended:?}");
    let ended = run(&["--cpu=0.2"], "spin", &[], b"");
    assert_eq!(ended.status, Some(124));
}

#[test]
fn arguments_and_environment_are_what_was_typed() {
    let file = folder("env").join("env");
    std::fs::write(&file, "# comment\nB=2\n\nA=file\n").unwrap();
    let options = [
        "--env",
        "A=0",
        "--env-file",
        file.to_str().unwrap(),
        "--env",
        "C=x y",
    ];
    let ended = run(&options, "args_env", &["--json", "a b"], b"");
    let lines: Vec<_> = ended.stdout.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "arg --json",
            "arg a b",
            "env A=file",
            "env B=2",
            "env C=x y"
        ]
    );
}

#[test]
fn files_are_channels() {
    let folder = folder("files");
    let data = folder.join("data");
    std::fs::write(&data, b"hello world").unwrap();
    let option = format!("input={}", data.display());
    let ended = run(&["--in", &option], "seek_read", &["6", "5"], b"");
    assert_eq!(ended.stdout, "world");
    let option = format!("output={}", folder.join("made").display());
    let ended = run(&["--out", &option], "write_random", &["2", "xy"], b"");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(std::fs::read(folder.join("made")).unwrap(), b"\0\0xy");
}

#[test]
fn the_report_is_printed_or_stored() {
    let ended = run(&["--json"], "hello", &[], b"");
    assert_eq!(ended.stdout, "hello\n");
    let report: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(report["outcome"]["kind"], "exit");
    let file = folder("report").join("report.json");
    run(&["--report", file.to_str().unwrap()], "hello", &[], b"");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(report["receipt"].is_string());
}

#[test]
fn a_program_in_a_layer_is_found_and_brings_its_environment() {
    let image = folder("image").join("image");
    std::fs::create_dir_all(image.join("bin")).unwrap();
    std::fs::create_dir_all(image.join(".zerocloud")).unwrap();
    std::fs::copy(guest("args_env"), image.join("bin/show")).unwrap();
    std::fs::write(
        image.join(".zerocloud/image.json"),
        r#"{"version": 1, "name": "test", "env": {"HOME": "/home", "A": "image"}}"#,
    )
    .unwrap();
    let tar = tar(&image);
    let tar = tar.to_str().unwrap();
    let ended = zvm(
        &["run", "--layer", tar, "--env", "A=mine", "show", "x"],
        b"",
    );
    assert_eq!(
        ended.stdout,
        "arg show\narg x\nenv A=mine\nenv HOME=/home\n"
    );
    let ended = zvm(&["run", "--layer", tar, "absent"], b"");
    assert_eq!(ended.status, Some(126));
    assert_eq!(
        ended.stderr,
        "zvm: absent: no such file, and no such member of the layers\n"
    );
}

#[test]
fn a_bad_image_file_is_told() {
    let image = folder("image").join("image");
    std::fs::create_dir_all(image.join(".zerocloud")).unwrap();
    std::fs::write(image.join(".zerocloud/image.json"), "{\"version\": 9}").unwrap();
    let tar = tar(&image);
    let ended = run(&["--layer", tar.to_str().unwrap()], "hello", &[], b"");
    assert_eq!(ended.status, Some(126));
    assert!(ended.stderr.contains(".zerocloud/image.json"), "{ended:?}");
}

#[test]
fn a_reader_that_leaves_early_ends_the_guest_quietly() {
    let program = guest("endless_output");
    let line = format!("\"$0\" run {} | head -c 3; echo", program.display());
    let output = Command::new("bash")
        .args(["-c", &line, support::ZVM])
        .env("XDG_CACHE_HOME", support::cache())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"xxx\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn appending_redirection_keeps_what_was_there() {
    let folder = folder("append");
    let file = folder.join("log");
    std::fs::write(&file, "before\n").unwrap();
    let program = guest("hello");
    let line = format!("\"$0\" run {} >> {}", program.display(), file.display());
    let status = Command::new("sh")
        .args(["-c", &line, support::ZVM])
        .env("XDG_CACHE_HOME", support::cache())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(std::fs::read(&file).unwrap(), b"before\nhello\n");
}

#[test]
fn what_cannot_run_is_refused_with_126_and_mistakes_with_125() {
    let script = folder("script").join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let ended = zvm(&["run", script.to_str().unwrap()], b"");
    assert_eq!(ended.status, Some(126));
    assert!(
        ended.stderr.starts_with("zvm: not a WebAssembly module"),
        "{ended:?}"
    );
    assert_eq!(zvm(&["run"], b"").status, Some(125));
    assert_eq!(zvm(&["run", "--wall", "soon", "x"], b"").status, Some(125));
    assert_eq!(zvm(&["run", "absent.wasm"], b"").status, Some(126));
}

#[test]
fn inspect_tells_what_a_program_needs() {
    let program = guest("hello");
    let ended = zvm(&["inspect", program.to_str().unwrap()], b"");
    assert_eq!(ended.status, Some(0));
    assert!(
        ended.stdout.contains("wasi_snapshot_preview1.fd_write"),
        "{ended:?}"
    );
    assert!(ended.stdout.ends_with("runs      yes\n"), "{ended:?}");
    let ended = zvm(&["inspect", "--json", program.to_str().unwrap()], b"");
    assert_eq!(ended.json()["refused"], serde_json::Value::Null);
}

#[test]
fn help_and_version_are_there() {
    assert!(
        zvm(&["--help"], b"")
            .stdout
            .contains("zvm run [options] PROGRAM")
    );
    for command in ["run", "inspect", "compile", "session"] {
        let ended = zvm(&[command, "--help"], b"");
        assert_eq!(ended.status, Some(0), "{command}: {ended:?}");
        assert!(ended.stdout.contains("Examples:"), "{command}: {ended:?}");
    }
    let version = zvm(&["--version"], b"").stdout;
    assert!(
        version.starts_with("zvm ") && version.contains("wasmtime 48."),
        "{version}"
    );
    assert_eq!(zvm(&["dance"], b"").status, Some(64));
}
