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
    let fd = machine.create("/tmp/a").unwrap();
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
