//! Which promise a run is under: repeatable on one instruction set, or on all.
//!
//! The *default* mode costs nothing: a fixed artefact on one instruction set is
//! repeatable as it is. The *strict* mode is repeatable on any instruction set and
//! with any setting of the compiler, and pays for it while it runs: NaNs have one
//! form, work is counted in units of fuel, and the depth of calls is counted in
//! bytes that the module alone decides (`compile::depth`), not in bytes of the
//! native stack.
//!
//! The mode is a property of an artefact as well as of a run; the two must agree.

use serde::{Deserialize, Serialize};

#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    #[default]
    Default,
    Strict,
}

impl Determinism {
    /// The name in manifests, reports and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Determinism::Default => "default",
            Determinism::Strict => "strict",
        }
    }

    pub fn is_strict(self) -> bool {
        self == Determinism::Strict
    }

    /// As a document leaves it out.
    pub fn is_default(&self) -> bool {
        *self == Determinism::Default
    }
}

/// The export of a strict artefact's counter of call depth: bytes that are left.
pub const STACK_EXPORT: &str = "zvm:stack";
/// The export of what was the module's start function, if it had one.
pub const START_EXPORT: &str = "zvm:start";
