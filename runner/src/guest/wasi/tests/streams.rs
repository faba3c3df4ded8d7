//! Channels and devices under their names and numbers.

use super::*;
use crate::outcome::{Limit, Outcome};
use Access::{Random, Sequential};
use Direction::{Read as In, Write as Out};

#[test]
fn absent_standard_streams_read_empty_and_swallow() {
    let mut machine = Machine::bare();
    assert_eq!(machine.read(0, 10), Ok(vec![]));
    assert_eq!(machine.write(1, b"lost"), Ok(4));
    assert_eq!(machine.write(2, b"kept"), Ok(4));
    assert_eq!(machine.ledger.stderr_tail(), b"kept");
    assert_eq!(machine.write(0, b"x"), Err(Errno::Badf));
    assert_eq!(machine.read(1, 1), Err(Errno::Badf));
    assert_eq!(machine.read(2, 1), Err(Errno::Badf));
}

#[test]
fn standard_streams_are_the_channels_of_their_names() {
    let output = channel("/dev/stdout", Out, Sequential, b"");
    let error = channel("/dev/stderr", Out, Sequential, b"");
    let written = [&output, &error].map(|(_, file)| file.try_clone().unwrap());
    let input = channel("/dev/stdin", In, Sequential, b"hello");
    let mut machine = Machine::new(vec![output, input, error], vec![]);
    assert_eq!(machine.read(0, 3), Ok(b"hel".to_vec()));
    let again = machine.open("/dev/stdin", 0, READ).unwrap();
    assert_eq!(machine.read(again, 9), Ok(b"lo".to_vec()));
    assert_eq!(machine.read(0, 9), Ok(vec![]));
    machine.write(1, b"one").unwrap();
    machine.write(2, b"two").unwrap();
    let error = machine.open("/dev/stderr", 0, WRITE).unwrap();
    machine.write(error, b"!").unwrap();
    assert_eq!(content(&written[0]), b"one");
    assert_eq!(content(&written[1]), b"two!");
    assert_eq!(machine.ledger.stderr_tail(), b"two!");
    let paths: Vec<String> = machine
        .wasi
        .channels_mut()
        .iter()
        .map(|one| one.path().to_owned())
        .collect();
    assert_eq!(paths, ["/dev/stdout", "/dev/stdin", "/dev/stderr"]);
}

#[test]
fn random_inputs_have_a_position_for_each_opening() {
    let input = channel("/dev/input", In, Random, b"0123456789");
    let mut machine = Machine::new(vec![input], vec![]);
    let first = machine.open("/dev/input", 0, READ).unwrap();
    let second = machine.open("/dev/input", 0, READ).unwrap();
    assert_eq!(machine.read(first, 3), Ok(b"012".to_vec()));
    assert_eq!(machine.read(second, 2), Ok(b"01".to_vec()));
    assert_eq!(machine.seek(first, -2, 2), Ok(8));
    assert_eq!(machine.read(first, 9), Ok(b"89".to_vec()));
    assert_eq!(machine.pread(second, 2, 5), Ok(b"56".to_vec()));
    assert_eq!(machine.seek(second, 0, 1), Ok(2));
    assert_eq!(machine.seek(second, -3, 1), Err(Errno::Inval));
    assert_eq!(machine.seek(second, 0, 9), Err(Errno::Inval));
    assert_eq!(machine.seek(second, 100, 0), Ok(100));
    assert_eq!(machine.read(second, 1), Ok(vec![]));
    assert_eq!(machine.pread(second, 1, u64::MAX), Ok(vec![]));
    let stat = machine.fstat(first).unwrap();
    assert_eq!((stat.file_type, stat.size), (REGULAR, 10));
}

#[test]
fn reading_a_random_input_in_order_keeps_its_digest() {
    let digest = |fetch: fn(&mut Machine, u32)| {
        let input = channel("/dev/input", In, Random, b"0123456789");
        let mut machine = Machine::new(vec![input], vec![]);
        let fd = machine.open("/dev/input", 0, READ).unwrap();
        fetch(&mut machine, fd);
        machine.wasi.channels_mut()[0].delivered_blake3()
    };
    let in_order = digest(|machine, fd| {
        machine.read(fd, 4).unwrap();
        machine.read(fd, 10).unwrap();
    });
    assert_eq!(in_order, Some(*blake3::hash(b"0123456789").as_bytes()));
    assert_eq!(digest(|machine, fd| drop(machine.pread(fd, 4, 2))), None);
    let skipping = digest(|machine, fd| {
        machine.seek(fd, 2, 0).unwrap();
        machine.read(fd, 10).unwrap();
    });
    assert_eq!(skipping, None);
}

