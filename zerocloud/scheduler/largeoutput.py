"""Outputs longer than Swift's longest object → static large objects.

    segments ▶ … ▶ all other outputs of the job are stored ▶ manifest

The segments of an output in container C go into C_segments of the same
account, as the swift client has it, which is made when it is not there; all
with the user's rights.  Their names begin with the object's and hold the
job's id and the node's number, so that no two outputs, and no two jobs, ever
meet.  Only the manifest makes the object visible, and it comes last.

Until then the segments belong to nobody: `clean_up` deletes those whose
manifest was not stored.  A manifest whose PUT ended with a 5xx may be stored
all the same, or come to light later: its segments stay, and the error says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from zerocloud.errors import ClusterError, JobError
from zerocloud.job.limits import GIB
from zerocloud.job.paths import (
    MAX_CONTAINER_BYTES,
    MAX_OBJECT_BYTES,
    SCHEME,
    ObjectPath,
)
from zerocloud.scheduler.concurrency import Timeout, gather
from zerocloud.scheduler.subrequest import ContainerInfo, ObjectLimits, Reply

# Short enough to be spread over a cluster and copied by a replicator.
SEGMENT_BYTES = 1 * GIB
MANIFEST_TRIES = 3
DELETES_AT_ONCE = 16
_SUFFIX = "_segments"


class Body(Protocol):
    """The body of a request."""

    def read(self, size: int = -1) -> bytes:
        """Some bytes, at most `size`; b"" only at the end."""


class SegmentWriter(Protocol):
    """What of the pipeline is needed here."""

    @property
    def object_limits(self) -> ObjectLimits:
        """How long objects, and large objects, may be."""

    def container(self, account: str, container: str) -> ContainerInfo:
        """Facts about a container."""

    def create_container(
        self, account: str, container: str, headers: Mapping[str, str]
    ) -> Reply:
        """PUT a container as the user."""

    def put(
        self, path: ObjectPath, body: Any, headers: Mapping[str, str]
    ) -> Reply:
        """PUT an object as the user."""

    def put_manifest(
        self, path: ObjectPath, body: Any, headers: Mapping[str, str]
    ) -> Reply:
        """PUT a static large object's manifest as the user."""

    def delete(self, path: ObjectPath) -> Reply:
        """DELETE an object as the user."""


@dataclass(frozen=True)
class Large:
    """An output that is to become a large object."""

    path: ObjectPath
    bytes: int
    md5: str | None
    headers: Mapping[str, str]
    # Tells it from all other outputs of the job.
    label: str


@dataclass
class _Pending:
    """Segments that are stored, or may be."""

    output: Large
    paths: list[ObjectPath] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    keep: bool = False


