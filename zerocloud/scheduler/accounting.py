"""What a job cost: the numbers of report, X-Nexe-Cdr-Line, log and counters.

Finished nodes in, numbers and texts out.  The CDR line keeps the
ancestor's ten numbers per node, of which some have no meaning any more and
are 0 (there are no disk writes beside the staged outputs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zerocloud.errors import JobError, ZeroCloudError
from zerocloud.observe import Counters
from zerocloud.scheduler.exchange import Finished


@dataclass(frozen=True)
class Totals:
    """Sums over the nodes of a job."""

    nodes: int
    failed: int
    attempts: int
    in_place_bytes: int
    streamed_bytes: int
    output_bytes: int
    cpu_seconds: float


def totals(results: Iterable[Finished]) -> Totals:
    """Add up a job's nodes."""
    done = list(results)
    return Totals(
        nodes=len(done),
        failed=sum(not r.succeeded for r in done),
        attempts=sum(r.attempts for r in done),
        in_place_bytes=sum(r.in_place_bytes for r in done),
        streamed_bytes=sum(r.streamed_bytes for r in done),
        output_bytes=sum(
            channel.size
            for r in done
            for output in r.node.outputs
            if (channel := r.channel(output.device)) is not None
        ),
        cpu_seconds=sum(r.report.cpu_seconds for r in done),
    )


def count_job(
    counters: Counters, status: str, sums: Totals, timing: Mapping[str, float]
) -> None:
    """Count a job that is answered: `succeeded` or `failed`."""
    counters.add(f"jobs.{status}")
    counters.add("nodes", sums.nodes)
    counters.add("nodes.failed", sums.failed)
    counters.add("bytes.in_place", sums.in_place_bytes)
    counters.add("bytes.streamed", sums.streamed_bytes)
    counters.add("bytes.output", sums.output_bytes)
    counters.add("cpu_milliseconds", round(sums.cpu_seconds * 1000))
    for stage, seconds in timing.items():
        counters.took(f"jobs.{stage}", seconds)


def count_error(counters: Counters, error: ZeroCloudError) -> None:
    """Count a job that got no answer but an error."""
    if error.code == "client_disconnect":
        counters.add("jobs.abandoned")
    elif isinstance(error, JobError):
        counters.add_word("jobs.refused", error.code)
    else:
        counters.add_word("jobs.error", error.code)


def cdr_line(total_seconds: float, results: Iterable[Finished]) -> str:
    """`<total>, <node seconds>, <ten numbers>,<node seconds>, …`."""
    nodes = ",".join(
        f" {r.report.wall_seconds:.3f}, {_ten(r)}" for r in results
    )
    return f"{total_seconds:.3f},{nodes}"


def _ten(finished: Finished) -> str:
    """System and user CPU; disk reads, bytes, writes, bytes; network alike."""
    report = finished.report
    reads = sum(c.reads for c in report.channels)
    writes = sum(c.writes for c in report.channels)
    written = sum(c.write_bytes for c in report.channels)
    return (
        f"0.000 {report.cpu_seconds:.3f} {reads} {finished.in_place_bytes} "
        f"{writes} {written} 0 {finished.streamed_bytes} 0 0"
    )
