//! What belongs to one guest while it runs: the data of its store.
//!
//! Host functions end the session by storing an outcome in [`Guest::end`] and
//! returning an error from the call, which unwinds the guest's stack at once.

pub mod limiter;
pub mod run;
pub mod trap;
pub mod tree;
pub mod wasi;

use crate::outcome::Outcome;

/// The store's data: everything that a host function can reach.
pub struct Guest {
    pub wasi: wasi::Wasi,
    pub limiter: limiter::Limiter,
    /// Set by a host function that ends the run, before it returns its error.
    pub end: Option<Outcome>,
}
