//! Layers that must be refused, each with an error that says what and where; and
//! random damage, which must never do anything worse than be refused.

use std::io::Write;
use std::os::fd::OwnedFd;

use super::super::{MAX_ENTRIES, MAX_PATH_BYTES};
use super::*;

#[test]
fn names_that_leave_the_tree_are_refused() {
    for (name, why) in [
        ("/etc/x", "has an absolute path; a relative one is needed"),
        ("../x", "has '..' in its path"),
        ("a/../../x", "has '..' in its path"),
        ("a/..", "has '..' in its path"),
    ] {
        let expected = format!("layer image: entry {name} {why}");
        assert_eq!(refusal(&[file(name, "")]), expected);
        assert_eq!(refusal(&[directory(name)]), expected);
        assert_eq!(refusal(&[pax(&[("path", name)]), file("x", "")]), expected);
    }
    let mut split = Entry::new(b'0', "x");
    split.put(345, b"/abs");
    assert!(
        refusal(&[split.bytes()])
            .ends_with("entry /abs/x has an absolute path; a relative one is needed")
    );
}

#[test]
fn hard_links_out_of_the_layer_are_refused() {
    for (target, why) in [
        ("/a", "an absolute path; a relative one is needed"),
        ("../a", "which has '..' in its path"),
        ("missing", "which is no earlier file of this layer"),
        ("d", "which is no earlier file of this layer"),
        ("link", "which is no earlier file of this layer"),
        ("a/b", "which is no earlier file of this layer"),
        ("", "which is no earlier file of this layer"),
    ] {
        let entries = [file("a", ""), directory("d"), hard_link("link", target)];
        let expected =
            format!("layer image: entry link is a hard link to {target}, {why}");
        assert_eq!(refusal(&entries), expected);
    }
    let layers = vec![
        layer("top", &[hard_link("link", "a")]),
        layer("bottom", &[file("a", "")]),
    ];
    let error = Tree::new(layers).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer top: entry link is a hard link to a, which is no earlier file of this layer"
    );
}

#[test]
fn what_a_tree_cannot_hold_is_refused() {
    for (kind, why) in [
        (b'3', "is a device; devices are not allowed"),
        (b'4', "is a device; devices are not allowed"),
        (b'6', "is a FIFO; FIFOs are not allowed"),
        (b'S', "is a sparse file; write the tar without sparse files"),
        (b'?', "has the unknown type '?'"),
        (0xff, "has the unknown type '\\xff'"),
    ] {
        let expected = format!("layer image: entry x {why}");
        assert_eq!(refusal(&[Entry::new(kind, "x").bytes()]), expected);
    }
    let sparse = [pax(&[("GNU.sparse.major", "1")]), file("x", "")];
    assert!(refusal(&sparse).contains("is a sparse file"));
    let global = Entry::new(b'g', "g").data(b"9 path=a\n").bytes();
    assert!(refusal(&[global]).contains("is a global header that sets a path or a size"));
    let comment = Entry::new(b'g', "g").data(b"13 comment=a\n").bytes();
    assert_eq!(
        shown(&tree(&[comment, file("x", "1")]), "x").as_deref(),
        Some("1")
    );
}

#[test]
fn names_that_are_in_the_way_are_refused() {
    assert_eq!(
        refusal(&[file("a", ""), file("a/b", "")]),
        "layer image: entry a/b lies under a, which is not a directory"
    );
    assert_eq!(
        refusal(&[symlink("a", "/"), file("a/b", "")]),
        "layer image: entry a/b lies under a, which is not a directory"
    );
    for entries in [
        [file("a", ""), directory("a")],
        [file("a/b", ""), file("a", "")],
    ] {
        assert!(
            refusal(&entries)
                .ends_with("is a directory in one place and none in another")
        );
    }
}

#[test]
fn dev_and_tmp_cannot_be_filled_by_an_image() {
    for entry in [
        file("dev/null", ""),
        file("tmp/a/b", ""),
        directory("tmp/a"),
        file("dev", ""),
        symlink("tmp", "usr"),
    ] {
        assert!(refusal(&[entry]).contains("is in /dev or /tmp, which belong to the VM"));
    }
    assert_eq!(
        shown(&tree(&[file("a/dev/null", "1")]), "a/dev/null").as_deref(),
        Some("1")
    );
}

#[test]
fn lengths_beyond_the_limits_are_refused() {
    let name = "n".repeat(256);
    assert!(
        refusal(&[pax(&[("path", &name)]), file("x", "")])
            .ends_with("has a name longer than 255 bytes in its path")
    );
    let path = "n/".repeat(MAX_PATH_BYTES / 2) + "n";
    assert!(
        refusal(&[pax(&[("path", &path)]), file("x", "")])
            .ends_with("has a path longer than 4096 bytes")
    );
    let target = "n".repeat(MAX_PATH_BYTES + 1);
    assert!(
        refusal(&[pax(&[("linkpath", &target)]), symlink("x", "y")])
            .contains("is a symbolic link to nothing")
    );
    assert!(refusal(&[symlink("x", "")]).contains("is a symbolic link to nothing"));
    let huge = Entry::new(b'L', "x")
        .data(&vec![b'n'; (1 << 20) + 1])
        .bytes();
    assert!(refusal(&[huge]).contains("has a header of 1048577 bytes at byte 512"));
    assert!(refusal(&[pax(&[("path", "a\0b")]), file("x", "")]).contains("has a NUL"));
    assert!(refusal(&[file("", "")]).ends_with("has no name"));
}

