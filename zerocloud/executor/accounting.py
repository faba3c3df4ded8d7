"""What a task cost: its line in the log, its counters.

Taken from what the controller noted on the way; nothing here touches the task.
"""

from __future__ import annotations

from dataclasses import dataclass

from zerocloud.observe import Counters, fields
from zerocloud.protocol.report import Report
from zerocloud.protocol.task import TaskDocument


@dataclass
class Times:
    """Seconds of a task's stages; `began` is the moment of the first."""

    queued: float = 0.0
    began: float = 0.0
    prepared: float = 0.0
    compiled: float = 0.0
    ran: float = 0.0
    verified: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Ending:
    """How a task ended: a report, or not; `cancelled` says why it was."""

    outcome: str
    report: Report | None
    cancelled: str | None


def task_line(
    task: TaskDocument, transaction: str, times: Times, ending: Ending
) -> str:
    """The one line of a task."""
    notes = ending.report.executor if ending.report is not None else None
    return "task " + fields(
        txn=transaction or None,
        job=task.job,
        node=task.node,
        attempt=task.attempt,
        outcome=ending.outcome,
        cancelled=ending.cancelled or None,
        queue_seconds=times.queued,
        prepare_seconds=times.prepared,
        compile_seconds=times.compiled or None,
        run_seconds=times.ran,
        verify_seconds=times.verified or None,
        total_seconds=times.total,
        local_bytes=notes.local_bytes if notes is not None else 0,
        streamed_bytes=notes.streamed_bytes if notes is not None else 0,
    )


def count_task(counters: Counters, times: Times, ending: Ending) -> None:
    """Count a task that was taken, whatever its end."""
    counters.add("tasks")
    counters.add("tasks.cancelled", int(bool(ending.cancelled)))
    counters.took("tasks.queue", times.queued)
    counters.took("tasks.total", times.total)
    if ending.report is not None:
        _count_vm(counters, times, ending.report)
    elif not ending.cancelled:
        counters.add_word("tasks.failed", ending.outcome)


def _count_vm(counters: Counters, times: Times, report: Report) -> None:
    outcome, notes = report.outcome, report.executor
    counters.add_word("tasks.outcome", outcome.kind)
    if outcome.kind == "exit":
        counters.add("tasks.nonzero", int(outcome.code != 0))
    if outcome.kind == "limit":
        counters.add_word("tasks.limit", str(outcome.code))
    counters.took("tasks.prepare", times.prepared)
    counters.took("tasks.run", times.ran)
    if times.compiled:
        counters.add("programs.compiled")
        counters.took("programs.compile", times.compiled)
    else:
        counters.add("programs.cached")
    if notes is not None:
        counters.add("bytes.in_place", notes.local_bytes)
        counters.add("bytes.streamed", notes.streamed_bytes)
    staged = (c.size for c in report.channels if c.md5 is not None)
    counters.add("bytes.staged", sum(staged))
