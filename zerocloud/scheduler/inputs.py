"""Which bytes each input is: versions, fixed at plan time.

A *version* is an object's length and X-Backend-Data-Timestamp, from a listing
(wildcards: no request per object) or from a HEAD through the user's pipeline
(literal names).  Every task that reads the object, in place or streamed,
checks that it reads that version: a job never mixes two.

A listing may lag behind, or name the time of a metadata change.  When a
storage node or a GET shows another version, `renew` asks with a HEAD.  If what
is there is not younger than the plan and nobody has read the old version yet,
the listing was wrong and the job goes on with what is there; otherwise the
object has changed under the job, and that is the user's 409.

An object is *local* when a storage node's file holds its very bytes: a
replicated policy, no large-object manifest, no link, no encryption.  All
others are streamed through the pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from zerocloud import headers as names
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.authorize import refusal
from zerocloud.scheduler.concurrency import gather
from zerocloud.scheduler.subrequest import Reply

HEADS_AT_ONCE = 16
REFUSALS_OF_A_CONTAINER = 3

# What marks an object whose bytes are not those of its file.
_NOT_LOCAL = (
    "X-Object-Manifest",
    "X-Backend-Crypto-Cipher",
    "Content-Location",
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object; `timestamp` is X-Backend-Data-Timestamp."""

    path: ObjectPath
    bytes: int
    timestamp: str
    local: bool
    from_listing: bool = False


class VersionChanged(Exception):  # noqa: N818 - a finding; renew() judges it
    """A reader met another version of the object than the pinned one."""

    def __init__(self, path: ObjectPath) -> None:
        super().__init__(str(path))
        self.path = path


