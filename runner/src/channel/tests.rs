use super::*;

use std::io::Write;

fn file(content: &[u8]) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let fd = rustix::fs::memfd_create("test", flags).unwrap();
    rustix::io::write(&fd, content).unwrap();
    fd
}

fn pipe_with(content: &[u8]) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(content).unwrap();
    reader.into()
}

fn spec(direction: Direction, access: Access) -> ChannelSpec {
    ChannelSpec {
        path: "/dev/x".to_owned(),
        direction,
        access,
        limit_bytes: u64::MAX,
        limit_calls: u64::MAX,
    }
}

fn open(spec: ChannelSpec, fd: OwnedFd) -> Channel {
    Channel::open(spec, fd, Ledger::new(1, 0).unwrap(), 0).unwrap()
}

fn reader(access: Access, content: &[u8]) -> Channel {
    open(spec(Direction::Read, access), file(content))
}

fn writer(access: Access, limit_bytes: u64) -> Channel {
    open(
        ChannelSpec {
            limit_bytes,
            ..spec(Direction::Write, access)
        },
        file(b""),
    )
}

fn read(channel: &mut Channel, length: usize) -> Result<Vec<u8>, Fault> {
    let mut data = vec![0; length];
    let (head, tail) = data.split_at_mut(length / 2);
    let mut bufs = [IoSliceMut::new(head), IoSliceMut::new(tail)];
    let count = channel.read(&mut bufs)?;
    data.truncate(count);
    Ok(data)
}

fn write(channel: &mut Channel, data: &[u8]) -> Result<usize, Fault> {
    channel.write(&[IoSlice::new(data), IoSlice::new(b"")])
}

fn content(channel: &Channel) -> Vec<u8> {
    let mut data = vec![0; 100];
    let count = rustix::io::pread(&channel.fd, &mut data[..], 0).unwrap();
    data.truncate(count);
    data
}

