//! What can be done with names in /tmp, as POSIX has it.

use super::*;
use crate::outcome::Limit;

#[test]
fn files_are_made_written_read_and_removed() {
    let mut machine = Machine::bare();
    let fd = machine.create("/tmp/a").unwrap();
    assert_eq!(machine.write(fd, b"hello"), Ok(5));
    assert_eq!(machine.seek(fd, 1, 0), Ok(1));
    assert_eq!(machine.read(fd, 9), Ok(b"ello".to_vec()));
    assert_eq!(machine.pwrite(fd, b"J", 0), Ok(1));
    assert_eq!(machine.pread(fd, 9, 0), Ok(b"Jello".to_vec()));
    assert_eq!(machine.seek(fd, 0, 1), Ok(5));
    let stat = machine.stat("/tmp/a").unwrap();
    assert_eq!((stat.file_type, stat.size, stat.links), (REGULAR, 5, 1));
    machine.unlink("/tmp/a").unwrap();
    assert_eq!(machine.stat("/tmp/a").err(), Some(Errno::Noent));
    assert_eq!(machine.pread(fd, 9, 0), Ok(b"Jello".to_vec()));
    assert_eq!(machine.fstat(fd).unwrap().links, 0);
}

#[test]
fn opening_flags_mean_what_posix_says() {
    let mut machine = Machine::bare();
    assert_eq!(machine.open("/tmp/a", 0, READ), Err(Errno::Noent));
    let exclusive = oflags::CREAT | oflags::EXCL;
    let fd = machine.open("/tmp/a", exclusive, WRITE).unwrap();
    machine.write(fd, b"1234").unwrap();
    assert_eq!(machine.open("/tmp/a", exclusive, WRITE), Err(Errno::Exist));
    assert_eq!(
        machine.open("/tmp/a", oflags::DIRECTORY, READ),
        Err(Errno::Notdir)
    );
    assert_eq!(machine.open("/tmp/a/", 0, READ), Err(Errno::Notdir));
    assert_eq!(
        machine.open("/tmp/new/", oflags::CREAT, WRITE),
        Err(Errno::Isdir)
    );
    assert_eq!(
        machine.open("/tmp/new/x", oflags::CREAT, WRITE),
        Err(Errno::Noent)
    );
    assert_eq!(machine.open("/tmp", 0, READ | WRITE), Err(Errno::Isdir));
    assert_eq!(machine.open("/tmp", oflags::CREAT, READ), Err(Errno::Isdir));
    assert_eq!(
        machine.open("/tmp", oflags::DIRECTORY, READ | WRITE),
        Err(Errno::Isdir)
    );
    assert!(machine.open("/tmp", 0, READ).is_ok());
    assert_eq!(machine.open("/tmp/a", 16, READ), Err(Errno::Inval));
    let read_only = machine.open("/tmp/a", 0, READ).unwrap();
    assert_eq!(machine.write(read_only, b"x"), Err(Errno::Badf));
    let write_only = machine.open("/tmp/a", 0, WRITE).unwrap();
    assert_eq!(machine.read(write_only, 1), Err(Errno::Badf));
    machine.open("/tmp/a", oflags::TRUNC, WRITE).unwrap();
    assert_eq!(machine.stat("/tmp/a").unwrap().size, 0);
}

