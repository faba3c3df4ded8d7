//! Sockets: a guest has none, so every descriptor is "not a socket".

use super::{Call, Errno, Fault};

fn refuse(call: &mut Call<'_>, fd: u32) -> Result<(), Fault> {
    call.wasi.table.get(fd)?;
    Err(Errno::Notsock.into())
}

pub fn sock_accept(
    call: &mut Call<'_>,
    fd: u32,
    _flags: u32,
    _out: u32,
) -> Result<(), Fault> {
    refuse(call, fd)
}

pub fn sock_recv(
    call: &mut Call<'_>,
    fd: u32,
    _iovecs: u32,
    _count: u32,
    _flags: u32,
    _length_out: u32,
    _flags_out: u32,
) -> Result<(), Fault> {
    refuse(call, fd)
}

pub fn sock_send(
    call: &mut Call<'_>,
    fd: u32,
    _iovecs: u32,
    _count: u32,
    _flags: u32,
    _length_out: u32,
) -> Result<(), Fault> {
    refuse(call, fd)
}

pub fn sock_shutdown(call: &mut Call<'_>, fd: u32, _how: u32) -> Result<(), Fault> {
    refuse(call, fd)
}
