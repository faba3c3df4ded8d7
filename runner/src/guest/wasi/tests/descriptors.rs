//! The table of descriptors, what they tell about themselves, time and chance.

use super::*;
use crate::outcome::Limit;

fn fdstat(machine: &mut Machine, fd: u32) -> (u8, u16, u64, u64) {
    machine
        .call(|call| stat::fd_fdstat_get(call, fd, DATA))
        .unwrap();
    let head = machine.u64_at(DATA);
    let (base, inheriting) = (machine.u64_at(DATA + 8), machine.u64_at(DATA + 16));
    (head as u8, (head >> 16) as u16, base, inheriting)
}

#[test]
fn new_descriptors_take_the_lowest_free_number() {
    let mut machine = Machine::bare();
    assert_eq!(machine.create("/tmp/a"), Ok(4));
    assert_eq!(machine.create("/tmp/b"), Ok(5));
    machine.close(4).unwrap();
    machine.close(0).unwrap();
    assert_eq!(machine.create("/tmp/c"), Ok(0));
    assert_eq!(machine.create("/tmp/d"), Ok(4));
    assert_eq!(machine.close(9), Err(Errno::Badf));
    assert_eq!(machine.close(u32::MAX), Err(Errno::Badf));
}

#[test]
fn too_many_open_descriptors_are_refused_before_anything_is_made() {
    let limits = WasiLimits {
        tmp_bytes: 0,
        files: 6,
    };
    let mut machine = Machine::with_limits(vec![], vec![], limits);
    machine.create("/tmp/a").unwrap();
    machine.create("/tmp/b").unwrap();
    assert_eq!(machine.create("/tmp/c"), Err(Errno::Nfile));
    machine.close(5).unwrap();
    assert_eq!(machine.names("/tmp"), ["a", "b"]);
    assert_eq!(machine.ledger.limits_reached(), [Limit::Files]);
}

#[test]
fn renumbering_closes_what_was_there() {
    let mut machine = Machine::bare();
    let fd = machine.create("/tmp/a").unwrap();
    machine
        .call(|call| files::fd_renumber(call, fd, 1))
        .unwrap();
    machine.write(1, b"to the file").unwrap();
    assert_eq!(machine.stat("/tmp/a").unwrap().size, 11);
    assert_eq!(machine.write(fd, b"x"), Err(Errno::Badf));
    assert_eq!(
        machine.call(|call| files::fd_renumber(call, 1, 77)),
        Err(Errno::Badf)
    );
}

#[test]
fn no_standard_stream_looks_like_a_terminal() {
    let mut machine = Machine::bare();
    for (fd, expected) in [(0, READ), (1, WRITE), (2, WRITE)] {
        let (file_type, _, base, _) = fdstat(&mut machine, fd);
        assert_eq!(file_type, CHARACTER);
        // libc's isatty wants a character device without these rights.
        assert_eq!(base & (rights::FD_SEEK | rights::FD_TELL), 0x24);
        assert_eq!(base & (READ | WRITE), expected);
    }
}

#[test]
fn the_preopened_directory_is_the_root() {
    let mut machine = Machine::bare();
    machine
        .call(|call| stat::fd_prestat_get(call, ROOT_FD, OUT))
        .unwrap();
    assert_eq!(machine.u64_at(OUT), 1 << 32);
    machine
        .call(|call| stat::fd_prestat_dir_name(call, ROOT_FD, OUT, 1))
        .unwrap();
    assert_eq!(machine.memory[OUT as usize], b'/');
    let short = machine.call(|call| stat::fd_prestat_dir_name(call, ROOT_FD, OUT, 0));
    assert_eq!(short, Err(Errno::Nametoolong));
    let other = machine.open("/", oflags::DIRECTORY, READ).unwrap();
    for fd in [0, other, 99] {
        let none = machine.call(|call| stat::fd_prestat_get(call, fd, OUT));
        assert_eq!(none, Err(Errno::Badf));
    }
    let (file_type, _, _, inheriting) = fdstat(&mut machine, ROOT_FD);
    assert_eq!((file_type, inheriting), (DIRECTORY, rights::ALL));
}

