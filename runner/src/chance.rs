//! Where chance could get into a run, were the host layer less careful.
//!
//! Each place asks [`noise`] for its source, and does what a careless host would do
//! when it gets some. In every build that runs strangers' code the answer is none,
//! at compile time. A build with the feature `planted-chance`, which does not
//! compile without debug assertions, gives noise for the sources that `ZVM_CHANCE`
//! names (with commas), so that a test can see that each of them would be noticed
//! (tests/chance.rs): a suite that finds nothing proves nothing otherwise.

/// What a careless host would let a guest see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The host's clock.
    Clock,
    /// The resolution of the host's clock.
    ClockResolution,
    /// A seed of the host's own.
    Seed,
    /// Directories as a file system happens to hold them.
    DirectoryOrder,
    /// Numbers of the host's inodes.
    Inode,
    /// Times of the host's files.
    ModifiedTime,
    /// Sizes that somebody else changes meanwhile.
    FileSize,
    /// As much of a file as a call happened to give.
    ShortRead,
    /// As much of a pipe as there happened to be.
    ShortPipe,
    /// Descriptors of the host's own among the guest's.
    DescriptorNumber,
    /// An environment out of a hash table.
    EnvironmentOrder,
    /// The host's reasons for a failure.
    Errno,
    /// What was ready when it was asked for.
    Poll,
    /// Memory that the host happened to have.
    MemoryGrow,
    /// A native stack of another size.
    NativeStack,
    /// Fuel counted by time.
    Fuel,
    /// A digest of what was read that saw other bytes.
    ReadDigest,
    /// A digest of what was written that saw other bytes.
    WriteDigest,
}

impl Source {
    pub const ALL: [Source; 18] = [
        Source::Clock,
        Source::ClockResolution,
        Source::Seed,
        Source::DirectoryOrder,
        Source::Inode,
        Source::ModifiedTime,
        Source::FileSize,
        Source::ShortRead,
        Source::ShortPipe,
        Source::DescriptorNumber,
        Source::EnvironmentOrder,
        Source::Errno,
        Source::Poll,
        Source::MemoryGrow,
        Source::NativeStack,
        Source::Fuel,
        Source::ReadDigest,
        Source::WriteDigest,
    ];
}

/// Noise from `source`: none.
#[cfg(not(feature = "planted-chance"))]
#[inline(always)]
pub fn noise(_source: Source) -> Option<u64> {
    None
}

#[cfg(feature = "planted-chance")]
pub use planted::{VARIABLE, noise};

#[cfg(feature = "planted-chance")]
mod planted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Source;

    #[cfg(not(debug_assertions))]
    compile_error!(
        "planted-chance is for tests: builds without debug assertions have none"
    );

    /// Variable that names the sources.
    pub const VARIABLE: &str = "ZVM_CHANCE";

    /// Noise from `source`, if a test asked for it: other numbers in each run.
    pub fn noise(source: Source) -> Option<u64> {
        static CHOSEN: OnceLock<String> = OnceLock::new();
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let chosen = CHOSEN.get_or_init(|| std::env::var(VARIABLE).unwrap_or_default());
        let name = format!("{source:?}");
        if !chosen.split(',').any(|word| word == name) {
            return None;
        }
        // Read without a system call, as a VM must; mixed as splitmix64 does.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let mut word = (now.tv_nsec as u64) ^ ((now.tv_sec as u64) << 32) ^ (drawn << 50);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(word ^ (word >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_noise_unless_a_test_asks_for_it() {
        for source in Source::ALL {
            assert_eq!(noise(source), None, "{source:?}");
        }
    }
}
