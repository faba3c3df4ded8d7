//! A file that should be a module.

use crate::compile::policy;
use crate::error::{Code, Error};

/// It is refused in so many words, or is a command whose imports are all known.
pub fn module(bytes: &[u8]) {
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