#[test]
fn flags_and_rights_can_be_set_and_only_given_up() {
    let mut machine = Machine::bare();
    let fd = machine.create("/tmp/a").unwrap();
    machine.write(fd, b"12").unwrap();
    machine.seek(fd, 0, 0).unwrap();
    machine
        .call(|call| stat::fd_fdstat_set_flags(call, fd, 1))
        .unwrap();
    machine.write(fd, b"3").unwrap();
    assert_eq!(machine.stat("/tmp/a").unwrap().size, 3);
    assert_eq!(fdstat(&mut machine, fd).1, 1);
    let unknown = machine.call(|call| stat::fd_fdstat_set_flags(call, fd, 32));
    assert_eq!(unknown, Err(Errno::Inval));
    let more = machine.call(|call| stat::fd_fdstat_set_rights(call, fd, rights::ALL, 0));
    assert_eq!(more, Err(Errno::Notcapable));
    machine
        .call(|call| stat::fd_fdstat_set_rights(call, fd, READ, 0))
        .unwrap();
    assert_eq!(machine.write(fd, b"4"), Err(Errno::Badf));
    // Also for what is opened from a directory.
    let root = machine.open("/tmp", oflags::DIRECTORY, READ).unwrap();
    let base = fdstat(&mut machine, root).2;
    machine
        .call(|call| stat::fd_fdstat_set_rights(call, root, base, READ))
        .unwrap();
    assert!(machine.open_at(root, "a", opening(0, READ)).is_ok());
    assert_eq!(
        machine.open_at(root, "a", opening(0, WRITE)),
        Err(Errno::Notcapable)
    );
}

/// Calls that need a right, with a descriptor on /tmp (`d`), or on its file `a`.
type Needs = (u64, fn(&mut Machine, u32) -> Result<(), Errno>);

const ON_A_DIRECTORY: [Needs; 17] = [
    (rights::PATH_CREATE_DIRECTORY, |m, d| {
        let (path, length) = m.path("new");
        m.call(|call| paths::path_create_directory(call, d, path, length))
    }),
    (rights::PATH_CREATE_FILE, |m, d| {
        m.open_at(d, "made", opening(oflags::CREAT, WRITE))
            .map(drop)
    }),
    (rights::PATH_LINK_SOURCE, |m, d| {
        let (from, to) = (m.path("a"), m.second_path("/tmp/hard"));
        m.call(|call| paths::path_link(call, (d, 0), from, ROOT_FD, to))
    }),
    (rights::PATH_LINK_TARGET, |m, d| {
        let (from, to) = (m.path("/tmp/a"), m.second_path("harder"));
        m.call(|call| paths::path_link(call, (ROOT_FD, 0), from, d, to))
    }),
    (rights::PATH_OPEN, |m, d| {
        m.open_at(d, "a", opening(0, READ)).map(drop)
    }),
    (rights::FD_READDIR, |m, d| {
        m.readdir_once(d, 0, 64).map(drop)
    }),
    (rights::PATH_READLINK, |m, d| {
        let path = m.path("link");
        m.call(|call| paths::path_readlink(call, d, path, (2 * DATA, 9), OUT))
    }),
    (rights::PATH_RENAME_SOURCE, |m, d| {
        let (from, to) = (m.path("a"), m.second_path("/tmp/b"));
        m.call(|call| paths::path_rename(call, d, from, ROOT_FD, to))
    }),
    (rights::PATH_RENAME_TARGET, |m, d| {
        let (from, to) = (m.path("/tmp/b"), m.second_path("a"));
        m.call(|call| paths::path_rename(call, ROOT_FD, from, d, to))
    }),
    (rights::PATH_FILESTAT_GET, |m, d| {
        let (path, length) = m.path("a");
        m.call(|call| stat::path_filestat_get(call, d, 0, path, length, DATA * 3))
    }),
    (rights::PATH_FILESTAT_SET_SIZE, |m, d| {
        m.open_at(d, "a", opening(oflags::TRUNC, 0)).map(drop)
    }),
    (rights::PATH_FILESTAT_SET_TIMES, |m, d| {
        let path = m.path("a");
        m.call(|call| stat::path_filestat_set_times(call, d, 0, path, (1, 1), 4))
    }),
    (rights::FD_FILESTAT_GET, |m, d| m.fstat(d).map(drop)),
    (rights::FD_FILESTAT_SET_TIMES, |m, d| {
        m.call(|call| stat::fd_filestat_set_times(call, d, 1, 1, 4))
    }),
    (rights::PATH_SYMLINK, |m, d| {
        let (target, (path, length)) = (m.second_path("a"), m.path("link-2"));
        m.call(|call| paths::path_symlink(call, target, d, path, length))
    }),
    (rights::PATH_REMOVE_DIRECTORY, |m, d| {
        let (path, length) = m.path("folder");
        m.call(|call| paths::path_remove_directory(call, d, path, length))
    }),
    (rights::PATH_UNLINK_FILE, |m, d| {
        let (path, length) = m.path("link");
        m.call(|call| paths::path_unlink_file(call, d, path, length))
    }),
];

