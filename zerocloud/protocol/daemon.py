"""Packets of `zvm serve`'s socket: requests to bytes, bytes to answers.

The twin of runner/src/serve/protocol.rs (docs/protocol.md section 5).  Pure:
sockets and descriptors are zerocloud.sandbox's affair; here a descriptor is a
number that goes along with a packet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from zerocloud.errors import ProtocolError
from zerocloud.protocol.report import (
    MAX_REPORT_BYTES,
    Report,
    report_item,
)
from zerocloud.protocol.strict import Fields, parse_object, to_json

DAEMON_VERSION = 1
MAX_PACKET_BYTES = 65536
MAX_PACKET_DESCRIPTORS = 253
# An answer is a report and a few numbers.
MAX_ANSWER_BYTES = MAX_REPORT_BYTES + 65536

WELCOME, ANSWER, LAST_WORD = b"H", b"R", b"E"

_HEADER = struct.Struct(">cBHI")
_BEGIN = struct.Struct(">III")
_MORE = 1
_U32 = 2**32 - 1


@dataclass(frozen=True)
class Packet:
    """What goes to the daemon in one piece."""

    data: bytes
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Piece:
    """What came from the daemon in one piece."""

    kind: bytes
    more: bool
    request: int
    body: bytes


@dataclass(frozen=True)
class Refused:
    """An error under a request, or the daemon's last word."""

    code: str
    message: str


@dataclass(frozen=True)
class Welcome:
    """What a daemon says of itself; None and False if it does not say it."""

    user_ids: str | None
    landlock: bool


def hello() -> Packet:
    """The first packet of a connection."""
    body = to_json({"version": DAEMON_VERSION})
    return Packet(_HEADER.pack(b"H", 0, 0, 0) + body)


def request(
    number: int,
    manifest: bytes,
    descriptors: Sequence[int],
    queue_seconds: float,
) -> list[Packet]:
    """A request, in as many packets as its manifest and descriptors need."""
    milliseconds = min(_U32, round(queue_seconds * 1000))
    head = _HEADER.pack(b"B", 0, 0, number)
    head += _BEGIN.pack(len(manifest), len(descriptors), milliseconds)
    packets = []
    data, left = manifest, list(descriptors)
    while True:
        room = MAX_PACKET_BYTES - len(head)
        batch = tuple(left[:MAX_PACKET_DESCRIPTORS])
        packets.append(Packet(head + data[:room], batch))
        data, left = data[room:], left[MAX_PACKET_DESCRIPTORS:]
        if not data and not left:
            return packets
        head = _HEADER.pack(b"M", 0, 0, number)


def cancel(number: int) -> Packet:
    """Take a request back."""
    return Packet(_HEADER.pack(b"C", 0, 0, number))


def parse_piece(packet: bytes) -> Piece:
    """One packet of the daemon's; ProtocolError when it is none."""
    if len(packet) < _HEADER.size:
        raise ProtocolError(f"a packet of the daemon has {len(packet)} bytes")
    kind, flags, zero, number = _HEADER.unpack_from(packet)
    if flags & ~_MORE or zero or kind not in (WELCOME, ANSWER, LAST_WORD):
        raise ProtocolError(f"a packet of the daemon is of kind {kind!r}")
    return Piece(kind, bool(flags & _MORE), number, packet[_HEADER.size :])


def parse_welcome(document: bytes) -> Welcome:
    """The answer to a hello; ProtocolError when it is none.

    It has more, and may have other things in another version.
    """
    what = "welcome"
    fields = Fields(parse_object(document, what, MAX_PACKET_BYTES), what)
    known = fields.has("user_ids")
    return Welcome(
        user_ids=fields.text("user_ids", 100) if known else None,
        landlock=fields.has("landlock") and fields.flag("landlock"),
    )


def lacks_lockdown(welcome: Welcome, ids: str, *, landlock: bool) -> str:
    """What the daemon lacks of what is asked for; empty when nothing."""
    if landlock and not welcome.landlock:
        return "its VMs run without Landlock"
    if ids and welcome.user_ids != _as_range(ids):
        return f"its VMs run with user ids {welcome.user_ids}, not {ids}"
    return ""


def _as_range(ids: str) -> str:
    """User ids as the daemon says them: `7` is `7-7`."""
    first, _, last = ids.partition("-")
    if ids == "same":
        return ids
    return f"{int(first)}-{int(last or first)}"


def parse_answer(document: bytes) -> Report | Refused:
    """What became of a request, or of a connection; or ProtocolError."""
    what = "answer"
    fields = Fields(parse_object(document, what, MAX_ANSWER_BYTES), what)
    if fields.has("error"):
        error = Fields(fields.take("error"), "error")
        refused = Refused(
            error.text("code", 100), error.raw_text("message", 65536)
        )
        error.done()
        fields.done()
        return refused
    report = report_item(fields.take("report"))
    _check_account(Fields(fields.take("process"), "answer.process"))
    fields.done()
    return report


def _check_account(fields: Fields) -> None:
    """Nobody needs the numbers here; their form is the protocol's."""
    fields.whole("pid", 1)
    fields.number("cpu_seconds", 0, 1e9)
    fields.whole("memory_peak_bytes")
    fields.take("status")
    fields.take("signal")
    fields.number("queue_seconds", 0, 1e9)
    fields.take("began_nanoseconds")
    fields.done()
