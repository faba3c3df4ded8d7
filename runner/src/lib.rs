//! The runner of ZeroCloud: one WebAssembly program, run once, as a disposable
//! virtual machine that reaches its declared channels and nothing else.
//!
//! Trust zones, from outside in:
//!
//! 1. `manifest`, `session` (parent), `serve` (daemon), `report`: the caller's word
//!    is checked for form, then believed. No guest byte decides anything here.
//! 2. `compile`: looks at a stranger's module before any of it is native code.
//! 3. `engine`, `guest`, `channel`: the child process. Whatever the guest passes
//!    (pointers, lengths, names, tar images) is hostile and checked here.
//! 4. `lockdown`: what the processes of zones 2 and 3 give up before they look at
//!    anything of a stranger's. It assumes that those zones have failed.
//! 5. `sys`: the only place with `unsafe`.

pub mod artefact;
pub mod chance;
pub mod channel;
pub mod cli;
pub mod compile;
pub mod determinism;
pub mod engine;
pub mod error;
pub mod exit;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod guest;
pub mod hints;
pub mod ledger;
pub mod lockdown;
pub mod manifest;
pub mod outcome;
pub mod receipt;
pub mod report;
pub mod serve;
pub mod session;
pub mod sys;
#[cfg(feature = "template")]
pub mod template;
pub mod weights;
