"""A hello VM through the daemon, beside what else starts on this machine.

`first_instruction_over_floor`: from the request on the socket to the guest's
first instruction; `gone_over_floor`, `gone_over_static_c`: to the report in
the client's hand, when the process is gone and reaped.  Client, daemon and VM
wake each other on whatever core is free; `one_core_...` is the same with all
of them on one core, as the floor and the native programs are.  Then many
lives, eight at a time, for their rate and for what they leave behind in the
daemon.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.common import median, percentile, say
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

OUTSTANDING = 8
# Between two requests, so that a process waits again: what is measured is the
# start, and the rate is measured by itself.
PAUSE_SECONDS = 0.002


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rounds in which each has its turn; ratios of medians."""
    rounds, lives = (3, 500) if quick else (20, 10_000)
    with ExitStack() as stack:
        service, folder = stack.enter_context(served())
        native = Native(folder)
        hello = compiled("hello", folder)
        client = Client(service.socket)
        one_by_one(client, hello, 100)
        with one_core():
            narrow, _ = stack.enter_context(served())
            on_one = Client(narrow.socket)
            one_by_one(on_one, hello, 100)
        samples: dict[str, list[float]] = {}
        peers = _peers(native)
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}")
            first, gone = one_by_one(client, hello, 100)
            samples.setdefault("first_instruction", []).extend(first)
            samples.setdefault("gone", []).extend(gone)
            with one_core():
                first, gone = one_by_one(on_one, hello, 50)
            samples.setdefault("one_core_first_instruction", []).extend(first)
            samples.setdefault("one_core_gone", []).extend(gone)
            for name, measure in peers.items():
                samples.setdefault(name, []).extend(measure())
        figures = _figures(samples)
        say(f"{lives} lives")
        figures |= _sustained(service, client, hello, lives)
        client.close()
        on_one.close()
    figures["lives_over_floor_rate"] = round(
        figures["lives_per_second"] * median(samples["floor"]), 2
    )
    return figures, samples


def _peers(native: Native) -> dict[str, Callable[[], list[float]]]:
    peers: dict[str, Callable[[], list[float]]] = {
        "floor": lambda: native.floor(100),
        "static_c": lambda: native.hello(50),
        "python": lambda: native.spawn(
            5, sys.executable, "-I", "-S", "-c", "pass"
        ),
    }
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        say("bubblewrap is not installed; it is left out")
    else:
        options = ["--unshare-all", "--ro-bind", "/", "/"]
        peers["bubblewrap"] = lambda: native.spawn(
            5, bubblewrap, *options, native.path, "hello"
        )
    return peers


@contextmanager
def one_core() -> Iterator[None]:
    """On the core of the native programs, as is all that is started within."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def one_by_one(
    client: Client, program: Program, count: int
) -> tuple[list[float], list[float]]:
    """Seconds to the first instruction, and to the report."""
    manifest = manifest_of(program, stdin=False)
    first, gone = [], []
    for number in range(1, count + 1):
        output = empty_file()
        began = client.begin(number, manifest, [program.artefact, output])
        ended, _, document = client.receive()
        os.close(output)
        first.append((document["process"]["began_nanoseconds"] - began) / 1e9)
        gone.append((ended - began) / 1e9)
        time.sleep(PAUSE_SECONDS)
    return first, gone


def _figures(samples: dict[str, list[float]]) -> dict[str, Any]:
    floor = median(samples["floor"])
    static_c = median(samples["static_c"])
    first, gone = samples["first_instruction"], samples["gone"]
    figures = {
        "first_instruction_over_floor": median(first) / floor,
        "first_instruction_p99_over_floor": percentile(first, 99) / floor,
        "gone_over_floor": median(gone) / floor,
        "gone_p99_over_floor": percentile(gone, 99) / floor,
        "gone_over_static_c": median(gone) / static_c,
        "one_core_gone_over_static_c": median(samples["one_core_gone"])
        / static_c,
        "floor_p99_over_floor": percentile(samples["floor"], 99) / floor,
    }
    for name in ("python", "bubblewrap"):
        if name in samples:
            figures[f"gone_over_{name}"] = median(gone) / median(samples[name])
    for name, values in samples.items():
        figures[f"{name}_ms"] = 1000 * median(values)
    return {name: round(value, 3) for name, value in figures.items()}


def _sustained(
    service: Served, client: Client, program: Program, lives: int
) -> dict[str, Any]:
    _lives(client, program, 1000)
    before = _settled(service, client)
    rate = lives / _lives(client, program, lives)
    after = _settled(service, client)
    names = ("descriptors", "processes", "kib")
    left = {
        f"left_{name}": now - then
        for name, now, then in zip(names, after, before, strict=True)
    }
    return {"lives": lives, "lives_per_second": round(rate), **left}


def _settled(service: Served, client: Client) -> tuple[int, int, int]:
    """Descriptors, processes and memory, once as many wait as should."""
    idle, since = -1, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = client.status()["idle"]
        if now != idle:
            idle, since = now, time.monotonic()
        time.sleep(0.01)
    children = len(service.children())
    return service.descriptors(), children, service.resident_kib()


def _lives(client: Client, program: Program, count: int) -> float:
    """Seconds that so many lives take, a few at a time."""
    manifest = manifest_of(program, stdin=False)
    outputs = [empty_file() for _ in range(OUTSTANDING)]
    began = time.monotonic()
    for number in range(count + OUTSTANDING):
        place = number % OUTSTANDING
        if number >= OUTSTANDING:
            _, place, _ = client.receive()
            os.ftruncate(outputs[place], 0)
        if number < count:
            fds = [program.artefact, outputs[place]]
            client.begin(place, manifest, fds)
    took = time.monotonic() - began
    for output in outputs:
        os.close(output)
    return took
