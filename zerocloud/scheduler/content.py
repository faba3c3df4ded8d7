"""Bytes that the proxy holds for a job: a program, an image, an output.

`Content` is a length and a way to read the bytes again and again; where they
are (memory, or a file without a name) is this file's secret.  `Spool` collects
many small contents of one job: in memory while they are few, then in one file,
so that a job of a thousand nodes does not live in the proxy's memory.

Everything here vanishes with the process: the files have no name.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import IO

from zerocloud.errors import JobError
from zerocloud.job.gunzip import MAGIC, GzipError, gunzipped
from zerocloud.scheduler.concurrency import sleep

CHUNK_BYTES = 256 * 1024
MEMORY_BYTES = 4 * 1024 * 1024


class Content:
    """`length` bytes from `offset` of an open file."""

    def __init__(self, file: IO[bytes], offset: int, length: int) -> None:
        self._file = file
        self._offset = offset
        self.length = length

    def chunks(self, size: int = CHUNK_BYTES) -> Generator[bytes]:
        """The bytes, from the beginning each time."""
        at, end = self._offset, self._offset + self.length
        while at < end:
            # Others read the same file between two chunks.
            self._file.seek(at)
            data = self._file.read(min(size, end - at))
            if not data:
                raise OSError("a spool file is shorter than it was")
            at += len(data)
            yield data

    def read(self) -> bytes:
        """All bytes at once: for what is known to be small."""
        return b"".join(self.chunks())

    def close(self) -> None:
        """Let go of the file, and with it of others' contents in it."""
        self._file.close()


class Spool:
    """Contents of one job, one after another in one place."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        # Rolls over from memory to an unlinked file by itself.
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=memory_bytes
        )
        self._end = 0

    def add(self, data: bytes) -> Content:
        """Keep `data`."""
        self._file.seek(self._end)
        self._file.write(data)
        content = Content(self._file, self._end, len(data))
        self._end += len(data)
        return content

    def close(self) -> None:
        """Forget everything; contents cannot be read any more."""
        self._file.close()


def collect(
    chunks: Iterable[bytes], limit: int, too_large: Callable[[], Exception]
) -> tuple[Content, str]:
    """Keep `chunks` as a content of its own, and its hex SHA-256.

    Raises `too_large()` as soon as there are more than `limit` bytes.
    """
    file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115
        max_size=MEMORY_BYTES
    )
    length, digest = 0, hashlib.sha256()
    try:
        for chunk in chunks:
            length += len(chunk)
            if length > limit:
                raise too_large()
            digest.update(chunk)
            file.write(chunk)
            if length > CHUNK_BYTES:
                sleep(0)  # hashing and writing hold up the other green threads
    except BaseException:
        file.close()
        raise
    return Content(file, 0, length), digest.hexdigest()


def inflated(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The chunks, unpacked when they are gzip; otherwise as they are.

    `name` is the image's, for errors.  Each step makes at most PIECE_BYTES of
    gunzip, so that whoever counts the result can stop a bomb.  Raises JobError
    `image_invalid` for broken gzip.
    """
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= len(MAGIC):
            break
    whole = chain((head,), source)
    if not head.startswith(MAGIC):
        yield from whole
        return
    try:
        yield from gunzipped(whole)
    except GzipError as error:
        raise JobError("image_invalid", f"{name}: {error}") from None