class LargeOutputs:
    """The large outputs of one job."""

    def __init__(
        self,
        writer: SegmentWriter,
        job_id: str,
        policy_name: Callable[[ObjectPath], str],
        log: Callable[[str], None],
    ) -> None:
        self._writer = writer
        self._job_id = job_id
        self._policy_name = policy_name
        self._log = log
        self._pending: list[_Pending] = []
        self._known: set[tuple[str, str]] = set()

    def is_large(self, size: int) -> bool:
        """Whether an output of this length does not fit into one object."""
        return size > self._writer.object_limits.object_bytes

    def store_segments(self, output: Large, body: Body) -> None:
        """Store all bytes of an output, so that nobody sees it yet."""
        length = segment_length(output, self._writer.object_limits)
        container = output.path.container + _SUFFIX
        self._ensure_container(output, container)
        pending = _Pending(output)
        self._pending.append(pending)
        whole = hashlib.md5(usedforsecurity=False)
        for number, at in enumerate(range(0, output.bytes, length), 1):
            name = segment_name(output, self._job_id, number)
            path = ObjectPath(output.path.account, container, name)
            # Before the PUT: whatever becomes of it, it is to be deleted.
            pending.paths.append(path)
            part = _Part(body, min(length, output.bytes - at), whole)
            pending.entries.append(self._store_segment(output, path, part))
        if output.md5 is not None and whole.hexdigest() != output.md5:
            raise ClusterError(
                "output_failed",
                f"output {output.path} arrived damaged at the proxy",
            )

    def publish(self, each: Callable[[Large, Reply], None]) -> None:
        """Store the manifests, and tell `each` of every one's answer."""
        for pending in self._pending:
            # Stored, or perhaps stored: a manifest needs its segments.
            pending.keep = True
            reply = self._store_manifest(pending)
            pending.keep = reply.ok or reply.status >= 500
            each(pending.output, reply)

    def clean_up(self) -> None:
        """Delete the segments that no manifest needs; raises nothing."""
        paths = [p for one in self._pending if not one.keep for p in one.paths]
        self._pending = []
        gather(self._delete, paths, DELETES_AT_ONCE)

    def _ensure_container(self, output: Large, container: str) -> None:
        account = output.path.account
        if (account, container) in self._known:
            return
        if len(container.encode("utf-8")) > MAX_CONTAINER_BYTES:
            raise JobError(
                "output_refused",
                f"{_subject(output)} needs container {container} for its "
                f"segments; the longest name has {MAX_CONTAINER_BYTES} bytes",
            )
        if not self._writer.container(account, container).exists:
            policy = self._policy_name(output.path)
            reply = self._writer.create_container(
                account, container, {"X-Storage-Policy": policy}
            )
            # 409: it is there by now, with another policy.
            if not reply.ok and reply.status != 409:
                raise self._refused(output, reply)
        self._known.add((account, container))

    def _store_segment(
        self, output: Large, path: ObjectPath, part: _Part
    ) -> dict[str, Any]:
        table = {
            "Content-Length": str(part.bytes),
            "Content-Type": "application/octet-stream",
        }
        reply = self._writer.put(path, part, table)
        if not reply.ok:
            raise self._refused(output, reply)
        etag = reply.headers.get("Etag", "").strip('"')
        if part.left or (etag and etag != part.md5):
            raise ClusterError(
                "output_failed",
                f"a segment of output {output.path} is not what was sent",
            )
        name = f"/{path.container}/{path.object}"
        return {"path": name, "etag": part.md5, "size_bytes": part.bytes}

    def _store_manifest(self, pending: _Pending) -> Reply:
        output = pending.output
        etags = "".join(entry["etag"] for entry in pending.entries)
        data = json.dumps(pending.entries).encode()
        table = {
            **output.headers,
            "Content-Length": str(len(data)),
            "ETag": hashlib.md5(
                etags.encode(), usedforsecurity=False
            ).hexdigest(),
        }
        for _ in range(MANIFEST_TRIES):
            body = _Part(_Bytes(data), len(data))
            reply = self._writer.put_manifest(output.path, body, table)
            # 400: Swift could not look at a segment just now.
            if reply.status < 500 and reply.status != 400:
                break
        return reply

    def _refused(self, output: Large, reply: Reply) -> JobError | ClusterError:
        full = segments_container(output)
        text = f"{_subject(output)} is stored in segments in {full}"
        if reply.status in (401, 403):
            # The same whether the container exists or not.
            return JobError(
                "forbidden", f"{text}; that is not allowed for this user"
            )
        text += f", and Swift answered {reply.status}"
        if 400 <= reply.status < 500 and reply.status not in (408, 499):
            return JobError("output_refused", text)
        return ClusterError("output_failed", text)

    def _delete(self, path: ObjectPath) -> None:
        try:
            status = self._writer.delete(path).status
        except (Exception, Timeout) as error:  # noqa: BLE001 - see the log
            # The job has its own error to tell; this one is the operator's.
            self._log(f"segment {path} is left: {type(error).__name__}")
            return
        if status >= 300 and status != 404:
            self._log(f"segment {path} is left: DELETE answered {status}")


def segment_length(output: Large, limits: ObjectLimits) -> int:
    """How long each segment is to be, but the last.

    Raises JobError when there would be too many.
    """
    length = min(limits.object_bytes, SEGMENT_BYTES)
    most = limits.segments
    if most and length:
        length = max(length, -(-output.bytes // most))
    if not most or not 0 < length <= limits.object_bytes:
        large = (
            f"a large object at most {most} of these as segments"
            if most
            else "this service has no static large objects"
        )
        raise JobError(
            "output_refused",
            f"{_subject(output)} has {output.bytes} bytes; Swift's longest "
            f"object has {limits.object_bytes}, and {large}",
        )
    return length


def segments_container(output: Large) -> str:
    """Where an output's segments go, for errors."""
    path = output.path
    return f"{SCHEME}{path.account}/{path.container}{_SUFFIX}"


def segment_name(output: Large, job_id: str, number: int) -> str:
    """A name that no other output of any job has."""
    tail = f"/zerocloud/{job_id}/{output.label}/{number:08}"
    room = MAX_OBJECT_BYTES - len(tail.encode("utf-8"))
    head = output.path.object.encode("utf-8")[:room]
    return head.decode("utf-8", "ignore") + tail


def _subject(output: Large) -> str:
    return f"output {output.path} is too long for one object; it"


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        size = len(self._data) if size < 0 else size
        data, self._data = self._data[:size], self._data[size:]
        return data


class _Part:
    """The next `size` bytes of a body, with their MD5."""

    def __init__(self, body: Body, size: int, whole: Any = None) -> None:
        self._body = body
        self._whole = whole
        self._digest = hashlib.md5(usedforsecurity=False)
        self.bytes = self.left = size

    @property
    def md5(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Some bytes, at most `size`; b"" at the end of the part."""
        size = self.left if size < 0 else min(size, self.left)
        if not size:
            return b""
        data = self._body.read(size)
        self.left -= len(data)
        self._digest.update(data)
        if self._whole is not None:
            self._whole.update(data)
        return data
