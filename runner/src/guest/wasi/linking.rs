//! Makes the functions importable, under the names and types of preview 1.
//!
//! The one list below is both what modules may import and what is linked, so
//! that the two cannot differ.

use wasmparser::ValType;
use wasmtime::{Caller, Error, Extern, Linker, Module, Result};

use super::open::{self, Opening};
use super::{Call, Fault, Memory, SYMLINK_FOLLOW};
use super::{clock, dirs, files, paths, poll, process, random, sockets, stat};
use crate::chance::{Source, noise};
use crate::guest::Guest;
use crate::outcome::Outcome;

#[cfg(not(feature = "planted-holes"))]
use super::process::proc_raise;
#[cfg(feature = "planted-holes")]
use super::process::raise_hole as proc_raise;

const MODULE: &str = "wasi_snapshot_preview1";

/// Runs one call on behalf of the guest; gives the errno that it sees.
fn enter(
    caller: &mut Caller<'_, Guest>,
    function: impl FnOnce(&mut Call<'_>) -> Result<(), Fault>,
) -> Result<u32> {
    let memory = match caller.data().wasi.memory {
        Some(memory) => Some(memory),
        None => {
            let found = caller.get_export("memory").and_then(Extern::into_memory);
            caller.data_mut().wasi.memory = found;
            found
        }
    };
    let (bytes, guest) = match memory {
        Some(memory) => memory.data_and_store_mut(caller),
        None => (&mut [][..], caller.data_mut()),
    };
    let mut call = Call {
        memory: Memory::new(bytes),
        wasi: &mut guest.wasi,
    };
    match function(&mut call) {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => {
            let other = noise(Source::Errno).map_or(0, |noise| noise % 50);
            Ok(u32::from(errno as u16) + other as u32)
        }
        Err(Fault::End(outcome)) => {
            guest.end = Some(outcome);
            Err(ended())
        }
    }
}

/// What unwinds the guest's stack; the outcome is in [`Guest::end`].
fn ended() -> Error {
    Error::msg("the run has ended")
}

/// A number of Rust's as WebAssembly has it.
trait Parameter {
    const TYPE: ValType;
}

impl Parameter for u32 {
    const TYPE: ValType = ValType::I32;
}

impl Parameter for u64 {
    const TYPE: ValType = ValType::I64;
}

impl Parameter for i64 {
    const TYPE: ValType = ValType::I64;
}

/// Declares the functions: their names, the types that modules import them with,
/// and how their parameters go to the implementation.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) = |$call:ident| $body:expr;)*) => {
        /// The functions of `wasi_snapshot_preview1` that a module may import.
        pub const FUNCTIONS: &[&str] = &[$(stringify!($name),)* "proc_exit"];

        /// Types of the parameters of one of [`FUNCTIONS`]. All return one number,
        /// but `proc_exit`, which does not return.
        pub fn parameters(name: &str) -> Option<Vec<ValType>> {
            match name {
                $(stringify!($name) => Some(vec![$(<$type as Parameter>::TYPE),*]),)*
                "proc_exit" => Some(vec![ValType::I32]),
                _ => None,
            }
        }

        /// Offers those of [`FUNCTIONS`] that `module` imports. Each costs a
        /// microsecond at the start of a VM, and most programs want few.
        pub fn add_to_linker(linker: &mut Linker<Guest>, module: &Module) -> Result<()> {
            let wanted: Vec<&str> = module.imports().map(|import| import.name()).collect();
            add_named(linker, &wanted)
        }

        /// Offers those of [`FUNCTIONS`] that are named.
        pub fn add_named(linker: &mut Linker<Guest>, wanted: &[&str]) -> Result<()> {
            $(
                if wanted.contains(&stringify!($name)) {
                    linker.func_wrap(
                        MODULE,
                        stringify!($name),
                        |mut caller: Caller<'_, Guest>, $($argument: $type),*| {
                            enter(&mut caller, |$call| $body)
                        },
                    )?;
                }
            )*
            if wanted.contains(&"proc_exit") {
                linker.func_wrap(MODULE, "proc_exit", proc_exit)?;
            }
            Ok(())
        }
    };
}

fn proc_exit(mut caller: Caller<'_, Guest>, code: u32) -> Result<()> {
    caller.data_mut().end = Some(Outcome::Exit(code));
    Err(ended())
}

