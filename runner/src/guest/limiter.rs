//! Decides every growth of a guest's memory and tables, from the manifest alone.
//!
//! The answer never depends on the host: the address space is reserved before
//! the run, and pages that the host cannot give end in a kill, not in a refused
//! `memory.grow` that the guest could observe.

use wasmtime::{ResourceLimiter, Result};

use crate::ledger::Ledger;
use crate::outcome::Limit;

/// Elements of all tables; each costs 8 bytes of host memory.
const TABLE_ELEMENTS: usize = 1 << 20;

pub struct Limiter {
    ledger: Ledger,
    memory_bytes: usize,
}

impl Limiter {
    pub fn new(ledger: Ledger, memory_bytes: u64) -> Self {
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        Limiter {
            ledger,
            memory_bytes,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > self.memory_bytes {
            self.ledger.note(Limit::MemoryBytes);
            return Ok(false);
        }
        self.ledger.raise_memory_peak(desired as u64);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > TABLE_ELEMENTS {
            self.ledger.note(Limit::TableElements);
            return Ok(false);
        }
        Ok(true)
    }
}