#[test]
fn sequential_channels_cannot_seek() {
    let input = channel("/dev/input", In, Sequential, b"0123");
    let output = channel("/dev/output", Out, Sequential, b"");
    let mut machine = Machine::new(vec![input, output], vec![]);
    let input = machine.open("/dev/input", 0, READ).unwrap();
    let output = machine
        .open("/dev/output", oflags::CREAT | oflags::TRUNC, WRITE)
        .unwrap();
    for fd in [0, 1, 2, input, output] {
        assert_eq!(machine.seek(fd, 0, 1), Err(Errno::Spipe));
        assert_eq!(
            machine.call(|call| files::fd_tell(call, fd, OUT)),
            Err(Errno::Spipe)
        );
    }
    assert_eq!(machine.pread(input, 1, 0), Err(Errno::Spipe));
    assert_eq!(machine.pread(0, 1, 0), Err(Errno::Spipe));
    assert_eq!(machine.pwrite(output, b"x", 0), Err(Errno::Spipe));
    assert_eq!(machine.pwrite(2, b"x", 0), Err(Errno::Spipe));
    machine.write(output, b"abc").unwrap();
    // A second time too, as with a FIFO.
    assert!(machine.open("/dev/output", oflags::TRUNC, WRITE).is_ok());
    let cut = machine.call(|call| files::fd_filestat_set_size(call, output, 0));
    assert_eq!(cut, Err(Errno::Inval));
    let stat = machine.fstat(input).unwrap();
    assert_eq!((stat.file_type, stat.size), (CHARACTER, 4));
}

#[test]
fn random_outputs_are_written_cut_and_extended_anywhere() {
    let output = channel("/dev/output", Out, Random, b"");
    let file = output.1.try_clone().unwrap();
    let mut machine = Machine::new(vec![output], vec![]);
    // As C's "r+" opens it.
    let fd = machine.open("/dev/output", 0, READ | WRITE).unwrap();
    assert_eq!(machine.read(fd, 1), Err(Errno::Badf));
    machine.write(fd, b"hello").unwrap();
    assert_eq!(machine.seek(fd, 1, 0), Ok(1));
    machine.write(fd, b"E").unwrap();
    machine.pwrite(fd, b"!", 7).unwrap();
    assert_eq!(machine.seek(fd, 0, 1), Ok(2));
    assert_eq!(content(&file), b"hEllo\0\0!");
    machine
        .call(|call| files::fd_filestat_set_size(call, fd, 3))
        .unwrap();
    machine
        .call(|call| files::fd_allocate(call, fd, 0, 4))
        .unwrap();
    machine
        .call(|call| files::fd_allocate(call, fd, 0, 2))
        .unwrap();
    assert_eq!(content(&file), b"hEl\0");
    let mut append = opening(0, WRITE);
    append.flags = 1;
    let appending = machine.open_at(ROOT_FD, "/dev/output", append).unwrap();
    machine.write(appending, b"end").unwrap();
    assert_eq!(content(&file), b"hEl\0end");
    machine
        .open("/dev/output", oflags::CREAT | oflags::TRUNC, WRITE)
        .unwrap();
    assert_eq!(content(&file), b"");
}

#[test]
fn channels_go_only_their_own_way() {
    let input = channel("/dev/in/a", In, Sequential, b"0123");
    let output = channel("/dev/out/b", Out, Random, b"");
    let mut machine = Machine::new(vec![input, output], vec![]);
    for (oflags, rights) in [(0, WRITE), (0, READ | WRITE), (oflags::TRUNC, READ)] {
        assert_eq!(machine.open("/dev/in/a", oflags, rights), Err(Errno::Acces));
    }
    assert_eq!(machine.open("/dev/out/b", 0, READ), Err(Errno::Acces));
    assert_eq!(machine.open("/dev/stdin", 0, WRITE), Err(Errno::Acces));
    assert_eq!(machine.open("/dev/stdout", 0, READ), Err(Errno::Acces));
    assert!(
        machine
            .open("/dev/stdout", oflags::CREAT | oflags::TRUNC, WRITE)
            .is_ok()
    );
}