functions! {
    args_get(argv: u32, buf: u32) = |call| process::args_get(call, argv, buf);
    args_sizes_get(count: u32, size: u32) =
        |call| process::args_sizes_get(call, count, size);
    environ_get(environ: u32, buf: u32) = |call| process::environ_get(call, environ, buf);
    environ_sizes_get(count: u32, size: u32) =
        |call| process::environ_sizes_get(call, count, size);
    clock_res_get(id: u32, out: u32) = |call| clock::clock_res_get(call, id, out);
    clock_time_get(id: u32, precision: u64, out: u32) =
        |call| clock::clock_time_get(call, id, precision, out);
    fd_advise(fd: u32, offset: u64, len: u64, advice: u32) =
        |call| files::fd_advise(call, fd, offset, len, advice);
    fd_allocate(fd: u32, offset: u64, len: u64) =
        |call| files::fd_allocate(call, fd, offset, len);
    fd_close(fd: u32) = |call| files::fd_close(call, fd);
    fd_datasync(fd: u32) = |call| files::fd_datasync(call, fd);
    fd_fdstat_get(fd: u32, out: u32) = |call| stat::fd_fdstat_get(call, fd, out);
    fd_fdstat_set_flags(fd: u32, flags: u32) =
        |call| stat::fd_fdstat_set_flags(call, fd, flags);
    fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) =
        |call| stat::fd_fdstat_set_rights(call, fd, base, inheriting);
    fd_filestat_get(fd: u32, out: u32) = |call| stat::fd_filestat_get(call, fd, out);
    fd_filestat_set_size(fd: u32, size: u64) =
        |call| files::fd_filestat_set_size(call, fd, size);
    fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, which: u32) =
        |call| stat::fd_filestat_set_times(call, fd, atim, mtim, which);
    fd_pread(fd: u32, iovs: u32, count: u32, offset: u64, out: u32) =
        |call| files::fd_pread(call, fd, iovs, count, offset, out);
    fd_prestat_get(fd: u32, out: u32) = |call| stat::fd_prestat_get(call, fd, out);
    fd_prestat_dir_name(fd: u32, path: u32, len: u32) =
        |call| stat::fd_prestat_dir_name(call, fd, path, len);
    fd_pwrite(fd: u32, iovs: u32, count: u32, offset: u64, out: u32) =
        |call| files::fd_pwrite(call, fd, iovs, count, offset, out);
    fd_read(fd: u32, iovs: u32, count: u32, out: u32) =
        |call| files::fd_read(call, fd, iovs, count, out);
    fd_readdir(fd: u32, buf: u32, len: u32, cookie: u64, out: u32) =
        |call| dirs::fd_readdir(call, fd, buf, len, cookie, out);
    fd_renumber(from: u32, to: u32) = |call| files::fd_renumber(call, from, to);
    fd_seek(fd: u32, offset: i64, whence: u32, out: u32) =
        |call| files::fd_seek(call, fd, offset, whence, out);
    fd_sync(fd: u32) = |call| files::fd_sync(call, fd);
    fd_tell(fd: u32, out: u32) = |call| files::fd_tell(call, fd, out);
    fd_write(fd: u32, iovs: u32, count: u32, out: u32) =
        |call| files::fd_write(call, fd, iovs, count, out);
    path_create_directory(fd: u32, path: u32, len: u32) =
        |call| paths::path_create_directory(call, fd, path, len);
    path_filestat_get(fd: u32, flags: u32, path: u32, len: u32, out: u32) =
        |call| stat::path_filestat_get(call, fd, flags, path, len, out);
    path_filestat_set_times(
        fd: u32, flags: u32, path: u32, len: u32, atim: u64, mtim: u64, which: u32
    ) = |call| {
        let times = (atim, mtim);
        stat::path_filestat_set_times(call, fd, flags, (path, len), times, which)
    };
    path_link(
        old_fd: u32, old_flags: u32, old_path: u32, old_len: u32,
        new_fd: u32, new_path: u32, new_len: u32
    ) = |call| {
        let (old, new) = ((old_path, old_len), (new_path, new_len));
        paths::path_link(call, (old_fd, old_flags), old, new_fd, new)
    };
    path_open(
        fd: u32, lookup: u32, path: u32, len: u32, oflags: u32,
        rights: u64, inheriting: u64, flags: u32, out: u32
    ) = |call| {
        let follow = lookup & SYMLINK_FOLLOW != 0;
        let opening = Opening { follow, oflags, rights, inheriting, flags };
        open::path_open(call, fd, (path, len), opening, out)
    };
    path_readlink(fd: u32, path: u32, path_len: u32, buf: u32, len: u32, out: u32) =
        |call| paths::path_readlink(call, fd, (path, path_len), (buf, len), out);
    path_remove_directory(fd: u32, path: u32, len: u32) =
        |call| paths::path_remove_directory(call, fd, path, len);
    path_rename(
        fd: u32, old_path: u32, old_len: u32, new_fd: u32, new_path: u32, new_len: u32
    ) = |call| paths::path_rename(call, fd, (old_path, old_len), new_fd, (new_path, new_len));
    path_symlink(old_path: u32, old_len: u32, fd: u32, path: u32, len: u32) =
        |call| paths::path_symlink(call, (old_path, old_len), fd, path, len);
    path_unlink_file(fd: u32, path: u32, len: u32) =
        |call| paths::path_unlink_file(call, fd, path, len);
    poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32) =
        |call| poll::poll_oneoff(call, subscriptions, events, count, out);
    proc_raise(signal: u32) = |call| proc_raise(call, signal);
    random_get(buf: u32, len: u32) = |call| random::random_get(call, buf, len);
    sched_yield() = |call| process::sched_yield(call);
    sock_accept(fd: u32, flags: u32, out: u32) =
        |call| sockets::sock_accept(call, fd, flags, out);
    sock_recv(fd: u32, iovs: u32, count: u32, flags: u32, len_out: u32, flags_out: u32) =
        |call| sockets::sock_recv(call, fd, iovs, count, flags, len_out, flags_out);
    sock_send(fd: u32, iovs: u32, count: u32, flags: u32, out: u32) =
        |call| sockets::sock_send(call, fd, iovs, count, flags, out);
    sock_shutdown(fd: u32, how: u32) = |call| sockets::sock_shutdown(call, fd, how);
}
