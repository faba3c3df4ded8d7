//! The daemon's protocol, version 1 (docs/protocol.md, section 5): pure, no I/O.
//!
//! A packet begins with 8 bytes: its kind, flags, two zero bytes, the number of the
//! request, big-endian. [`parse`] checks the form of what a client sends and no more;
//! `connection` knows what may follow what. Everything here is bounded before it is
//! kept: a packet by the socket, a manifest and the number of descriptors by the
//! first packet's word, which is checked against the limits at once.

use serde::Serialize;

use crate::error::{Code, Error};
use crate::manifest;

pub const VERSION: u64 = 1;

pub const HEADER_BYTES: usize = 8;
/// The first packet of a request: length of the manifest, number of descriptors,
/// longest wait for a slot in milliseconds; four bytes each.
pub const BEGIN_BYTES: usize = 12;

/// More packets of the same answer follow.
const MORE: u8 = 1;

/// What a client can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first packet: the version that the client speaks.
    Hello(u64),
    Begin(Begin<'a>),
    /// More of a request that has begun.
    More(u32, &'a [u8]),
    Cancel(u32),
    Status(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin<'a> {
    pub request: u32,
    pub manifest_bytes: usize,
    pub descriptors: usize,
    pub queue_milliseconds: u32,
    /// The first bytes of the manifest.
    pub manifest: &'a [u8],
}

/// Parses one packet of a client.
pub fn parse(packet: &[u8]) -> Result<Message<'_>, Error> {
    let Some((header, body)) = packet.split_first_chunk::<HEADER_BYTES>() else {
        let bytes = packet.len();
        return Err(bad(format!(
            "has {bytes} bytes; its header alone has {HEADER_BYTES}"
        )));
    };
    let [kind, flags, zero_1, zero_2, number @ ..] = *header;
    if flags != 0 || zero_1 != 0 || zero_2 != 0 {
        return Err(bad("has bytes 1 to 3 that are not zero".to_owned()));
    }
    let request = u32::from_be_bytes(number);
    match kind {
        b'H' => hello(body).map(Message::Hello),
        b'B' => begin(request, body).map(Message::Begin),
        b'M' => Ok(Message::More(request, body)),
        b'C' if body.is_empty() => Ok(Message::Cancel(request)),
        b'S' if body.is_empty() => Ok(Message::Status(request)),
        b'C' | b'S' => {
            let kind = char::from(kind);
            Err(bad(format!("of kind {kind} has a body; it has none")))
        }
        _ => Err(bad(format!("is of kind {kind}; H, B, M, C, S are known"))),
    }
}

fn hello(body: &[u8]) -> Result<u64, Error> {
    // Whatever else a later version says in its hello is not for us to judge.
    let document: serde_json::Value = serde_json::from_slice(body)
        .map_err(|error| bad(format!("of kind H is not JSON: {error}")))?;
    document
        .get("version")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(|| bad("of kind H says no version".to_owned()))
}

fn begin(request: u32, body: &[u8]) -> Result<Begin<'_>, Error> {
    let Some((numbers, manifest)) = body.split_first_chunk::<BEGIN_BYTES>() else {
        return Err(bad("of kind B is too short".to_owned()));
    };
    let number = |at: usize| {
        let bytes = numbers.get(at..at + 4).and_then(<[u8]>::first_chunk);
        u32::from_be_bytes(bytes.copied().unwrap_or_default())
    };
    Ok(Begin {
        request,
        manifest_bytes: number(0) as usize,
        descriptors: number(4) as usize,
        queue_milliseconds: number(8),
        manifest,
    })
}

/// A packet that is not of the protocol.
pub fn bad(what: String) -> Error {
    Error::refused(Code::BadPacket, format!("a packet {what}"))
}

/// Checks what a request announces.
pub fn check_size(begin: &Begin<'_>, max_descriptors: usize) -> Result<(), Error> {
    if begin.manifest_bytes as u64 > manifest::MAX_BYTES {
        let message = format!(
            "manifest: has {} bytes; {} are allowed",
            begin.manifest_bytes,
            manifest::MAX_BYTES
        );
        return Err(Error::refused(Code::BadManifest, message));
    }
    if begin.descriptors > max_descriptors {
        let message = format!(
            "the request has {} descriptors; {max_descriptors} are allowed (the \
             smaller of 10000 and a quarter of this daemon's limit on open files)",
            begin.descriptors,
        );
        return Err(Error::refused(Code::BadManifest, message));
    }
    Ok(())
}

