//! Bytes as a list of choices: what a target takes from libFuzzer's input.

/// Gives zeros when it has come to its end, so that every input means something.
#[derive(Clone)]
pub struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Script { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// At most `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    pub fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// A little-endian number of `length` bytes.
    pub fn number(&mut self, length: usize) -> u64 {
        let bytes = self.take(length).iter().rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A string of at most 255 bytes behind its length.
    pub fn string(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }
}
