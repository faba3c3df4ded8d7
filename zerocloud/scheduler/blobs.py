"""Programs and user images: read once as the user, sent once per server.

`Blobs` is one job's view: it reads each program and image through the pipeline
(so rights, links, large objects and encryption are as for any client), gives
it a digest, and hands the bytes to whichever task a storage node asks them of.
gzip images are unpacked here, within the limit, since nodes map plain tars.

`BlobCache` is the process's memory of small ones.  It never decides about
rights: every use goes through a conditional GET as the user, and only a 304
for the very version that is remembered takes the bytes from memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from zerocloud import headers as names
from zerocloud.errors import JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.concurrency import gather
from zerocloud.scheduler.content import Content, collect, inflated
from zerocloud.scheduler.inputs import Reader, failed_read
from zerocloud.scheduler.segments import rest, retried, sound
from zerocloud.scheduler.subrequest import Reply

CACHE_BYTES = 64 * 1024 * 1024
LARGEST_CACHED = 8 * 1024 * 1024
READS_AT_ONCE = 4


@dataclass(frozen=True)
class Blob:
    """A program or a tar, named by the digest of its bytes."""

    sha256: str
    content: Content


@dataclass(frozen=True)
class Wanted:
    """An object to be read as a blob; images may be gzip."""

    path: ObjectPath
    image: bool


@dataclass(frozen=True)
class _Remembered:
    etag: str
    timestamp: str
    blob: Blob


class BlobCache:
    """Small blobs of this process, least recently used first out."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._kept: OrderedDict[Wanted, _Remembered] = OrderedDict()

    def get(self, wanted: Wanted) -> _Remembered | None:
        """What is remembered of the object, whatever its version."""
        kept = self._kept.get(wanted)
        if kept is not None:
            self._kept.move_to_end(wanted)
        return kept

    def put(self, wanted: Wanted, kept: _Remembered) -> bool:
        """Remember a blob, unless it is large; whether it is remembered."""
        self.drop(wanted)
        size = kept.blob.content.length
        if size > min(LARGEST_CACHED, self._limit):
            return False
        self._kept[wanted] = kept
        self._size += size
        while self._size > self._limit:
            _, old = self._kept.popitem(last=False)
            self._size -= old.blob.content.length
        return True

    def drop(self, wanted: Wanted) -> None:
        """Forget a blob."""
        old = self._kept.pop(wanted, None)
        if old is not None:
            self._size -= old.blob.content.length


class Blobs:
    """The programs and images of one job."""

    def __init__(
        self, reader: Reader, cache: BlobCache, limit_bytes: int
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._limit = limit_bytes
        self._by_path: dict[Wanted, Blob] = {}
        self._by_digest: dict[str, Blob] = {}
        self._own: list[Content] = []

    def close(self) -> None:
        """Let go of what no other job may have use for.

        The garbage collector would do that, but whenever it likes: an error
        holds its job for as long, and a program may have a gigabyte.
        """
        while self._own:
            self._own.pop().close()

    def add(self, blob: Blob) -> None:
        """Know a blob that came with the request."""
        self._by_digest[blob.sha256] = blob

    def fetch(self, wanted: Iterable[Wanted]) -> None:
        """Read all of them; raises what the first failed read says."""
        todo = [w for w in dict.fromkeys(wanted) if w not in self._by_path]
        for item, blob in gather(self._fetch, todo, READS_AT_ONCE):
            self._by_path[item] = blob
            self.add(blob)

    def digest(self, path: ObjectPath, *, image: bool = False) -> str:
        """The SHA-256 of a fetched object."""
        return self._by_path[Wanted(path, image)].sha256

    def content(self, sha256: str) -> Content | None:
        """The bytes of a known blob."""
        blob = self._by_digest.get(sha256)
        return None if blob is None else blob.content

    def _fetch(self, wanted: Wanted) -> tuple[Wanted, Blob]:
        kept = self._cache.get(wanted)
        if kept is not None:
            reply = self._reader.get(wanted.path, {"If-None-Match": kept.etag})
            timestamp = reply.headers.get(names.DATA_TIMESTAMP)
            if reply.status == 304 and timestamp == kept.timestamp:
                reply.close()
                return wanted, kept.blob
            reply.close()
            self._cache.drop(wanted)
        return wanted, retried(lambda: self._read(wanted))

    def _read(self, wanted: Wanted) -> Blob:
        reply = self._reader.get(wanted.path)
        try:
            if reply.status != 200:
                raise failed_read(wanted.path, reply.status)
            content, sha256 = self._collect(wanted, reply)
        finally:
            reply.close()
        blob = Blob(sha256, content)
        remembered = self._cache.put(
            wanted,
            _Remembered(
                etag=reply.headers.get("Etag", ""),
                timestamp=reply.headers.get(names.DATA_TIMESTAMP, ""),
                blob=blob,
            ),
        )
        if not remembered:
            self._own.append(content)
        return blob

    def _collect(self, wanted: Wanted, reply: Reply) -> tuple[Content, str]:
        body = sound(self._reader, wanted.path, reply)
        chunks: Iterable[bytes] = body
        if wanted.image:
            chunks = inflated(body, f"image {wanted.path}")
        try:
            content, sha256 = collect(
                chunks, self._limit, lambda: self._too_large(wanted)
            )
        except JobError as error:
            if error.code == "image_invalid":
                # The user's gzip, or rot: its end tells.
                rest(body)
            raise
        try:
            rest(body)
        except BaseException:
            content.close()
            raise
        return content, sha256

    def _too_large(self, wanted: Wanted) -> JobError:
        what = "image" if wanted.image else "program"
        return JobError(
            "input_too_large",
            f"{what} {wanted.path} is larger than {self._limit} bytes "
            "(max_blob_bytes)",
        )
