"""A file in the page cache, read and written by a C program in a VM.

The VM is one of the daemon's, its channels are descriptors of files on disk,
as on a storage node; everything is timed from the start of a process, or the
request, to its end.  Beside it, by turns: the same C source by gcc -O2 with
the same buffer on the same file, and native programs that compute the same
digests with the same crates, in one thread.

A channel that is read from 0 on has its BLAKE3, always: `count_bytes_*` are
with it.  Reading out of order ends it: `*_without_digest_over_native`, and
random reads, are without.  `count_bytes_with_digest_over_digest` is beside a
native program that reads the file and hashes it; `..._in_memory` beside the
hashing alone of a file that lies in memory.  What is written gets BLAKE3 and
MD5 when the guest has ended.  Ratios of rates: 1 is as fast as the peer;
`*_cpu_over_*` are of bytes per processor second, which holds on a machine
that has other work, too (VMs give way to it).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.common import ROOT, interleave, median, percentile, say
from bench.vm_daemon import (
    Client,
    Program,
    Served,
    compiled,
    empty_file,
    gcc,
    manifest_of,
    served,
)
from bench.vm_start import one_by_one

HERE = ROOT / "bench"
MODULES = ROOT / "build" / "bench"
MIB = 1 << 20
BUFFER = 64 << 10
SMALL = 1 << 10
RANDOM_BYTES = 4 << 10
STALLED_OF_A_KIND = 20


class Scene:
    """The file, the programs, and the ways to run them."""

    def __init__(self, folder: Path, size: int, client: Client) -> None:
        self.size = size
        self._client = client
        self._native = gcc(HERE / "vm_io.c", folder)
        self._digest = _native_digest()
        self.program: Program = compiled("vm_io", folder, MODULES)
        # Processor seconds of what ran last.
        self.cpu = 0.0
        self.path = folder / "input"
        self._output = folder / "output"
        digest = hashlib.md5(usedforsecurity=False)
        with open(self.path, "wb") as file:
            for _ in range(size // MIB):
                block = os.urandom(MIB)
                file.write(block)
                digest.update(block)
        self.md5 = digest.hexdigest()
        self.blake3 = self.digest("read")

    def _open_output(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            self._output.unlink()
        return os.open(self._output, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    def guest(self, *words: object, access: str) -> dict[str, Any]:
        """Run a VM; its report."""
        source = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        output = self._open_output()
        manifest = manifest_of(
            self.program, *map(str, words), stdin=True, access=access
        )
        try:
            fds = [self.program.artefact, output, source]
            self._client.begin(1, manifest, fds)
            _, _, answer = self._client.receive()
        finally:
            os.close(source)
            os.close(output)
        report: dict[str, Any] = answer["report"]
        self.cpu = report["cpu_seconds"]
        if report["outcome"].get("code") != 0:
            raise RuntimeError(f"{words}: {report['outcome']}")
        return report

    def native(self, *words: object) -> None:
        """Run the same program natively."""
        self._spawn(self._native, *words)

    def digest(self, mode: str) -> str:
        """Run the native digest; the first line that it prints."""
        return self._spawn(self._digest, mode, BUFFER).split("\n")[0]

    def digest_of_output(self) -> str:
        """The digests of what was written last."""
        return self._spawn(self._digest, "both", BUFFER, of=self._output)

    def _spawn(
        self, program: Path, *words: object, of: Path | None = None
    ) -> str:
        source = os.open(of or self.path, os.O_RDONLY | os.O_CLOEXEC)
        output = empty_file() if of else self._open_output()
        try:
            pid = os.posix_spawn(
                program,
                [program.name, *map(str, words)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                ],
            )
            _, status, used = os.wait4(pid, 0)
            self.cpu = used.ru_utime + used.ru_stime
            if status:
                raise RuntimeError(f"{program.name} {words}: {status}")
            return os.pread(output, 256, 0).decode(errors="replace")
        finally:
            os.close(source)
            os.close(output)


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """All by turns, in rounds; ratios of medians."""
    size, rounds = (64 * MIB, 2) if quick else (512 * MIB, 15)
    subprocess.run(
        [sys.executable, ROOT / "tools" / "build_guests", "vm_io",
         "--from", HERE, "--out", MODULES],
        check=True,
    )  # fmt: skip
    with served() as (service, folder):
        client = Client(service.socket)
        say(f"one file of {size // MIB} MiB")
        scene = Scene(folder, size, client)
        _check(scene)
        more: dict[str, list[float]] = {}
        say(f"{rounds} rounds")
        samples = interleave(_actions(scene, more), rounds)
        # The first round counts for none of them.
        samples |= {name: values[1:] for name, values in more.items()}
        samples |= _beside_stalled(service, scene, rounds)
        client.close()
    return _figures(size, samples), samples


def _check(scene: Scene) -> None:
    """The guest's digests are the native ones."""
    report = scene.guest("count", BUFFER, access="sequential")
    channel = report["channels"][1]
    if channel["read_bytes"] != scene.size:
        raise RuntimeError(f"read {channel['read_bytes']} bytes")
    if channel["blake3"] != scene.blake3:
        raise RuntimeError("guest and native program disagree")
    report = scene.guest("write", BUFFER, scene.size, access="sequential")
    channel = report["channels"][0]
    if channel["blake3"] != scene.digest_of_output().split("\n")[0]:
        raise RuntimeError("guest and native program disagree on what is out")
    report = scene.guest("loose", BUFFER, access="random")
    if report["channels"][1]["blake3"] is not None:
        raise RuntimeError("reading out of order left a digest")


