"""A job's report → a typed result.

Reads the document that docs/http-api.md describes.  Keys that this version
does not know are left alone (a newer cluster may say more) and stay in
`JobResult.report`; keys that it needs and does not find are an AnswerError.
A guest's failure is data here, never an exception.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zerocloud.client.errors import (
    AnswerError,
    JobFailedError,
    UsageError,
)

SUCCEEDED = "succeeded"
NAMED_FAILURES = 3


@dataclass(frozen=True)
class Outcome:
    """How a node ended: `kind` exit, trap, limit, killed or lost.

    `code` is the exit code, the signal, or a word (docs/http-api.md).
    """

    kind: str
    code: int | str
    message: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.code}"


@dataclass(frozen=True)
class ChannelUse:
    """What went through one device.  `source`: local, stream, empty or ''.

    `local` is read in place on the storage server; `stream` came over the
    network.  `path` and `version` are those of the object that was read, as
    the job was planned; empty where there was none.
    """

    device: str
    source: str
    read_bytes: int
    write_bytes: int
    size: int
    path: str = ""
    version: str = ""


@dataclass(frozen=True)
class OutputBytes:
    """An immediate output.  `data` is None when it was too long to report."""

    node: str
    device: str
    data: bytes | None
    size: int

    @property
    def text(self) -> str:
        """The output as text; bytes that are no UTF-8 become U+FFFD.

        Raises UsageError when it was too long to report.
        """
        if self.data is None:
            raise UsageError(
                f"{self.device} of {self.node} has {self.size} bytes, too "
                "many for a report; submit_raw answers with it, of any length"
            )
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class StoredOutput:
    """An output that is an object now; only jobs that succeeded have any."""

    node: str
    device: str
    path: str
    etag: str
    size: int


@dataclass(frozen=True)
class NodeResult:
    """One node of the job: where it ran, how it ended, what it used.

    `server` is an opaque name, equal for nodes of one storage server.
    `in_place_bytes` were read on that server's disk, `streamed_bytes` came to
    it over the network.  `outputs` are the immediate ones, `stored` the
    objects.  `receipt` is empty for outcomes that depend on the clock.
    """

    name: str
    server: str
    policy: str
    attempts: int
    outcome: Outcome
    succeeded: bool
    wall_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    channels: tuple[ChannelUse, ...]
    outputs: tuple[OutputBytes, ...]
    stored: tuple[StoredOutput, ...] = ()
    limits_reached: tuple[str, ...] = ()
    stderr_tail: str = ""
    receipt: str = ""
    determinism: str = "default"
    fuel_used: int | None = None
    in_place_bytes: int = 0
    streamed_bytes: int = 0


@dataclass(frozen=True)
class JobResult:
    """The end of a job.  `report` is the whole document as it came."""

    job: str
    status: str
    nodes: tuple[NodeResult, ...]
    report: Mapping[str, Any] = field(repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether every node succeeded; only then anything was published."""
        return self.status == SUCCEEDED

    @property
    def outputs(self) -> tuple[OutputBytes, ...]:
        """The immediate outputs, in node order."""
        return tuple(out for node in self.nodes for out in node.outputs)

    @property
    def stored(self) -> tuple[StoredOutput, ...]:
        """The outputs that became objects, in node order."""
        return tuple(out for node in self.nodes for out in node.stored)

    @property
    def failed_nodes(self) -> tuple[NodeResult, ...]:
        """The nodes that failed, in node order; none if it succeeded."""
        return tuple(node for node in self.nodes if not node.succeeded)

    def raise_for_failure(self) -> JobResult:
        """Return this result; JobFailedError if the job failed.

        The text names the first failed nodes, how they ended, and the last
        line of the first one's stderr.
        """
        if self.succeeded:
            return self
        failed = self.failed_nodes
        named = [
            f"{node.name}: {node.outcome}" for node in failed[:NAMED_FAILURES]
        ]
        if len(failed) > NAMED_FAILURES:
            named.append(f"{len(failed) - NAMED_FAILURES} more")
        last = failed[0].stderr_tail.strip().splitlines() if failed else []
        said = f" ({last[-1]})" if last else ""
        raise JobFailedError(
            f"job {self.job} failed, {len(failed)} of {len(self.nodes)} "
            f"nodes: {'; '.join(named)}{said}"
        )


