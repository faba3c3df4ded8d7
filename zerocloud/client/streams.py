"""Bytes that come from the endpoint, of any length: read them, or save them.

A file appears under its name only when everything has arrived: until then it
is a hidden file beside it, which goes away with an error or an interruption.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from zerocloud.client.errors import AnswerError, UsageError
from zerocloud.client.result import SUCCEEDED

Target = str | os.PathLike[str] | IO[bytes]
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ByteStream:
    """Bytes on their way.  `chunks` can be gone through once.

    Going through them raises ConnectError when the connection breaks before
    the end.
    """

    chunks: Iterator[bytes] = field(repr=False)

    def read(self) -> bytes:
        """All that is left, in memory."""
        return b"".join(self.chunks)

    def save(self, target: Target) -> int:
        """Write all that is left to a path or an open binary file.

        Returns how many bytes.  A file of that name is replaced at the end,
        at once; on any error it stays as it was.  Raises UsageError when it
        cannot be written.
        """
        return save_chunks(self.chunks, target)


@dataclass(frozen=True)
class RawAnswer(ByteStream):
    """A job's plain answer: each node's first immediate output, in order.

    `error` says for each failed node how it ended.
    """

    job: str = ""
    status: str = ""
    error: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether every node succeeded."""
        return self.status == SUCCEEDED


@dataclass(frozen=True)
class ObjectStream(ByteStream):
    """An object's bytes.  `size` is None when Swift does not say it."""

    name: str = ""
    size: int | None = None
    etag: str = ""
    content_type: str = ""


def save_chunks(chunks: Iterable[bytes], target: Target) -> int:
    """Write chunks to a path or an open file; see `ByteStream.save`."""
    if not isinstance(target, str | os.PathLike):
        return _copy(chunks, target)
    path = Path(os.path.realpath(target))
    try:
        if path.exists() and not path.is_file():  # a terminal, a pipe, null
            with open(path, "wb") as file:
                return _copy(chunks, file)
        draft = path.with_name(f".{secrets.token_hex(8)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(draft, flags, 0o666), "wb") as file:
            try:
                size = _copy(chunks, file)
                file.close()
                os.replace(draft, path)
            except BaseException:  # an interruption too
                os.unlink(draft)
                raise
    except OSError as error:
        raise UsageError(
            f"{os.fspath(target)}: {error.strerror or error}"
        ) from error
    return size


def _copy(chunks: Iterable[bytes], file: IO[bytes]) -> int:
    size = 0
    for chunk in chunks:
        left = memoryview(chunk)
        while left:  # a raw file may take a part
            left = left[file.write(left) :]
        size += len(chunk)
    return size


def verified(chunks: Iterable[bytes], etag: str, name: str) -> Iterator[bytes]:
    """The same chunks; AnswerError at their end if their MD5 is not `etag`.

    For an ETag that is no MD5 (a large object's), nothing is compared.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if _MD5.fullmatch(etag) and digest.hexdigest() != etag:
        raise AnswerError(
            f"{name}: what arrived is not what is stored (MD5 "
            f"{digest.hexdigest()}, its ETag is {etag})"
        )
