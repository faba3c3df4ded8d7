"""What a large image costs each VM: private memory, and time to start.

Memory: a job of several nodes whose programs read a user's image of hundreds
of MB to its end and then wait; /proc/PID/smaps_rollup of the VMs, beside the
same job without the image.  Time: sessions of the runner over images of 1000
to 100 000 entries, beside sessions without an image.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.common import (
    GUESTS,
    ROOT,
    Account,
    interleave,
    median,
    process_cluster,
    say,
)
from zerocloud.cluster import Cluster
from zerocloud.protocol.manifest import (
    Manifest,
    ManifestFile,
    ManifestLimits,
)

MIB = 1024 * 1024
ZVM = ROOT / "build" / "bin" / "zvm"
FILE_BYTES = 16 * MIB
FIELDS = (
    "Rss",
    "Pss",
    "Private_Clean",
    "Private_Dirty",
    "Shared_Clean",
    # Of an image that came a moment ago, and is not on the disk yet.
    "Shared_Dirty",
)
READ = (
    "import os; folder = '/data'; "
    "[sum(map(len, iter(lambda f=open(f'{folder}/{n}', 'rb'): f.read(65536), "
    "b''))) for n in (os.listdir(folder) if os.path.exists(folder) else ())]; "
    "exec('while True: pass')"
)


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Memory of VMs at once, then start-up by the number of entries."""
    # As many as an embedded node runs at once on the smallest machine.
    vms, megabytes = (2, 64) if quick else (4, 400)
    with process_cluster() as (account, cluster):
        memory = {
            "without": measure(account, cluster, vms, 0),
            "with": measure(account, cluster, vms, megabytes),
        }
    rounds = 3 if quick else 30
    counts = (1000, 10_000) if quick else (1000, 10_000, 100_000)
    times = start_up(counts, rounds)
    figures: dict[str, Any] = {"image_mb": megabytes, "vms": vms}
    for name, samples in memory.items():
        for field in FIELDS:
            each = [sample[field] for sample in samples]
            figures[f"{name}_image_{field.lower()}_kib"] = median(each)
    base = median(times["none"])
    figures["session_ms"] = round(1000 * base, 2)
    for name, samples_of in times.items():
        if name != "none":
            more = median(samples_of) - base
            figures[f"{name}_more_ms"] = round(1000 * more, 2)
    return figures, {"memory": memory, "times": times}