fn limit_of(result: Result<impl std::fmt::Debug, Fault>) -> (Limit, String) {
    match result {
        Err(Fault::End(Outcome::Limit { limit, message })) => (limit, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sequential_reads_end_at_the_end() {
    let mut channel = reader(Access::Sequential, b"abcde");
    assert_eq!(read(&mut channel, 3).unwrap(), b"abc");
    assert_eq!(read(&mut channel, 3).unwrap(), b"de");
    assert_eq!(read(&mut channel, 3).unwrap(), b"");
    assert_eq!(channel.position(), 5);
    let counts = Counts {
        reads: 3,
        read_bytes: 5,
        ..Counts::default()
    };
    assert_eq!(channel.counts(), counts);
    assert_eq!(channel.ledger.counts(0), counts);
}

#[test]
fn a_pipe_that_comes_in_pieces_fills_the_buffers_all_the_same() {
    let (end, mut feed) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || {
        for piece in [&b"ab"[..], b"c", b"defg"] {
            feed.write_all(piece).unwrap();
            std::thread::yield_now();
        }
    });
    let mut channel = open(spec(Direction::Read, Access::Sequential), end.into());
    assert_eq!(read(&mut channel, 5).unwrap(), b"abcde");
    assert_eq!(read(&mut channel, 5).unwrap(), b"fg");
    writer.join().unwrap();
}

#[test]
fn digest_is_of_the_bytes_delivered_however_they_were_read() {
    let data: Vec<u8> = (0..200_000u32).map(|n| (n * 7) as u8).collect();
    for step in [1000, 40_000, 65_536, 199_999, 300_000] {
        let mut channel = reader(Access::Sequential, &data);
        while !read(&mut channel, step).unwrap().is_empty() {}
        let digest = channel.delivered_blake3().unwrap();
        assert_eq!(digest, *blake3::hash(&data).as_bytes(), "{step}");
    }
}

#[test]
fn digest_does_not_depend_on_where_reads_begin_and_end() {
    let data: Vec<u8> = (0..700_000u64).map(|n| ((n * n) >> 7) as u8).collect();
    // Around the sizes at which bytes are hashed where they lie, or gathered.
    let sizes = [
        100, 66_559, 16_384, 1, 16_383, 49_152, 3, 65_536, 16_385, 65_535, 32_768, 7,
    ];
    for first in 0..sizes.len() {
        let mut channel = reader(Access::Sequential, &data);
        let mut done = 0;
        for size in sizes.iter().cycle().skip(first) {
            done += read(&mut channel, *size).unwrap().len();
            // Looking at it between reads changes nothing.
            let digest = channel.delivered_blake3().unwrap();
            assert_eq!(digest, *blake3::hash(&data[..done]).as_bytes(), "{done}");
            if done == data.len() {
                break;
            }
        }
    }
}

#[test]
fn digest_of_a_part_is_of_that_part() {
    let mut channel = reader(Access::Sequential, b"abcdef");
    read(&mut channel, 3).unwrap();
    assert_eq!(
        channel.delivered_blake3(),
        Some(*blake3::hash(b"abc").as_bytes())
    );
}

#[test]
fn a_seek_that_moves_ends_the_digest_and_one_that_does_not_keeps_it() {
    let mut channel = reader(Access::Random, b"abcdef");
    read(&mut channel, 3).unwrap();
    assert_eq!(channel.seek(0, Whence::Current), Ok(3));
    assert!(channel.delivered_blake3().is_some());
    assert_eq!(channel.seek(-1, Whence::End), Ok(5));
    assert_eq!(channel.delivered_blake3(), None);
    assert_eq!(read(&mut channel, 3).unwrap(), b"f");
}

#[test]
fn random_reads_leave_the_position_alone() {
    let mut channel = reader(Access::Random, b"abcdef");
    let mut data = [0; 2];
    let count = channel.read_at(&mut [IoSliceMut::new(&mut data)], 4);
    assert_eq!((count, &data), (Ok(2), b"ef"));
    assert_eq!(channel.position(), 0);
    let count = channel.read_at(&mut [IoSliceMut::new(&mut data)], 100);
    assert_eq!(count, Ok(0));
}

#[test]
fn sequential_channels_and_streams_do_not_seek() {
    let spipe = Err(Fault::Errno(Errno::Spipe));
    assert_eq!(
        reader(Access::Sequential, b"a").seek(0, Whence::Start),
        spipe
    );
    let stream = spec(Direction::Read, Access::Random);
    assert_eq!(open(stream, pipe_with(b"a")).seek(0, Whence::Start), spipe);
}

#[test]
fn seeks_before_the_start_are_invalid() {
    let mut channel = reader(Access::Random, b"abc");
    let invalid = Err(Fault::Errno(Errno::Inval));
    assert_eq!(channel.seek(-4, Whence::End), invalid);
    assert_eq!(channel.position(), 0);
}

#[test]
fn directions_are_kept() {
    let badf = Fault::Errno(Errno::Badf);
    assert_eq!(
        write(&mut reader(Access::Sequential, b""), b"x"),
        Err(badf.clone())
    );
    assert_eq!(read(&mut writer(Access::Sequential, 9), 1), Err(badf));
}

#[test]
fn output_up_to_the_limit_is_written_and_one_byte_more_ends_the_run() {
    let mut channel = writer(Access::Sequential, 5);
    assert_eq!(write(&mut channel, b"abcde"), Ok(5));
    let (limit, message) = limit_of(write(&mut channel, b"f"));
    assert_eq!(limit, Limit::OutputBytes);
    assert_eq!(
        message,
        "/dev/x: 6 bytes written; the limit is 5 (output_bytes)"
    );
    assert_eq!(content(&channel), b"abcde");
}

#[test]
fn random_writes_are_limited_in_extent_not_in_sum() {
    let mut channel = writer(Access::Random, 5);
    for _ in 0..10 {
        assert_eq!(channel.write_at(&[IoSlice::new(b"abc")], 2), Ok(3));
    }
    assert_eq!(channel.size(), Some(5));
    let over = channel.write_at(&[IoSlice::new(b"x")], 5);
    assert_eq!(limit_of(over).0, Limit::OutputBytes);
    assert_eq!(content(&channel), b"\0\0abc");
}

#[test]
fn truncation_sets_the_size_within_the_limit() {
    let mut channel = writer(Access::Random, 5);
    assert_eq!(channel.truncate(4), Ok(()));
    assert_eq!((channel.size(), content(&channel)), (Some(4), vec![0; 4]));
    assert_eq!(limit_of(channel.truncate(6)).0, Limit::OutputBytes);
}

#[test]
fn truncation_of_a_sequential_output_is_for_its_start_only() {
    let mut channel = writer(Access::Sequential, 5);
    assert_eq!(channel.truncate(0), Ok(()));
    write(&mut channel, b"a").unwrap();
    assert_eq!(channel.truncate(0), Err(Fault::Errno(Errno::Inval)));
}

#[test]
fn input_up_to_the_limit_is_delivered_and_more_ends_the_run() {
    let limited = ChannelSpec {
        limit_bytes: 3,
        ..spec(Direction::Read, Access::Sequential)
    };
    for (fd, fits) in [
        (file(b"abc"), true),
        (pipe_with(b"abc"), true),
        (file(b"abcd"), false),
        (pipe_with(b"abcd"), false),
    ] {
        let mut channel = open(limited.clone(), fd);
        let result = read(&mut channel, 10);
        if fits {
            assert_eq!(result.unwrap(), b"abc");
            assert_eq!(read(&mut channel, 10).unwrap(), b"");
        } else {
            let (limit, message) = limit_of(result);
            assert_eq!(limit, Limit::InputBytes);
            assert_eq!(message, "/dev/x: more than 3 bytes read (input_bytes)");
        }
    }
}

#[test]
fn calls_up_to_the_limit_work_and_one_more_ends_the_run() {
    let limited = ChannelSpec {
        limit_calls: 2,
        ..spec(Direction::Read, Access::Sequential)
    };
    let mut channel = open(limited, file(b"abcdef"));
    read(&mut channel, 1).unwrap();
    read(&mut channel, 1).unwrap();
    let (limit, message) = limit_of(read(&mut channel, 1));
    assert_eq!(limit, Limit::ChannelCalls);
    assert_eq!(message, "/dev/x: more than 2 calls (channel_calls)");
}

#[test]
fn a_file_that_shrinks_under_the_guest_is_the_hosts_failure() {
    let fd = file(b"abcdef");
    let other = fd.try_clone().unwrap();
    let mut channel = open(spec(Direction::Read, Access::Sequential), fd);
    rustix::fs::ftruncate(&other, 2).unwrap();
    let result = read(&mut channel, 6);
    assert!(
        matches!(result, Err(Fault::End(Outcome::Failure(_)))),
        "{result:?}"
    );
}

#[test]
fn a_stream_without_a_reader_ends_the_run_by_sigpipe() {
    let (reader, end) = std::io::pipe().unwrap();
    drop(reader);
    let mut channel = open(spec(Direction::Write, Access::Sequential), end.into());
    let result = write(&mut channel, b"x");
    let Err(Fault::End(Outcome::Killed { signal, .. })) = result else {
        panic!("{result:?}")
    };
    assert_eq!(signal, libc::SIGPIPE);
}

#[test]
fn more_slices_than_the_kernel_takes_are_all_moved() {
    let data: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let mut output = writer(Access::Sequential, 1 << 20);
    let bufs: Vec<_> = data.chunks(1).map(IoSlice::new).collect();
    assert_eq!(output.write(&bufs), Ok(3000));
    let fd = output.fd.try_clone().unwrap();
    let mut input = open(spec(Direction::Read, Access::Sequential), fd);
    let mut copy = vec![0; 3000];
    let mut bufs: Vec<_> = copy.chunks_mut(1).map(IoSliceMut::new).collect();
    assert_eq!(input.read(&mut bufs), Ok(3000));
    assert_eq!(copy, data);
}

#[test]
fn folders_and_appending_files_are_refused() {
    let ledger = || Ledger::new(1, 0).unwrap();
    let folder = std::fs::File::open("/").unwrap();
    let result = Channel::open(
        spec(Direction::Read, Access::Random),
        folder.into(),
        ledger(),
        0,
    );
    assert!(result.unwrap_err().contains("not a file or a stream"));
    let fd = file(b"");
    rustix::fs::fcntl_setfl(&fd, rustix::fs::OFlags::APPEND).unwrap();
    let result = Channel::open(spec(Direction::Write, Access::Random), fd, ledger(), 0);
    assert_eq!(result.unwrap_err(), "is opened for appending");
}

/// Reading calls of this thread so far, and what they asked of the kernel.
fn reading_calls() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.parse::<u64>().unwrap()
    };
    (count("syscr"), count("rchar"))
}