const ON_A_FILE: [Needs; 11] = [
    (rights::FD_DATASYNC, |m, fd| {
        m.call(|call| files::fd_datasync(call, fd))
    }),
    (rights::FD_SEEK, |m, fd| m.seek(fd, 1, 0).map(drop)),
    (rights::FD_SEEK, |m, fd| m.pread(fd, 1, 0).map(drop)),
    (rights::FD_SEEK, |m, fd| m.pwrite(fd, b"x", 0).map(drop)),
    (rights::FD_FDSTAT_SET_FLAGS, |m, fd| {
        m.call(|call| stat::fd_fdstat_set_flags(call, fd, 0))
    }),
    (rights::FD_SYNC, |m, fd| {
        m.call(|call| files::fd_sync(call, fd))
    }),
    (rights::FD_TELL, |m, fd| {
        m.call(|call| files::fd_tell(call, fd, OUT))
    }),
    (rights::FD_TELL, |m, fd| m.seek(fd, 0, 1).map(drop)),
    (rights::FD_ADVISE, |m, fd| {
        m.call(|call| files::fd_advise(call, fd, 0, 0, 0))
    }),
    (rights::FD_ALLOCATE, |m, fd| {
        m.call(|call| files::fd_allocate(call, fd, 0, 1))
    }),
    (rights::FD_FILESTAT_SET_SIZE, |m, fd| {
        m.call(|call| files::fd_filestat_set_size(call, fd, 1))
    }),
];

/// A machine with /tmp/a, /tmp/link and /tmp/folder.
fn furnished() -> Machine {
    let mut machine = Machine::bare();
    machine.create("/tmp/a").unwrap();
    machine.symlink("a", "/tmp/link").unwrap();
    machine.mkdir("/tmp/folder").unwrap();
    machine
}

/// Gives up `right` of `fd`, and that what is opened below may have it.
fn give_up(machine: &mut Machine, fd: u32, right: u64) {
    let (_, _, base, inheriting) = fdstat(machine, fd);
    machine
        .call(|call| {
            let (base, inheriting) = (base & !right, inheriting & !right);
            stat::fd_fdstat_set_rights(call, fd, base, inheriting)
        })
        .unwrap();
}

#[test]
fn a_right_that_was_given_up_is_missed_by_the_calls_that_need_it() {
    let all = opening(oflags::DIRECTORY, rights::DIRECTORY);
    let mut allowed = furnished();
    for (right, call) in ON_A_DIRECTORY {
        let fd = allowed.open_at(ROOT_FD, "/tmp", all).unwrap();
        assert_eq!(call(&mut allowed, fd), Ok(()), "{right:#x}");

        let mut machine = furnished();
        let fd = machine.open_at(ROOT_FD, "/tmp", all).unwrap();
        give_up(&mut machine, fd, right);
        let refused = call(&mut machine, fd);
        assert_eq!(refused, Err(Errno::Notcapable), "{right:#x}");
        assert_eq!(machine.names("/tmp"), ["a", "folder", "link"]);
    }
    for (right, call) in ON_A_FILE {
        let mut machine = furnished();
        let fd = machine.open("/tmp/a", 0, rights::ALL).unwrap();
        assert_eq!(call(&mut machine, fd), Ok(()), "{right:#x}");
        give_up(&mut machine, fd, right);
        let refused = call(&mut machine, fd);
        assert_eq!(refused, Err(Errno::Notcapable), "{right:#x}");
    }
}