#[test]
fn directories_are_made_and_removed_when_empty() {
    let mut machine = Machine::bare();
    machine.mkdir("/tmp/d").unwrap();
    machine.mkdir("/tmp/d/e/").unwrap();
    assert_eq!(machine.mkdir("/tmp/d"), Err(Errno::Exist));
    assert_eq!(machine.mkdir("/tmp/x/y"), Err(Errno::Noent));
    assert_eq!(machine.rmdir("/tmp/d"), Err(Errno::Notempty));
    assert_eq!(machine.unlink("/tmp/d"), Err(Errno::Isdir));
    machine.create("/tmp/d/f").unwrap();
    assert_eq!(machine.rmdir("/tmp/d/f"), Err(Errno::Notdir));
    assert_eq!(machine.unlink("/tmp/d/f/"), Err(Errno::Notdir));
    assert_eq!(machine.rmdir("/tmp/d/e/."), Err(Errno::Inval));
    machine.rmdir("/tmp/d/e/").unwrap();
    machine.unlink("/tmp/d/f").unwrap();
    machine.rmdir("/tmp/d").unwrap();
    assert_eq!(machine.rmdir("/tmp/d"), Err(Errno::Noent));
    assert_eq!(machine.rmdir("/tmp"), Err(Errno::Busy));
    assert_eq!(machine.unlink("/tmp/none"), Err(Errno::Noent));
}

#[test]
fn renaming_replaces_what_may_be_replaced() {
    let mut machine = Machine::bare();
    for name in ["a", "b"] {
        let fd = machine.create(&format!("/tmp/{name}")).unwrap();
        machine.write(fd, name.as_bytes()).unwrap();
    }
    machine.rename("/tmp/a", "/tmp/b").unwrap();
    assert_eq!(machine.names("/tmp"), ["b"]);
    machine.mkdir("/tmp/d").unwrap();
    machine.mkdir("/tmp/full").unwrap();
    machine.mkdir("/tmp/full/x").unwrap();
    assert_eq!(machine.rename("/tmp/b", "/tmp/d"), Err(Errno::Isdir));
    assert_eq!(machine.rename("/tmp/d", "/tmp/b"), Err(Errno::Notdir));
    assert_eq!(machine.rename("/tmp/d", "/tmp/full"), Err(Errno::Notempty));
    assert_eq!(
        machine.rename("/tmp/full", "/tmp/full/x/y"),
        Err(Errno::Inval)
    );
    assert_eq!(machine.rename("/tmp/full", "/tmp/full"), Ok(()));
    assert_eq!(machine.rename("/tmp/b", "/tmp/new/"), Err(Errno::Notdir));
    assert_eq!(machine.rename("/tmp/b", "/elsewhere"), Err(Errno::Rofs));
    assert_eq!(machine.rename("/tmp/none", "/tmp/x"), Err(Errno::Noent));
    assert_eq!(machine.rename("/tmp", "/tmp/x"), Err(Errno::Busy));
    machine.rename("/tmp/full", "/tmp/d").unwrap();
    machine.rename("/tmp/b", "/tmp/d/x/b").unwrap();
    assert_eq!(machine.names("/tmp"), ["d"]);
    assert_eq!(machine.names("/tmp/d/x"), ["b"]);
    assert_eq!(machine.stat("/tmp/d/x/../../d/x/b").unwrap().size, 1);
}

#[test]
fn hard_links_share_the_file() {
    let mut machine = Machine::bare();
    let fd = machine.create("/tmp/a").unwrap();
    machine.link("/tmp/a", "/tmp/b").unwrap();
    machine.write(fd, b"12").unwrap();
    let (one, two) = (
        machine.stat("/tmp/a").unwrap(),
        machine.stat("/tmp/b").unwrap(),
    );
    assert_eq!((one.inode, one.links, one.size), (two.inode, 2, 2));
    machine.unlink("/tmp/a").unwrap();
    assert_eq!(machine.stat("/tmp/b").unwrap().links, 1);
    assert_eq!(machine.link("/tmp/b", "/tmp/b"), Err(Errno::Exist));
    machine.mkdir("/tmp/d").unwrap();
    assert_eq!(machine.link("/tmp/d", "/tmp/e"), Err(Errno::Perm));
    assert_eq!(machine.link("/dev/null", "/tmp/e"), Err(Errno::Xdev));
    assert_eq!(machine.link("/tmp/b", "/e"), Err(Errno::Rofs));
    // Two names of one file: nothing happens, as POSIX wants it.
    machine.link("/tmp/b", "/tmp/c").unwrap();
    machine.rename("/tmp/b", "/tmp/c").unwrap();
    assert_eq!(machine.names("/tmp"), ["b", "c", "d"]);
}

