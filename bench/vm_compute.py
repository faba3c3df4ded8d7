"""C programs in a VM of the daemon's, beside the same sources by gcc -O2.

Each of bench/kernels is compiled twice, by the guests' compiler and by gcc
(its -O2 and no more), and run by turns; what both print must be the same.
Compared is processor time, of the whole process: a VM's as its answer says,
a native program's as the kernel counts it.  `geomean_over_gcc` is the mean of
the kernels' ratios; under 1, the guest was faster.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.common import ROOT, median, percentile, say
from bench.vm_daemon import (
    Client,
    Program,
    compiled,
    empty_file,
    gcc,
    manifest_of,
    served,
)

KERNELS = ROOT / "bench" / "kernels"
MODULES = ROOT / "build" / "kernels"
MEMORY_BYTES = 256 << 20
MAX_OUTPUT_BYTES = 1024


class Kernel:
    """One program, in both its forms."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._native = gcc(KERNELS / f"{name}.c", folder, "-lm")
        self._program: Program = compiled(name, folder, MODULES)
        self._manifest = manifest_of(
            self._program, stdin=False, memory_bytes=MEMORY_BYTES
        )

    def guest(self, client: Client) -> tuple[float, bytes]:
        """Processor seconds of a VM, and what it printed."""
        output = empty_file()
        try:
            client.begin(1, self._manifest, [self._program.artefact, output])
            _, _, answer = client.receive()
            outcome = answer["report"]["outcome"]
            if outcome.get("code") != 0:
                raise RuntimeError(f"{self.name}: {outcome}")
            printed = os.pread(output, MAX_OUTPUT_BYTES, 0)
            return float(answer["report"]["cpu_seconds"]), printed
        finally:
            os.close(output)

    def native(self) -> tuple[float, bytes]:
        """The same of the native program."""
        output = empty_file()
        try:
            pid = os.posix_spawn(
                self._native,
                [self.name],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)],
            )
            _, status, used = os.wait4(pid, 0)
            if status:
                raise RuntimeError(f"{self.name}: native: {status}")
            printed = os.pread(output, MAX_OUTPUT_BYTES, 0)
            return used.ru_utime + used.ru_stime, printed
        finally:
            os.close(output)


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Guest and native by turns, in rounds; ratios of medians."""
    rounds = 1 if quick else 9
    names = sorted(path.stem for path in KERNELS.glob("*.c"))
    subprocess.run(
        [sys.executable, ROOT / "tools" / "build_guests",
         "--from", KERNELS, "--out", MODULES],
        check=True,
    )  # fmt: skip
    samples: dict[str, list[float]] = {}
    with served() as (service, folder):
        kernels = [Kernel(name, folder) for name in names]
        client = Client(service.socket)
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}: {len(kernels)} kernels")
            for kernel in kernels:
                guest, shown = kernel.guest(client)
                native, expected = kernel.native()
                if shown != expected or not shown.endswith(b"\n"):
                    raise RuntimeError(
                        f"{kernel.name}: {shown!r}, natively {expected!r}"
                    )
                samples.setdefault(f"{kernel.name}_guest", []).append(guest)
                samples.setdefault(f"{kernel.name}_native", []).append(native)
        client.close()
    return _figures(names, samples), samples


def _figures(
    names: list[str], samples: dict[str, list[float]]
) -> dict[str, Any]:
    figures: dict[str, Any] = {"kernels": len(names)}
    ratios = []
    for name in names:
        guest, native = samples[f"{name}_guest"], samples[f"{name}_native"]
        ratios.append(median(guest) / median(native))
        figures[f"{name}_over_gcc"] = round(ratios[-1], 3)
        figures[f"{name}_p99_over_gcc"] = round(
            percentile(guest, 99) / median(native), 3
        )
        figures[f"{name}_gcc_s"] = round(median(native), 4)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    figures["geomean_over_gcc"] = round(mean, 3)
    figures["slowest_over_gcc"] = round(max(ratios), 3)
    return figures