#[test]
fn a_right_that_was_not_asked_for_is_no_reason_to_refuse() {
    let nothing = opening(oflags::DIRECTORY, 0);
    let mut machine = furnished();
    for (right, call) in ON_A_DIRECTORY {
        let fd = machine.open_at(ROOT_FD, "/tmp", nothing).unwrap();
        assert_eq!(call(&mut machine, fd), Ok(()), "{right:#x}");
    }
}

#[test]
fn what_a_directory_gave_up_is_missing_below_it_too() {
    let mut machine = furnished();
    machine.create("/tmp/folder/x").unwrap();
    let all = opening(oflags::DIRECTORY, rights::ALL & !WRITE);
    let top = machine.open_at(ROOT_FD, "/tmp", all).unwrap();
    give_up(&mut machine, top, rights::PATH_UNLINK_FILE | WRITE);
    let folder = machine.open_at(top, "folder", all).unwrap();
    let (_, _, base, inheriting) = fdstat(&mut machine, folder);
    assert_eq!((base | inheriting) & rights::PATH_UNLINK_FILE, 0);
    let (path, length) = machine.path("x");
    let unlink = machine.call(|call| paths::path_unlink_file(call, folder, path, length));
    assert_eq!(unlink, Err(Errno::Notcapable));
    let write = machine.open_at(folder, "x", opening(0, WRITE));
    assert_eq!(write, Err(Errno::Notcapable));
    assert!(machine.open_at(folder, "x", opening(0, READ)).is_ok());
}

#[test]
fn what_a_directory_is_not_for_is_refused() {
    let mut machine = Machine::bare();
    assert_eq!(machine.read(ROOT_FD, 1), Err(Errno::Isdir));
    assert_eq!(machine.write(ROOT_FD, b"x"), Err(Errno::Badf));
    assert_eq!(machine.seek(ROOT_FD, 0, 0), Err(Errno::Badf));
    assert_eq!(
        machine.open_at(0, "x", opening(0, READ)),
        Err(Errno::Notdir)
    );
    assert_eq!(machine.readdir_once(0, 0, 64), Err(Errno::Notdir));
}

#[test]
fn arguments_and_environment_are_as_given() {
    let mut machine = Machine::bare();
    machine
        .call(|call| process::args_sizes_get(call, OUT, OUT + 4))
        .unwrap();
    assert_eq!(machine.u64_at(OUT), 17 << 32 | 2);
    machine
        .call(|call| process::args_get(call, OUT, DATA))
        .unwrap();
    assert_eq!(
        machine.u64_at(OUT),
        u64::from(DATA + 5) << 32 | u64::from(DATA)
    );
    assert_eq!(
        machine.memory[DATA as usize..][..17],
        *b"name\0an argument\0"
    );
    machine
        .call(|call| process::environ_sizes_get(call, OUT, OUT + 4))
        .unwrap();
    assert_eq!(machine.u64_at(OUT), 12 << 32 | 1);
    machine
        .call(|call| process::environ_get(call, OUT, DATA))
        .unwrap();
    assert_eq!(machine.memory[DATA as usize..][..12], *b"KEY=value=x\0");
}

#[test]
fn chance_is_the_seeds() {
    let draw = |machine: &mut Machine| {
        machine
            .call(|call| random::random_get(call, DATA, 64))
            .unwrap();
        machine.memory[DATA as usize..][..64].to_vec()
    };
    let (mut one, mut two) = (Machine::bare(), Machine::bare());
    let first = draw(&mut one);
    assert_eq!(first, draw(&mut two));
    assert_ne!(first, draw(&mut one));
}