def _actions(
    scene: Scene, more: dict[str, list[float]]
) -> dict[str, Callable[[], object]]:
    jumps = scene.size // RANDOM_BYTES // 2

    def note(name: str, seconds: float) -> None:
        more.setdefault(name, []).append(seconds)

    def write_guest() -> None:
        report = scene.guest("write", BUFFER, scene.size, access="sequential")
        # To the guest's end; the digests come after it.
        note("write", report["wall_seconds"])

    def in_memory() -> None:
        note("digest_in_memory", int(scene.digest("memory")) / 1e9)

    def guest(*words: object, access: str) -> Callable[[], object]:
        return lambda: scene.guest(*words, access=access)

    def native(*words: object) -> Callable[[], object]:
        return lambda: scene.native(*words)

    def counted(name: str, act: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            act()
            note(f"{name}_cpu", scene.cpu)

        return run

    actions = {
        "count": guest("count", BUFFER, access="sequential"),
        "count_native": native("count", BUFFER),
        "digest_native": lambda: scene.digest("read"),
        "digest_with_memory": in_memory,
        "count_no_digest": guest("loose", BUFFER, access="random"),
        "stdio": guest("stdio", BUFFER, access="sequential"),
        "stdio_native": native("stdio", BUFFER),
        "small": guest("count", SMALL, access="sequential"),
        "small_no_digest": guest("loose", SMALL, access="random"),
        "small_native": native("count", SMALL),
        "random": guest("random", jumps, RANDOM_BYTES, access="random"),
        "random_native": native("random", jumps, RANDOM_BYTES),
        "write_with_digests": write_guest,
        "write_native": native("write", BUFFER, scene.size),
        "digests_native": lambda: scene.digest("both"),
    }
    return {name: counted(name, act) for name, act in actions.items()}


def _figures(size: int, samples: dict[str, list[float]]) -> dict[str, Any]:
    middle = {name: median(values) for name, values in samples.items()}

    def ratio(name: str, peer: str) -> float:
        return middle[peer] / middle[name]

    figures: dict[str, float] = {
        "count_bytes_over_native": ratio("count", "count_native"),
        "count_bytes_p99_over_native": middle["count_native"]
        / percentile(samples["count"], 99),
        "count_bytes_with_digest_over_digest": ratio("count", "digest_native"),
        "count_bytes_with_digest_p99_over_digest": middle["digest_native"]
        / percentile(samples["count"], 99),
        "count_bytes_with_digest_over_digest_in_memory": ratio(
            "count", "digest_in_memory"
        ),
        "count_bytes_without_digest_over_native": ratio(
            "count_no_digest", "count_native"
        ),
        "digest_cost_over_read": middle["count"] / middle["count_no_digest"],
        "count_bytes_cpu_over_native": ratio("count_cpu", "count_native_cpu"),
        "count_bytes_with_digest_cpu_over_digest": ratio(
            "count_cpu", "digest_native_cpu"
        ),
        "stdio_cpu_over_native": ratio("stdio_cpu", "stdio_native_cpu"),
        "stdio_with_digest_cpu_over_digest": ratio(
            "stdio_cpu", "digest_native_cpu"
        ),
        "stdio_over_native": ratio("stdio", "stdio_native"),
        "small_reads_cpu_over_native": ratio("small_cpu", "small_native_cpu"),
        "random_reads_cpu_over_native": ratio(
            "random_cpu", "random_native_cpu"
        ),
        "small_reads_over_native": ratio("small", "small_native"),
        "small_reads_without_digest_over_native": ratio(
            "small_no_digest", "small_native"
        ),
        "random_reads_over_native": ratio("random", "random_native"),
        "write_over_native": ratio("write", "write_native"),
        "write_with_digests_over_digests": (
            middle["write_native"] + middle["digests_native"]
        )
        / middle["write_with_digests"],
        "hello_beside_stalled_over_alone": middle["hello_beside_stalled"]
        / middle["hello_alone"],
        "hello_beside_stalled_p99_over_alone": percentile(
            samples["hello_beside_stalled"], 99
        )
        / middle["hello_alone"],
    }
    for name in ("count", "count_native", "digest_native", "digest_in_memory",
                 "count_no_digest"):  # fmt: skip
        figures[f"{name}_gb_per_s"] = size / middle[name] / 1e9
    return {name: round(value, 3) for name, value in figures.items()}


def _beside_stalled(
    service: Served, scene: Scene, rounds: int
) -> dict[str, list[float]]:
    """Seconds of a hello alone, and beside VMs whose peers do not move."""
    samples: dict[str, list[float]] = {
        "hello_alone": [],
        "hello_beside_stalled": [],
    }
    client = Client(service.socket)
    hello = compiled("hello", scene.path.parent)
    for _ in range(rounds):
        samples["hello_alone"] += one_by_one(client, hello, 40)[1]
        with _stalled(service, scene.program):
            gone = one_by_one(client, hello, 40)[1]
            samples["hello_beside_stalled"] += gone
    client.close()
    return samples


@contextlib.contextmanager
def _stalled(service: Served, program: Program) -> Iterator[None]:
    """VMs that wait for a silent pipe, and VMs that are stopped."""
    client, watcher = Client(service.socket), Client(service.socket)
    reading, writing = os.pipe()
    count = 2 * STALLED_OF_A_KIND
    outputs = [empty_file() for _ in range(count)]
    manifest = manifest_of(program, "count", str(BUFFER), stdin=True)
    try:
        for number, output in enumerate(outputs):
            client.begin(number, manifest, [program.artefact, output, reading])
        name = f"zvm:bench:{program.name}"[:15]
        while len(pids := _named(service, name)) < count:
            time.sleep(0.002)
        for pid in pids[:STALLED_OF_A_KIND]:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        client.close()
        while watcher.status()["taken"]:
            time.sleep(0.002)
        watcher.close()
        for fd in (reading, writing, *outputs):
            os.close(fd)


def _named(service: Served, name: str) -> list[int]:
    return [pid for pid, own in service.children().items() if own == name]


def _native_digest() -> Path:
    """Build the peer that hashes; its crates are the runner's."""
    crate = HERE / "native_digest"
    target = ROOT / "build" / "bench" / "cargo"
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--quiet",
         "--manifest-path", crate / "Cargo.toml", "--target-dir", target],
        check=True,
    )  # fmt: skip
    return target / "release" / "native-digest"