#[test]
fn sizes_that_pass_the_end_are_refused() {
    for (size, shown) in [
        (&b"00000100000\0"[..], "32768"),
        (
            &[0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
            "18446744073709551615",
        ),
        (
            &[0x80, 0, 0, 0, 127, 255, 255, 255, 255, 255, 255, 255],
            "9223372036854775807",
        ),
    ] {
        let mut entry = Entry::new(b'0', "x");
        entry.put(124, size);
        let expected = format!(
            "layer image: entry x has {shown} bytes, which passes the end of the tar"
        );
        assert_eq!(refusal(&[entry.bytes()]), expected);
    }
    for size in [
        &[0xff; 12][..],
        b"0000000-001\0",
        b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut entry = Entry::new(b'0', "x");
        entry.put(124, size);
        assert_eq!(
            refusal(&[entry.bytes()]),
            "layer image: entry x has a size that is no number"
        );
    }
}

#[test]
fn what_is_not_a_plain_tar_is_refused() {
    for (magic, format) in [
        (&b"\x1f\x8b\x08\0"[..], "gzip"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ] {
        let error = TarLayer::from_bytes(magic.to_vec(), "image").unwrap_err();
        let expected =
            format!("layer image: is compressed with {format}; a layer is a plain tar");
        assert_eq!(error.to_string(), expected);
    }
    let open = |bytes: &[u8]| {
        let layer = TarLayer::from_bytes(bytes.to_vec(), "image").unwrap();
        Tree::new(vec![layer]).unwrap_err().to_string()
    };
    assert_eq!(
        open(b"hello"),
        "layer image: ends inside a header at byte 0"
    );
    assert_eq!(
        open(&[b'x'; 512]),
        "layer image: is no tar: the header at byte 0 has a wrong checksum"
    );
    let mut broken = [file("a", ""), file("b", "")].concat();
    broken[600] ^= 1;
    assert_eq!(
        open(&broken),
        "layer image: is no tar: the header at byte 512 has a wrong checksum"
    );
    // A name that looks like a compressed file is only a name.
    assert!(TarLayer::from_bytes(file("BZh", ""), "image").is_ok());
}

#[test]
fn error_texts_hold_no_control_characters_and_end() {
    let error = refusal(&[pax(&[("path", "/a\x1b[31m\nb\u{85}")]), file("x", "")]);
    assert!(
        error.contains("entry /a\\u{1b}[31m\\nb\\u{85} has an absolute path"),
        "{error}"
    );
    let error = refusal(&[
        pax(&[("path", &format!("/{}", "n".repeat(4000)))]),
        file("x", ""),
    ]);
    assert!(error.len() < 250, "{error}");
}

#[test]
fn paths_that_imply_too_many_directories_are_refused() {
    let mut entries = Vec::new();
    for number in 0..=MAX_ENTRIES / 1900 {
        let path = format!("{number}/{}", "d/".repeat(1900));
        entries.push(pax(&[("path", &path)]));
        entries.push(file("x", ""));
    }
    let expected = format!("has more than {MAX_ENTRIES} files and directories");
    assert!(refusal(&entries).ends_with(&expected));
}

/// A generator of repeatable numbers; not for anything but tests.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }
}

/// Puts the checksum right, so that damage gets past it.
fn mend(bytes: &mut [u8], at: usize) {
    let Some(block) = bytes.get_mut(at..at + 512) else {
        return;
    };
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn damaged_layers_never_panic() {
    let mut split = Entry::new(b'0', "f");
    split.put(345, b"some/prefix");
    let good = [
        directory("d/"),
        file("d/a", "content"),
        hard_link("d/b", "d/a"),
        symlink("s", "d/a"),
        pax(&[("path", "long/name"), ("size", "3"), ("mtime", "1.5")]),
        file("x", "abc"),
        Entry::new(b'L', "l").data(b"gnu/long\0").bytes(),
        file("y", "z"),
        split.bytes(),
        vec![0; 1024],
    ]
    .concat();
    let mut numbers = Numbers(0x5eed);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..6000 {
        let mut bytes = good.clone();
        for _ in 0..=numbers.next() % 4 {
            let at = numbers.next() % bytes.len();
            let value = [0, b'/', b'.', b'7', b'\n', 0x80, 0xff, numbers.next() as u8];
            bytes[at] = value[numbers.next() % value.len()];
            if round % 4 != 0 {
                mend(&mut bytes, at / 512 * 512);
            }
        }
        if round % 5 == 0 {
            bytes.truncate(numbers.next() % bytes.len());
        }
        let lower = layer("lower", &[file("d", "file"), file("s/t", "")]);
        let Ok(damaged) = TarLayer::from_bytes(bytes.clone(), "damaged") else {
            continue;
        };
        let found = Tree::new(vec![damaged, lower]).map(|mut tree| walk(&mut tree));
        match &found {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
        if round % 8 != 1 {
            continue;
        }
        // Its headers read from a file are no other.
        let read = TarLayer::open_to_index(memory_file(&bytes), "damaged").unwrap();
        let lower = layer("lower", &[file("d", "file"), file("s/t", "")]);
        let again = Tree::new(vec![read, lower]).map(|mut tree| walk(&mut tree));
        assert_eq!(again, found);
    }
    assert!(
        accepted > 500 && refused > 500,
        "{accepted} accepted, {refused} refused"
    );
}

fn memory_file(bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("tar", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = std::fs::File::from(fd.unwrap());
    file.write_all(bytes).unwrap();
    file.into()
}
