//! Packets: what goes over a socket in one piece, with the descriptors beside it.
//!
//! All sockets of the daemon are of type SOCK_SEQPACKET: a packet arrives whole or
//! is cut, never in two parts, and descriptors belong to one packet. So nobody has
//! to remember half a header, and a peer that stops in the middle of a request has
//! stopped between two packets.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Longest packet, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Most descriptors beside one packet: the kernel's SCM_MAX_FD.
pub const MAX_DESCRIPTORS: usize = 253;

/// A packet that was received into a buffer of the caller's.
pub struct Received {
    pub bytes: usize,
    pub fds: Vec<OwnedFd>,
    /// It was longer than the buffer, or had descriptors that could not be taken.
    pub cut: bool,
}

/// Receives one packet into `buffer`, which should be one byte longer than the
/// longest packet. No packet is there yet: `WOULDBLOCK`. None at the end.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<Option<Received>, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut slices, &mut control, flags))?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let cut = got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    // An empty packet is not of any protocol here; it ends like the end.
    if got.bytes == 0 && !cut {
        return Ok(None);
    }
    Ok(Some(Received {
        bytes: got.bytes,
        fds,
        cut,
    }))
}

/// Waits for the next packet; its length. It stays where it is.
pub fn next_length(socket: impl AsFd) -> Result<usize, Errno> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    let mut nothing = RecvAncillaryBuffer::default();
    let got =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut [], &mut nothing, flags))?;
    Ok(got.bytes)
}

/// A packet to be sent.
pub struct Packet {
    pub bytes: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Packet {
    fn send(&self, socket: impl AsFd) -> Result<(), Errno> {
        let borrowed: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !borrowed.is_empty()
            && !control.push(SendAncillaryMessage::ScmRights(&borrowed))
        {
            return Err(Errno::TOOBIG);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| {
            sendmsg(&socket, &[IoSlice::new(&self.bytes)], &mut control, flags)
        })?;
        Ok(())
    }
}

/// Packets that wait until their socket takes them.
#[derive(Default)]
pub struct Outbox {
    packets: VecDeque<Packet>,
    bytes: usize,
}

impl Outbox {
    pub fn push(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        self.bytes += bytes.len();
        self.packets.push_back(Packet { bytes, fds });
    }

    /// Gives up the room that a crowd needed.
    pub fn shrink(&mut self) {
        self.packets.shrink_to_fit();
    }

    /// Sends what the socket takes. True when nothing is left.
    pub fn flush(&mut self, socket: impl AsFd) -> Result<bool, Errno> {
        self.flush_into(socket, &mut Vec::new())
    }

    /// As [`Outbox::flush`]; what was sent is `done`, its descriptors still open.
    pub fn flush_into(
        &mut self,
        socket: impl AsFd,
        done: &mut Vec<Packet>,
    ) -> Result<bool, Errno> {
        while let Some(packet) = self.packets.front() {
            match packet.send(&socket) {
                Ok(()) => {
                    self.bytes -= packet.bytes.len();
                    done.extend(self.packets.pop_front());
                }
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The two ends of a socket for packets.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory_file() -> OwnedFd {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("test", flags).unwrap()
    }

    #[test]
    fn descriptors_arrive_beside_their_own_packet() {
        let (ours, theirs) = pair().unwrap();
        let mut outbox = Outbox::default();
        outbox.push(b"one".to_vec(), vec![memory_file(), memory_file()]);
        outbox.push(b"two".to_vec(), vec![]);
        assert_eq!(outbox.bytes(), 6);
        assert!(outbox.flush(&ours).unwrap() && outbox.is_empty());
        let mut buffer = [0; 16];
        let first = receive(&theirs, &mut buffer, RecvFlags::empty()).unwrap();
        let first = first.unwrap();
        assert_eq!((first.bytes, first.fds.len(), first.cut), (3, 2, false));
        let second = receive(&theirs, &mut buffer, RecvFlags::empty()).unwrap();
        assert_eq!(second.unwrap().fds.len(), 0);
        drop(ours);
        assert!(
            receive(&theirs, &mut buffer, RecvFlags::empty())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_packet_that_is_too_long_is_cut_and_says_so() {
        let (ours, theirs) = pair().unwrap();
        let mut outbox = Outbox::default();
        outbox.push(vec![1; 17], vec![]);
        outbox.flush(&ours).unwrap();
        let mut buffer = [0; 16];
        let got = receive(&theirs, &mut buffer, RecvFlags::empty()).unwrap();
        assert!(got.unwrap().cut);
    }

    #[test]
    fn what_a_full_socket_does_not_take_waits() {
        let (ours, theirs) = pair().unwrap();
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push(vec![0; MAX_BYTES], vec![]);
        }
        assert!(!outbox.flush(&ours).unwrap());
        let waiting = outbox.bytes();
        let mut buffer = vec![0; MAX_BYTES + 1];
        receive(&theirs, &mut buffer, RecvFlags::empty()).unwrap();
        outbox.flush(&ours).unwrap();
        assert!(outbox.bytes() < waiting);
    }
}