#[test]
fn quotas_end_the_run_and_name_the_channel() {
    let (mut limited, file) = channel("/dev/stderr", Out, Sequential, b"");
    limited.limit_bytes = 4;
    let mut machine = Machine::new(vec![(limited, file)], vec![]);
    assert_eq!(machine.write(2, b"1234"), Ok(4));
    let end = machine.try_write(2, b"5").unwrap_err();
    let Fault::End(Outcome::Limit { limit, message }) = end else {
        panic!("{end:?}")
    };
    assert_eq!(limit, Limit::OutputBytes);
    assert!(message.contains("/dev/stderr"), "{message}");
    // The tail still holds what did not fit the channel.
    assert_eq!(machine.ledger.stderr_tail(), b"12345");
}

#[test]
fn devices_do_what_their_names_say() {
    let mut machine = Machine::bare();
    let mut open = |name: &str| {
        machine
            .open(&format!("/dev/{name}"), 0, READ | WRITE)
            .unwrap()
    };
    let [null, zero, full, random] = ["null", "zero", "full", "urandom"].map(&mut open);
    machine.put(DATA, b"junk");
    assert_eq!(machine.read(null, 4), Ok(vec![]));
    assert_eq!(machine.read(zero, 4), Ok(vec![0; 4]));
    assert_eq!(machine.read(full, 4), Ok(vec![0; 4]));
    let bytes = machine.read(random, 32).unwrap();
    assert_ne!(bytes, machine.read(random, 32).unwrap());
    assert_eq!(bytes, {
        let mut other = Machine::bare();
        let fd = other.open("/dev/random", 0, READ).unwrap();
        other.read(fd, 32).unwrap()
    });
    assert_eq!(machine.write(null, b"x"), Ok(1));
    assert_eq!(machine.write(full, b"x"), Err(Errno::Nospc));
    assert_eq!(machine.seek(null, 0, 2), Ok(0));
}

#[test]
fn dev_lists_channels_and_devices_and_cannot_be_changed() {
    let channels = vec![
        channel("/dev/in/map-2", In, Sequential, b""),
        channel("/dev/in/map-1", In, Sequential, b""),
        channel("/dev/input", In, Random, b""),
        channel("/dev/null", In, Random, b"mine"),
    ];
    let mut machine = Machine::new(channels, vec![]);
    assert_eq!(
        machine.names("/dev"),
        [
            "full", "in", "input", "null", "out", "random", "stderr", "stdin", "stdout",
            "urandom", "zero"
        ]
    );
    assert_eq!(machine.names("/dev/in"), ["map-1", "map-2"]);
    assert_eq!(machine.names("/dev/out"), [""; 0]);
    let fd = machine.open("/dev/null", 0, READ).unwrap();
    assert_eq!(machine.read(fd, 9), Ok(b"mine".to_vec()));
    for path in ["/dev/new", "/dev/in/map-3"] {
        assert_eq!(machine.create(path), Err(Errno::Rofs));
        assert_eq!(machine.mkdir(path), Err(Errno::Rofs));
        assert_eq!(machine.symlink("x", path), Err(Errno::Rofs));
    }
    assert_eq!(machine.unlink("/dev/null"), Err(Errno::Rofs));
    assert_eq!(machine.rmdir("/dev/out"), Err(Errno::Rofs));
    assert_eq!(machine.rename("/dev/null", "/tmp/x"), Err(Errno::Rofs));
    assert_eq!(machine.open("/dev/null/x", 0, READ), Err(Errno::Notdir));
    assert_eq!(machine.open("/dev/in", 0, READ | WRITE), Err(Errno::Isdir));
}

#[test]
fn odd_channel_paths_are_not_reachable_and_do_no_harm() {
    let odd = [
        "/etc/passwd",
        "/dev/",
        "/dev/a/../b",
        "/dev//x",
        "/dev/in/a/b",
        "/dev/in/a",
    ];
    let channels = odd.map(|path| channel(path, In, Sequential, b"")).into();
    let mut machine = Machine::new(channels, vec![]);
    assert_eq!(machine.names("/"), ["dev", "tmp"]);
    assert_eq!(machine.names("/dev/in"), ["a"]);
    assert_eq!(machine.names("/dev/in/a"), ["b"]);
}
