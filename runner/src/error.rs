//! What can go wrong with a request to zvm, apart from the guest's own outcome.
//!
//! Two kinds that never mix: [`Error::Refused`] is the caller's to mend (a bad
//! manifest, layer, artefact or module) and carries a stable code; it is printed
//! as `{"error": {"code", "message"}}` with exit status 65. [`Error::Failure`] is
//! ours or the host's; it goes to the log with exit status 70.

use std::fmt;

use serde::Serialize;

/// Longest message of a refusal, in characters. Messages quote names out of what
/// was refused, and a module may export a name of 100 kB.
const MAX_MESSAGE: usize = 700;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Refused { code: Code, message: String },
    Failure(String),
}

/// Stable codes; all of them are in docs/error-codes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Not a manifest, or one that contradicts itself.
    BadManifest,
    /// A manifest of a version that this zvm does not know.
    UnknownVersion,
    /// A channel's descriptor is not what its entry says.
    BadChannel,
    /// A layer is not a tar file that can be used.
    BadLayer,
    /// The artefact is damaged, of another engine or of another module.
    BadArtefact,
    /// The program is not a WebAssembly module at all.
    NotWasm,
    /// A WebAssembly file that is not a valid module, or uses what is off.
    InvalidModule,
    /// An import that zvm does not provide.
    UnknownImport,
    /// No `_start` or no memory: not a command.
    NoStart,
    /// The module is larger than the limit.
    TooLarge,
    /// Compiling took more time or memory than allowed.
    CompileLimit,
    /// The cache is full of what is in use, or its disk is short.
    NoRoom,
    /// `zvm run`: no such program, file or layer.
    NotFound,
    /// The command line is wrong.
    Usage,
    /// `zvm serve`: no slot in time, or no room to wait.
    Busy,
    /// `zvm serve`: it ends, and takes nothing new.
    Draining,
    /// `zvm serve`: the client took its request back.
    Cancelled,
    /// `zvm serve`: a packet that is not of the protocol.
    BadPacket,
    /// `zvm serve`: a peer of another user.
    Forbidden,
    /// `zvm serve`: another daemon has the socket.
    InUse,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Code::BadManifest => "bad_manifest",
            Code::UnknownVersion => "unknown_version",
            Code::BadChannel => "bad_channel",
            Code::BadLayer => "bad_layer",
            Code::BadArtefact => "bad_artefact",
            Code::NotWasm => "not_wasm",
            Code::InvalidModule => "invalid_module",
            Code::UnknownImport => "unknown_import",
            Code::NoStart => "no_start",
            Code::TooLarge => "too_large",
            Code::CompileLimit => "compile_limit",
            Code::NoRoom => "no_room",
            Code::NotFound => "not_found",
            Code::Usage => "usage",
            Code::Busy => "busy",
            Code::Draining => "draining",
            Code::Cancelled => "cancelled",
            Code::BadPacket => "bad_packet",
            Code::Forbidden => "forbidden",
            Code::InUse => "in_use",
        }
    }

    /// The code of that name, as another process of ours printed it.
    pub fn from_name(name: &str) -> Option<Code> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    const ALL: [Code; 20] = [
        Code::BadManifest,
        Code::UnknownVersion,
        Code::BadChannel,
        Code::BadLayer,
        Code::BadArtefact,
        Code::NotWasm,
        Code::InvalidModule,
        Code::UnknownImport,
        Code::NoStart,
        Code::TooLarge,
        Code::CompileLimit,
        Code::NoRoom,
        Code::NotFound,
        Code::Usage,
        Code::Busy,
        Code::Draining,
        Code::Cancelled,
        Code::BadPacket,
        Code::Forbidden,
        Code::InUse,
    ];
}

impl Error {
    /// A refusal; what the message quotes can neither flood nor colour a log.
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Error::Refused {
            code,
            message: shown(&message.into()),
        }
    }

    /// A failure of ours: what was tried, and why it did not work.
    pub fn failure(what: &str, why: impl fmt::Display) -> Self {
        Error::Failure(format!("{what}: {why}"))
    }

    /// The JSON document for the caller; the details of a failure stay in the log.
    pub fn document(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            error: Body<'a>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            code: &'a str,
            message: &'a str,
        }
        let error = match self {
            Error::Refused { code, message } => Body {
                code: code.name(),
                message,
            },
            Error::Failure(_) => Body {
                code: "failure",
                message: "zvm failed",
            },
        };
        // Two strings always serialise.
        serde_json::to_string(&Document { error }).unwrap_or_default()
    }
}

/// One line of at most [`MAX_MESSAGE`] characters, control characters escaped.
fn shown(message: &str) -> String {
    let escaped: String = message
        .chars()
        .take(MAX_MESSAGE)
        .map(|character| match character.is_control() {
            true => character.escape_debug().to_string(),
            false => character.to_string(),
        })
        .collect();
    let mut line: String = escaped.chars().take(MAX_MESSAGE).collect();
    if line.len() < escaped.len() || message.chars().nth(MAX_MESSAGE).is_some() {
        line.push('…');
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused { message, .. } => out.write_str(message),
            Error::Failure(message) => write!(out, "zvm failed: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<crate::sys::SysError> for Error {
    fn from(error: crate::sys::SysError) -> Self {
        Error::Failure(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_of_a_refusal_has_code_and_message() {
        let error = Error::refused(Code::NotWasm, "not \"wasm\"");
        assert_eq!(
            error.document(),
            r#"{"error":{"code":"not_wasm","message":"not \"wasm\""}}"#
        );
    }

    #[test]
    fn refusals_are_one_line_that_ends() {
        let quoted = Error::refused(Code::NoStart, "exports \u{1b}[31m\n");
        assert_eq!(quoted.to_string(), r"exports \u{1b}[31m\n");
        let long = Error::refused(Code::NoStart, "é".repeat(100_000)).to_string();
        assert_eq!(long.chars().count(), MAX_MESSAGE + 1);
        assert!(long.ends_with("é…"));
    }

    #[test]
    fn document_of_a_failure_tells_nothing_of_the_host() {
        let error = Error::failure("open /secret/path", "denied");
        assert!(!error.document().contains("secret"));
        assert_eq!(error.to_string(), "zvm failed: open /secret/path: denied");
    }

    #[test]
    fn codes_have_distinct_names_that_lead_back() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(code));
        }
        assert_eq!(Code::from_name("nonsense"), None);
    }
}