#[test]
fn a_read_is_one_call_of_the_kernel_and_moves_each_byte_once() {
    let data = vec![7; 5 << 20];
    for (access, mut channel) in [
        (Access::Sequential, reader(Access::Sequential, &data)),
        (Access::Random, reader(Access::Random, &data)),
    ] {
        // Two reads, to take away what looking at the account costs itself.
        let [first, second] = [3 << 20, 1 << 20].map(|length| {
            let mut place = vec![0; length];
            let before = reading_calls();
            let count = match access {
                Access::Sequential => channel.read(&mut [IoSliceMut::new(&mut place)]),
                Access::Random => channel.read_at(&mut [IoSliceMut::new(&mut place)], 9),
            };
            let after = reading_calls();
            assert_eq!(count, Ok(length));
            (after.0 - before.0, after.1 - before.1 - length as u64)
        });
        assert_eq!(first.0, second.0);
        let before = reading_calls();
        let after = reading_calls();
        assert_eq!(first.0, after.0 - before.0 + 1, "{access:?}");
        assert!(first.1 < 1000 && second.1 < 1000, "{first:?} {second:?}");
    }
}

#[test]
fn the_end_of_a_stream_is_its_end_though_another_writer_comes() {
    let path = std::env::temp_dir().join(format!("zvm-fifo-{}", std::process::id()));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
    let open_fifo = |flags| rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
    let end = open_fifo(OFlags::RDONLY | OFlags::NONBLOCK).unwrap();
    let write = |content: &[u8]| {
        let writer = open_fifo(OFlags::WRONLY).unwrap();
        rustix::io::write(&writer, content).unwrap();
        writer
    };
    drop(write(b"ab"));
    let mut channel = open(spec(Direction::Read, Access::Sequential), end);
    assert_eq!(read(&mut channel, 5).unwrap(), b"ab");
    let late = write(b"late");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read(&mut channel, 5).unwrap(), b"");
    assert_eq!(
        channel.delivered_blake3(),
        Some(*blake3::hash(b"ab").as_bytes())
    );
    drop(late);
}