fn header(kind: u8, flags: u8, request: u32) -> Vec<u8> {
    let mut packet = vec![kind, flags, 0, 0];
    packet.extend(request.to_be_bytes());
    packet
}

/// The packets that carry `document`, a JSON text, as an answer of that kind.
pub fn answer(kind: u8, request: u32, document: &[u8], max_bytes: usize) -> Vec<Vec<u8>> {
    let room = max_bytes.saturating_sub(HEADER_BYTES).max(1);
    let mut chunks = document.chunks(room).peekable();
    let mut packets = Vec::new();
    while let Some(chunk) = chunks.next() {
        let flags = if chunks.peek().is_some() { MORE } else { 0 };
        let mut packet = header(kind, flags, request);
        packet.extend(chunk);
        packets.push(packet);
    }
    packets
}

/// What the daemon says of itself, in answer to a hello.
#[derive(Clone, Debug, Serialize)]
pub struct Welcome {
    pub version: u64,
    pub zvm: &'static str,
    pub engine: &'static str,
    pub slots: usize,
    pub queue: usize,
    pub max_descriptors: usize,
    /// User ids of its VMs: `FIRST-LAST`, or `same`.
    pub user_ids: String,
    /// Whether Landlock holds its VMs.
    pub landlock: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = header(kind, 0, 7);
        packet.extend(body);
        packet
    }

    fn refusal(packet: &[u8]) -> String {
        parse(packet).unwrap_err().to_string()
    }

    #[test]
    fn hello_says_a_version_and_may_say_more() {
        let hello = packet(b'H', br#"{"version": 3, "more": [1]}"#);
        assert_eq!(parse(&hello), Ok(Message::Hello(3)));
        for body in ["", "{}", "[]", r#"{"version": -1}"#, "{\"version\": 1"] {
            assert!(parse(&packet(b'H', body.as_bytes())).is_err(), "{body}");
        }
    }

    #[test]
    fn begin_has_three_numbers_and_the_manifests_beginning() {
        let body = b"\x00\x00\x01\x00\x00\x00\x00\x02\x00\x00\x03\xe8{\"ve";
        let begin = Begin {
            request: 7,
            manifest_bytes: 256,
            descriptors: 2,
            queue_milliseconds: 1000,
            manifest: b"{\"ve",
        };
        let packet = packet(b'B', body);
        assert_eq!(parse(&packet), Ok(Message::Begin(begin)));
        assert!(refusal(&packet[..15]).contains("too short"));
    }

    #[test]
    fn garbage_is_refused_with_its_reason() {
        assert!(refusal(b"short").contains("has 5 bytes"));
        assert!(refusal(&packet(b'Q', b"")).contains("kind 81"));
        assert!(refusal(&packet(b'C', b"x")).contains("kind C has a body"));
        assert!(refusal(&[b'M', 1, 0, 0, 0, 0, 0, 0]).contains("not zero"));
    }

    #[test]
    fn sizes_are_limited_from_both_sides() {
        let begin = |manifest_bytes, descriptors| Begin {
            request: 0,
            manifest_bytes,
            descriptors,
            queue_milliseconds: 0,
            manifest: b"",
        };
        let largest = manifest::MAX_BYTES as usize;
        assert_eq!(check_size(&begin(largest, 5), 5), Ok(()));
        let long = check_size(&begin(largest + 1, 5), 5).unwrap_err();
        assert!(long.to_string().contains("4194304 are allowed"), "{long}");
        let many = check_size(&begin(1, 6), 5).unwrap_err().to_string();
        assert!(many.contains("has 6 descriptors; 5 are allowed"), "{many}");
    }

    #[test]
    fn long_answers_are_cut_into_packets() {
        let packets = answer(b'R', 1, b"0123456789", HEADER_BYTES + 4);
        let ends: Vec<(u8, &[u8])> = packets
            .iter()
            .map(|packet| (packet[1], &packet[HEADER_BYTES..]))
            .collect();
        let expected: [(u8, &[u8]); 3] = [(1, b"0123"), (1, b"4567"), (0, b"89")];
        assert_eq!(ends, expected);
    }
}
