"""The demo's three jobs: documents, `curl` commands, and what they brought.

Pure but for `write_files`.  The shell commands are what a reader would type;
`$URL` and `$TOKEN` are explained by the demo before the first of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerocloud.cli.sources import Totals
from zerocloud.cli.table import size_text
from zerocloud.client import JobResult

SOURCES = "demo-source"
PROGRAMS = "demo-programs"
COUNTS = "demo-counts"

# Imports nothing: loading modules would cost every VM more than counting.
COUNT_SCRIPT = b"""\
import sys

lines = [line.lstrip() for line in sys.stdin]
found = {word: 0 for word in ("def ", "class ", "import ")}
for line in lines:
    for word in found:
        found[word] += line.startswith(word)
items = [f'"{word.strip()}": {count}' for word, count in found.items()]
print(f'{{"lines": {len(lines)}, ' + ", ".join(items) + "}")
"""

HELLO_SCRIPT = b"""\
#!file://python3:python
import os
import sys

print("Python", sys.version.split()[0], "on", sys.platform)
print("primes:", [n for n in range(2, 40) if all(n % d for d in range(2, n))])
print("the root directory holds:", sorted(os.listdir("/")))
try:
    open("/etc/passwd")
except OSError as error:
    print("the host's /etc/passwd:", error.strerror)
"""

COUNT_JOB = [
    {
        "name": "count",
        "exec": {"path": "file://python3:python", "args": "/dev/script"},
        "devices": [
            {"name": "python3"},
            {"name": "script", "path": f"swift://~/{PROGRAMS}/count.py"},
            {"name": "stdin", "path": f"swift://~/{SOURCES}/*"},
            {
                "name": "stdout",
                "path": f"swift://~/{COUNTS}/*.json",
                "content_type": "application/json",
            },
        ],
    }
]

WC_JOB = [
    {
        "name": "wc",
        "exec": {"path": f"swift://~/{PROGRAMS}/wc.wasm"},
        "devices": [
            {"name": "stdin", "path": f"swift://~/{SOURCES}/*"},
            {"name": "stdout", "content_type": "text/plain"},
        ],
    }
]


@dataclass(frozen=True)
class DemoJob:
    """One of the three: what it is, what is sent, how to send it by hand."""

    title: str
    file: str
    content: bytes
    content_type: str

    def curl(self, folder: Path) -> str:
        """The command that does it by hand."""
        return (
            'curl -X POST -H "X-Auth-Token: $TOKEN" '
            "-H 'X-Zerovm-Execute: 1.0' \\\n"
            f"       -H 'Content-Type: {self.content_type}' "
            f"--data-binary @{folder / self.file} $URL"
        )


def _json(job: list[dict[str, Any]]) -> bytes:
    return (json.dumps(job, indent=2) + "\n").encode()


JOBS = (
    DemoJob(
        "a Python script beside every object; each answer becomes an object",
        "count.json",
        _json(COUNT_JOB),
        "application/json",
    ),
    DemoJob(
        "a C program beside every object; the answers come in the response",
        "wc.json",
        _json(WC_JOB),
        "application/json",
    ),
    DemoJob(
        "a Python script posted by itself",
        "hello.py",
        HELLO_SCRIPT,
        "text/x-script",
    ),
)


def write_files(folder: Path) -> None:
    """Write what the `curl` commands send."""
    for job in JOBS:
        (folder / job.file).write_bytes(job.content)


def where_and_how_much(result: JobResult, seconds: float) -> Iterator[str]:
    """What ran where, how long, and which bytes moved."""
    servers = Counter(node.server for node in result.nodes)
    spread = ", ".join(f"{name} {n}" for name, n in sorted(servers.items()))
    count = len(result.nodes)
    vms = f"{count} VM{'s' * (count != 1)}"
    yield f"{vms}, per storage server (hashed names): {spread}"
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
        f"{seconds:.1f} s; read in place {size_text(local)}; over the "
        f"network {size_text(streamed)} in{devices}, "
        f"{size_text(written)} out"
    )


def wc_totals(result: JobResult) -> Totals:
    """The sums over what `wc` wrote on each node: lines, words, bytes."""
    sums = [0, 0, 0]
    for output in result.outputs:
        for index, word in enumerate((output.data or b"").split()[:3]):
            sums[index] += int(word)
    return Totals(*sums)
