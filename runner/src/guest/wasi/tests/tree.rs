//! Paths into read-only layers, and links that try to leave.

use super::*;
use crate::guest::tree::tests::{file, hard_link, layer, symlink};

fn machine() -> Machine {
    let image = layer(
        "image",
        &[
            file("usr/lib/a", "in the layer"),
            hard_link("usr/lib/hard", "usr/lib/a"),
            symlink("lib", "usr/lib"),
            symlink("usr/lib/absolute", "/usr/lib/a"),
            symlink("usr/lib/up", "../../../../../../usr/lib/a"),
            symlink("usr/lib/out", "../../../../../../etc/passwd"),
            symlink("usr/lib/scratch", "/tmp/made"),
            symlink("usr/lib/null", "/dev/null"),
            symlink("loop-a", "loop-b"),
            symlink("loop-b", "./loop-a"),
            symlink("self", "self/x"),
        ],
    );
    Machine::new(vec![], vec![image])
}

#[test]
fn files_read_the_same_by_any_path() {
    let mut machine = machine();
    for path in [
        "usr/lib/a",
        "/usr/lib/a",
        "//usr//./lib///a",
        "lib/a",
        "lib/hard",
        "lib/absolute",
        "lib/up",
        "../../usr/lib/a",
        "usr/lib/../lib/a",
        "lib/../lib/a",
        "tmp/../usr/lib/a",
        "dev/in/../../usr/lib/a",
    ] {
        let fd = machine.open(path, 0, READ).unwrap();
        assert_eq!(machine.read(fd, 99), Ok(b"in the layer".to_vec()), "{path}");
        machine.close(fd).unwrap();
    }
    let folder = machine.open("lib", oflags::DIRECTORY, READ).unwrap();
    for path in ["a", "../lib/a", "../../../usr/lib/a", "/usr/lib/a"] {
        let fd = machine.open_at(folder, path, opening(0, READ)).unwrap();
        assert_eq!(machine.pread(fd, 5, 7), Ok(b"layer".to_vec()), "{path}");
        machine.close(fd).unwrap();
    }
}

#[test]
fn links_stay_inside_and_end() {
    let mut machine = machine();
    assert_eq!(machine.open("lib/out", 0, READ), Err(Errno::Noent));
    assert_eq!(machine.open("loop-a", 0, READ), Err(Errno::Loop));
    assert_eq!(machine.open("loop-a/x", 0, READ), Err(Errno::Loop));
    assert_eq!(machine.open("self", 0, READ), Err(Errno::Loop));
    assert_eq!(machine.lstat("loop-a").unwrap().file_type, SYMLINK);
    let fd = machine.create("lib/scratch").unwrap();
    machine.write(fd, b"x").unwrap();
    assert_eq!(machine.names("/tmp"), ["made"]);
    assert!(machine.open("lib/null", 0, READ | WRITE).is_ok());
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let mut machine = Machine::with_limits(
        vec![],
        vec![],
        WasiLimits {
            tmp_bytes: 4096,
            files: 64,
        },
    );
    machine.create("/tmp/0").unwrap();
    for number in 1..=41 {
        machine
            .symlink(&format!("{}", number - 1), &format!("/tmp/{number}"))
            .unwrap();
    }
    assert!(machine.stat("/tmp/40").is_ok());
    assert_eq!(machine.stat("/tmp/41").err(), Some(Errno::Loop));
}

#[test]
fn links_that_grow_are_cut_off() {
    let mut machine = machine();
    let long = "x/".repeat(1024);
    machine
        .symlink(&format!("grow/{long}"), "/tmp/grow")
        .unwrap();
    assert_eq!(machine.stat("/tmp/grow").err(), Some(Errno::Nametoolong));
}

#[test]
fn layers_cannot_be_written() {
    let mut machine = machine();
    for (oflags, rights) in [
        (0, WRITE),
        (oflags::TRUNC, READ),
        (oflags::CREAT, READ | WRITE),
    ] {
        assert_eq!(machine.open("/usr/lib/a", oflags, rights), Err(Errno::Rofs));
    }
    assert!(machine.open("/usr/lib/a", oflags::CREAT, READ).is_ok());
    let fd = machine.open("/usr/lib/a", 0, READ).unwrap();
    assert_eq!(machine.write(fd, b"x"), Err(Errno::Badf));
    for result in [
        machine.create("/new").map(drop),
        machine.mkdir("/usr/new"),
        machine.symlink("x", "/new"),
        machine.unlink("/usr/lib/a"),
        machine.unlink("/lib"),
        machine.rmdir("/usr/lib"),
        machine.rename("/usr/lib/a", "/tmp/a"),
    ] {
        assert_eq!(result, Err(Errno::Rofs));
    }
    assert_eq!(machine.mkdir("/usr"), Err(Errno::Exist));
    assert_eq!(machine.link("/usr/lib/a", "/tmp/a"), Err(Errno::Xdev));
    let (path, length) = machine.path("/usr/lib/a");
    let set = machine.call(|call| {
        stat::path_filestat_set_times(call, ROOT_FD, 0, (path, length), (1, 1), 4)
    });
    assert_eq!(set, Err(Errno::Rofs));
}

#[test]
fn bad_paths_are_refused_for_what_is_bad() {
    let mut machine = machine();
    for (path, errno) in [
        ("", Errno::Noent),
        ("a\0b", Errno::Inval),
        ("none/x", Errno::Noent),
        ("usr/lib/a/x", Errno::Notdir),
        ("usr/lib/a/..", Errno::Notdir),
        ("usr/lib/a/", Errno::Notdir),
        ("usr/lib/a/.", Errno::Notdir),
    ] {
        assert_eq!(machine.open(path, 0, READ), Err(errno), "{path:?}");
        assert_eq!(machine.stat(path).err(), Some(errno), "{path:?}");
    }
    assert_eq!(
        machine.open(&"n".repeat(256), 0, READ),
        Err(Errno::Nametoolong)
    );
    assert_eq!(
        machine.create(&format!("/tmp/{}", "n".repeat(256))),
        Err(Errno::Nametoolong)
    );
    assert!(machine.create(&format!("/tmp/{}", "n".repeat(255))).is_ok());
    assert_eq!(
        machine.open(&"./".repeat(3000), 0, READ),
        Err(Errno::Nametoolong)
    );
}

#[test]
fn what_stat_tells_is_fixed() {
    let mut machine = machine();
    let stat = machine.stat("/usr/lib/a").unwrap();
    assert_eq!((stat.file_type, stat.links, stat.size), (REGULAR, 1, 12));
    // The layer's own time where it has one, else the job's.
    assert_eq!(stat.modified, 0o21 * 1_000_000_000);
    assert_eq!(
        (stat.accessed, stat.changed),
        (stat.modified, stat.modified)
    );
    assert_eq!(machine.stat("/usr").unwrap().modified, START);
    let again = self::machine().stat("/usr/lib/a").unwrap();
    assert_eq!(again.inode, stat.inode);
    let link = machine.lstat("/lib").unwrap();
    assert_eq!((link.file_type, link.size), (SYMLINK, 7));
    assert_eq!(machine.stat("/lib").unwrap().file_type, DIRECTORY);
    assert_eq!(machine.lstat("/lib/").unwrap().file_type, DIRECTORY);
}