def data_image(megabytes: int) -> Iterator[bytes]:
    """A tar of files of 16 MiB below data/, in pieces."""
    for number in range(megabytes * MIB // FILE_BYTES):
        info = tarfile.TarInfo(f"data/{number}")
        info.size = FILE_BYTES
        yield info.tobuf()
        block = number.to_bytes(8, "big") + os.urandom(MIB - 8)
        for _ in range(FILE_BYTES // MIB):
            yield block
    yield bytes(1024)


def measure(
    account: Account, cluster: Cluster, vms: int, megabytes: int
) -> list[dict[str, int]]:
    """smaps of `vms` VMs of one job, each of which has read the image."""
    devices: list[dict[str, Any]] = [{"name": "python3"}, {"name": "stdout"}]
    if megabytes:
        say(f"uploading an image of {megabytes} MB")
        account.put("bench")
        account.put("bench", "data.tar", data_image(megabytes))
        path = "swift://~/bench/data.tar"
        devices.append({"name": "image", "path": path})
    job = {
        "version": 2,
        "limits": {"wall_seconds": 60, "cpu_seconds": 60},
        "nodes": [
            {
                "name": "n",
                "count": vms,
                "exec": {"path": "file://python3:python",
                         "args": ["-c", READ]},
                "devices": devices,
                # The same server, or each would have a cache of its own.
                "location": "here",
            }
        ],
    }  # fmt: skip
    say(f"{vms} VMs {'with' if megabytes else 'without'} the image")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(
            account.http.post,
            account.url,
            data=json.dumps(job),
            headers={
                "X-Zerovm-Execute": "1.0",
                "Content-Type": "application/json",
            },
            timeout=600,
        )
        try:
            return settled(cluster, vms, megabytes * MIB)
        finally:
            for pid in vm_processes(cluster):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def settled(
    cluster: Cluster, vms: int, image_bytes: int
) -> list[dict[str, int]]:
    """The VMs' memory when each has mapped the image whole."""
    deadline = time.monotonic() + 55
    found: list[dict[str, int]] = []
    while time.monotonic() < deadline:
        pids = vm_processes(cluster)
        found = [rollup(pid) for pid in pids]
        whole = [f for f in found if f["Rss"] * 1024 >= image_bytes]
        if len(whole) == vms and all(cpu_seconds(p) > 1 for p in pids):
            return found
        time.sleep(0.2)
    raise RuntimeError(f"the VMs did not read the image: {found}")


def vm_processes(cluster: Cluster) -> list[int]:
    """The VMs: of a session's processes, and the daemon's, the last ones."""
    found, waiting = [], [cluster.pid]
    while waiting:
        pid = waiting.pop()
        below = children(pid)
        waiting += below
        if not below and title(pid).startswith(b"zvm:"):
            found.append(pid)
    return found


def title(pid: int) -> bytes:
    """The first word of a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    """The living children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def rollup(pid: int) -> dict[str, int]:
    """What smaps_rollup says of a process, in KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        lines = []
    words = {line.partition(":")[0]: line.split()[1] for line in lines}
    return {field: int(words.get(field, 0)) for field in FIELDS}


def entries_image(path: Path, count: int, size: int) -> None:
    """A tar of so many files of `size` bytes, a hundred to a folder."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            name = f"lib/{number // 100:04}/file-{number:06}"
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))


def start_up(counts: tuple[int, ...], rounds: int) -> dict[str, list[float]]:
    """Seconds of whole sessions of a hello, by their image."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        answer = subprocess.run(
            [ZVM, "compile", "--cache", folder / "cache",
             GUESTS / "hello.wasm"],
            check=True,
            capture_output=True,
        )  # fmt: skip
        program = json.loads(answer.stdout)
        images: dict[str, Path | None] = {"none": None}
        images["python3"] = ROOT / "build" / "images" / "python3.tar"
        for count in counts:
            say(f"an image of {count} entries")
            images[f"entries_{count}"] = folder / f"{count}.tar"
            entries_image(folder / f"{count}.tar", count, 512)
        # Headers on pages of their own, as those of large files are.
        images["wide_10000"] = folder / "wide.tar"
        entries_image(folder / "wide.tar", 10_000, 40_000)
        say(f"{rounds} rounds of sessions")
        return interleave(
            {
                name: lambda image=image: session(program, image)  # type: ignore[misc] # bound at once
                for name, image in images.items()
            },
            rounds,
        )


def session(program: dict[str, str], image: Path | None) -> None:
    """One session from its start to its end."""
    paths = [Path(program["artefact"]), *([image] if image else [])]
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    layer = ManifestFile(1, "0" * 64, "image")
    manifest = Manifest(
        job="bench",
        node="n",
        program=ManifestFile(0, program["sha256"], "hello"),
        args=("hello",),
        env=(),
        layers=(layer,) if image else (),
        channels=(),
        limits=ManifestLimits(512 * MIB, 30.0, 30.0, 1000),
        clock_nanoseconds=0,
        seed="0" * 64,
    )
    try:
        ended = subprocess.run(
            [ZVM, "session", "--descriptors", ",".join(map(str, fds))],
            input=manifest.to_json(),
            capture_output=True,
            pass_fds=fds,
            check=True,
        )
    finally:
        for fd in fds:
            os.close(fd)
    if json.loads(ended.stdout)["outcome"]["code"] != 0:
        raise RuntimeError(f"the session failed: {ended.stdout!r}")
