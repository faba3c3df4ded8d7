//! A file that should be a module: what is checked of it, and what is noted.

#[cfg(feature = "rewriting")]
use crate::compile::inline;
use crate::compile::policy;
use crate::error::{Code, Error};
use crate::hints::Hints;

const MEMORY_BYTES: usize = 1 << 20;

/// It is refused in so many words, or is a command whose imports are all known.
///
/// With its small functions inlined it is as valid as before. What is noted of it stays within its memory, and comes back as it was written.
pub fn module(bytes: &[u8]) {
    let hints = Hints::of_module(bytes);
    let ranges = hints.ranges(MEMORY_BYTES);
    assert!(ranges.iter().all(|range| range.end <= MEMORY_BYTES));
    let noted = hints.to_bytes();
    let read = noted
        .split_last_chunk()
        .and_then(|(list, end)| Hints::parse(list, end));
    assert_eq!(read, Some(hints));
    #[cfg(feature = "rewriting")]
    if let Some(inlined) = inline::inline(bytes) {
        let is_valid = |module: &[u8]| {
            let features = crate::engine::features();
            let mut validator = wasmparser::Validator::new_with_features(features);
            validator.validate_all(module).is_ok()
        };
        assert_eq!(is_valid(bytes), is_valid(&inlined));
    }
    match policy::check(bytes) {
        Ok(()) => assert!(wasmparser::Parser::is_core_wasm(bytes)),
        Err(Error::Refused { code, message }) => {
            let known = [Code::InvalidModule, Code::UnknownImport, Code::NoStart];
            assert!(known.contains(&code));
            super::check_message(&message);
        }
        Err(Error::Failure(message)) => panic!("a failure of ours: {message}"),
    }
}
