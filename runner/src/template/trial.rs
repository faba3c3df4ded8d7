//! A run of a template, to see which pages of its memory every run will write to.
//!
//! What is compared is the memory before the run and after it: a page that a run
//! wrote to and left as it was is missing, and costs that run what it always cost.

use std::fs::File;

use wasmtime::{Engine, Linker, Module};

use crate::error::Error;
use crate::guest::{trap, wasi};
use crate::hints::{Hints, MAX_PAGES, PAGE_BYTES};
use crate::ledger::Ledger;
use crate::outcome::Outcome;

use super::{STDERR_BYTES, Trial, refused, store};

/// Runs `template` over `layer` with the arguments and the environment of `trial`.
pub fn run(
    engine: &Engine,
    template: &[u8],
    layer: &File,
    trial: Trial,
) -> Result<Hints, Error> {
    let compiled = Module::new(engine, template).map_err(refused)?;
    let ledger = Ledger::new(0, STDERR_BYTES)?;
    let mut store = store(engine, layer, trial, &ledger)?;
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker, &compiled)
        .map_err(|error| Error::failure("link", error))?;
    let instance = linker.instantiate(&mut store, &compiled).map_err(refused)?;
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| refused("it exports no memory"))?;
    let start = instance
        .get_typed_func::<(), ()>(&mut store, "_start")
        .map_err(refused)?;
    let before = memory.data(&store).to_vec();
    let ended = start.call(&mut store, ());
    let how = match (ended, store.data_mut().end.take()) {
        (Ok(()), _) => Outcome::Exit(0),
        (Err(_), Some(end)) => end,
        (Err(error), None) => trap::outcome(&error),
    };
    if how != Outcome::Exit(0) {
        let said = String::from_utf8_lossy(&ledger.stderr_tail()).into_owned();
        return Err(refused(format!("the trial ended: {how:?}: {said}")));
    }
    let pages = differing(&before, memory.data(&store));
    Ok(Hints { late: false, pages })
}

/// Numbers of the pages that differ, the first ones if they are many. Memory that was
/// added is not looked at: it is nobody's copy.
fn differing(before: &[u8], after: &[u8]) -> Vec<u32> {
    let pairs = before.chunks(PAGE_BYTES).zip(after.chunks(PAGE_BYTES));
    let differ = pairs.zip(0u32..).filter(|((one, other), _)| one != other);
    differ.map(|(_, page)| page).take(MAX_PAGES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_differ_are_found() {
        let before = vec![0; 4 * PAGE_BYTES];
        let mut after = vec![0; 6 * PAGE_BYTES];
        for at in [PAGE_BYTES - 1, 2 * PAGE_BYTES, 5 * PAGE_BYTES] {
            after[at] = 1;
        }
        assert_eq!(differing(&before, &after), [0, 2]);
        assert_eq!(differing(&before, &before), [0u32; 0]);
    }
}
