"""Finished nodes → the answer: headers, body or report.

* Plain: the body is each node's first immediate output, in node order, with
  its exact length; the lists of X-Nexe-* have one value per node.  Where a
  list would be longer than `header_bytes` all of them are left out, and
  X-Zerovm-Report says how to get the report.
* Report (`Accept: application/json`): one document with everything.

Large outputs are not collected: they flow from their storage node when their
turn comes.  A guest's failure is data: the status is 200, and
X-Zerovm-Job-Status says `failed`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zerocloud import headers as names
from zerocloud.job.plan import Output
from zerocloud.protocol.report import Outcome
from zerocloud.protocol.task import TaskInput
from zerocloud.scheduler.accounting import cdr_line, totals
from zerocloud.scheduler.commit import Published, wsgi_text
from zerocloud.scheduler.content import Spool
from zerocloud.scheduler.exchange import Finished
from zerocloud.scheduler.taskdoc import colocation

MIXED_TYPE = "application/octet-stream"
EMPTY_TYPE = "text/plain"
DISABLED_ETAG = "disabled"


@dataclass(frozen=True)
class JobEnd:
    """Everything about a job that has run."""

    job_id: str
    results: Sequence[Finished]
    published: Mapping[tuple[int, str], Published]
    timing: Mapping[str, float]
    key: bytes
    policy_names: Mapping[int, str]

    @property
    def succeeded(self) -> bool:
        """Whether every node did."""
        return all(r.succeeded for r in self.results)

    @property
    def status(self) -> str:
        """The word for it."""
        return "succeeded" if self.succeeded else "failed"


@dataclass(frozen=True)
class Answer:
    """What the client gets with status 200."""

    headers: list[tuple[str, str]]
    length: int
    body: Iterator[bytes]


def plain_answer(end: JobEnd, header_bytes: int) -> Answer:
    """The immediate outputs, with the ancestor's headers."""
    parts = [
        (r, output, r.size(output) or 0)
        for r in end.results
        if (output := first_immediate(r)) is not None
    ]
    headers = [
        *common_headers(end),
        ("Content-Type", _content_type([output for _, output, _ in parts])),
        *_nexe_headers(end, header_bytes),
    ]
    return Answer(
        headers=headers,
        length=sum(size for _, _, size in parts),
        body=_body([(r, output) for r, output, size in parts if size]),
    )


def report_answer(end: JobEnd, immediate_bytes: int, spool: Spool) -> Answer:
    """The report, with at most `immediate_bytes` of outputs in it.

    Nodes are written one by one, so that the whole is never in memory.
    """
    head = json.dumps(_report_head(end), ensure_ascii=False)
    parts = [spool.add(f'{head[:-1]}, "nodes": ['.encode())]
    left = immediate_bytes
    for number, finished in enumerate(end.results):
        data = _immediate_data(finished, left)
        left -= sum(len(d) for d in data.values() if d is not None)
        node = json.dumps(
            _node_document(end, finished, data), ensure_ascii=False
        )
        parts.append(spool.add((", " * bool(number) + node).encode()))
    parts.append(spool.add(b"]}\n"))
    headers = [*common_headers(end), ("Content-Type", names.JSON_TYPE)]
    return Answer(
        headers=headers,
        length=sum(part.length for part in parts),
        body=(chunk for part in parts for chunk in part.chunks()),
    )


def common_headers(end: JobEnd) -> list[tuple[str, str]]:
    """What stands on every answer of a job that ran."""
    return [
        (names.JOB_STATUS, end.status),
        (names.JOB_ID, end.job_id),
    ]


def first_immediate(finished: Finished) -> Output | None:
    """The output that goes into the body: the first declared one."""
    for output in finished.node.immediate_outputs:
        return output
    return None


def _content_type(outputs: Sequence[Output]) -> str:
    kinds = {output.content_type for output in outputs}
    if not kinds:
        return EMPTY_TYPE
    return wsgi_text(kinds.pop()) if len(kinds) == 1 else MIXED_TYPE


def _body(parts: list[tuple[Finished, Output]]) -> Iterator[bytes]:
    for finished, output in parts:
        content = finished.contents.get(output.device)
        if content is not None:
            yield from content.chunks()
        elif finished.held is not None:
            position = finished.node.outputs.index(output)
            for _, chunks in finished.held.fetch([position]):
                yield from chunks


def _nexe_headers(end: JobEnd, limit: int) -> list[tuple[str, str]]:
    results = end.results
    lists = {
        names.NEXE_SYSTEM: [r.node.name for r in results],
        names.NEXE_STATUS: [_status_text(r.report.outcome) for r in results],
        names.NEXE_RETCODE: [_exit_code(r.report.outcome) for r in results],
        names.NEXE_ETAG: [_etags(r) for r in results],
        names.NEXE_VALIDATION: ["0" for _ in results],
        names.NEXE_POLICY: [_policy(end, r) for r in results],
        names.NEXE_COLOCATED: [colocation(end.key, r.server) for r in results],
    }
    table = {name: ",".join(values) for name, values in lists.items()}
    table[names.NEXE_CDR] = cdr_line(end.timing["total"], results)
    if not end.succeeded:
        table[names.NEXE_ERROR] = ",".join(
            "" if r.succeeded else _failure(r.report.outcome) for r in results
        )
    table = {name: _one_line(value) for name, value in table.items()}
    if any(len(value) > limit for value in table.values()):
        return [(names.REPORT, "accept")]
    return list(table.items())