def parse_result(document: Mapping[str, Any]) -> JobResult:
    """Read a report; raises AnswerError that names the key at fault."""
    nodes = [_node(item) for item in _get(document, "nodes", list)]
    return JobResult(
        job=_get(document, "job", str),
        status=_get(document, "status", str),
        nodes=tuple(nodes),
        report=document,
    )


def _node(item: Any) -> NodeResult:
    name = _get(item, "name", str)
    outputs = item.get("outputs", [])
    return NodeResult(
        name=name,
        server=str(item.get("server") or ""),
        policy=str(item.get("policy") or ""),
        attempts=int(item.get("attempts", 1)),
        outcome=_outcome(_get(item, "outcome", dict)),
        succeeded=_get(item, "succeeded", bool),
        wall_seconds=_number(item, "wall_seconds"),
        cpu_seconds=_number(item, "cpu_seconds"),
        memory_peak_bytes=int(_number(item, "memory_peak_bytes")),
        channels=tuple(_channel(use) for use in item.get("io", [])),
        outputs=tuple(_output(name, o) for o in outputs if "path" not in o),
        stored=tuple(_stored(name, o) for o in outputs if "path" in o),
        limits_reached=tuple(map(str, item.get("limits_reached", []))),
        stderr_tail=str(item.get("stderr_tail") or ""),
        receipt=str(item.get("receipt") or ""),
        determinism=str(item.get("determinism") or "default"),
        fuel_used=_optional_whole(item, "fuel_used"),
        in_place_bytes=int(_number(item, "in_place_bytes")),
        streamed_bytes=int(_number(item, "streamed_bytes")),
    )


def _outcome(item: Mapping[str, Any]) -> Outcome:
    code = item.get("code", "")
    return Outcome(
        kind=_get(item, "kind", str),
        code=code if isinstance(code, int) else str(code),
        message=str(item.get("message") or ""),
    )


def _channel(item: Any) -> ChannelUse:
    identity = item.get("identity") or {}
    return ChannelUse(
        device=_get(item, "device", str),
        source=str(item.get("source") or ""),
        read_bytes=int(_number(item, "read_bytes")),
        write_bytes=int(_number(item, "write_bytes")),
        size=int(_number(item, "size")),
        path=str(identity.get("path") or ""),
        version=str(identity.get("version") or ""),
    )


def _stored(node: str, item: Any) -> StoredOutput:
    return StoredOutput(
        node=node,
        device=_get(item, "device", str),
        path=_get(item, "path", str),
        etag=str(item.get("etag") or ""),
        size=int(_number(item, "bytes")),
    )


def _output(node: str, item: Any) -> OutputBytes:
    device = _get(item, "device", str)
    data: bytes | None = None
    if "text" in item:
        data = _get(item, "text", str).encode("utf-8")
    elif "base64" in item:
        try:
            data = base64.b64decode(_get(item, "base64", str), validate=True)
        except binascii.Error as error:
            raise AnswerError(
                f"the report's output {device} of {node} is no base64"
            ) from error
    size = len(data) if data is not None else int(_number(item, "bytes"))
    return OutputBytes(node, device, data, size)


def _number(item: Mapping[str, Any], key: str) -> float:
    value = item.get(key) or 0
    if not isinstance(value, int | float):
        raise AnswerError(f"the report's {key} is no number")
    return value


def _optional_whole(item: Mapping[str, Any], key: str) -> int | None:
    return None if item.get(key) is None else int(_number(item, key))


def _get(item: Any, key: str, kind: type) -> Any:
    value = item.get(key) if isinstance(item, Mapping) else None
    if not isinstance(value, kind):
        raise AnswerError(
            f"the report has no usable {key!r}; it is not what "
            "docs/http-api.md describes"
        )
    return value
