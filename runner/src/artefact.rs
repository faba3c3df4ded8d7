//! The end of an artefact: what it was made from.
//!
//! An artefact is what the engine serialised, followed by [`TRAILER_BYTES`] that
//! name the module. The engine does not look behind its own data; we look only
//! there, so that a session that got the descriptor of another program's artefact
//! says so instead of running it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Code, Error};
use crate::manifest::{hex, parse_digest};

const MAGIC: &[u8; 16] = b"\0zvm artefact 1\n";
pub const TRAILER_BYTES: usize = 48;

/// The trailer of an artefact made from the module with this SHA-256.
pub fn trailer(module_sha256: &[u8; 32]) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    let (magic, digest) = trailer.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    digest.copy_from_slice(module_sha256);
    trailer
}

/// Checks that `file` is an artefact of the module with this SHA-256 (in hex).
pub fn check(file: &File, module_sha256: &str) -> Result<(), Error> {
    let refused = |what: String| Error::refused(Code::BadArtefact, what);
    let length = file
        .metadata()
        .map_err(|error| Error::failure("stat", error))?
        .len();
    let mut end = [0; TRAILER_BYTES];
    let at = length.checked_sub(TRAILER_BYTES as u64);
    let read = at.map(|at| file.read_exact_at(&mut end, at));
    if !matches!(read, Some(Ok(()))) || !end.starts_with(MAGIC) {
        return Err(refused(
            "program: not an artefact of zvm compile".to_owned(),
        ));
    }
    if parse_digest(module_sha256).is_some_and(|digest| end == trailer(&digest)) {
        return Ok(());
    }
    let made_from = hex(end.split_at(MAGIC.len()).1);
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
        check(file, sha256).unwrap_err().to_string()
    }

    #[test]
    fn artefact_of_the_module_is_accepted_and_of_another_is_not() {
        let mut content = b"code".to_vec();
        content.extend(trailer(&[0x11; 32]));
        let file = file(&content);
        assert_eq!(check(&file, &"11".repeat(32)), Ok(()));
        let text = message(&file, &"22".repeat(32));
        assert!(text.contains("made from module 1111"), "{text}");
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
