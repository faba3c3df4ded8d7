//! The records of a pax extended header: `LENGTH KEY=VALUE\n`, one after another.
//!
//! They override fields of the next header. Only the keys that the index needs
//! are kept; sparse files are refused because their bytes are not in one piece.

/// What a pax header says about the entry that follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides<'a> {
    pub path: Option<&'a [u8]>,
    pub link_path: Option<&'a [u8]>,
    pub size: Option<u64>,
    pub modified_seconds: Option<u64>,
}

/// Reads all records of `data` over `overrides`; the last of a key wins.
///
/// Fails with what is wrong if a record's length is not right, a size is not a
/// number, or the entry is sparse.
pub fn parse<'a>(
    mut data: &'a [u8],
    overrides: &mut Overrides<'a>,
) -> Result<(), &'static str> {
    const BROKEN: &str = "has a broken pax header";
    while !data.is_empty() {
        let blank = data
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or(BROKEN)?;
        let length = decimal(data.get(..blank).ok_or(BROKEN)?).ok_or(BROKEN)?;
        let length = usize::try_from(length).map_err(|_| BROKEN)?;
        let record = data.get(blank + 1..length).ok_or(BROKEN)?;
        let Some((b'\n', record)) = record.split_last() else {
            return Err(BROKEN);
        };
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(BROKEN)?;
        let key = record.get(..equals).ok_or(BROKEN)?;
        let value = record.get(equals + 1..).ok_or(BROKEN)?;
        apply(key, value, overrides)?;
        data = data.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn apply<'a>(
    key: &[u8],
    value: &'a [u8],
    overrides: &mut Overrides<'a>,
) -> Result<(), &'static str> {
    // An empty value takes back what an earlier record said.
    let text = (!value.is_empty()).then_some(value);
    match key {
        b"path" => overrides.path = text,
        b"linkpath" => overrides.link_path = text,
        b"size" => {
            let size =
                text.map(|text| decimal(text).ok_or("has a size that is no number"));
            overrides.size = size.transpose()?;
        }
        b"mtime" => overrides.modified_seconds = text.and_then(whole_seconds),
        _ if key.starts_with(b"GNU.sparse.") => {
            return Err("is a sparse file; write the tar without sparse files");
        }
        _ => {}
    }
    Ok(())
}

/// The seconds of a time such as `1700000000.25`; `None` before 1970.
fn whole_seconds(text: &[u8]) -> Option<u64> {
    decimal(text.split(|byte| *byte == b'.').next()?)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(data: &[u8]) -> Result<Overrides<'_>, &'static str> {
        let mut overrides = Overrides::default();
        parse(data, &mut overrides).map(|()| overrides)
    }

    #[test]
    fn records_are_read_in_order_and_unknown_keys_ignored() {
        let got =
            parsed(b"9 path=a\n11 size=12\n16 mtime=17.500\n12 uname=me\n").unwrap();
        assert_eq!(got.path, Some(&b"a"[..]));
        assert_eq!((got.size, got.modified_seconds), (Some(12), Some(17)));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for data in [
            &b"8 path=a\n"[..],
            b"99 path=a\n",
            b"0 path=a\n",
            b"1 path=a\n",
            b"path=a\n",
            b"184467440737095516160 path=a\n",
            b"7 path\n",
        ] {
            assert_eq!(parsed(data), Err("has a broken pax header"));
        }
    }

    #[test]
    fn sparse_files_are_refused() {
        let got = parsed(b"22 GNU.sparse.major=1\n");
        assert_eq!(
            got,
            Err("is a sparse file; write the tar without sparse files")
        );
    }
}
