//! Listing directories, with any buffer and while they change.

use super::*;
use crate::guest::tree::tests::{file, layer, symlink};

fn machine() -> Machine {
    let image = layer(
        "image",
        &[
            file("lib/b.py", "1"),
            file("lib/a.py", "22"),
            file("lib/sub/c", ""),
            symlink("lib/link", "a.py"),
        ],
    );
    Machine::new(vec![], vec![image])
}

#[test]
fn entries_come_sorted_with_type_and_inode_after_the_dots() {
    let mut machine = machine();
    let listed = machine.list("/lib", 4096);
    let seen: Vec<(&str, u8)> = listed
        .iter()
        .map(|entry| (entry.name.as_str(), entry.file_type))
        .collect();
    assert_eq!(
        seen,
        [
            (".", DIRECTORY),
            ("..", DIRECTORY),
            ("a.py", REGULAR),
            ("b.py", REGULAR),
            ("link", SYMLINK),
            ("sub", DIRECTORY)
        ]
    );
    for entry in &listed {
        let stat = machine.lstat(&format!("/lib/{}", entry.name)).unwrap();
        assert_eq!((stat.inode, stat.file_type), (entry.inode, entry.file_type));
        assert_ne!(entry.inode, 0);
    }
    assert_eq!(machine.names("/"), ["dev", "lib", "tmp"]);
}

#[test]
fn any_buffer_gives_the_same_entries() {
    let mut machine = machine();
    machine.mkdir("/tmp/d").unwrap();
    for name in ["x", "yy", "zzz", "a longer name", "b"] {
        let fd = machine.create(&format!("/tmp/d/{name}")).unwrap();
        machine.close(fd).unwrap();
    }
    for path in ["/", "/lib", "/dev", "/tmp/d"] {
        let whole = machine.list(path, 4096);
        for room in 40..200 {
            assert_eq!(machine.list(path, room), whole, "{path} with {room} bytes");
        }
    }
}

#[test]
fn a_full_buffer_ends_in_a_cut_entry() {
    let mut machine = machine();
    let fd = machine.open("/lib", oflags::DIRECTORY, READ).unwrap();
    for room in 0..60 {
        assert_eq!(
            machine.readdir_once(fd, 0, room).unwrap().len(),
            room as usize
        );
    }
    let whole = machine.readdir_once(fd, 0, 4096).unwrap();
    assert_eq!(
        machine.readdir_once(fd, 0, whole.len() as u32).unwrap(),
        whole
    );
    assert_eq!(machine.readdir_once(fd, 6, 4096), Ok(vec![]));
    assert_eq!(machine.readdir_once(fd, u64::MAX, 4096), Ok(vec![]));
}

#[test]
fn deleting_what_was_listed_skips_nothing() {
    let mut machine = machine();
    let mut expected = Vec::new();
    for number in 0..20 {
        let name = format!("file-{number:02}");
        let fd = machine.create(&format!("/tmp/{name}")).unwrap();
        machine.close(fd).unwrap();
        expected.push(name);
    }
    let fd = machine.open("/tmp", oflags::DIRECTORY, READ).unwrap();
    let (mut seen, mut cookie) = (Vec::new(), 0);
    loop {
        let bytes = machine.readdir_once(fd, cookie, 100).unwrap();
        let (entries, next) = parse_entries(&bytes);
        for entry in entries.iter().filter(|entry| !entry.name.starts_with('.')) {
            machine.unlink(&format!("/tmp/{}", entry.name)).unwrap();
            seen.push(entry.name.clone());
        }
        if bytes.len() < 100 {
            break;
        }
        cookie = next.unwrap();
    }
    assert_eq!(seen, expected);
    assert_eq!(machine.names("/tmp"), [""; 0]);
}

#[test]
fn the_root_is_its_own_parent() {
    let mut machine = machine();
    let listed = machine.list("/", 4096);
    assert_eq!(listed[0].inode, listed[1].inode);
    let (tmp, root) = (machine.list("/tmp", 4096), listed[0].inode);
    assert_eq!(tmp[1].inode, root);
    assert_eq!(machine.list("/dev", 4096)[1].inode, root);
}
