"""A job's result → lines for people: the table of nodes, and a summary.

Pure text, no I/O.  Whatever came from a guest or from the cluster is made
printable first: an escape sequence in a guest's stderr must not reach the
terminal as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zerocloud.client import JobResult, NodeResult

MAX_ROWS = 40
MAX_TAILS = 3
TAIL_LINES = 12
HEADINGS = (
    "node",
    "server",
    "outcome",
    "wall",
    "memory",
    "in place",
    "streamed",
    "note",
)
RIGHT = {"wall", "memory", "in place", "streamed"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def printable(text: str) -> str:
    """The text with control characters escaped; newlines too."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def size_text(count: int) -> str:
    """`1.5 MiB`; whole bytes below 1 KiB."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """`3.1 ms` below one second, else `12.34 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s"


def result_lines(result: JobResult) -> Iterator[str]:
    """The table, the tails of failed nodes' stderr, and the summary."""
    shown = _rows_to_show(result)
    yield from grid(HEADINGS, [_row(node) for node in shown], RIGHT)
    hidden = len(result.nodes) - len(shown)
    if hidden:
        yield f"… {hidden} more nodes (--json lists all)"
    failed = [node for node in result.nodes if not node.succeeded]
    for node in failed[:MAX_TAILS]:
        yield from _tail(node)
    yield summary(result)


def summary(result: JobResult) -> str:
    """One line: status, nodes, servers, and what was read where."""
    nodes = result.nodes
    failed = sum(not node.succeeded for node in nodes)
    servers = {node.server for node in nodes if node.server}
    local = sum(node.in_place_bytes for node in nodes)
    streamed = sum(node.streamed_bytes for node in nodes)
    parts = [f"{len(nodes)} node{'s' * (len(nodes) != 1)}"]
    if failed:
        parts.append(f"{failed} failed, nothing was stored")
    if servers:
        parts.append(f"{len(servers)} server{'s' * (len(servers) != 1)}")
    parts.append(f"{size_text(local)} read in place")
    parts.append(f"{size_text(streamed)} streamed")
    if stored := len(result.stored):
        parts.append(f"{stored} object{'s' * (stored != 1)} stored")
    return f"job {printable(result.job)} {result.status}: " + ", ".join(parts)


def grid(
    headings: Sequence[str], rows: list[list[str]], right: Iterable[str] = ()
) -> Iterator[str]:
    """Columns as wide as their widest cell, two blanks between them."""
    widths = [len(heading) for heading in headings]
    for row in rows:
        widths = [
            max(w, len(cell)) for w, cell in zip(widths, row, strict=True)
        ]
    to_right = set(right)
    for row in [list(headings), *rows]:
        cells = (
            cell.rjust(width) if heading in to_right else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _rows_to_show(result: JobResult) -> list[NodeResult]:
    """All of few nodes; of many, the failed ones first among the shown."""
    if len(result.nodes) <= MAX_ROWS:
        return list(result.nodes)
    ordered = sorted(result.nodes, key=lambda node: node.succeeded)
    return ordered[:MAX_ROWS]


def _row(node: NodeResult) -> list[str]:
    return [
        printable(node.name),
        printable(node.server) or "-",
        printable(str(node.outcome)),
        seconds_text(node.wall_seconds),
        size_text(node.memory_peak_bytes),
        size_text(node.in_place_bytes),
        size_text(node.streamed_bytes),
        _note(node),
    ]


def _note(node: NodeResult) -> str:
    notes = []
    if node.outcome.message:
        notes.append(printable(node.outcome.message))
    if node.limits_reached:
        notes.append("reached " + ", ".join(node.limits_reached))
    if node.attempts > 1:
        notes.append(f"{node.attempts} attempts")
    return "; ".join(notes)


def _tail(node: NodeResult) -> Iterator[str]:
    lines = node.stderr_tail.splitlines()[-TAIL_LINES:]
    if lines:
        yield f"stderr of {printable(node.name)}, its last lines:"
    for line in lines:
        yield f"  {printable(line)}"
