//! Decides every growth of a guest's memory and tables, from the manifest alone.
//! The heap that holds exceptions in flight is memory of the guest's too.
//!
//! The answer never depends on the host: the address space is reserved before
//! the run, and pages that the host cannot give end in a kill, not in a refused
//! `memory.grow` that the guest could observe.

use wasmtime::{Error, ResourceLimiter, Result};

use crate::chance::{Source, noise};
use crate::ledger::Ledger;
use crate::outcome::Limit;

/// Elements of all tables together; each costs 8 bytes of host memory, which no
/// other limit of a guest counts.
pub const TABLE_ELEMENTS: usize = 1 << 20;

pub struct Limiter {
    /// None while nobody's instance is made.
    ledger: Option<Ledger>,
    memory_bytes: usize,
    /// Of the memory and of the heap of exceptions.
    used_bytes: usize,
    table_elements: usize,
    /// The last growth of a memory was allowed.
    granted: bool,
    /// One was allowed that the host could not give.
    host_is_out: bool,
}

impl Limiter {
    pub fn new(ledger: Ledger, memory_bytes: u64) -> Self {
        let mut limiter = Limiter::nobodys();
        limiter.assign(ledger, memory_bytes);
        limiter
    }

    /// For an instance whose job is not known: as much memory as there can be.
    pub fn nobodys() -> Self {
        Limiter {
            ledger: None,
            memory_bytes: usize::MAX,
            used_bytes: 0,
            table_elements: 0,
            granted: false,
            host_is_out: false,
        }
    }

    /// Goes over to a job, with what the guest has already; that is within its limit.
    pub fn assign(&mut self, ledger: Ledger, memory_bytes: u64) {
        self.memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        ledger.raise_memory_peak(self.used_bytes as u64);
        self.ledger = Some(ledger);
    }

    fn note(&self, limit: Limit) {
        if let Some(ledger) = &self.ledger {
            ledger.note(limit);
        }
    }

    /// True if the host could not give memory that the guest was allowed. The engine
    /// keeps that to itself when it was for an exception.
    pub fn host_is_out(&self) -> bool {
        self.host_is_out
    }

    /// The first limit that refused something.
    pub fn refused(&self) -> Option<Limit> {
        self.ledger.as_ref()?.limits_reached().into_iter().next()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.granted = false;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let total = self.used_bytes.saturating_add(more);
        if total > self.memory_bytes {
            self.note(Limit::MemoryBytes);
            return Ok(false);
        }
        let refuses = noise(Source::MemoryGrow).is_some_and(|noise| noise % 2 == 1);
        // The memory that a module starts with is no answer to anything.
        if refuses && current > 0 {
            return Ok(false);
        }
        self.granted = true;
        self.used_bytes = total;
        if let Some(ledger) = &self.ledger {
            ledger.raise_memory_peak(total as u64);
        }
        Ok(true)
    }

    /// A growth did not happen. If it had been allowed, the host could not give the
    /// memory: the guest must not see that, so it ends the run, as a failure of ours.
    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        self.host_is_out |= self.granted;
        match self.granted {
            true => Err(error.context("the host has no memory for the guest")),
            false => Ok(()),
        }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let total = self.table_elements.saturating_add(more);
        if total > TABLE_ELEMENTS {
            self.note(Limit::TableElements);
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(memory_bytes: u64) -> (Limiter, Ledger) {
        let ledger = Ledger::new(0, 0).unwrap();
        (Limiter::new(ledger.clone(), memory_bytes), ledger)
    }

    #[test]
    fn memory_grows_up_to_the_limit_and_not_beyond() {
        let (mut limiter, ledger) = limiter(131_072);
        assert!(limiter.memory_growing(0, 131_072, None).unwrap());
        assert_eq!(ledger.limits_reached(), []);
        assert!(!limiter.memory_growing(131_072, 196_608, None).unwrap());
        assert_eq!(ledger.limits_reached(), [Limit::MemoryBytes]);
        assert_eq!(ledger.memory_peak(), 131_072);
    }

    #[test]
    fn memory_and_the_heap_of_exceptions_are_counted_together() {
        let (mut limiter, ledger) = limiter(262_144);
        assert!(limiter.memory_growing(0, 131_072, None).unwrap());
        assert!(limiter.memory_growing(0, 65_536, None).unwrap());
        assert!(limiter.memory_growing(65_536, 131_072, None).unwrap());
        assert_eq!(ledger.memory_peak(), 262_144);
        assert_eq!(ledger.limits_reached(), []);
        assert!(!limiter.memory_growing(131_072, 196_608, None).unwrap());
        assert_eq!(ledger.limits_reached(), [Limit::MemoryBytes]);
    }

    #[test]
    fn what_was_made_ahead_counts_for_the_job() {
        let mut limiter = Limiter::nobodys();
        assert!(limiter.memory_growing(0, 131_072, None).unwrap());
        let ledger = Ledger::new(0, 0).unwrap();
        limiter.assign(ledger.clone(), 196_608);
        assert_eq!(ledger.memory_peak(), 131_072);
        assert!(limiter.memory_growing(131_072, 196_608, None).unwrap());
        assert!(!limiter.memory_growing(196_608, 262_144, None).unwrap());
        assert_eq!(ledger.memory_peak(), 196_608);
        assert_eq!(ledger.limits_reached(), [Limit::MemoryBytes]);
    }

    #[test]
    fn a_maximum_of_the_modules_own_is_no_limit_of_ours() {
        let (mut limiter, ledger) = limiter(1 << 20);
        assert!(!limiter.memory_growing(0, 131_072, Some(65_536)).unwrap());
        assert_eq!(ledger.limits_reached(), []);
    }

    #[test]
    fn memory_that_the_host_cannot_give_ends_the_run_and_is_no_answer() {
        let (mut limiter, _ledger) = limiter(131_072);
        let failed = |limiter: &mut Limiter| {
            let error = wasmtime::format_err!("cannot allocate");
            limiter.memory_grow_failed(error).is_err()
        };
        // More than a memory can be: a refusal that every host gives.
        assert!(!failed(&mut limiter));
        assert!(!limiter.host_is_out());
        assert!(limiter.memory_growing(0, 65_536, None).unwrap());
        assert!(failed(&mut limiter));
        assert!(!limiter.memory_growing(0, 196_608, None).unwrap());
        assert!(!failed(&mut limiter));
        // Not forgotten: the engine may have kept it to itself.
        assert!(limiter.host_is_out());
    }

    #[test]
    fn tables_are_counted_together() {
        let (mut limiter, ledger) = limiter(0);
        let half = TABLE_ELEMENTS / 2;
        assert!(limiter.table_growing(0, half, None).unwrap());
        assert!(limiter.table_growing(0, half, None).unwrap());
        assert_eq!(ledger.limits_reached(), []);
        assert!(!limiter.table_growing(half, half + 1, None).unwrap());
        assert_eq!(ledger.limits_reached(), [Limit::TableElements]);
    }
}
