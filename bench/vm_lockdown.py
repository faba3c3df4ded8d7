"""What each layer of the lock-down costs, from the fork to the guest's start.

A build with planted holes (runner/src/sys/holes.rs) switches layers off, and
its guest says how long after the fork its first instruction ran.  Sessions
with other sets of layers run in turn.  The cost of a layer is how much later
a guest begins with it, at the tenth percentile: it is a few microseconds, and
whatever else the machine does moves a median by more.  The build is for
debugging, so the whole takes longer than in a release; the layers are the
kernel's work and cost the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench.common import ROOT, median, percentile, say

# `signal` of runner/src/sys/holes.rs that is no attempt: the guest reports.
STAMP = 0x5A00 + 255
LAYERS = ("descriptors", "rlimits", "identity", "privileges")
# These two need the promise to gain no privileges, unless root enters them.
NEEDING = ("landlock", "seccomp")


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Interleave sessions under each set of layers."""
    rounds = 20 if quick else 400
    sets = {"none": ""}
    sets |= {name: name for name in LAYERS}
    sets |= {name: f"privileges,{name}" for name in NEEDING}
    sets["all"] = ",".join((*LAYERS, *NEEDING))
    samples: dict[str, list[float]] = {name: [] for name in sets}
    with tempfile.TemporaryDirectory(prefix="zerocloud-bench-") as name:
        session = Session(Path(name))
        say(f"{rounds} rounds of {len(sets)} sessions")
        for turn in range(rounds + 1):
            for key, layers in sets.items():
                took = session.microseconds(layers)
                if turn:
                    samples[key].append(took)
    low = {key: percentile(values, 10) for key, values in samples.items()}
    figures = {
        "fork_to_guest_without_us": round(median(samples["none"]), 1),
        "fork_to_guest_locked_us": round(median(samples["all"]), 1),
        "fork_to_guest_locked_p99_us": round(
            percentile(samples["all"], 99), 1
        ),
        "lockdown_us": round(low["all"] - low["none"], 1),
    }
    for key in (*LAYERS, *NEEDING):
        without = low["privileges" if key in NEEDING else "none"]
        figures[f"{key}_us"] = round(low[key] - without, 1)
    return figures, samples


class Session:
    """One guest that reports when it began, run again and again."""

    def __init__(self, folder: Path) -> None:
        build = ["--features", "compiler,planted-holes", "--bins"]
        manifest = str(ROOT / "runner" / "Cargo.toml")
        command = ["cargo", "build", "--locked", "--manifest-path", manifest]
        told = subprocess.run(
            [*command, *build, "--message-format", "json"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        for line in told.splitlines():
            binary = json.loads(line).get("executable")
            if binary:
                shutil.copy2(binary, folder)
        self._zvm = folder / "zvm"
        module = stamping_module()
        answer = subprocess.run(
            [self._zvm, "compile", "--cache", folder / "cache", "-"],
            input=module,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        self._artefact = json.loads(answer)["artefact"]
        self._manifest = json.dumps(
            {
                "version": 1, "job": "bench", "node": "hello",
                "program": {
                    "descriptor": 0,
                    "sha256": hashlib.sha256(module).hexdigest(),
                    "name": "hello",
                },
                "args": ["hello"], "env": [], "layers": [], "channels": [],
                "limits": {
                    "memory_bytes": 64 << 20, "wall_seconds": 20.0,
                    "cpu_seconds": 20.0, "stack_bytes": 8 << 20,
                    "tmp_bytes": 1 << 20, "files": 100, "stderr_bytes": 1024,
                },
                "clock_nanoseconds": 946684800000000000, "seed": "5e" * 32,
            }
        ).encode()  # fmt: skip

    def microseconds(self, layers: str) -> float:
        """From the fork to the guest's first instruction."""
        program = os.open(self._artefact, os.O_RDONLY)
        try:
            done = subprocess.run(
                [self._zvm, "session", "--descriptors", str(program)],
                input=self._manifest,
                pass_fds=(program,),
                env={"ZVM_LAYERS": layers},
                stdout=subprocess.PIPE,
                check=True,
            )
        finally:
            os.close(program)
        return int(json.loads(done.stdout)["stderr_tail"]) / 1000


def stamping_module() -> bytes:
    """A command that raises STAMP and ends."""

    def section(number: int, body: bytes) -> bytes:
        return bytes([number, len(body)]) + body

    signal = bytes(
        [STAMP & 0x7F | 0x80, STAMP >> 7 & 0x7F | 0x80, STAMP >> 14]
    )
    code = b"\0\x41" + signal + b"\x10\0\x1a\x0b"
    return b"".join(
        [
            b"\0asm\x01\0\0\0",
            section(1, b"\x02\x60\0\0\x60\x01\x7f\x01\x7f"),
            section(2, b"\x01\x16wasi_snapshot_preview1\x0aproc_raise\0\x01"),
            section(3, b"\x01\0"),
            section(5, b"\x01\0\x01"),
            section(7, b"\x02\x06_start\0\x01\x06memory\x02\0"),
            section(10, b"\x01" + bytes([len(code)]) + code),
        ]
    )
