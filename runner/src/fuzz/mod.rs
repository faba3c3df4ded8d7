//! What fuzzing feeds: each function takes any bytes and panics if a promise breaks.
//!
//! Only in tests and in builds for `runner/fuzz`, which runs them under libFuzzer;
//! what it finds worth keeping lies in `runner/fuzz/corpus`, and the test here feeds
//! all of it again, with a compiler that knows nothing of fuzzing.
//!
//! | function | what it feeds | what is hostile there |
//! |---|---|---|
//! | [`manifest`] | the manifest's parser | nobody: it is our executor's; bugs |
//! | [`tar`] | archives, the index, the merge of layers | a user's image |
//! | [`wasi`] | calls of a guest, over a memory of the engine | the guest |
//! | [`daemon`] | packets, requests, slots and the queue | a client gone wrong |
//! | [`verdict`] | what is left in the ledger, to the report | a VM taken over |
//! | [`module`] | the look at a module before it is compiled | a user's program |

// A panic is how a target tells what it found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod daemon;
mod manifest;
mod module;
mod script;
mod tar;
mod verdict;
mod wasi;
mod world;

pub use daemon::daemon;
pub use manifest::manifest;
pub use module::module;
pub use tar::tar;
pub use verdict::verdict;
pub use wasi::wasi;

/// What a refusal says fits a line of a log.
fn check_message(message: &str) {
    assert!(message.chars().count() < 8 * 700, "{message}");
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

#[cfg(test)]
mod corpus {
    use std::path::Path;

    /// Feeds a target all that lies in its folder.
    fn replay(name: &str, target: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(files.len() >= 10, "{name} has lost its corpus");
        files.sort_by_key(|file| file.as_ref().unwrap().file_name());
        for file in files {
            let path = file.unwrap().path();
            // Shown if it is the last.
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
    }

    macro_rules! replay {
        ($($name:ident)*) => {$(
            #[test]
            fn $name() {
                replay(stringify!($name), super::$name);
            }
        )*};
    }

    replay! { manifest tar wasi daemon verdict module }

    #[test]
    fn every_folder_has_its_target() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 6);
    }
}