def _one_line(text: str) -> str:
    return wsgi_text("".join(c if c.isprintable() else " " for c in text))


def _status_text(outcome: Outcome) -> str:
    if outcome.kind == "exit":
        return "ok." if outcome.code == 0 else "ok"
    return f"{outcome.kind} {outcome.code}"


def _exit_code(outcome: Outcome) -> str:
    return str(outcome.code) if outcome.kind == "exit" else "-1"


def _failure(outcome: Outcome) -> str:
    text = f"{outcome.kind} {outcome.code}"
    if outcome.message:
        text += f" ({outcome.message})"
    # A comma would look like the next node's value.
    return text.replace(",", ";")


def _etags(finished: Finished) -> str:
    pairs = []
    for output in finished.node.outputs:
        channel = finished.channel(output.device)
        if channel is not None:
            pairs.append(f"{output.device} {channel.md5 or DISABLED_ETAG}")
    return " ".join(pairs)


def _policy(end: JobEnd, finished: Finished) -> str:
    index = finished.policy_index
    return end.policy_names.get(index, str(index))


def _report_head(end: JobEnd) -> dict[str, Any]:
    sums = totals(end.results)
    return {
        "version": 1,
        "job": end.job_id,
        "status": end.status,
        "timing": dict(end.timing),
        "totals": asdict(sums),
    }


def _immediate_data(finished: Finished, left: int) -> dict[str, bytes | None]:
    """The node's immediate outputs by device; None where there is no room."""
    data: dict[str, bytes | None] = {}
    ask: list[int] = []
    for position, output in enumerate(finished.node.outputs):
        size = finished.size(output)
        if output.path is not None or size is None:
            continue
        data[output.device] = None
        if size > left:
            continue
        left -= size
        content = finished.contents.get(output.device)
        if content is not None:
            data[output.device] = content.read()
        elif finished.held is not None:
            ask.append(position)
    if ask and finished.held is not None:
        for position, chunks in finished.held.fetch(ask):
            device = finished.node.outputs[position].device
            data[device] = b"".join(chunks)
    return data


def _node_document(
    end: JobEnd, finished: Finished, data: Mapping[str, bytes | None]
) -> dict[str, Any]:
    report = finished.report
    return {
        "name": finished.node.name,
        "server": colocation(end.key, finished.server),
        "policy": _policy(end, finished),
        "attempts": finished.attempts,
        "succeeded": finished.succeeded,
        "outcome": report.outcome.as_dict(),
        "wall_seconds": report.wall_seconds,
        "cpu_seconds": report.cpu_seconds,
        "memory_peak_bytes": report.memory_peak_bytes,
        "determinism": report.determinism,
        "fuel_used": report.fuel_used,
        "in_place_bytes": finished.in_place_bytes,
        "streamed_bytes": finished.streamed_bytes,
        "io": _io(finished),
        "digests": {
            channel.device or channel.path: {
                "blake3": channel.blake3,
                "md5": channel.md5,
            }
            for channel in report.channels
        },
        "limits_reached": list(report.limits_reached),
        "program_sha256": report.program_sha256,
        "receipt": report.receipt,
        "stderr_tail": report.stderr_tail,
        "outputs": _outputs(end, finished, data),
        "executor": asdict(report.executor) if report.executor else None,
    }


def _io(finished: Finished) -> list[dict[str, Any]]:
    found = []
    for channel in finished.report.channels:
        read = finished.inputs.get(channel.device or "")
        found.append(
            {
                "device": channel.device or channel.path,
                "source": read.source if read else "",
                "identity": _identity(read) if read else None,
                "reads": channel.reads,
                "read_bytes": channel.read_bytes,
                "writes": channel.writes,
                "write_bytes": channel.write_bytes,
                "size": channel.size,
            }
        )
    return found


def _identity(read: TaskInput) -> dict[str, Any] | None:
    """What was read, as the receipt has it; None for nothing at all.

    A job's paths begin with `swift:/`, `/` is the account's; the request's
    body has no path.
    """
    if read.identity is None:
        return None
    named = read.identity.path.startswith("/")
    return {
        "path": f"swift:/{read.identity.path}" if named else None,
        "version": read.identity.version,
        "bytes": read.identity.bytes,
    }


def _outputs(
    end: JobEnd, finished: Finished, data: Mapping[str, bytes | None]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for output in finished.node.outputs:
        device, size = output.device, finished.size(output)
        if output.path is None:
            if size is not None:
                found.append(_immediate(device, size, data.get(device)))
            continue
        stored = end.published.get((finished.node.index, device))
        if stored is not None:
            found.append(
                {
                    "device": device,
                    "path": str(stored.path),
                    "etag": stored.etag,
                    "bytes": stored.bytes,
                }
            )
    return found


def _immediate(device: str, size: int, data: bytes | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"device": device, "bytes": size}
    if data is None:
        # Ask without the report: the body then has it, however long.
        return {**entry, "omitted": True}
    try:
        return {**entry, "text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {**entry, "base64": base64.b64encode(data).decode("ascii")}