class Reader(Protocol):
    """What of the pipeline is needed here."""

    def head(self, path: ObjectPath) -> Reply:
        """HEAD an object as the user."""

    def get(
        self, path: ObjectPath, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """GET an object as the user."""


def listing_timestamp(last_modified: str) -> str:
    """A listing's last_modified as Swift's internal timestamp.

    Listings have microseconds of which the last digit is 0; timestamps five
    digits, so nothing is lost.
    """
    moment = datetime.fromisoformat(last_modified).replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return f"{whole:010d}.{moment.microsecond // 10:05d}"


def version_of_entry(
    path: ObjectPath, entry: Mapping[str, Any], *, replicated: bool
) -> Version | None:
    """A listing's entry as a version; None when only a HEAD can tell."""
    if "symlink_path" in entry or "slo_etag" in entry:
        return None
    return Version(
        path=path,
        bytes=int(entry["bytes"]),
        timestamp=listing_timestamp(str(entry["last_modified"])),
        local=replicated,
        from_listing=True,
    )


def version_of_reply(
    path: ObjectPath, reply: Mapping[str, str], *, replicated: bool
) -> Version:
    """The headers of a HEAD or GET as a version."""
    manifest = reply.get("X-Static-Large-Object", "").lower() == "true"
    marked = any(reply.get(name) for name in _NOT_LOCAL)
    return Version(
        path=path,
        bytes=int(reply.get("Content-Length") or 0),
        timestamp=reply.get(names.DATA_TIMESTAMP)
        or reply.get("X-Timestamp", ""),
        local=replicated and not manifest and not marked,
    )


def failed_read(path: ObjectPath, status: int) -> JobError | ClusterError:
    """The error for a read that the pipeline did not answer with 200."""
    if status in (401, 403):
        return refusal(status, f"reading {path}")
    if status == 404:
        return JobError("not_found", f"object {path} does not exist")
    return ClusterError(
        "input_failed", f"object {path} could not be read (status {status})"
    )


def vanished(path: ObjectPath, status: int) -> JobError | ClusterError:
    """`failed_read` of an object that was there when the job was planned."""
    if status != 404:
        return failed_read(path, status)
    return JobError(
        "object_changed",
        f"object {path} was there when the job was planned, but does not "
        "exist any more",
    )


class Inputs:
    """The versions of one job's inputs; one object has one version."""

    def __init__(
        self,
        reader: Reader,
        replicated: Callable[[ObjectPath], bool],
        planned_at: str,
        limit_bytes: int,
    ) -> None:
        self._reader = reader
        self._replicated = replicated
        self._planned_at = planned_at
        self._limit_bytes = limit_bytes
        self._versions: dict[ObjectPath, Version] = {}
        self._read: set[ObjectPath] = set()
        self._in_place: set[tuple[str, str]] = set()
        self._refused: Counter[tuple[str, str]] = Counter()

    def add_entry(self, path: ObjectPath, entry: Mapping[str, Any]) -> None:
        """Take the version from a listing, when it can tell."""
        version = version_of_entry(
            path, entry, replicated=self._replicated(path)
        )
        if version is not None:
            self._versions[path] = version

    def resolve(self, paths: Iterable[ObjectPath]) -> None:
        """Find the version of each path that has none yet.

        Raises JobError `not_found` naming the first that is missing.
        """
        missing = [p for p in paths if p not in self._versions]
        for version in gather(self._head, missing, HEADS_AT_ONCE):
            self._versions.setdefault(version.path, version)

    def version(self, path: ObjectPath) -> Version:
        """The object's version, as the job reads it.

        After some plain objects of a container could not be read in place
        (an encrypted one, or nodes that may not), the rest is not tried.
        """
        version = self._versions[path]
        box = path.account, path.container
        if version.local and self._refused[box] >= REFUSALS_OF_A_CONTAINER:
            version = replace(version, local=False)
            self._versions[path] = version
        return version

    def confirm(self, path: ObjectPath, *, in_place: bool = False) -> None:
        """A task reads the pinned version: it stays for good."""
        self._read.add(path)
        if in_place:
            self._in_place.add((path.account, path.container))

    def make_streamed(self, path: ObjectPath) -> None:
        """The file on the node is not the object's bytes: find out more.

        Raises what `renew` raises when it has changed as well.
        """
        version = self._versions[path]
        if not version.local:
            return
        self.renew(path)
        box = path.account, path.container
        if self._versions[path] is version and box not in self._in_place:
            self._refused[box] += 1
        self._versions[path] = replace(self._versions[path], local=False)

    def renew(self, path: ObjectPath) -> None:
        """Look again at an object that is not in its pinned version.

        Raises JobError `object_changed` unless a lagging listing explains it.
        """
        old = self._versions[path]
        new = self._find(path, vanished)
        if (new.timestamp, new.bytes) == (old.timestamp, old.bytes):
            # The pin is right: it was a server that lags.
            return
        explained = old.from_listing and path not in self._read
        if not explained or new.timestamp > self._planned_at:
            raise JobError(
                "object_changed",
                f"object {path} changed while the job was running; it was "
                f"version {old.timestamp} and is {new.timestamp}",
            )
        self._versions[path] = new

    def stream(self, path: ObjectPath) -> Generator[bytes]:
        """The bytes of the pinned version through the pipeline.

        Raises VersionChanged when another one is there, JobError and
        ClusterError when it cannot be read.
        """
        version = self._versions[path]
        reply = self._reader.get(path)
        try:
            if reply.status != 200:
                raise vanished(path, reply.status)
            found = version_of_reply(path, reply.headers, replicated=False)
            if (found.timestamp, found.bytes) != (
                version.timestamp,
                version.bytes,
            ):
                raise VersionChanged(path)
            self.confirm(path)
            yield from _counted(reply.chunks(), version)
        finally:
            reply.close()

    def check_size(self, version: Version) -> None:
        """JobError `input_too_large` for what is too long to be streamed."""
        if version.bytes > self._limit_bytes:
            raise JobError(
                "input_too_large",
                f"object {version.path} has {version.bytes} bytes and cannot "
                f"be read in place; the limit is {self._limit_bytes} "
                "(max_input_bytes)",
            )

    def _head(self, path: ObjectPath) -> Version:
        return self._find(path, failed_read)

    def _find(
        self,
        path: ObjectPath,
        failure: Callable[[ObjectPath, int], JobError | ClusterError],
    ) -> Version:
        reply = self._reader.head(path)
        if reply.status != 200:
            raise failure(path, reply.status)
        return version_of_reply(
            path, reply.headers, replicated=self._replicated(path)
        )


def _counted(chunks: Iterator[bytes], version: Version) -> Iterator[bytes]:
    """The chunks, which must be exactly as many bytes as announced."""
    left = version.bytes
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise ClusterError(
            "input_failed",
            f"object {version.path} ended {abs(left)} bytes too "
            f"{'early' if left > 0 else 'late'}",
        )
