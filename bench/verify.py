"""What it costs to compare what is read in place with its MD5.

Two clusters side by side, `verify_local_reads` on (the default) and off: one
VM per object over 600 small objects (hashed on the spot, each time), and one
large object, for the first time (hashed beside the VM) and again (remembered).
The first time costs the longer of the two, hash or program: `busy_first` is
with a program that takes about as long as MD5 does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.common import GUESTS, Account, interleave, job, median, say
from bench.job_throughput import source_files
from bench.scan import blocks, data_files, warm
from zerocloud.cluster import Cluster, ClusterSettings

MIB = 1024 * 1024
WHAT = ("many", "first", "again", "busy_first")


class Side:
    """One of the two clusters, with the same objects."""

    def __init__(self, cluster: Cluster, size: int, count: int) -> None:
        self._account = account = Account(cluster.env)
        for box in ("bench", "small"):
            account.put(box)
        for guest in ("wc", "scan", "hash_all"):
            data = (GUESTS / f"{guest}.wasm").read_bytes()
            account.put("bench", f"{guest}.wasm", data)
        account.put("bench", "big", blocks(size))
        for number, path in enumerate(source_files()[:count]):
            account.put("small", f"{number:04d}.py", path.read_bytes())
        self._files = data_files(cluster.folder.root, size)
        warm(self._files)

    def many(self) -> None:
        """600 small objects."""
        self._account.run(job("swift://~/bench/wc.wasm", "swift://~/small/*"))

    def again(self) -> None:
        """The large object, known to be sound."""
        self._account.run(
            job("swift://~/bench/scan.wasm", "swift://~/bench/big")
        )

    def first(self) -> None:
        """The large object, changed since."""
        self._change()
        self.again()

    def busy_first(self) -> None:
        """The same by a program that has more to do."""
        self._change()
        self._account.run(
            job("swift://~/bench/hash_all.wasm", "swift://~/bench/big")
        )

    def _change(self) -> None:
        for path in self._files:
            os.utime(path)


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Interleave both sides; ratios of medians, on over off."""
    size, count = (64, 60) if quick else (1024, 600)
    rounds = 2 if quick else 7
    sides: dict[str, Side] = {}
    with ExitStack() as held:
        for name in ("true", "false"):
            folder = held.enter_context(tempfile.TemporaryDirectory())
            settings = ClusterSettings(
                mode="process",
                nodes=2,
                replicas=1,
                executor_options={"verify_local_reads": name},
            )
            cluster = held.enter_context(Cluster(Path(folder), settings))
            say(f"uploading to the cluster with verify_local_reads = {name}")
            sides[name] = Side(cluster, size * MIB, count)
        say(f"{rounds} rounds")
        actions: dict[str, Callable[[], object]] = {}
        for what in WHAT:
            for name, side in sides.items():
                actions[f"{what}_{name}"] = getattr(side, what)
        samples = interleave(actions, rounds)
    figures = {f"{k}_s": round(median(v), 4) for k, v in samples.items()}
    for what in WHAT:
        on, off = samples[f"{what}_true"], samples[f"{what}_false"]
        figures[f"{what}_on_over_off"] = round(median(on) / median(off), 3)
    return figures, samples
