//! What must be true of /tmp between two calls; for tests and fuzzing.

#![allow(clippy::indexing_slicing)] // A panic is what an audit is for.

use std::collections::BTreeSet;

use super::*;

impl Scratch {
    /// Panics if a count is wrong or a node is lost. `opens` are the descriptors by
    /// the node that they are open on.
    pub fn audit(&self, opens: &BTreeMap<ScratchId, u32>) {
        let mut names: BTreeMap<ScratchId, u32> = BTreeMap::from([(ROOT, 1)]);
        for (id, node) in self.present() {
            if let Content::Directory { entries, .. } = &node.content {
                assert!(node.links > 0 || entries.is_empty());
                for (name, child) in entries {
                    assert!(!name.is_empty() && !name.contains(&b'/'));
                    *names.entry(*child).or_default() += 1;
                    let child = self.nodes[*child as usize].as_ref();
                    if let Some(Content::Directory { parent, .. }) =
                        child.map(|node| &node.content)
                    {
                        assert_eq!(*parent, id);
                    }
                }
            }
        }
        let count = |of: &BTreeMap<ScratchId, u32>, id| of.get(&id).copied().unwrap_or(0);
        let mut serials = BTreeSet::new();
        for (id, node) in self.present() {
            assert_eq!(
                (node.links, node.opens),
                (count(&names, id), count(opens, id))
            );
            assert!(node.links > 0 || node.opens > 0, "{id} is lost");
            assert!(serials.insert(node.serial) && node.serial < self.next_serial);
            if let Content::File(bytes) = &node.content {
                assert!(bytes.capacity() <= 2 * bytes.len() + 1, "kept, not counted");
            }
            // Every directory that has a name is below /tmp, not in a circle.
            assert!(self.depth(id) <= self.nodes.len());
        }
        assert!(
            names
                .keys()
                .chain(opens.keys())
                .all(|id| self.node(*id).is_ok())
        );
        self.audit_limits();
    }

    fn present(&self) -> impl Iterator<Item = (ScratchId, &Node)> {
        let numbered = (0..).zip(&self.nodes);
        numbered.filter_map(|(id, node)| node.as_ref().map(|node| (id, node)))
    }

    fn depth(&self, mut id: ScratchId) -> usize {
        let steps = 0..=self.nodes.len();
        let up = steps.take_while(|_| {
            let below = id != ROOT;
            id = self.parent(id);
            below
        });
        up.count()
    }

    fn audit_limits(&self) {
        let bytes: u64 = self.present().map(|(_, node)| node.content.size()).sum();
        assert_eq!(self.used_bytes, bytes);
        // A name each; what is open and has none counts as well.
        let names = self.present().map(|(_, node)| u64::from(node.links.max(1)));
        assert_eq!(self.used_files + 1, names.sum::<u64>());
        assert!(self.used_bytes <= self.limits.tmp_bytes);
        assert!(self.used_files <= self.limits.files);
        let free: BTreeSet<_> = self.free.iter().collect();
        assert!(free.iter().all(|id| self.nodes[**id as usize].is_none()));
        assert_eq!(free.len(), self.free.len(), "free twice");
        assert_eq!(free.len() + self.present().count(), self.nodes.len());
    }
}
