"""The demo's three jobs: what is sent, how by hand, and what they brought.

The files that are sent lie beside this module, in demo_files/, in a checkout
and in an installed wheel: so a command that the demo has printed can be
pasted into a shell at any time, and what it sends can be read.  Besides
reading them, pure.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zerocloud.cli.sources import SourceFile, Totals
from zerocloud.cli.table import size_text
from zerocloud.client import JobResult

SOURCES = "demo-source"
PROGRAMS = "demo-programs"
COUNTS = "demo-counts"
FILES = Path(__file__).resolve().parent / "demo_files"
COUNT_SCRIPT = FILES / "count.py"

_AUTH = '-H "X-Auth-Token: $TOKEN"'


@dataclass(frozen=True)
class DemoJob:
    """One of the three: what it is, what is sent, how to send it by hand."""

    title: str
    file: Path
    content_type: str

    def content(self) -> bytes:
        """What is POSTed."""
        return self.file.read_bytes()

    def curl(self) -> str:
        """The command that does it by hand."""
        return (
            f"curl -X POST {_AUTH} -H 'X-Zerovm-Execute: 1.0' \\\n"
            f"     -H 'Content-Type: {self.content_type}' \\\n"
            f'     --data-binary @{shlex.quote(str(self.file))} "$URL"'
        )


COUNT = DemoJob(
    "a Python script beside every object; each answer becomes an object",
    FILES / "count.json",
    "application/json",
)
WC = DemoJob(
    "a C program beside every object; the answers come in the response",
    FILES / "wc.json",
    "application/json",
)
HELLO = DemoJob(
    "a Python script posted by itself",
    FILES / "hello.py",
    "text/x-script",
)
JOBS = (COUNT, WC, HELLO)


def login_commands(auth: str, user: str, key: str) -> Iterator[str]:
    """How to get the token that the other commands use."""
    yield f"curl -i -H 'X-Auth-User: {user}' -H 'X-Auth-Key: {key}' {auth}"


def upload_commands(wc: Path, source: SourceFile) -> Iterator[str]:
    """How the demo's objects get there by hand; one source for all."""
    # curl puts in each of what stands in braces, and at the end of a folder's
    # URL the file's name.
    shared = "demo-{source,programs,counts}"
    yield f'curl -X PUT {_AUTH} "$URL/{shared}"'
    files = shlex.quote("{" + f"{wc},{COUNT_SCRIPT}" + "}")
    yield f'curl -T {files} {_AUTH} \\\n     "$URL/{PROGRAMS}/"'
    path = shlex.quote(str(source.path))
    yield f'curl -T {path} {_AUTH} \\\n     "$URL/{SOURCES}/{source.name}"'


def where_and_how_much(
    result: JobResult, seconds: float, addresses: Mapping[str, str]
) -> Iterator[str]:
    """What ran where, how long, and which bytes moved.

    `addresses` has an address for each name that a report gives a storage
    server; a name without one is shown as it is.
    """
    servers = Counter(
        addresses.get(node.server, node.server) for node in result.nodes
    )
    spread = ", ".join(f"{n} on {name}" for name, n in sorted(servers.items()))
    count = len(result.nodes)
    yield f"{seconds:.1f} s for {count} VM{'s' * (count != 1)}: {spread}"
    nodes = result.nodes
    written = sum(u.write_bytes for node in nodes for u in node.channels)
    local = sum(node.in_place_bytes for node in nodes)
    streamed = sum(node.streamed_bytes for node in nodes)
    by_wire = sorted(
        {
            use.device
            for node in nodes
            for use in node.channels
            if use.source == "stream" and use.size
        }
    )
    devices = f" ({', '.join(by_wire)})" if by_wire else ""
    yield (
        f"{size_text(local)} read in place; over the network "
        f"{size_text(streamed)} in{devices}, {size_text(written)} out"
    )


def wc_totals(result: JobResult) -> Totals:
    """The sums over what `wc` wrote on each node: lines, words, bytes."""
    sums = [0, 0, 0]
    for output in result.outputs:
        for index, word in enumerate((output.data or b"").split()[:3]):
            sums[index] += int(word)
    return Totals(*sums)
