//! A run of a template, to see which pages of its memory every run will write to.
//!
//! The kernel tells them: memory begins as a mapping of the snapshot, and a page of it
//! that was written to is a copy. (Comparing contents would miss the many pages in
//! which a count goes up and down again.)

use std::fs::File;
use std::os::unix::fs::FileExt;

use wasmtime::Engine;

use crate::error::Error;
use crate::guest::trap;
use crate::hints::{Hints, MAX_PAGES, PAGE_BYTES};
use crate::outcome::Outcome;

use super::{Made, Trial, instantiate, refused};

/// Bytes of an entry of the kernel's list of pages, and its flags.
const ENTRY_BYTES: usize = 8;
const PRESENT: u64 = 1 << 63;
const OF_A_FILE: u64 = 1 << 61;

/// Runs `template` over `layer` with the arguments and the environment of `trial`.
pub fn run(
    engine: &Engine,
    template: &[u8],
    layer: &File,
    trial: Trial,
) -> Result<Hints, Error> {
    let Made {
        mut store,
        instance,
        ledger,
        ..
    } = instantiate(engine, template, layer, trial)?;
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| refused("it exports no memory"))?;
    let start = instance
        .get_typed_func::<(), ()>(&mut store, "_start")
        .map_err(refused)?;
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
    let pages = own_pages(memory.data(&store))
        .map_err(|error| Error::failure("pages of the trial", error))?;
    Ok(Hints { late: false, pages })
}

/// Numbers of the pages that are this process's own, the first ones if they are many.
fn own_pages(memory: &[u8]) -> std::io::Result<Vec<u32>> {
    let mut entries = vec![0; memory.len() / PAGE_BYTES * ENTRY_BYTES];
    let first = memory.as_ptr().addr() / PAGE_BYTES * ENTRY_BYTES;
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, first as u64)?;
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    let own = (0u32..).zip(entries).filter(|(_, entry)| {
        let entry = u64::from_ne_bytes(**entry);
        entry & PRESENT != 0 && entry & OF_A_FILE == 0
    });
    Ok(own.map(|(page, _)| page).take(MAX_PAGES).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::determinism::Determinism;
    use crate::engine;

    /// Runs a module with five pages of data, whose `_start` does `what`.
    fn tried(what: &str) -> Result<Hints, Error> {
        let text = format!(
            "(module (memory (export \"memory\") 1)
               (data (i32.const 0) \"{}\")
               (func (export \"_start\") {what}))",
            "7".repeat(5 * PAGE_BYTES)
        );
        let module = wat::parse_str(text).unwrap();
        let kind = Determinism::Default;
        let engine = engine::engine(engine::DEFAULT_STACK_BYTES, kind).unwrap();
        let memfd = rustix::fs::memfd_create("layer", rustix::fs::MemfdFlags::CLOEXEC);
        let layer = File::from(memfd.unwrap());
        layer.set_len(1024).unwrap();
        let trial = Trial {
            args: vec!["x".to_owned()],
            env: Vec::new(),
        };
        run(&engine, &module, &layer, trial)
    }

    #[test]
    fn pages_that_were_written_to_are_found_even_if_they_are_as_before() {
        let found = tried(
            "(drop (i32.load8_u (i32.const 4096)))
             (i32.store8 (i32.const 8192) (i32.load8_u (i32.const 8192)))
             (i32.store8 (i32.const 16384) (i32.const 1))",
        );
        assert_eq!(found.unwrap().pages, [2, 4]);
    }

    #[test]
    fn a_trial_that_fails_is_no_trial() {
        let text = tried("unreachable").unwrap_err().to_string();
        assert!(text.contains("the trial ended"), "{text}");
    }
}
