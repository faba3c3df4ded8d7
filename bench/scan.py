"""One 1 GiB object read by a C guest in place.

Beside it: a native reader of the same file (the same C source, gcc -O2, page
cache warm), Swift's own GET at the object server, and at the proxy.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import requests

from bench.common import (
    GUESTS,
    ROOT,
    Account,
    interleave,
    job,
    median,
    process_cluster,
    say,
)
from zerocloud.cluster import Cluster

MIB = 1024 * 1024


def blocks(size: int) -> Any:
    """`size` bytes that no file system compresses or shares."""
    block = bytes((i * 2654435761 >> 13) & 255 for i in range(MIB))
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + block[8:]


def data_files(folder: Path, size: int) -> list[Path]:
    """The object's file on each disk that has a replica."""
    found = [p for p in folder.rglob("*.data") if p.stat().st_size == size]
    if not found:
        raise RuntimeError("the object's file was not found on any disk")
    return found


def warm(files: list[Path]) -> None:
    """Read the files into the page cache; Swift's GET drops large ones."""
    for path in files:
        with open(path, "rb", buffering=0) as source:
            while source.read(MIB):
                pass


def node_url(cluster: Cluster, path: Path, name: str) -> str:
    """Where the object server that has this file serves it."""
    disks = path.parts.index("objects")
    disk, partition = path.parts[disks - 1], path.parts[disks + 1]
    for node in cluster.nodes:
        if f"node{node.number}" in path.parts:
            port = next(s.port for s in node.servers if s.kind == "object")
            return f"http://{node.ip}:{port}/{disk}/{partition}{name}"
    raise RuntimeError(f"no storage node has the file {path.name}")


def drain(url: str, headers: dict[str, str] | None = None) -> None:
    """GET and throw away, as fast as the client can."""
    with requests.get(url, headers=headers, stream=True, timeout=600) as got:
        got.raise_for_status()
        while got.raw.read(MIB):
            pass


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Interleave guest, native reader and GETs; ratios of medians."""
    size = (64 if quick else 1024) * MIB
    rounds = 2 if quick else 7
    compiler = shutil.which("gcc")
    if not compiler:
        raise RuntimeError("gcc is missing: apt-get install gcc")
    with (
        tempfile.TemporaryDirectory() as scratch,
        process_cluster() as (account, cluster),
    ):
        native = Path(scratch) / "scan"
        subprocess.run(
            [compiler, "-O2", "-o", str(native),
             str(ROOT / "examples" / "scan" / "scan.c")],
            check=True,
        )  # fmt: skip
        say(f"uploading one object of {size // MIB} MiB")
        account.put("bench")
        account.put("bench", "scan.wasm", (GUESTS / "scan.wasm").read_bytes())
        account.put("bench", "big", blocks(size))
        samples = measure(account, cluster, native, size, rounds)
    rates = {
        name: size / median(times) / 1e9 for name, times in samples.items()
    }
    figures = {f"{name}_gb_per_s": round(r, 3) for name, r in rates.items()}
    figures["scan_over_get"] = round(rates["guest"] / rates["node_get"], 2)
    figures["scan_over_proxy_get"] = round(
        rates["guest"] / rates["proxy_get"], 2
    )
    figures["scan_over_native"] = round(rates["guest"] / rates["native"], 2)
    return figures, samples


def measure(
    account: Account, cluster: Cluster, native: Path, size: int, rounds: int
) -> dict[str, list[float]]:
    """Time the four ways in turn; guest and native must agree."""
    task = job("swift://~/bench/scan.wasm", "swift://~/bench/big")
    files = data_files(cluster.folder.root, size)
    path = files[0]
    account_name = account.url.rsplit("/", 1)[1]
    direct = node_url(cluster, path, f"/{account_name}/bench/big")
    token = {"X-Auth-Token": str(account.http.headers["X-Auth-Token"])}
    answers: dict[str, bytes] = {}

    def guest() -> None:
        answers["guest"] = account.run(task).content

    def reader() -> None:
        with open(path, "rb") as source:
            answers["native"] = subprocess.run(
                [str(native)], stdin=source, capture_output=True, check=True
            ).stdout

    say(f"{rounds} rounds")
    samples = interleave(
        {
            "guest": guest,
            "native": reader,
            "node_get": lambda: drain(
                direct, {"X-Backend-Storage-Policy-Index": "0"}
            ),
            "proxy_get": lambda: drain(f"{account.url}/bench/big", token),
        },
        rounds,
        before=lambda: warm(files),
    )
    if answers["guest"] != answers["native"]:
        raise RuntimeError("guest and native reader disagree")
    return samples