fn clock_subscription(userdata: u64, clock: u32, timeout: u64, flags: u64) -> Vec<u8> {
    let words = [userdata, 0, u64::from(clock), timeout, 0, flags];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn fd_subscription(userdata: u64, tag: u64, fd: u32) -> Vec<u8> {
    let words = [userdata, tag, u64::from(fd), 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The events: userdata, error, type, bytes.
fn poll(machine: &mut Machine, subscriptions: &[Vec<u8>]) -> Vec<(u64, u16, u8, u64)> {
    machine.put(DATA, &subscriptions.concat());
    let count = subscriptions.len() as u32;
    machine
        .call(|call| poll::poll_oneoff(call, DATA, 2 * DATA, count, OUT))
        .unwrap();
    let event = |number| {
        let at = 2 * DATA + number * 32;
        let kind = machine.u64_at(at + 8);
        (
            machine.u64_at(at),
            kind as u16,
            (kind >> 16) as u8,
            machine.u64_at(at + 16),
        )
    };
    (0..machine.out32()).map(event).collect()
}

#[test]
fn sleeping_moves_the_clock_and_returns_at_once() {
    let mut machine = Machine::bare();
    let before = machine.wasi.clock.peek(1).unwrap();
    let subscriptions = [
        clock_subscription(1, 1, 9_000_000_000, 0),
        clock_subscription(2, 0, 5_000_000_000, 0),
    ];
    assert_eq!(poll(&mut machine, &subscriptions), [(2, 0, 0, 0)]);
    let passed = machine.wasi.clock.peek(1).unwrap() - before;
    assert_eq!(passed, 5_000_001_000);
    // To a point in time; one that has passed is there at once.
    let now = machine.wasi.clock.realtime();
    let at = [
        clock_subscription(3, 0, now + 500, 1),
        clock_subscription(4, 0, 5, 1),
    ];
    assert_eq!(poll(&mut machine, &at), [(4, 0, 0, 0)]);
    assert_eq!(poll(&mut machine, &at[..1]), [(3, 0, 0, 0)]);
    assert_eq!(machine.wasi.clock.realtime(), now + 2000);
    let bad = [clock_subscription(5, 9, 0, 0)];
    assert_eq!(poll(&mut machine, &bad), [(5, Errno::Inval as u16, 0, 0)]);
}

#[test]
fn descriptors_are_ready_in_the_order_asked() {
    let mut machine = Machine::bare();
    let fd = machine.open("/tmp/a", oflags::CREAT, rights::ALL).unwrap();
    machine.write(fd, b"12345").unwrap();
    machine.seek(fd, 1, 0).unwrap();
    let before = machine.wasi.clock.peek(1).unwrap();
    let subscriptions = [
        clock_subscription(1, 1, 1_000_000_000, 0),
        fd_subscription(2, 2, 1),
        fd_subscription(3, 1, fd),
        fd_subscription(4, 1, 99),
        fd_subscription(5, 1, 1),
    ];
    let badf = Errno::Badf as u16;
    let expected = [(2, 0, 2, 1), (3, 0, 1, 4), (4, badf, 1, 0), (5, badf, 1, 0)];
    assert_eq!(poll(&mut machine, &subscriptions), expected);
    assert_eq!(machine.wasi.clock.peek(1), Ok(before + 1000));
    give_up(&mut machine, fd, rights::POLL_FD_READWRITE);
    let notcapable = Errno::Notcapable as u16;
    let events = poll(&mut machine, &[fd_subscription(6, 1, fd)]);
    assert_eq!(events, [(6, notcapable, 1, 0)]);
}

#[test]
fn polls_of_nothing_too_much_or_nonsense_are_invalid() {
    let mut machine = Machine::bare();
    for count in [0, 1025, u32::MAX] {
        let result = machine.call(|call| poll::poll_oneoff(call, DATA, DATA, count, OUT));
        assert_eq!(result, Err(Errno::Inval));
    }
    machine.put(DATA, &fd_subscription(1, 3, 0));
    let result = machine.call(|call| poll::poll_oneoff(call, DATA, DATA, 1, OUT));
    assert_eq!(result, Err(Errno::Inval));
}

#[test]
fn sockets_and_signals_do_not_exist() {
    let mut machine = Machine::bare();
    let notsock = Err(Errno::Notsock);
    assert_eq!(
        machine.call(|call| sockets::sock_accept(call, 0, 0, OUT)),
        notsock
    );
    assert_eq!(
        machine.call(|call| sockets::sock_recv(call, 0, 0, 0, 0, OUT, OUT)),
        notsock
    );
    assert_eq!(
        machine.call(|call| sockets::sock_send(call, 0, 0, 0, 0, OUT)),
        notsock
    );
    assert_eq!(
        machine.call(|call| sockets::sock_shutdown(call, 0, 0)),
        notsock
    );
    assert_eq!(
        machine.call(|call| sockets::sock_shutdown(call, 9, 0)),
        Err(Errno::Badf)
    );
    assert_eq!(
        machine.call(|call| process::proc_raise(call, 6)),
        Err(Errno::Nosys)
    );
    assert_eq!(machine.call(process::sched_yield), Ok(()));
}
