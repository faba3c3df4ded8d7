//! Random bytes: the extendable output of BLAKE3 under the job's seed.
//!
//! The same seed gives the same bytes in the same order; without the seed they
//! cannot be told from chance or predicted from earlier ones.

use super::{Call, Fault};
use crate::chance::{Source, noise};

/// Separates this use of a seed from any other.
const CONTEXT: &str = "zerocloud zvm 2026-11 random_get of a guest";

pub struct Random {
    output: blake3::OutputReader,
}

impl Random {
    pub fn new(seed: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(seed);
        if let Some(noise) = noise(Source::Seed) {
            hasher.update(&noise.to_le_bytes());
        }
        Random {
            output: hasher.finalize_xof(),
        }
    }

    /// Whether any byte was drawn.
    #[cfg(feature = "template")]
    pub fn is_used(&self) -> bool {
        self.output.position() != 0
    }

    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.output.fill(buffer);
    }
}

pub fn random_get(call: &mut Call<'_>, buffer: u32, length: u32) -> Result<(), Fault> {
    call.wasi
        .random
        .fill(call.memory.slice_mut(buffer, length)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_depend_on_the_seed_and_not_on_how_they_are_asked_for() {
        let (mut whole, mut parts, mut other) = ([0; 100], [0; 100], [0; 100]);
        Random::new(&[1; 32]).fill(&mut whole);
        let mut random = Random::new(&[1; 32]);
        for part in parts.chunks_mut(7) {
            random.fill(part);
        }
        Random::new(&[2; 32]).fill(&mut other);
        assert_eq!(whole, parts);
        assert_ne!(whole, other);
    }
}
