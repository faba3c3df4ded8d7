//! What the VM process writes down while it runs, so that it survives a kill.
//!
//! The ledger is a shared mapping made before the fork, anonymous or of a sealed
//! file: counters and a digest per channel, the peak of the linear memory, the
//! limits that refused something, the tail of stderr and, last of all, the verdict.
//! The child writes; the parent reads once the child is gone, whichever way it
//! went. It is the only way from child to parent: no pipe that could fill, no
//! descriptor to keep.
//!
//! A compromised child can write lies here, but the parent takes only numbers and
//! bytes from it, bounded by its own sizes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::outcome::Limit;
use crate::sys::{self, SharedMemory};

type SysResult<T> = Result<T, sys::SysError>;

const WORD: usize = 8;
/// Words before the channels' own: memory peak, limits reached, length of all that
/// was written to stderr, length of the verdict, when the guest began, fuel used.
pub(crate) const HEAD_WORDS: usize = 6;
const MEMORY_PEAK: usize = 0;
const LIMITS_REACHED: usize = 1;
const STDERR_TOTAL: usize = 2;
pub(crate) const VERDICT_LENGTH: usize = 3;
const BEGAN: usize = 4;
const FUEL_USED: usize = 5;
/// Per channel: four counters, a mark that there is a digest, the digest.
pub(crate) const WORDS_PER_CHANNEL: usize = 9;
const DIGEST_MARK: usize = 4;
const DIGEST: usize = 5;
/// Room for the verdict, before the ring of stderr; a longer message is cut by
/// whoever writes it.
const VERDICT_BYTES: usize = 16 << 10;

/// Shared account of one session. Clones refer to the same memory.
#[derive(Clone, Debug)]
pub struct Ledger {
    memory: Arc<SharedMemory>,
    channels: usize,
    stderr_bytes: usize,
}

/// The four counters of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub write_bytes: u64,
}

impl Ledger {
    /// Makes an empty ledger for `channels` channels that keeps the last
    /// `stderr_bytes` bytes of stderr.
    pub fn new(channels: usize, stderr_bytes: usize) -> Result<Self, sys::SysError> {
        let words = HEAD_WORDS + channels * WORDS_PER_CHANNEL;
        let memory = SharedMemory::new(words, stderr_bytes + VERDICT_BYTES)?;
        Ok(Ledger {
            memory: Arc::new(memory),
            channels,
            stderr_bytes,
        })
    }

    /// Makes an empty ledger in a file, by which a process that is not our child
    /// by fork can be given it: see [`Ledger::open`].
    pub fn new_file(channels: usize, stderr_bytes: usize) -> SysResult<(Self, OwnedFd)> {
        let words = HEAD_WORDS + channels * WORDS_PER_CHANNEL;
        let fd = SharedMemory::new_file(words, stderr_bytes + VERDICT_BYTES)?;
        let ledger = Self::open(&fd, channels, stderr_bytes)?;
        Ok((ledger, fd))
    }

    /// The ledger in a file that [`Ledger::new_file`] made with the same numbers.
    pub fn open(fd: impl AsFd, channels: usize, stderr_bytes: usize) -> SysResult<Self> {
        let words = HEAD_WORDS + channels * WORDS_PER_CHANNEL;
        let memory = SharedMemory::open(fd, words, stderr_bytes + VERDICT_BYTES)?;
        Ok(Ledger {
            memory: Arc::new(memory),
            channels,
            stderr_bytes,
        })
    }

    /// The same memory, used for so many channels and so much of stderr; none if
    /// it was made for less. Both processes must use the same numbers.
    pub fn shaped(&self, channels: usize, stderr_bytes: usize) -> Option<Self> {
        let fits = channels <= self.channels && stderr_bytes <= self.stderr_bytes;
        fits.then(|| Ledger {
            memory: Arc::clone(&self.memory),
            channels,
            stderr_bytes,
        })
    }

    /// Has the pages at hand that every session writes to.
    pub fn touch(&self) {
        self.put(BEGAN, 0);
        self.store(0, &[0]);
        self.store(VERDICT_BYTES, &[0]);
    }

    /// Notes that the guest's first instruction comes next.
    pub fn begin(&self, monotonic_nanoseconds: u64) {
        self.put(BEGAN, monotonic_nanoseconds);
    }

    /// When the guest began, on the host's monotonic clock; none if it did not.
    pub fn began(&self) -> Option<u64> {
        Some(self.get(BEGAN)).filter(|nanoseconds| *nanoseconds > 0)
    }

    /// Notes how much fuel the guest had used at its end.
    pub fn set_fuel_used(&self, units: u64) {
        self.put(FUEL_USED, units);
    }