#[test]
fn a_stream_that_was_left_non_blocking_is_waited_for() {
    let (end, mut feed) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&end, OFlags::NONBLOCK).unwrap();
    let mut channel = open(spec(Direction::Read, Access::Sequential), end.into());
    let flags = rustix::fs::fcntl_getfl(&channel.fd).unwrap();
    assert!(!flags.contains(OFlags::NONBLOCK));
    let writer = std::thread::spawn(move || feed.write_all(b"later").unwrap());
    assert_eq!(read(&mut channel, 9).unwrap(), b"later");
    writer.join().unwrap();
}

#[test]
fn a_peer_that_breaks_off_is_the_hosts_failure_and_not_an_end() {
    let (end, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    // The kernel resets a connection that is closed with something unread.
    rustix::io::write(&end, b"unread").unwrap();
    peer.write_all(b"part").unwrap();
    drop(peer);
    let mut channel = open(spec(Direction::Read, Access::Sequential), end.into());
    match read(&mut channel, 10) {
        Err(Fault::End(Outcome::Failure(why))) => {
            assert!(why.starts_with("/dev/x: read: "), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_waits_for_a_slow_reader_and_arrives_whole() {
    let (mut end, feed) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&feed, OFlags::NONBLOCK).unwrap();
    // More than a pipe holds.
    let data: Vec<u8> = (0..1_000_000u32).map(|n| (n >> 4) as u8).collect();
    let reader = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 777]);
        loop {
            match std::io::Read::read(&mut end, &mut piece).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&piece[..count]),
            }
        }
    });
    let mut channel = open(spec(Direction::Write, Access::Sequential), feed.into());
    assert_eq!(write(&mut channel, &data), Ok(data.len()));
    drop(channel);
    assert_eq!(reader.join().unwrap(), data);
}

#[test]
fn a_reader_that_leaves_within_a_write_ends_the_run_by_sigpipe() {
    let (mut end, feed) = std::io::pipe().unwrap();
    let reader = std::thread::spawn(move || {
        std::io::Read::read_exact(&mut end, &mut [0; 10]).unwrap();
    });
    let mut channel = open(spec(Direction::Write, Access::Sequential), feed.into());
    match write(&mut channel, &vec![1; 1 << 20]) {
        Err(Fault::End(Outcome::Killed { signal, message })) => {
            assert_eq!(signal, libc::SIGPIPE);
            assert_eq!(message, "/dev/x: its reader has gone");
        }
        other => panic!("{other:?}"),
    }
    reader.join().unwrap();
}

#[test]
fn a_disk_without_room_is_the_hosts_failure_and_names_the_channel() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut channel = open(spec(Direction::Write, Access::Sequential), full.into());
    match write(&mut channel, b"x") {
        Err(Fault::End(Outcome::Failure(why))) => {
            assert!(why.starts_with("/dev/x: write: "), "{why}");
            assert!(why.contains("space"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn reading_into_nothing_is_no_end() {
    for fd in [file(b"abc"), pipe_with(b"abc")] {
        let mut channel = open(spec(Direction::Read, Access::Sequential), fd);
        assert_eq!(channel.read(&mut []), Ok(0));
        assert_eq!(read(&mut channel, 9).unwrap(), b"abc");
    }
}
