//! What must be true of a guest's world between two calls; for tests and fuzzing.

use std::collections::BTreeMap;

use super::*;

impl Wasi {
    /// Calls without a module have this memory.
    pub fn use_memory(&mut self, memory: wasmtime::Memory) {
        self.memory = Some(memory);
    }

    /// Panics if a promise about the state is broken.
    pub fn audit(&self) {
        let mut opens = BTreeMap::new();
        for descriptor in self.table.audit() {
            if let Object::ScratchFile(id) | Object::Directory(Place::Scratch(id)) =
                descriptor.object
            {
                *opens.entry(id).or_default() += 1;
            }
        }
        self.namespace.scratch.audit(&opens);
        for (number, channel) in self.channels.iter().enumerate() {
            let counts = self.ledger.counts(number);
            assert_eq!(channel.counts(), counts, "{}", channel.path());
            channel.audit();
        }
        assert!(self.clock.realtime() >= self.clock.start());
    }
}
