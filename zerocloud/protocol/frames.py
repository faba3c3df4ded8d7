"""Frames of the task exchange (docs/protocol.md section 4).

A frame is `kind (1 byte) | stream (u16) | length (u32) | payload`, big-endian.
What flows up (proxy → storage node) is followed, frame by frame, by a MAC
over (sequence number, header, payload): whoever gets between the two cannot
add, drop, reorder or change what the node is told to run or read.

Upstream: `FrameSigner.seal` writes, `FrameOpener.read_frame` reads.
Downstream: `encode_frame` writes, `read_frame` reads.  Readers take any
`read(n)` that returns at most n bytes and b"" at the end.  Everything that is
not exactly as written there is a ProtocolError; `StreamEnded` is its special
case of an end where a frame might have begun.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass

from zerocloud.errors import ProtocolError

MAX_PAYLOAD = 1024 * 1024
MAC_BYTES = 16
HEADER = struct.Struct(">cHI")
_SEQUENCE = struct.Struct(">Q")

# Up.
TASK = b"T"
BLOB = b"B"
PING = b"P"
GO = b"G"
GIVE_UP = b"X"
# Up and down.
DATA = b"D"
END = b"E"
# Down.
HEARTBEAT = b"H"
ACCEPTED = b"A"
REPORT = b"R"
OUTPUT = b"O"
FAILED = b"F"
DONE = b"Z"

UP_KINDS = frozenset((TASK, BLOB, DATA, END, PING, GO, GIVE_UP))
DOWN_KINDS = frozenset(
    (HEARTBEAT, ACCEPTED, REPORT, OUTPUT, DATA, END, FAILED, DONE)
)

Read = Callable[[int], bytes]


class StreamEnded(ProtocolError):  # noqa: N818 - often no fault at all
    """The other side ended the stream between two frames."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was received."""

    kind: bytes
    stream: int
    payload: bytes


def frame_key(cluster_key: bytes, signature: str) -> bytes:
    """The MAC key of one exchange: bound to its request's signature."""
    return hmac.digest(cluster_key, signature.encode("ascii"), "sha256")


def _header(kind: bytes, stream: int, length: int) -> bytes:
    if length > MAX_PAYLOAD:
        raise ProtocolError(
            f"frame {kind!r} has {length} bytes; allowed are {MAX_PAYLOAD}"
        )
    return HEADER.pack(kind, stream, length)


def encode_frame(kind: bytes, stream: int = 0, payload: bytes = b"") -> bytes:
    """A downstream frame."""
    return _header(kind, stream, len(payload)) + payload


class FrameSigner:
    """Writes upstream frames; one per request, frames in order."""

    def __init__(self, key: bytes) -> None:
        self._mac = _FrameMac(key)

    def seal(
        self, kind: bytes, stream: int = 0, payload: bytes = b""
    ) -> bytes:
        """The frame with its MAC, ready to be sent next."""
        header = _header(kind, stream, len(payload))
        return b"".join((header, payload, self._mac.next(header, payload)))


class FrameOpener:
    """Reads and authenticates upstream frames; one per request."""

    def __init__(self, key: bytes) -> None:
        self._mac = _FrameMac(key)

    def read_frame(self, read: Read) -> Frame:
        """The next frame; ProtocolError when anything about it is wrong.

        After an error the stream cannot be used any more.
        """
        kind, stream, header, payload = _read(read, UP_KINDS)
        mac = _exactly(read, MAC_BYTES)
        if not hmac.compare_digest(mac, self._mac.next(header, payload)):
            raise ProtocolError(f"frame {kind!r} has a wrong MAC")
        return Frame(kind, stream, payload)


def read_frame(read: Read) -> Frame:
    """The next downstream frame; ProtocolError when it is not one."""
    kind, stream, _, payload = _read(read, DOWN_KINDS)
    return Frame(kind, stream, payload)


class _FrameMac:
    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sequence = 0

    def next(self, header: bytes, payload: bytes) -> bytes:
        mac = hashlib.blake2b(
            _SEQUENCE.pack(self._sequence),
            digest_size=MAC_BYTES,
            key=self._key,
        )
        self._sequence += 1
        mac.update(header)
        mac.update(payload)
        return mac.digest()


def _read(
    read: Read, kinds: frozenset[bytes]
) -> tuple[bytes, int, bytes, bytes]:
    header = _exactly(read, HEADER.size, at_start=True)
    kind, stream, length = HEADER.unpack(header)
    if kind not in kinds:
        raise ProtocolError(f"frame of unknown kind {kind!r}")
    if length > MAX_PAYLOAD:
        raise ProtocolError(
            f"frame {kind!r} has {length} bytes; allowed are {MAX_PAYLOAD}"
        )
    return kind, stream, header, _exactly(read, length)


def _exactly(read: Read, size: int, *, at_start: bool = False) -> bytes:
    data = read(size) if size else b""
    if len(data) == size:
        return data
    if at_start and not data:
        raise StreamEnded("the stream has ended")
    parts = [data]
    missing = size - len(data)
    while missing > 0 and data:
        data = read(missing)
        parts.append(data)
        missing -= len(data)
    if missing:
        raise ProtocolError(
            f"the stream ended within a frame, {missing} bytes too early"
        )
    return b"".join(parts)
