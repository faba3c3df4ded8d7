//! What a session refuses before any guest runs: 65, a code, and a message.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::process::{Command, Stdio};

use serde_json::json;
use support::{Session, finish};

#[test]
fn a_bad_manifest_is_refused_with_its_place() {
    let mut session = Session::new("hello");
    session.manifest["limits"]["memroy_bytes"] = json!(1);
    let (status, code, message) = session.refused();
    assert_eq!((status, code.as_str()), (65, "bad_manifest"));
    assert!(
        message.contains("unknown field `memroy_bytes`"),
        "{message}"
    );
}

#[test]
fn a_manifest_of_another_version_is_told_apart() {
    let mut session = Session::new("hello");
    session.manifest["version"] = json!(9);
    let (status, code, _) = session.refused();
    assert_eq!((status, code.as_str()), (65, "unknown_version"));
}

#[test]
fn a_manifest_that_is_too_long_is_not_read_to_its_end() {
    let mut session = Session::new("hello");
    session.manifest["args"] = json!(["x".repeat(5 << 20)]);
    let (status, code, message) = session.refused();
    assert_eq!((status, code.as_str()), (65, "bad_manifest"));
    assert_eq!(message, "manifest: longer than 4194304 bytes");
}

#[test]
fn the_artefact_of_another_program_is_refused() {
    let (other, _) = support::compile("cat");
    let session = Session::new("hello").redirect(0, format!("<{}", other.display()));
    let (status, code, message) = session.refused();
    assert_eq!((status, code.as_str()), (65, "bad_artefact"));
    assert!(
        message.contains("the artefact was made from module"),
        "{message}"
    );
}

#[test]
fn what_is_no_artefact_is_refused() {
    let module = support::guest("hello");
    let session = Session::new("hello").redirect(0, format!("<{}", module.display()));
    let (status, code, message) = session.refused();
    assert_eq!((status, code.as_str()), (65, "bad_artefact"));
    assert_eq!(message, "program: not an artefact of zvm compile");
}

#[test]
fn an_artefact_of_another_engine_is_refused() {
    let (artefact, _) = support::compile("hello");
    let session = Session::new("hello");
    let copy = session.folder.join("other.cwasm");
    let mut bytes = std::fs::read(artefact).unwrap();
    // The class of the ELF file: no engine takes a 32-bit one.
    bytes[4] = 1;
    std::fs::write(&copy, bytes).unwrap();
    let (status, code, message) = session
        .redirect(0, format!("<{}", copy.display()))
        .refused();
    assert_eq!((status, code.as_str()), (65, "bad_artefact"));
    assert!(message.starts_with("program: "), "{message}");
}

#[test]
fn a_layer_that_is_no_tar_is_refused() {
    let session = Session::new("hello");
    let file = session.folder.join("layer");
    std::fs::write(&file, b"x".repeat(2048)).unwrap();
    let (status, code, message) = session.layer(&file).refused();
    assert_eq!((status, code.as_str()), (65, "bad_layer"));
    assert!(message.contains("layer"), "{message}");
}

#[test]
fn outputs_must_be_empty_regular_files() {
    let session = Session::new("hello").channel(
        "/dev/stdout",
        "write",
        "sequential",
        ">/dev/null".to_owned(),
        100,
    );
    let (status, code, message) = session.refused();
    assert_eq!((status, code.as_str()), (65, "bad_channel"));
    assert_eq!(
        message,
        "/channels/0 (/dev/stdout): descriptor is a stream; an output is a regular file"
    );
    let session = Session::new("hello").output("/dev/stdout", "sequential", 100);
    std::fs::write(session.folder.join("_dev_stdout"), b"old").unwrap();
    let (_, code, message) = session.refused();
    assert_eq!(code, "bad_channel");
    assert!(
        message.ends_with("is a file of 3 bytes; an output is empty"),
        "{message}"
    );
}

#[test]
fn a_folder_as_input_is_refused() {
    let session = Session::new("hello").channel(
        "/dev/input",
        "read",
        "random",
        "</".to_owned(),
        100,
    );
    let (status, code, message) = session.refused();
    assert_eq!((status, code.as_str()), (65, "bad_channel"));
    assert!(message.contains("is a Directory"), "{message}");
}

#[test]
fn a_descriptor_that_is_not_open_is_a_wrong_command_line() {
    let child = Command::new(support::ZVM)
        .args(["session", "--descriptors", "77"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let ended = finish(child.unwrap());
    assert_eq!(ended.status, Some(64));
    let (code, message) = ended.error();
    assert_eq!(code, "usage");
    assert!(message.starts_with("descriptor 77: "), "{message}");
}
