//! Slots for VMs and the queue before them: first come, first served. Pure.
//!
//! A job is in a slot or in the queue or not here. The executor decides by memory
//! and by its own slots before it asks; this bounds what the daemon itself can be
//! made to hold, whoever asks.

use std::collections::VecDeque;

/// The number of a job in this daemon.
pub type JobId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has a slot.
    Slot,
    /// It waits for one.
    Queued,
    /// There is no slot, and no room to wait, or it does not want to.
    Full,
}

#[derive(Debug)]
pub struct Admission {
    slots: usize,
    places: usize,
    taken: usize,
    queue: VecDeque<JobId>,
}

impl Admission {
    pub fn new(slots: usize, places: usize) -> Self {
        Admission {
            slots,
            places,
            taken: 0,
            queue: VecDeque::new(),
        }
    }

    pub fn enter(&mut self, job: JobId, may_wait: bool) -> Entry {
        if self.taken < self.slots {
            self.taken += 1;
            return Entry::Slot;
        }
        if !may_wait || self.queue.len() >= self.places {
            return Entry::Full;
        }
        self.queue.push_back(job);
        Entry::Queued
    }

    /// A slot is given up; the job that has it now, if one waited.
    pub fn leave(&mut self) -> Option<JobId> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.taken = self.taken.saturating_sub(1);
        }
        next
    }

    /// A job gives up waiting. False if it does not wait.
    pub fn give_up(&mut self, job: JobId) -> bool {
        let before = self.queue.len();
        self.queue.retain(|waiting| *waiting != job);
        self.queue.len() < before
    }

    /// Everybody gives up waiting.
    pub fn give_up_all(&mut self) -> Vec<JobId> {
        self.queue.drain(..).collect()
    }

    /// Gives up the room that a crowd needed.
    pub fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }

    pub fn taken(&self) -> usize {
        self.taken
    }

    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_then_places_then_no_more() {
        let mut admission = Admission::new(1, 1);
        assert_eq!(admission.enter(1, true), Entry::Slot);
        assert_eq!(admission.enter(2, false), Entry::Full);
        assert_eq!(admission.enter(3, true), Entry::Queued);
        assert_eq!(admission.enter(4, true), Entry::Full);
        assert_eq!((admission.taken(), admission.waiting()), (1, 1));
    }

    #[test]
    fn a_slot_goes_to_whoever_waited_longest() {
        let mut admission = Admission::new(1, 3);
        for job in 1..=4 {
            admission.enter(job, true);
        }
        assert!(admission.give_up(3) && !admission.give_up(1));
        assert_eq!(admission.leave(), Some(2));
        assert_eq!(admission.leave(), Some(4));
        assert_eq!(admission.leave(), None);
        assert_eq!(admission.enter(5, false), Entry::Slot);
    }
}
