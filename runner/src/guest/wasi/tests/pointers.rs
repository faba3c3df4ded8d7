//! Pointers and lengths that lie: always an error, never more.

use super::*;

const END: u32 = MEMORY as u32;

/// Addresses from which nothing, or nearly nothing, can be reached.
const BAD: [u32; 5] = [END - 1, END, END + 1, u32::MAX - 3, u32::MAX];

fn refused(function: impl Fn(&mut Call<'_>, u32) -> Result<(), Fault>) {
    for pointer in BAD {
        let mut machine = Machine::bare();
        let result = machine.call(|call| function(call, pointer));
        assert_eq!(result, Err(Errno::Fault), "{pointer:#x}");
    }
}

#[test]
fn bad_result_pointers_are_faults() {
    refused(|call, bad| process::args_sizes_get(call, bad, OUT));
    refused(|call, bad| process::args_sizes_get(call, OUT, bad));
    refused(|call, bad| process::args_get(call, bad, OUT));
    refused(|call, bad| process::args_get(call, OUT, bad));
    refused(|call, bad| process::environ_get(call, OUT, bad));
    refused(|call, bad| clock::clock_res_get(call, 0, bad));
    refused(|call, bad| clock::clock_time_get(call, 0, 0, bad));
    refused(|call, bad| stat::fd_fdstat_get(call, 0, bad));
    refused(|call, bad| stat::fd_filestat_get(call, 0, bad));
    refused(|call, bad| stat::fd_prestat_get(call, 3, bad));
    refused(|call, bad| files::fd_read(call, 0, DATA, 1, bad));
    refused(|call, bad| files::fd_write(call, 1, DATA, 1, bad));
    refused(|call, bad| files::fd_seek(call, 0, 0, 0, bad));
    refused(|call, bad| dirs::fd_readdir(call, 3, DATA, 8, 0, bad));
    refused(|call, bad| poll::poll_oneoff(call, DATA, DATA, 1, bad));
    refused(|call, bad| {
        open::path_open(call, 3, (DATA, 1), opening(oflags::CREAT, WRITE), bad)
    });
    refused(|call, bad| stat::path_filestat_get(call, 3, 0, DATA, 1, bad));
    refused(|call, bad| paths::path_readlink(call, 3, (DATA, 1), (DATA, 1), bad));
}

#[test]
fn bad_buffers_and_paths_are_faults() {
    refused(|call, bad| files::fd_read(call, 0, bad, 1, OUT));
    refused(|call, bad| files::fd_pwrite(call, 1, bad, 1, 0, OUT));
    refused(|call, bad| random::random_get(call, bad, 8));
    refused(|call, bad| random::random_get(call, 8, bad));
    refused(|call, bad| dirs::fd_readdir(call, 3, bad, 8, 0, OUT));
    refused(|call, bad| dirs::fd_readdir(call, 3, 8, bad, 0, OUT));
    refused(|call, bad| poll::poll_oneoff(call, bad, DATA, 1, OUT));
    refused(|call, bad| poll::poll_oneoff(call, DATA, bad, 1, OUT));
    refused(|call, bad| paths::path_create_directory(call, 3, bad, 8));
    refused(|call, bad| paths::path_create_directory(call, 3, 8, bad));
    refused(|call, bad| paths::path_unlink_file(call, 3, bad, 8));
    refused(|call, bad| paths::path_remove_directory(call, 3, bad, 8));
    refused(|call, bad| paths::path_symlink(call, (bad, 8), 3, DATA, 1));
    refused(|call, bad| paths::path_symlink(call, (DATA, 1), 3, bad, 8));
    refused(|call, bad| paths::path_rename(call, 3, (bad, 8), 3, (DATA, 1)));
    refused(|call, bad| open::path_open(call, 3, (bad, 8), opening(0, READ), OUT));
    refused(|call, bad| stat::path_filestat_get(call, 3, 0, bad, 8, DATA));
    refused(|call, bad| paths::path_readlink(call, 3, (DATA, 1), (bad, 8), OUT));
}

#[test]
fn a_call_that_faults_changes_nothing() {
    let mut machine = Machine::bare();
    let path = machine.path("/tmp/a");
    let create = opening(oflags::CREAT, WRITE);
    let result = machine.call(|call| open::path_open(call, 3, path, create, END));
    assert_eq!(result, Err(Errno::Fault));
    assert_eq!(machine.names("/tmp"), [""; 0]);
    let fd = machine.create("/tmp/a").unwrap();
    let (iovecs, count) = machine.iovec(DATA, 8);
    let result = machine.call(|call| files::fd_write(call, fd, iovecs, count, END));
    assert_eq!(result, Err(Errno::Fault));
    assert_eq!(machine.stat("/tmp/a").unwrap().size, 0);
    let now = machine.wasi.clock.realtime();
    machine
        .call(|call| clock::clock_time_get(call, 0, 0, END))
        .unwrap_err();
    assert_eq!(machine.wasi.clock.realtime(), now);
}

#[test]
fn a_guest_without_memory_gets_faults() {
    let mut machine = Machine::bare();
    machine.memory.clear();
    let result = machine.call(|call| files::fd_write(call, 1, 0, 0, 0));
    assert_eq!(result, Err(Errno::Fault));
    assert_eq!(machine.call(process::sched_yield), Ok(()));
}

#[test]
fn reads_into_overlapping_buffers_are_filled_one_by_one() {
    let mut machine = Machine::bare();
    let fd = machine.create("/tmp/a").unwrap();
    machine.write(fd, b"abcdefgh").unwrap();
    let iovecs = [[DATA, 4], [DATA + 2, 4]].concat();
    let bytes: Vec<u8> = iovecs.iter().flat_map(|word| word.to_le_bytes()).collect();
    for at in [None, Some(0)] {
        machine.seek(fd, 0, 0).unwrap();
        machine.put(64, &bytes);
        machine
            .call(|call| match at {
                None => files::fd_read(call, fd, 64, 2, OUT),
                Some(at) => files::fd_pread(call, fd, 64, 2, at, OUT),
            })
            .unwrap();
        assert_eq!(machine.out32(), 8);
        assert_eq!(machine.memory[DATA as usize..][..6], *b"abefgh");
    }
    // Buffers that lie over the vector itself: it was read before.
    machine.seek(fd, 0, 0).unwrap();
    let over: Vec<u8> = [64u32, 8, 72, 8]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    machine.put(64, &over);
    machine
        .call(|call| files::fd_read(call, fd, 64, 2, OUT))
        .unwrap();
    assert_eq!(machine.out32(), 8);
    assert_eq!(machine.memory[64..72], *b"abcdefgh");
}

#[test]
fn random_calls_never_panic() {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut machine = Machine::bare();
    for _ in 0..60_000 {
        // Mostly near something that works.
        let mut pick = || match next() % 8 {
            0 => u64::from(END).wrapping_sub(next() % 64),
            1 => next(),
            2 => next() % 4096,
            _ => next() % 12,
        };
        let [a, b, c, d, e] = [(); 5].map(|()| pick() as u32);
        let (wide, which) = (pick(), next() % 36);
        let names = ["/tmp/a", "/tmp/d/x", "/tmp/../dev/null", "/tmp", "x"];
        let path = machine.path(names[b as usize % names.len()]);
        let other = machine.second_path(names[c as usize % names.len()]);
        let _ = machine.call(|call| match which {
            0 => files::fd_read(call, a, b, c, d),
            1 => files::fd_write(call, a, b, c, d),
            2 => files::fd_pread(call, a, b, c, wide, d),
            3 => files::fd_pwrite(call, a, b, c, wide, d),
            4 => files::fd_seek(call, a, wide.cast_signed(), b, c),
            5 => files::fd_tell(call, a, b),
            6 if a > 3 => files::fd_close(call, a),
            7 if a > 3 && b > 3 => files::fd_renumber(call, a, b),
            8 => files::fd_allocate(call, a, wide, u64::from(b)),
            9 => files::fd_filestat_set_size(call, a, wide),
            10 => files::fd_advise(call, a, wide, wide, b),
            11 => dirs::fd_readdir(call, a, b, c, wide, d),
            12 => poll::poll_oneoff(call, a, b, c, d),
            13 => stat::fd_fdstat_get(call, a, b),
            14 => stat::fd_fdstat_set_flags(call, a, b),
            15 if a > 3 => stat::fd_fdstat_set_rights(call, a, wide, wide),
            16 => stat::fd_filestat_get(call, a, b),
            17 => stat::fd_filestat_set_times(call, a, wide, wide, b),
            18 => stat::path_filestat_set_times(call, a, b, path, (wide, wide), c),
            19 => stat::path_filestat_get(call, 3, a, path.0, path.1, d),
            20 => paths::path_create_directory(call, 3, path.0, path.1),
            21 => paths::path_remove_directory(call, 3, path.0, path.1),
            22 => paths::path_unlink_file(call, 3, path.0, path.1),
            23 => paths::path_rename(call, 3, path, 3, other),
            24 => paths::path_link(call, (3, a), path, 3, other),
            25 => paths::path_symlink(call, other, 3, path.0, path.1),
            26 => paths::path_readlink(call, 3, path, (d, e), OUT),
            27..=31 => open::path_open(call, 3, path, opening(a % 16, wide), OUT),
            32 => random::random_get(call, a, b),
            33 => process::args_get(call, a, b),
            34 => clock::clock_time_get(call, a, wide, b),
            _ => sockets::sock_accept(call, a, b, c),
        });
    }
}
