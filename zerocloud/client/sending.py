"""What a caller gives as a job or a payload → what goes over the wire.

The endpoint judges the rules of a job; judged here is only what decides how
it travels: its content type.  A payload is streamed, never read whole; its
length is announced where it is known (a regular file), and it goes in chunks
where it is not (a pipe).
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from zerocloud.client.errors import UsageError
from zerocloud.client.transport import CHUNK_BYTES, Body
from zerocloud.headers import JSON_TYPE

SCRIPT_START = b"#!"
SCRIPT_TYPE = "text/x-script"
BLANK = b"\xef\xbb\xbf \t\r\n"  # JSON may begin with a byte order mark
GZIP_START = b"\x1f\x8b"
TAR_MAGIC = slice(257, 262)

Job = bytes | str | Sequence[Any] | Mapping[str, Any]
Payload = bytes | str | os.PathLike[str] | IO[bytes]
OnSent = Callable[[int, int | None], None]


def job_body(job: Job) -> tuple[bytes, str]:
    """The bytes and content type to send for a job; UsageError if it is none.

    JSON as Python values, text or bytes; a script's text or bytes, which
    begin with `#!`; a tar's bytes, gzipped or not.
    """
    if isinstance(job, str):
        job = job.encode("utf-8")
    if not isinstance(job, bytes):
        return _json(job), JSON_TYPE
    if job.startswith(SCRIPT_START):
        return job, SCRIPT_TYPE
    if job.startswith(GZIP_START):
        return job, "application/x-gzip"
    if job[TAR_MAGIC] == b"ustar":
        return job, "application/x-tar"
    if job.lstrip(BLANK)[:1] not in {b"[", b"{"}:
        raise UsageError(
            "a job is a JSON list or object, a script that begins with #!, "
            "or a tar with a job in it; this is none of them"
        )
    return job, JSON_TYPE


def _json(job: Any) -> bytes:
    try:
        return json.dumps(job).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise UsageError(f"the job is no JSON: {error}") from error


def payload_body(
    payload: Payload | None, stack: ExitStack, on_sent: OnSent | None
) -> Body:
    """The body to send for a payload; what is opened is closed by `stack`.

    `on_sent` gets the bytes so far, and all that there are or None, after
    each piece that was handed to the connection.
    """
    if payload is None:
        return b""
    if isinstance(payload, bytes):
        if on_sent is None or not payload:
            return payload
        return _Counted(io.BytesIO(payload), len(payload), on_sent)
    if isinstance(payload, str | os.PathLike):
        payload = stack.enter_context(_open(os.fspath(payload)))
    if on_sent is None:
        return payload
    size = _size_left(payload)
    if size:
        return _Counted(payload, size, on_sent)
    return _pieces(payload, on_sent)


def _open(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"payload {path}: {error.strerror}") from error


def _size_left(file: IO[bytes]) -> int | None:
    """Bytes from here to the end of a regular file; None for all else."""
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None
        return max(0, status.st_size - file.tell())
    except (OSError, AttributeError, ValueError):  # a file in memory, say
        return None


def _pieces(file: IO[bytes], on_sent: OnSent) -> Iterator[bytes]:
    """A file of unknown length, piece by piece."""
    done = 0
    while piece := file.read(CHUNK_BYTES):
        yield piece
        done += len(piece)
        on_sent(done, None)


class _Counted:
    """A file of known length, as requests reads one: by `len` and `read`."""

    def __init__(self, file: IO[bytes], size: int, on_sent: OnSent) -> None:
        self.len = size  # requests looks for it
        self._file = file
        self._on_sent = on_sent
        self._done = 0

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        piece = self._file.read(count)
        self._done += len(piece)
        self._on_sent(self._done, self.len)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")