#[test]
fn symbolic_links_are_made_read_and_followed() {
    let mut machine = Machine::bare();
    machine.mkdir("/tmp/d").unwrap();
    machine.symlink("d", "/tmp/l").unwrap();
    machine.create("/tmp/l/f").unwrap();
    assert_eq!(machine.names("/tmp/d"), ["f"]);
    assert_eq!(machine.readlink("/tmp/l", 64), Ok("d".into()));
    assert_eq!(machine.readlink("/tmp/d", 64), Err(Errno::Inval));
    machine.symlink("/tmp/d/new", "/tmp/to-new").unwrap();
    assert_eq!(machine.readlink("/tmp/to-new", 4), Ok("/tmp".into()));
    assert_eq!(machine.open("/tmp/to-new", 0, READ), Err(Errno::Noent));
    // Creating through a dangling link makes its target, unless exclusively.
    let exclusive = oflags::CREAT | oflags::EXCL;
    assert_eq!(
        machine.open("/tmp/to-new", exclusive, WRITE),
        Err(Errno::Exist)
    );
    machine.create("/tmp/to-new").unwrap();
    assert_eq!(machine.names("/tmp/d"), ["f", "new"]);
    assert_eq!(machine.lstat("/tmp/to-new").unwrap().file_type, SYMLINK);
    assert_eq!(machine.stat("/tmp/to-new").unwrap().file_type, REGULAR);
    let mut no_follow = opening(0, READ);
    no_follow.follow = false;
    assert_eq!(
        machine.open_at(ROOT_FD, "/tmp/to-new", no_follow),
        Err(Errno::Loop)
    );
    machine.unlink("/tmp/to-new").unwrap();
    assert_eq!(machine.names("/tmp/d"), ["f", "new"]);
    assert_eq!(machine.symlink("x", "/tmp/l"), Err(Errno::Exist));
    assert_eq!(machine.symlink("", "/tmp/m"), Err(Errno::Noent));
    assert_eq!(machine.symlink("x", "/tmp/m/"), Err(Errno::Noent));
    machine.symlink("loop", "/tmp/loop").unwrap();
    assert_eq!(machine.stat("/tmp/loop").err(), Some(Errno::Loop));
}

#[test]
fn limits_of_bytes_and_files_refuse_and_are_noted() {
    let limits = WasiLimits {
        tmp_bytes: 10,
        files: 8,
    };
    let mut machine = Machine::with_limits(vec![], vec![], limits);
    let fd = machine.create("/tmp/a").unwrap();
    assert_eq!(machine.write(fd, b"123456"), Ok(6));
    assert_eq!(machine.write(fd, b"123456"), Ok(4));
    assert_eq!(machine.write(fd, b"1"), Err(Errno::Nospc));
    let grow = machine.call(|call| files::fd_filestat_set_size(call, fd, 11));
    assert_eq!(grow, Err(Errno::Nospc));
    let huge = machine.call(|call| files::fd_filestat_set_size(call, fd, u64::MAX));
    assert_eq!(huge, Err(Errno::Fbig));
    let huge = machine.call(|call| files::fd_allocate(call, fd, u64::MAX, 2));
    assert_eq!(huge, Err(Errno::Fbig));
    assert_eq!(machine.ledger.limits_reached(), [Limit::TmpBytes]);
    for number in 1..8 {
        machine.mkdir(&format!("/tmp/{number}")).unwrap();
    }
    assert_eq!(machine.mkdir("/tmp/8"), Err(Errno::Nospc));
    assert_eq!(machine.symlink("x", "/tmp/8"), Err(Errno::Nospc));
    assert_eq!(
        machine.ledger.limits_reached(),
        [Limit::TmpBytes, Limit::Files]
    );
}

