//! The end of an artefact: what it was made from.
//!
//! An artefact is what the engine serialised, followed by what was noted of the
//! module ([`Hints`]) and [`TRAILER_BYTES`] that name it. The engine does not look
//! behind its own data; we look only there, so that a session that got the
//! descriptor of another program's artefact says so instead of running it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::determinism::Determinism;
use crate::error::{Code, Error};
use crate::hints::{END_BYTES, Hints};
use crate::manifest::{hex, parse_digest};

const MAGIC_BYTES: usize = 16;
const MAGIC: &[u8; MAGIC_BYTES] = b"\0zvm artefact 2\n";
const STRICT_MAGIC: &[u8; MAGIC_BYTES] = b"\0zvm strict   2\n";
pub const TRAILER_BYTES: usize = 48;

fn magic_of(determinism: Determinism) -> &'static [u8; MAGIC_BYTES] {
    match determinism {
        Determinism::Default => MAGIC,
        Determinism::Strict => STRICT_MAGIC,
    }
}

/// The trailer of an artefact made from the module with this SHA-256, in this mode.
pub fn trailer(
    module_sha256: &[u8; 32],
    determinism: Determinism,
) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    let (magic, digest) = trailer.split_at_mut(MAGIC_BYTES);
    magic.copy_from_slice(magic_of(determinism));
    digest.copy_from_slice(module_sha256);
    trailer
}

/// What was noted of the module of an artefact that [`check`] has passed.
///
/// # Errors
///
/// [`Code::BadArtefact`] if there is no such note.
pub fn hints(file: &File) -> Result<Hints, Error> {
    read_hints(file).ok_or_else(|| {
        let message = "program: the artefact has no note of its module";
        Error::refused(Code::BadArtefact, message)
    })
}

fn read_hints(file: &File) -> Option<Hints> {
    let length = file.metadata().ok()?.len();
    let at = length.checked_sub((TRAILER_BYTES + END_BYTES) as u64)?;
    let mut end = [0; END_BYTES];
    file.read_exact_at(&mut end, at).ok()?;
    let mut list = vec![0; Hints::list_bytes(&end)?];
    let at = at.checked_sub(list.len() as u64)?;
    file.read_exact_at(&mut list, at).ok()?;
    Hints::parse(&list, &end)
}

/// Checks that `file` is an artefact of the module with this SHA-256 (in hex), made
/// for this mode.
pub fn check(
    file: &File,
    module_sha256: &str,
    determinism: Determinism,
) -> Result<(), Error> {
    let refused = |what: String| Error::refused(Code::BadArtefact, what);
    let length = file
        .metadata()
        .map_err(|error| Error::failure("stat", error))?
        .len();
    let mut end = [0; TRAILER_BYTES];
    let at = length.checked_sub(TRAILER_BYTES as u64);
    let read = at.map(|at| file.read_exact_at(&mut end, at));
    let modes = [Determinism::Default, Determinism::Strict];
    let found = modes
        .into_iter()
        .find(|mode| end.starts_with(magic_of(*mode)));
    let (Some(Ok(())), Some(found)) = (read, found) else {
        return Err(refused(
            "program: not an artefact of zvm compile".to_owned(),
        ));
    };
    if found != determinism {
        let (found, wanted) = (found.name(), determinism.name());
        return Err(refused(format!(
            "program: the artefact was made for mode {found}, not {wanted}"
        )));
    }
    let digest = parse_digest(module_sha256);
    if digest.is_some_and(|digest| end == trailer(&digest, found)) {
        return Ok(());
    }
    let made_from = hex(end.split_at(MAGIC_BYTES).1);
    Err(refused(format!(
        "program: the artefact was made from module {made_from}, not {module_sha256}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
        file.write_all(content).unwrap();
        file
    }

    fn message(file: &File, sha256: &str) -> String {
        let checked = check(file, sha256, Determinism::Default);
        checked.unwrap_err().to_string()
    }

    #[test]
    fn artefact_of_the_module_is_accepted_and_of_another_is_not() {
        let mut content = b"code".to_vec();
        content.extend(trailer(&[0x11; 32], Determinism::Default));
        let file = file(&content);
        let sha256 = "11".repeat(32);
        assert_eq!(check(&file, &sha256, Determinism::Default), Ok(()));
        let text = message(&file, &"22".repeat(32));
        assert!(text.contains("made from module 1111"), "{text}");
    }

    #[test]
    fn artefact_of_one_mode_is_refused_in_the_other() {
        let sha256 = "11".repeat(32);
        for (made_for, asked) in [
            (Determinism::Default, Determinism::Strict),
            (Determinism::Strict, Determinism::Default),
        ] {
            let file = file(&trailer(&[0x11; 32], made_for));
            assert_eq!(check(&file, &sha256, made_for), Ok(()));
            let text = check(&file, &sha256, asked).unwrap_err().to_string();
            let (made_for, asked) = (made_for.name(), asked.name());
            let expected = format!("was made for mode {made_for}, not {asked}");
            assert!(text.ends_with(&expected), "{text}");
        }
    }

    #[test]
    fn notes_stand_before_the_trailer() {
        let hints = Hints {
            late: true,
            pages: vec![3, 5],
        };
        let mut content = b"code".to_vec();
        content.extend(hints.to_bytes());
        content.extend(trailer(&[0x11; 32], Determinism::Default));
        assert_eq!(super::hints(&file(&content)), Ok(hints));
        let without = trailer(&[0x11; 32], Determinism::Default);
        let text = super::hints(&file(&without)).unwrap_err().to_string();
        assert_eq!(text, "program: the artefact has no note of its module");
    }

    #[test]
    fn other_files_are_not_artefacts() {
        let sha256 = "00".repeat(32);
        for content in [&b""[..], b"short", &[0; 4096]] {
            let text = message(&file(content), &sha256);
            assert_eq!(text, "program: not an artefact of zvm compile");
        }
    }
}
