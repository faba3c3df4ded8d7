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

MIB = 1024 * 1024


def blocks(size: int) -> Any:
    """`size` bytes that no file system compresses or shares."""
    block = bytes((i * 2654435761 >> 13) & 255 for i in range(MIB))
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + block[8:]


def data_file(folder: Path, size: int) -> Path:
    """The object's file on one of the cluster's disks."""
    for path in folder.rglob("*.data"):
        if path.stat().st_size == size:
            return path
    raise RuntimeError("the object's file was not found on any disk")


def node_address(folder: Path, path: Path) -> tuple[str, str]:
    """`host:port` of the object server that has the file, and its URL path."""
    import swift.common.ring as rings  # noqa: PLC0415 - slow to import

    ring = rings.Ring(str(folder / "etc"), ring_name="object")
    disk, partition = (
        path.parts[path.parts.index("objects") - 1 :][0],
        (path.parts[path.parts.index("objects") + 1]),
    )
    for device in ring.devs:
        if device and device["device"] == disk and device["ip"] in str(path):
            return f"{device['ip']}:{device['port']}", f"{disk}/{partition}"
    for device in ring.get_part_nodes(int(partition)):
        if device["device"] == disk:
            return f"{device['ip']}:{device['port']}", f"{disk}/{partition}"
    raise RuntimeError(f"no ring device has the disk {disk}")


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
        process_cluster() as (account, folder),
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
        samples = measure(account, folder, native, size, rounds)
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
    account: Account, folder: Path, native: Path, size: int, rounds: int
) -> dict[str, list[float]]:
    """Time the four ways in turn; guest and native must agree."""
    task = job("swift://~/bench/scan.wasm", "swift://~/bench/big")
    path = data_file(folder, size)
    address, place = node_address(folder, path)
    account_name = account.url.rsplit("/", 1)[1]
    node_url = f"http://{address}/{place}/{account_name}/bench/big"
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
                node_url, {"X-Backend-Storage-Policy-Index": "0"}
            ),
            "proxy_get": lambda: drain(f"{account.url}/bench/big", token),
        },
        rounds,
    )
    if answers["guest"] != answers["native"]:
        raise RuntimeError("guest and native reader disagree")
    return samples
