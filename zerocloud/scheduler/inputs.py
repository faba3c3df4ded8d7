"""Which bytes each input is: versions, fixed at plan time.

A *version* is an object's length and X-Backend-Data-Timestamp, from a listing
(wildcards: no request per object) or from a HEAD through the user's pipeline
(literal names).  Every task that reads the object, in place or streamed,
checks that it reads that version: a job never mixes two.

A listing may lag behind, or name the time of a metadata change; a HEAD may be
answered by a server that lags.  When a storage node or a GET shows another
version, `renew` asks all of the object's servers for the newest.  If that is
not younger than the plan and nobody has read the old version yet, the pin was
wrong and the job goes on with what is there; otherwise the object has changed
under the job, and that is the user's 409.  A large object is its segments too:
a dynamic one is pinned with its ETag (made of theirs), a static one with the
manifest, against which Swift checks each segment.

No byte reaches a task unchecked: in place by the storage node (its verify.py),
streamed here, with segments.py.

An object is *local* when a storage node's file holds its very bytes: a
replicated policy, no large-object manifest, no link, no encryption.  All
others are streamed through the pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from zerocloud import headers as names
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.authorize import refusal
from zerocloud.scheduler.concurrency import gather
from zerocloud.scheduler.segments import (
    DYNAMIC,
    Damaged,
    SegmentReader,
    checked,
    counted,
    expected,
    find_flaw,
    is_static,
)
from zerocloud.scheduler.subrequest import Reply

__all__ = ["Damaged", "Inputs", "Version", "VersionChanged"]

HEADS_AT_ONCE = 16
REFUSALS_OF_A_CONTAINER = 3

# What marks an object whose bytes are not those of its file.
_NOT_LOCAL = (
    "X-Backend-Crypto-Cipher",
    "Content-Location",
)
_NEWEST = {"X-Newest": "true"}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object; `timestamp` is X-Backend-Data-Timestamp.

    `etag` is only that of a dynamic large object, whose timestamp does not
    tell when a segment changes.
    """

    path: ObjectPath
    bytes: int
    timestamp: str
    local: bool
    from_listing: bool = False
    static: bool = False
    etag: str = ""

    @property
    def label(self) -> str:
        """What tells it from the object's other versions, as text."""
        return f"{self.timestamp} {self.etag}".strip()

    def same(self, other: Version) -> bool:
        """Whether both have the same bytes."""
        return (self.label, self.bytes) == (other.label, other.bytes)


class VersionChanged(Exception):  # noqa: N818 - a finding; renew() judges it
    """A reader met another version of the object than the pinned one."""

    def __init__(self, path: ObjectPath) -> None:
        super().__init__(str(path))
        self.path = path


class Reader(SegmentReader, Protocol):
    """What of the pipeline is needed here."""

    def head(
        self, path: ObjectPath, headers: Mapping[str, str] | None = None
    ) -> Reply:
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
    static, dynamic = is_static(reply), bool(reply.get(DYNAMIC))
    marked = any(reply.get(name) for name in _NOT_LOCAL)
    return Version(
        path=path,
        bytes=int(reply.get("Content-Length") or 0),
        timestamp=reply.get(names.DATA_TIMESTAMP)
        or reply.get("X-Timestamp", ""),
        local=replicated and not static and not dynamic and not marked,
        static=static,
        etag=reply.get("Etag", "").strip('"') if dynamic else "",
    )


def failed_read(path: ObjectPath, status: int) -> JobError | ClusterError:
    """The error for a read that the pipeline did not answer with 200."""
    if status in (401, 403):
        return refusal(status, f"reading {path}")
    if status == 404:
        return JobError("not_found", f"object {path} does not exist")
    if status == 409:
        return JobError(
            "object_broken",
            f"object {path} cannot be read as it is stored: it is a link in "
            "a circle, a link to another version than is there, or one link "
            "too many (Swift answered 409)",
        )
    return ClusterError(
        "input_failed", f"object {path} could not be read (status {status})"
    )


