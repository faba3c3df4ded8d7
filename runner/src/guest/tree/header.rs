//! One 512-byte tar header: ustar, its GNU variant, and the older V7 form.
//!
//! Only fields that the index needs are read. Owners, modes and device numbers
//! mean nothing to a guest.

/// Size of a header, and what everything in a tar is padded to.
pub const BLOCK: usize = 512;

const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A header whose checksum has been found right.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    block: &'a [u8; BLOCK],
}

/// Why a block is not a header.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderError {
    Checksum,
    /// The named field is not a number, is negative or passes 64 bits.
    Number(&'static str),
}

impl<'a> Header<'a> {
    /// Checks that `block` is a header; `None` if it is all zeros, which ends
    /// the archive.
    pub fn parse(block: &'a [u8; BLOCK]) -> Result<Option<Self>, HeaderError> {
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        if sum == 0 {
            return Ok(None);
        }
        let header = Header { block };
        let field = header.field(CHECKSUM);
        let stored = octal(field).ok_or(HeaderError::Checksum)?;
        // The checksum counts its own field as blanks.
        let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
        let expected = sum - own + 8 * u32::from(b' ');
        if stored != u64::from(expected) && !header.has_signed_checksum(stored) {
            return Err(HeaderError::Checksum);
        }
        Ok(Some(header))
    }

    /// The header in a block that `parse` has passed before.
    pub fn of_checked(block: &'a [u8; BLOCK]) -> Self {
        Header { block }
    }

    /// Some historic writers summed bytes as signed.
    fn has_signed_checksum(&self, stored: u64) -> bool {
        let signed = |bytes: &[u8]| -> i64 {
            bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum()
        };
        let expected =
            signed(self.block) - signed(self.field(CHECKSUM)) + 8 * i64::from(b' ');
        i64::try_from(stored) == Ok(expected)
    }

    fn field(&self, range: std::ops::Range<usize>) -> &'a [u8] {
        self.block.get(range).unwrap_or_default()
    }

    pub fn kind(&self) -> u8 {
        self.field(156..157).first().copied().unwrap_or_default()
    }

    pub fn name(&self) -> &'a [u8] {
        until_nul(self.field(0..100))
    }

    pub fn link_name(&self) -> &'a [u8] {
        until_nul(self.field(157..257))
    }

    /// What goes before the name, with a slash between. Only POSIX headers have
    /// it; GNU headers keep other things in its place.
    pub fn prefix(&self) -> &'a [u8] {
        if self.field(257..263) == b"ustar\0" {
            until_nul(self.field(345..500))
        } else {
            b""
        }
    }

    pub fn size(&self) -> Result<u64, HeaderError> {
        number(self.field(124..136)).ok_or(HeaderError::Number("size"))
    }

    /// Seconds since 1970. A time that cannot be read is no reason to refuse an
    /// archive; it counts as 0.
    pub fn modified_seconds(&self) -> u64 {
        number(self.field(136..148)).unwrap_or_default()
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    field.get(..end).unwrap_or_default()
}

/// A number in octal digits or, with the top bit of the first byte set, in
/// base 256. `None` for negative ones and those that pass 64 bits.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    match *first {
        0x80 => rest.iter().try_fold(0u64, |value, byte| {
            Some(value.checked_mul(256)? | u64::from(*byte))
        }),
        // Bits beyond the flag would be above 2^88; 0xff begins a negative one.
        0x81..=0xff => None,
        _ => octal(field),
    }
}

/// Octal digits, led by blanks and ended by a blank, a NUL or the field's end.
/// An empty field is 0, as historic writers leave unused ones blank.
fn octal(field: &[u8]) -> Option<u64> {
    let mut digits = field.iter().copied().skip_while(|byte| *byte == b' ');
    let mut value = 0u64;
    for byte in digits.by_ref() {
        match byte {
            b'0'..=b'7' => value = value.checked_mul(8)? + u64::from(byte - b'0'),
            b' ' | 0 => break,
            _ => return None,
        }
    }
    digits
        .all(|byte| byte == b' ' || byte == 0)
        .then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_takes_blanks_and_stops_at_the_end() {
        assert_eq!(octal(b"  0644 \0"), Some(0o644));
        assert_eq!(octal(b"77777777777"), Some(0o77777777777));
        assert_eq!(octal(b"\0\0\0"), Some(0));
        assert_eq!(octal(b"12x"), None);
        assert_eq!(octal(b"12\0 7"), None);
        assert_eq!(octal(b"-1"), None);
    }

    #[test]
    fn number_takes_base_256_up_to_64_bits() {
        let mut field = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(number(&field), Some(258));
        field = [0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(number(&field), Some(u64::MAX));
        field = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(number(&field), None);
        field = [0xff; 12];
        assert_eq!(number(&field), None);
    }
}
