"""Are these the bytes that were stored: digests of what the proxy reads.

Swift tells of rot too late: a storage server finds out that a file is damaged
when it has sent the last byte, and its proxy ends a large object early with a
word in its own log, or not at all when it was the last segment.  So whoever
streams an object here takes the MD5 himself and compares it with the ETag: of
a plain object all bytes, of a large one its last segment (Swift has compared
the others).  What cannot be compared (a part of a segment, a large object as
a segment, an ETag that is no MD5) goes unchecked.

`sound` is for whoever reads an object from its beginning to its end, and
`retried` tries again: a damaged file has been put into quarantine by then.

`find_flaw` says which segment of a static large object is not the one that its
manifest names, replaced or deleted since, or not for this user to read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from zerocloud.errors import ClusterError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.concurrency import gather
from zerocloud.scheduler.subrequest import Reply

STATIC = "X-Static-Large-Object"
DYNAMIC = "X-Object-Manifest"
# Swift's own limit for a manifest.
MANIFEST_BYTES = 8 * 1024 * 1024
HEADS_AT_ONCE = 16
READ_TRIES = 3
_MD5_DIGITS = 32

Result = TypeVar("Result")


class Damaged(ClusterError):  # noqa: N818 - what was found of the object
    """Swift has sent other bytes than were stored; another try may help."""

    def __init__(self, path: ObjectPath) -> None:
        super().__init__(
            "input_failed", f"object {path} is damaged where it was read"
        )


@dataclass(frozen=True)
class Segment:
    """A segment of a large object; `etag` is empty when it cannot be told."""

    path: ObjectPath
    bytes: int
    etag: str


@dataclass(frozen=True)
class Expected:
    """The MD5 of all bytes from `offset` on; empty when it is not known."""

    etag: str = ""
    offset: int = 0


class SegmentReader(Protocol):
    """What of the pipeline is needed here."""

    def manifest(self, path: ObjectPath) -> Reply:
        """GET the manifest itself, or a segment's own headers."""

    def listing(
        self, account: str, container: str | None, **query: str | int
    ) -> tuple[Reply, list[dict[str, Any]]]:
        """One page of a listing."""


def is_static(headers: Mapping[str, str]) -> bool:
    """Whether an answer's headers are those of a static large object."""
    return headers.get(STATIC, "").lower() == "true"


def plain_etag(headers: Mapping[str, str]) -> str:
    """The ETag when it looks like an MD5; else nothing."""
    etag = headers.get("Etag", "").strip('"').lower()
    known = len(etag) == _MD5_DIGITS and not set(etag) - set(
        "0123456789abcdef"
    )
    return etag if known else ""


def expected(
    reader: SegmentReader,
    path: ObjectPath,
    headers: Mapping[str, str],
    size: int,
) -> Expected:
    """What the bytes of an answer with these headers must be."""
    if is_static(headers):
        last = _last_static(reader, path)
    elif headers.get(DYNAMIC):
        last = _last_dynamic(reader, path, headers[DYNAMIC])
    else:
        return Expected(plain_etag(headers))
    if last is None or not last.etag or last.bytes > size:
        return Expected()
    return Expected(last.etag, size - last.bytes)


def checked(
    chunks: Iterator[bytes], path: ObjectPath, wanted: Expected
) -> Generator[bytes]:
    """The chunks; Damaged at their end when they are not what is wanted."""
    digest, at = hashlib.md5(usedforsecurity=False), 0
    for chunk in chunks:
        if wanted.etag and at + len(chunk) > wanted.offset:
            digest.update(memoryview(chunk)[max(0, wanted.offset - at) :])
        at += len(chunk)
        yield chunk
    if wanted.etag and digest.hexdigest() != wanted.etag:
        raise Damaged(path)


def counted(
    chunks: Iterator[bytes], path: ObjectPath, size: int
) -> Iterator[bytes]:
    """The chunks, which must be exactly as many bytes as announced."""
    left = size
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise ClusterError(
            "input_failed",
            f"object {path} ended {abs(left)} bytes too "
            f"{'early' if left > 0 else 'late'}",
        )


def sound(
    reader: SegmentReader, path: ObjectPath, reply: Reply
) -> Generator[bytes]:
    """The body of a GET, whole and as it was stored.

    Raises ClusterError `input_failed` at its end when it is neither; so it
    must be read to its end (`rest`) before anything is made of it.
    """
    size = int(reply.headers.get("Content-Length") or 0)
    wanted = expected(reader, path, reply.headers, size)
    yield from checked(counted(reply.chunks(), path, size), path, wanted)


def rest(chunks: Iterator[bytes]) -> None:
    """Read to the end, for what is found there."""
    for _ in chunks:
        pass


def retried(read: Callable[[], Result]) -> Result:
    """What `read` returns; once more, twice at most, after `input_failed`."""
    for _ in range(READ_TRIES - 1):
        try:
            return read()
        except ClusterError as error:
            if error.code != "input_failed":
                raise
    return read()


@dataclass(frozen=True)
class Flaw:
    """A segment that keeps a large object from being read."""

    path: ObjectPath
    forbidden: bool


def find_flaw(reader: SegmentReader, path: ObjectPath) -> Flaw | None:
    """The first segment that is not what the manifest at `path` says.

    Or that the user may not read.
    """

    def look(segment: Segment) -> Flaw | None:
        reply = reader.manifest(segment.path)
        reply.close()
        if reply.status in (401, 403):
            return Flaw(segment.path, forbidden=True)
        etag = plain_etag(reply.headers)
        other = etag and segment.etag and etag != segment.etag
        if reply.status == 404 or (reply.ok and other):
            return Flaw(segment.path, forbidden=False)
        return None

    segments = _static_segments(reader, path)
    flaws = gather(look, segments, HEADS_AT_ONCE)
    return next((flaw for flaw in flaws if flaw is not None), None)


def _static_segments(reader: SegmentReader, path: ObjectPath) -> list[Segment]:
    reply = reader.manifest(path)
    if reply.status != 200:
        reply.close()
        return []
    try:
        entries = json.loads(reply.read(MANIFEST_BYTES))
        return [_entry(path.account, entry) for entry in entries]
    except (ValueError, KeyError, TypeError):
        # Inline data, or not a manifest any more.
        return []


def _entry(account: str, entry: Mapping[str, Any]) -> Segment:
    container, _, name = str(entry["name"]).lstrip("/").partition("/")
    whole = not entry.get("range") and not entry.get("sub_slo")
    return Segment(
        ObjectPath(account, container, name),
        int(entry["bytes"]),
        str(entry["hash"]) if whole else "",
    )


def _last_static(reader: SegmentReader, path: ObjectPath) -> Segment | None:
    segments = _static_segments(reader, path)
    return segments[-1] if segments else None


def _last_dynamic(
    reader: SegmentReader, path: ObjectPath, value: str
) -> Segment | None:
    # The header is percent-encoded UTF-8.
    text = unquote_to_bytes(value.encode("latin-1")).decode("utf-8", "replace")
    container, _, prefix = text.lstrip("/").partition("/")
    reply, rows = reader.listing(
        path.account, container, prefix=prefix, reverse="true", limit=1
    )
    if not reply.ok or not rows or "slo_etag" in rows[0]:
        return None
    return Segment(
        ObjectPath(path.account, container, str(rows[0]["name"])),
        int(rows[0]["bytes"]),
        str(rows[0]["hash"]),
    )