def vanished(path: ObjectPath, status: int) -> JobError | ClusterError:
    """`failed_read` of an object that was there when the job was planned."""
    if status == 409:
        return JobError(
            "object_changed",
            f"object {path} changed while the job was running; as it is now "
            "it cannot be read (Swift answered 409)",
        )
    if status != 404:
        return failed_read(path, status)
    return JobError(
        "object_changed",
        f"object {path} was there when the job was planned, but does not "
        "exist any more (deleted, or expired)",
    )


class Inputs:
    """The versions of one job's inputs; one object has one version.

    With `newest`, all of an object's servers are asked for it at plan time,
    not the first that answers.
    """

    def __init__(
        self,
        reader: Reader,
        replicated: Callable[[ObjectPath], bool],
        planned_at: str,
        limit_bytes: int,
        *,
        newest: bool = False,
    ) -> None:
        self._reader = reader
        self._replicated = replicated
        self._planned_at = planned_at
        self._limit_bytes = limit_bytes
        self._newest = newest
        self._versions: dict[ObjectPath, Version] = {}
        self._read: set[ObjectPath] = set()
        self._lagging: set[ObjectPath] = set()
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

        Raises JobError `object_changed` unless a server, or a listing, that
        lags explains it; ClusterError `input_failed` when the newest version
        that can be reached is older than the pinned one.
        """
        old = self._versions[path]
        # From here on, no word of a server that lags.
        self._lagging.add(path)
        new, changed_at = self._find(path, vanished, _NEWEST)
        if new.same(old):
            return
        if new.timestamp < old.timestamp and not (
            # Listings name the time of the last change of the metadata.
            old.from_listing and changed_at >= old.timestamp
        ):
            raise ClusterError(
                "input_failed",
                f"object {path} is version {old.label} as the job was "
                f"planned, but the servers that answer have {new.label}",
            )
        # A dynamic large object's timestamp says nothing of its segments.
        explained = path not in self._read and (
            old.from_listing or not new.etag
        )
        if not explained or new.timestamp > self._planned_at:
            raise JobError(
                "object_changed",
                f"object {path} changed while the job was running; it was "
                f"version {old.label} and is {new.label}",
            )
        self._versions[path] = new

    def stream(self, path: ObjectPath) -> Generator[bytes]:
        """The bytes of the pinned version through the pipeline.

        Raises VersionChanged when another one is there, JobError and
        ClusterError when it cannot be read, Damaged when it is not what was
        stored.
        """
        version = self._versions[path]
        reply = self._reader.get(
            path, _NEWEST if path in self._lagging else None
        )
        try:
            if reply.status != 200:
                raise self._unread(version, vanished(path, reply.status))
            found = version_of_reply(path, reply.headers, replicated=False)
            if not found.same(version):
                raise VersionChanged(path)
            wanted = expected(self._reader, path, reply.headers, found.bytes)
            self.confirm(path)
            try:
                chunks = counted(reply.chunks(), path, version.bytes)
                yield from checked(chunks, path, wanted)
            except ClusterError as error:
                raise self._unread(found, error) from error
        finally:
            reply.close()

    def _unread(
        self, version: Version, error: JobError | ClusterError
    ) -> JobError | ClusterError:
        """The error, or that a segment of a large object has changed."""
        if not version.static:
            return error
        flaw = find_flaw(self._reader, version.path)
        if flaw is None:
            return error
        if flaw.forbidden:
            return refusal(
                403, f"reading {flaw.path}, a segment of {version.path},"
            )
        return JobError(
            "object_changed",
            f"object {version.path} changed: its segment {flaw.path} is not "
            "the one that its manifest names",
        )

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
        headers = _NEWEST if self._newest else None
        return self._find(path, failed_read, headers)[0]

    def _find(
        self,
        path: ObjectPath,
        failure: Callable[[ObjectPath, int], JobError | ClusterError],
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Version, str]:
        """The version that a HEAD shows, and when anything last changed."""
        reply = self._reader.head(path, headers)
        if reply.status != 200:
            raise failure(path, reply.status)
        version = version_of_reply(
            path, reply.headers, replicated=self._replicated(path)
        )
        changed_at = reply.headers.get("X-Timestamp", "")
        return version, changed_at or version.timestamp