    pub fn fuel_used(&self) -> u64 {
        self.get(FUEL_USED)
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.memory.words().get(index)
    }

    fn get(&self, index: usize) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn put(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Notes that `limit` refused something without ending the guest.
    pub fn note(&self, limit: Limit) {
        self.put(LIMITS_REACHED, self.get(LIMITS_REACHED) | 1 << limit as u32);
    }

    /// The limits noted so far.
    pub fn limits_reached(&self) -> Vec<Limit> {
        let bits = self.get(LIMITS_REACHED);
        Limit::ALL
            .into_iter()
            .filter(|limit| bits >> *limit as u32 & 1 == 1)
            .collect()
    }

    /// Raises the peak of the guest's linear memory.
    pub fn raise_memory_peak(&self, bytes: u64) {
        self.put(MEMORY_PEAK, self.get(MEMORY_PEAK).max(bytes));
    }

    pub fn memory_peak(&self) -> u64 {
        self.get(MEMORY_PEAK)
    }

    /// The counters of channel `index`, in the manifest's order.
    pub fn counts(&self, index: usize) -> Counts {
        let base = HEAD_WORDS + index * WORDS_PER_CHANNEL;
        Counts {
            reads: self.get(base),
            read_bytes: self.get(base + 1),
            writes: self.get(base + 2),
            write_bytes: self.get(base + 3),
        }
    }

    /// Stores the counters of channel `index`; ignored beyond the last channel.
    pub fn set_counts(&self, index: usize, counts: Counts) {
        if index >= self.channels {
            return;
        }
        let base = HEAD_WORDS + index * WORDS_PER_CHANNEL;
        self.put(base, counts.reads);
        self.put(base + 1, counts.read_bytes);
        self.put(base + 2, counts.writes);
        self.put(base + 3, counts.write_bytes);
    }

    /// Stores the digest of what channel `index` delivered.
    pub fn set_digest(&self, index: usize, digest: [u8; 32]) {
        if index >= self.channels {
            return;
        }
        let base = HEAD_WORDS + index * WORDS_PER_CHANNEL;
        for (at, bytes) in digest.chunks_exact(WORD).enumerate() {
            let bytes = bytes.try_into().unwrap_or([0; WORD]);
            self.put(base + DIGEST + at, u64::from_le_bytes(bytes));
        }
        self.put(base + DIGEST_MARK, 1);
    }

    /// The digest of what channel `index` delivered, if there is one.
    pub fn digest(&self, index: usize) -> Option<[u8; 32]> {
        let base = HEAD_WORDS + index * WORDS_PER_CHANNEL;
        if index >= self.channels || self.get(base + DIGEST_MARK) != 1 {
            return None;
        }
        let mut digest = [0; 32];
        for (at, bytes) in digest.chunks_exact_mut(WORD).enumerate() {
            bytes.copy_from_slice(&self.get(base + DIGEST + at).to_le_bytes());
        }
        Some(digest)
    }

    /// Stores the verdict, the child's last word. False if it is too long.
    pub fn set_verdict(&self, text: &[u8]) -> bool {
        if text.len() > VERDICT_BYTES {
            return false;
        }
        self.store(0, text);
        self.put(VERDICT_LENGTH, text.len() as u64);
        true
    }

    /// The verdict; empty if the child did not come so far.
    pub fn verdict(&self) -> Vec<u8> {
        let length = self.get(VERDICT_LENGTH).min(VERDICT_BYTES as u64);
        self.load(0, length as usize)
    }

    /// Appends to the ring that holds the end of stderr, and notes when the beginning
    /// of it is lost.
    pub fn append_stderr(&self, bytes: &[u8]) {
        let capacity = self.stderr_bytes;
        let total = self.get(STDERR_TOTAL);
        let sum = total.saturating_add(bytes.len() as u64);
        self.put(STDERR_TOTAL, sum);
        if sum > capacity as u64 {
            self.note(Limit::StderrBytes);
        }
        if capacity == 0 {
            return;
        }
        // Only the last `capacity` bytes can survive; skip the others.
        let skipped = bytes.len().saturating_sub(capacity);
        let kept = bytes.get(skipped..).unwrap_or_default();
        let start = ((total + skipped as u64) % capacity as u64) as usize;
        let (first, second) = kept.split_at(kept.len().min(capacity - start));
        self.store(VERDICT_BYTES + start, first);
        self.store(VERDICT_BYTES, second);
    }

    fn store(&self, offset: usize, data: &[u8]) {
        let slots = self.memory.bytes().get(offset..).unwrap_or_default();
        for (slot, byte) in slots.iter().zip(data) {
            slot.store(*byte, Ordering::Relaxed);
        }
    }

    fn load(&self, offset: usize, length: usize) -> Vec<u8> {
        let slots = self.memory.bytes().get(offset..).unwrap_or_default();
        slots
            .iter()
            .take(length)
            .map(|slot| slot.load(Ordering::Relaxed))
            .collect()
    }

    /// The last bytes of stderr, in order.
    pub fn stderr_tail(&self) -> Vec<u8> {
        let capacity = self.stderr_bytes;
        let total = self.get(STDERR_TOTAL);
        if total <= capacity as u64 {
            return self.load(VERDICT_BYTES, total as usize);
        }
        let start = (total % capacity.max(1) as u64) as usize;
        let mut tail = self.load(VERDICT_BYTES + start, capacity - start);
        tail.extend(self.load(VERDICT_BYTES, start));
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_tail_keeps_the_end_across_the_ring() {
        let ledger = Ledger::new(0, 8).unwrap();
        ledger.append_stderr(b"abc");
        assert_eq!(ledger.stderr_tail(), b"abc");
        ledger.append_stderr(b"defgh");
        assert_eq!(ledger.stderr_tail(), b"abcdefgh");
        assert_eq!(ledger.limits_reached(), []);
        ledger.append_stderr(b"ij");
        assert_eq!(ledger.stderr_tail(), b"cdefghij");
        assert_eq!(ledger.limits_reached(), [Limit::StderrBytes]);
        ledger.append_stderr(b"0123456789abcdef");
        assert_eq!(ledger.stderr_tail(), b"89abcdef");
    }

    #[test]
    fn stderr_tail_of_nothing_is_empty() {
        let ledger = Ledger::new(0, 0).unwrap();
        ledger.append_stderr(b"lost");
        assert_eq!(ledger.stderr_tail(), b"");
    }

    #[test]
    fn limits_are_noted_once_each_in_order() {
        let ledger = Ledger::new(1, 0).unwrap();
        ledger.note(Limit::TmpBytes);
        ledger.note(Limit::MemoryBytes);
        ledger.note(Limit::TmpBytes);
        assert_eq!(
            ledger.limits_reached(),
            [Limit::MemoryBytes, Limit::TmpBytes]
        );
    }

    #[test]
    fn verdict_and_digest_come_back_as_stored() {
        let ledger = Ledger::new(2, 5).unwrap();
        assert_eq!(ledger.verdict(), b"");
        assert!(ledger.set_verdict(b"done"));
        ledger.append_stderr(b"0123456789");
        assert_eq!(ledger.verdict(), b"done");
        assert!(!ledger.set_verdict(&vec![0; VERDICT_BYTES + 1]));
        let digest = std::array::from_fn(|at| at as u8);
        ledger.set_digest(1, digest);
        assert_eq!((ledger.digest(0), ledger.digest(1)), (None, Some(digest)));
    }

    #[test]
    fn a_ledger_in_a_file_is_the_same_for_all_who_open_it() {
        let (ours, file) = Ledger::new_file(4, 64).unwrap();
        let theirs = Ledger::open(&file, 4, 64).unwrap();
        assert!(theirs.shaped(5, 8).is_none() && theirs.shaped(4, 65).is_none());
        let (ours, theirs) = (ours.shaped(1, 8).unwrap(), theirs.shaped(1, 8).unwrap());
        theirs.append_stderr(b"0123456789");
        theirs.set_digest(0, [7; 32]);
        assert!(theirs.set_verdict(b"done"));
        assert_eq!(ours.stderr_tail(), b"23456789");
        assert_eq!((ours.digest(0), ours.digest(1)), (Some([7; 32]), None));
        assert_eq!(ours.verdict(), b"done");
        assert_eq!(ours.began(), None);
        theirs.begin(5);
        assert_eq!(ours.began(), Some(5));
    }

    #[test]
    fn a_ledger_cannot_be_cut_under_its_reader() {
        let (_, file) = Ledger::new_file(1, 8).unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert!(Ledger::open(&file, 100_000, 8).is_err());
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let plain = rustix::fs::memfd_create("plain", flags).unwrap();
        rustix::fs::ftruncate(&plain, 1 << 20).unwrap();
        assert!(Ledger::open(&plain, 1, 8).is_err());
    }

    #[test]
    fn counts_beyond_the_last_channel_are_ignored() {
        let ledger = Ledger::new(1, 4).unwrap();
        let counts = Counts {
            reads: 1,
            read_bytes: 2,
            writes: 3,
            write_bytes: 4,
        };
        ledger.set_counts(0, counts);
        ledger.set_counts(1, counts);
        assert_eq!(ledger.counts(0), counts);
        assert_eq!(ledger.counts(7), Counts::default());
        assert_eq!(ledger.stderr_tail(), b"");
    }
}
