"""A thousand live VMs at once through the daemon, locked down.

Started idle, and with 1 MiB touched each: until every guest has said so.
Then what each has for itself beside that, and how long it takes to kill and
reap them all, when their client vanishes.  In floors of the same run.  The
daemon's memory is compared before and after the first thousand, and after
that with what it is at the end.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from bench.common import median, say
from bench.vm_daemon import (
    Client,
    Native,
    Program,
    Served,
    compiled,
    empty_file,
    manifest_of,
    served,
)

MIB = 1 << 20


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both kinds, `rounds` times; ratios of medians."""
    count, rounds = (100, 1) if quick else (1000, 3)
    samples: dict[str, list[float]] = {}
    with served() as (service, folder):
        native = Native(folder)
        hold = compiled("hold", folder)
        _live(service, hold, 50, 0)  # so that its program is known
        before = _rested(service)
        _live(service, hold, count, 0)
        once = _rested(service)
        for turn in range(rounds):
            for name, touched in (("idle", 0), ("touched", MIB)):
                say(f"round {turn + 1} of {rounds}: {count} VMs, {name}")
                floors = native.floor(300)
                samples.setdefault("floor", []).extend(floors)
                measured = _live(service, hold, count, touched)
                for key, value in measured.items():
                    samples.setdefault(f"{name}_{key}", []).append(value)
        after = _rested(service)
    floor = median(samples["floor"])
    figures = {
        "thousand_vms": count,
        "thousand_idle_floors": median(samples["idle_started"]) / floor,
        "thousand_touched_floors": median(samples["touched_started"]) / floor,
        "thousand_idle_private_kib": median(samples["idle_private_kib"]),
        "thousand_private_kib": median(samples["touched_private_kib"]),
        "thousand_killed_floors": median(samples["touched_killed"]) / floor,
        "thousand_daemon_memory_ratio": once / before,
        "thousand_daemon_memory_again_ratio": after / once,
        "thousand_floor_ms": 1000 * floor,
    }
    return {k: round(v, 3) for k, v in figures.items()}, samples


def _live(
    service: Served, program: Program, count: int, touched: int
) -> dict[str, float]:
    manifest = manifest_of(program, str(touched), stdin=True)
    reading, writing = os.pipe()
    outputs = [empty_file() for _ in range(count)]
    client, watcher = Client(service.socket), Client(service.socket)
    try:
        began = time.monotonic()
        for number, output in enumerate(outputs):
            fds = [program.artefact, output, reading]
            client.begin(number, manifest, fds)
        waiting = outputs
        while waiting := [o for o in waiting if not os.fstat(o).st_size]:
            time.sleep(0.002)
        started = time.monotonic() - began
        private = _private_kib(service, touched)
        began = time.monotonic()
        client.close()
        while watcher.status()["taken"]:
            time.sleep(0.001)
        killed = time.monotonic() - began
    finally:
        client.close()
        watcher.close()
        for fd in (reading, writing, *outputs):
            os.close(fd)
    return {"started": started, "killed": killed, "private_kib": private}


def _private_kib(service: Served, touched: int) -> float:
    """What a VM has for itself, beside what its guest touched."""
    found = []
    for pid, name in service.children().items():
        if not name.startswith("zvm:") or len(found) == 50:
            continue
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            lines = [line.split() for line in text.splitlines()[1:]]
            kib = sum(int(w[1]) for w in lines if w[0].startswith("Private_"))
            found.append(kib - touched / 1024)
    return median(found)


def _rested(service: Served) -> float:
    """The daemon's memory, when nothing has happened for a while."""
    time.sleep(1.5)
    return service.resident_kib()
