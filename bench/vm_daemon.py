"""What the benchmarks of VMs share: a daemon, a client, native programs.

The client does as little as it can between its clocks: packets are made
before, and an answer is parsed after it has been timed.  Everything is timed
on the host's monotonic clock, which the daemon's answers use as well.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import GUESTS, ROOT
from zerocloud.protocol import daemon
from zerocloud.protocol.manifest import (
    Manifest,
    ManifestChannel,
    ManifestFile,
    ManifestLimits,
)

ZVM = ROOT / "build" / "bin" / "zvm"
_LIMITS = (1 << 30, 1 << 20)


class Native:
    """The C program beside this file, linked statically."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vm_native"
        source = Path(__file__).with_name("vm_native.c")
        command = ["gcc", "-O2", "-static", "-o", self.path, source]
        subprocess.run(command, check=True)

    def floor(self, rounds: int) -> list[float]:
        """Seconds of fork, _exit and wait, on one core."""
        return self._run("floor", rounds)

    def spawn(self, rounds: int, *command: str | Path) -> list[float]:
        """Seconds of posix_spawn and wait."""
        return self._run("spawn", rounds, *command)

    def hello(self, rounds: int) -> list[float]:
        """Seconds of the static C hello."""
        return self.spawn(rounds, self.path, "hello")

    def spawn_first_byte(
        self, rounds: int, *command: str | Path
    ) -> tuple[list[float], list[float]]:
        """Seconds to the first byte in a pipe, and to the end."""
        both = self._run("first", rounds, *command)
        return both[::2], both[1::2]

    def _run(self, *words: object) -> list[float]:
        cores = sorted(os.sched_getaffinity(0))
        pin = ["taskset", "-c", str(cores[-1])]
        done = subprocess.run(
            [*pin, str(self.path), *map(str, words)],
            stdout=subprocess.PIPE,
            check=True,
        )
        return [int(line) / 1e9 for line in done.stdout.split()]


@dataclass(frozen=True)
class Program:
    """A compiled guest: its artefact, and the digest of its module."""

    name: str
    artefact: int
    sha256: str


def gcc(source: Path, folder: Path, *libraries: str) -> Path:
    """Compile a native program into `folder`: -O2, and no more."""
    compiler = shutil.which("gcc")
    if not compiler:
        raise RuntimeError("gcc is missing: apt-get install gcc libc6-dev")
    program = folder / source.stem
    command = [compiler, "-std=gnu17", "-O2", "-o", program, source]
    subprocess.run([*command, *libraries], check=True)
    return program


def compiled(
    guest: str | Path, folder: Path, modules: Path = GUESTS
) -> Program:
    """Compile a guest, by name or file, into a cache in `folder`."""
    path = guest if isinstance(guest, Path) else modules / f"{guest}.wasm"
    command = [ZVM, "compile", "--cache", folder / "cache", path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    answer = json.loads(done.stdout)
    fd = os.open(answer["artefact"], os.O_RDONLY | os.O_CLOEXEC)
    return Program(path.stem, fd, answer["sha256"])


def manifest_of(
    program: Program,
    *args: str,
    stdin: bool,
    access: str = "sequential",
    memory_bytes: int = 64 << 20,
) -> bytes:
    """A manifest with standard output, and input if there is one."""
    channels = [
        ManifestChannel("/dev/stdout", "write", "sequential", 1, "", *_LIMITS)
    ]
    if stdin:
        channels.append(
            ManifestChannel("/dev/stdin", "read", access, 2, "", *_LIMITS)
        )
    return Manifest(
        job="bench",
        node=program.name,
        program=ManifestFile(0, program.sha256, program.name),
        args=(program.name, *args),
        env=(),
        layers=(),
        channels=tuple(channels),
        limits=ManifestLimits(memory_bytes, 120.0, 120.0, 1024),
        clock_nanoseconds=0,
        seed="5e" * 32,
    ).to_json()


class Client:
    """One connection; requests by number, answers as they come."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(str(path))
        self._socket.send(daemon.hello().data)
        self.welcome = json.loads(self._socket.recv(65536)[8:])

    def begin(self, number: int, manifest: bytes, fds: list[int]) -> int:
        """Send a request of one packet; the nanosecond before it went."""
        [packet] = daemon.request(number, manifest, fds, 60)
        rights = array.array("i", fds)
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        data = [packet.data]
        before = time.monotonic_ns()
        self._socket.sendmsg(data, beside)
        return before

    def receive(self) -> tuple[int, int, dict[str, Any]]:
        """The next answer: when it was here, its number, its document."""
        data = self._socket.recv(65536)
        now = time.monotonic_ns()
        document = json.loads(data[8:])
        if "report" not in document and data[:1] == b"R":
            raise RuntimeError(f"the daemon says {document}")
        return now, int.from_bytes(data[4:8], "big"), document

    def status(self) -> dict[str, Any]:
        """The daemon's state; nothing else may be under way here."""
        self._socket.send(b"S" + bytes(7))
        more, text = True, b""
        while more:
            data = self._socket.recv(65536)
            more, text = bool(data[1]), text + data[8:]
        document: dict[str, Any] = json.loads(text)
        return document

    def close(self) -> None:
        """Close; what runs is killed."""
        self._socket.close()


@dataclass
class Served:
    """A daemon that runs."""

    process: subprocess.Popen[bytes]
    socket: Path

    def resident_kib(self) -> int:
        """Its memory."""
        path = Path(f"/proc/{self.process.pid}/status")
        for line in path.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("the daemon has gone")

    def descriptors(self) -> int:
        """What it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def children(self) -> dict[int, str]:
        """Its children, zombies included: process id to name."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                name, _, rest = stat.partition("(")[2].rpartition(") ")
                if int(rest.split()[1]) == self.process.pid:
                    found[int(entry)] = name
        return found


@contextlib.contextmanager
def served(*options: str) -> Iterator[tuple[Served, Path]]:
    """A daemon with these options, and a folder for the rest."""
    with tempfile.TemporaryDirectory(prefix="zvm-bench-") as name:
        folder = Path(name)
        path = folder / "zvm.sock"
        command = [str(ZVM), "serve", "--socket", str(path), *options]
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(command, stderr=log)
        try:
            while not path.exists():
                if process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.005)
            yield Served(process, path), folder
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def empty_file() -> int:
    """An output: a file in memory."""
    return os.memfd_create("output", os.MFD_CLOEXEC)
