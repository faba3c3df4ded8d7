//! Which nodes lie in which directory, in the order of their names.
//!
//! Made when a guest first lists a directory, for all directories at once, in
//! time linear in the size of the tree; each one's names are sorted when it is
//! first listed itself. Many programs list none. Where a stack is kept for many
//! guests, all of that is done once.

use super::index::{DETACHED, Index, NodeId, ROOT};

/// The children of each directory, as ranges of one list.
pub struct Children {
    /// `starts[id]..starts[id + 1]` is the range of directory `id`.
    starts: Vec<u32>,
    ids: Vec<NodeId>,
    is_sorted: Vec<bool>,
}

impl Children {
    /// Groups all nodes by parent, in one pass of counting and one of placing.
    pub fn group(index: &Index) -> Self {
        let count = index.records.len();
        let linked = || {
            let records = index.records.iter().enumerate().skip(1);
            records.filter(|(_, record)| record.parent != DETACHED)
        };
        let mut starts = vec![0u32; count + 2];
        for (_, record) in linked() {
            if let Some(start) = starts.get_mut(record.parent as usize + 2) {
                *start += 1;
            }
        }
        let mut total = 0;
        for start in &mut starts {
            total += *start;
            *start = total;
        }
        // Now `starts[id + 1]` is where the next child of `id` goes; once all
        // are placed it is the end of `id`'s range.
        let mut ids = vec![ROOT; count];
        for (id, record) in linked() {
            if let Some(start) = starts.get_mut(record.parent as usize + 1) {
                if let Some(slot) = ids.get_mut(*start as usize) {
                    *slot = id as NodeId;
                }
                *start += 1;
            }
        }
        Children {
            starts,
            ids,
            is_sorted: vec![false; count],
        }
    }

    /// Sorts the lists of all directories.
    pub fn sort_all<'a>(&mut self, name: impl Fn(NodeId) -> &'a [u8]) {
        for id in 0..self.is_sorted.len() {
            self.sorted(id as NodeId, &name);
        }
    }

    /// The children of `id`, in the order in which they were left.
    pub fn of(&self, id: NodeId) -> &[NodeId] {
        self.ids.get(self.range(id)).unwrap_or_default()
    }

    fn range(&self, id: NodeId) -> std::ops::Range<usize> {
        let bound = |at: usize| self.starts.get(at).map_or(0, |start| *start as usize);
        bound(id as usize)..bound(id as usize + 1)
    }

    /// The children of `id`, sorted by their names.
    pub fn sorted<'a>(
        &mut self,
        id: NodeId,
        name: impl Fn(NodeId) -> &'a [u8],
    ) -> &[NodeId] {
        let range = self.range(id);
        let Some(ids) = self.ids.get_mut(range) else {
            return &[];
        };
        if let Some(is_sorted) = self.is_sorted.get_mut(id as usize)
            && !*is_sorted
        {
            ids.sort_unstable_by(|left, right| name(*left).cmp(name(*right)));
            *is_sorted = true;
        }
        ids
    }
}
