"""gzip from a stranger → its bytes, in pieces of a bounded size.

As gunzip does: members may follow one another (pigz, bgzip and `cat` make
such files) and zeros may follow the last.  Anything else after it is an
error, because whoever counts on those bytes would silently miss them.

No step makes more than `PIECE_BYTES`, so that whoever counts the result can
stop a bomb.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

MAGIC = b"\x1f\x8b"
PIECE_BYTES = 256 * 1024
# bgzip makes one of each 64 KiB.  An empty one takes 20 bytes of the file and
# as long as many more, so that their number needs an end.
MAX_MEMBERS = 100_000
_GZIP_WINDOW = 31


class GzipError(Exception):
    """These bytes are no gzip data."""


def gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The unpacked bytes; raises GzipError."""
    source = iter(chunks)
    pending = b""
    for count in range(MAX_MEMBERS):
        machine = zlib.decompressobj(_GZIP_WINDOW)
        yield from _member(machine, pending, source)
        pending = machine.unused_data.lstrip(b"\0")
        while len(pending) < len(MAGIC):
            more = next(source, b"")
            if not more:
                break
            pending = (pending + more).lstrip(b"\0")
        if not pending:
            return
        if not pending.startswith(MAGIC):
            raise GzipError(
                f"after {count + 1} members come bytes that are no gzip data"
            )
    raise GzipError(f"it has more than {MAX_MEMBERS} members")


def _member(
    machine: zlib._Decompress, pending: bytes, source: Iterator[bytes]
) -> Iterator[bytes]:
    """One member, from `pending` on; what follows it stays in `machine`."""
    try:
        while not machine.eof:
            # Also with nothing at hand: it may keep output back.
            data = machine.decompress(pending, PIECE_BYTES)
            pending = machine.unconsumed_tail
            if data:
                yield data
            elif not pending and not machine.eof:
                pending = next(source, b"")
                if not pending:
                    raise GzipError("the gzip data is cut off")
    except zlib.error as error:
        raise GzipError(f"the gzip data is broken ({error})") from None
