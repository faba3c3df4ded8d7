//! /tmp's own book-keeping: what is counted, refused, kept and given back.

use std::collections::BTreeMap;
use std::io::IoSlice;

use super::super::abi::Errno;
use super::super::scratch::{Content, Limits, ROOT, Scratch};
use crate::ledger::Ledger;
use crate::outcome::Limit;

fn scratch(tmp_bytes: u64, files: u64) -> (Scratch, Ledger) {
    let ledger = Ledger::new(0, 0).unwrap();
    (
        Scratch::new(Limits { tmp_bytes, files }, ledger.clone(), 0),
        ledger,
    )
}

fn file() -> Content {
    Content::File(Vec::new())
}

fn directory() -> Content {
    Content::Directory {
        parent: ROOT,
        entries: BTreeMap::new(),
    }
}

#[test]
fn writes_stop_at_the_limit_and_are_noted() {
    let (mut scratch, ledger) = scratch(10, 9);
    let id = scratch.create(ROOT, b"a", file(), 0).unwrap();
    let buffers = [IoSlice::new(b"123456"), IoSlice::new(b"789012")];
    assert_eq!(scratch.write(id, &buffers[..1], 0, 0), Ok(6));
    assert_eq!(ledger.limits_reached(), []);
    assert_eq!(scratch.write(id, &buffers, 6, 0), Ok(4));
    assert_eq!(ledger.limits_reached(), [Limit::TmpBytes]);
    assert_eq!(scratch.file(id).unwrap(), b"1234561234");
    assert_eq!(scratch.write(id, &buffers, 10, 0), Err(Errno::Nospc));
    assert_eq!(scratch.write(id, &buffers, u64::MAX, 0), Err(Errno::Fbig));
    assert_eq!(scratch.write(id, &buffers, 1 << 40, 0), Err(Errno::Nospc));
    assert_eq!(scratch.write(id, &buffers, 0, 0), Ok(10));
}

#[test]
fn removing_gives_back_what_was_used() {
    let (mut scratch, ledger) = scratch(10, 2);
    for round in 0..5 {
        let id = scratch.create(ROOT, b"a", file(), 0).unwrap();
        assert_eq!(scratch.resize(id, 10, 0), Ok(()), "round {round}");
        scratch.unlink(ROOT, b"a", 0).unwrap();
    }
    assert_eq!(ledger.limits_reached(), []);
}

#[test]
fn an_open_file_outlives_its_name() {
    let (mut scratch, _) = scratch(10, 9);
    let id = scratch.create(ROOT, b"a", file(), 0).unwrap();
    scratch.open(id).unwrap();
    scratch.write(id, &[IoSlice::new(b"x")], 0, 0).unwrap();
    scratch.unlink(ROOT, b"a", 0).unwrap();
    assert_eq!(scratch.file(id).unwrap(), b"x");
    let other = scratch.create(ROOT, b"a", file(), 0).unwrap();
    assert_ne!(other, id);
    scratch.close(id);
    assert_eq!(scratch.file(id), Err(Errno::Stale));
}

#[test]
fn too_many_files_are_refused_and_noted() {
    let (mut scratch, ledger) = scratch(10, 2);
    scratch.create(ROOT, b"a", file(), 0).unwrap();
    scratch.create(ROOT, b"b", directory(), 0).unwrap();
    assert_eq!(scratch.create(ROOT, b"c", file(), 0), Err(Errno::Nospc));
    assert_eq!(ledger.limits_reached(), [Limit::Files]);
}

#[test]
fn each_name_of_a_file_counts_and_is_given_back() {
    let (mut scratch, ledger) = scratch(10, 3);
    let id = scratch.create(ROOT, b"a", file(), 0).unwrap();
    for round in 0..5 {
        scratch.link(id, ROOT, b"b", 0).unwrap();
        scratch.link(id, ROOT, b"c", 0).unwrap();
        assert_eq!(ledger.limits_reached(), [], "round {round}");
        scratch.unlink(ROOT, b"b", 0).unwrap();
        scratch.unlink(ROOT, b"c", 0).unwrap();
    }
    scratch.link(id, ROOT, b"b", 0).unwrap();
    scratch.link(id, ROOT, b"c", 0).unwrap();
    assert_eq!(scratch.link(id, ROOT, b"d", 0), Err(Errno::Nospc));
    assert_eq!(ledger.limits_reached(), [Limit::Files]);
    // The file stays while any name leads to it, whichever was its first.
    for name in [b"a", b"b", b"c"] {
        assert!(scratch.file(id).is_ok());
        scratch.unlink(ROOT, name, 0).unwrap();
    }
    assert_eq!(scratch.file(id), Err(Errno::Stale));
    for name in [b"a", b"b", b"c"] {
        scratch.create(ROOT, name, file(), 0).unwrap();
    }
    assert_eq!(scratch.create(ROOT, b"d", file(), 0), Err(Errno::Nospc));
}

#[test]
fn an_open_file_without_a_name_can_have_one_again_at_no_cost() {
    let (mut scratch, _) = scratch(10, 1);
    let id = scratch.create(ROOT, b"a", file(), 0).unwrap();
    scratch.open(id).unwrap();
    scratch.unlink(ROOT, b"a", 0).unwrap();
    assert_eq!(scratch.create(ROOT, b"b", file(), 0), Err(Errno::Nospc));
    scratch.link(id, ROOT, b"b", 0).unwrap();
    scratch.close(id);
    assert!(scratch.file(id).is_ok());
    scratch.unlink(ROOT, b"b", 0).unwrap();
    scratch.create(ROOT, b"c", file(), 0).unwrap();
}

#[test]
fn nothing_is_created_in_a_removed_directory() {
    let (mut scratch, _) = scratch(10, 9);
    let id = scratch.create(ROOT, b"d", directory(), 0).unwrap();
    scratch.open(id).unwrap();
    scratch.unlink(ROOT, b"d", 0).unwrap();
    assert_eq!(scratch.create(id, b"x", file(), 0), Err(Errno::Noent));
    assert_eq!(scratch.parent(id), ROOT);
}

#[test]
fn holes_and_cut_ends_are_zero() {
    let (mut scratch, _) = scratch(100, 9);
    let id = scratch.create(ROOT, b"a", file(), 0).unwrap();
    scratch.write(id, &[IoSlice::new(b"abcd")], 2, 0).unwrap();
    scratch.resize(id, 3, 0).unwrap();
    scratch.resize(id, 6, 0).unwrap();
    assert_eq!(scratch.file(id).unwrap(), b"\0\0a\0\0\0");
}