#[test]
fn times_in_tmp_are_logical_and_can_be_set() {
    let mut machine = Machine::bare();
    assert_eq!(machine.stat("/tmp").unwrap().modified, START);
    machine
        .call(|call| clock::clock_time_get(call, 0, 0, OUT))
        .unwrap();
    machine.create("/tmp/a").unwrap();
    assert_eq!(machine.stat("/tmp/a").unwrap().modified, START + 1000);
    let now = START + 1000;
    let mut set = |times, which| {
        let path = machine.path("/tmp/a");
        machine.call(|call| {
            stat::path_filestat_set_times(call, ROOT_FD, 0, path, times, which)
        })?;
        let stat = machine.stat("/tmp/a")?;
        assert_eq!(stat.changed, now);
        Ok((stat.accessed, stat.modified))
    };
    assert_eq!(set((1, 77), 4), Ok((now, 77)));
    assert_eq!(set((99, 2), 1), Ok((99, 77)));
    assert_eq!(set((5, 6), 5), Ok((5, 6)));
    assert_eq!(set((0, 0), 0), Ok((5, 6)));
    assert_eq!(set((0, 0), 8), Ok((5, now)));
    assert_eq!(set((0, 7), 6), Ok((now, 7)));
    for which in [3, 12, 16] {
        assert_eq!(set((0, 0), which), Err(Errno::Inval));
    }
    let fd = machine.open("/tmp/a", 0, READ).unwrap();
    machine
        .call(|call| stat::fd_filestat_set_times(call, fd, 0, 5, 4))
        .unwrap();
    assert_eq!(machine.fstat(fd).unwrap().modified, 5);
    let stream = machine.call(|call| stat::fd_filestat_set_times(call, 0, 0, 5, 4));
    assert_eq!(stream, Err(Errno::Rofs));
}

#[test]
fn each_change_moves_the_times_that_it_concerns() {
    let mut machine = Machine::bare();
    let tick = |machine: &mut Machine| {
        machine.wasi.clock.tick();
        machine.wasi.clock.realtime()
    };
    let times = |machine: &mut Machine| {
        let stat = machine.stat("/tmp/a").unwrap();
        (stat.accessed, stat.modified, stat.changed)
    };
    let made = tick(&mut machine);
    let fd = machine.create("/tmp/a").unwrap();
    assert_eq!(times(&mut machine), (made, made, made));
    let written = tick(&mut machine);
    machine.write(fd, b"x").unwrap();
    assert_eq!(times(&mut machine), (made, written, written));
    tick(&mut machine);
    // Reading moves none: it would else be a change.
    machine.pread(fd, 1, 0).unwrap();
    assert_eq!(times(&mut machine), (made, written, written));
    let linked = tick(&mut machine);
    machine.link("/tmp/a", "/tmp/b").unwrap();
    assert_eq!(times(&mut machine), (made, written, linked));
    let unlinked = tick(&mut machine);
    machine.unlink("/tmp/b").unwrap();
    assert_eq!(times(&mut machine), (made, written, unlinked));
    let moved = tick(&mut machine);
    machine.rename("/tmp/a", "/tmp/c").unwrap();
    machine.symlink("c", "/tmp/a").unwrap();
    assert_eq!(times(&mut machine), (made, written, moved));
}

#[test]
fn a_removed_directory_is_a_dead_end() {
    let mut machine = Machine::bare();
    machine.mkdir("/tmp/d").unwrap();
    let fd = machine.open("/tmp/d", oflags::DIRECTORY, READ).unwrap();
    machine.rmdir("/tmp/d").unwrap();
    let create = opening(oflags::CREAT, WRITE);
    assert_eq!(machine.open_at(fd, "x", create), Err(Errno::Noent));
    assert_eq!(
        machine.open_at(fd, "x", opening(0, READ)),
        Err(Errno::Noent)
    );
    machine.mkdir("/tmp/d").unwrap();
    assert_eq!(machine.open_at(fd, "x", create), Err(Errno::Noent));
    assert!(machine.readdir_once(fd, 0, 4096).is_ok());
    machine.close(fd).unwrap();
}
