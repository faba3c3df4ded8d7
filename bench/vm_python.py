"""A Python hello through the daemon, from the template, beside python3.

`first_byte_speedup`: from the request on the socket to the first byte of the
output, against `python3 -I -S -c` with its output in a pipe, from the spawn;
`gone_speedup`: to the report in the client's hand, when the process is gone
and reaped, against the end of the native one.  The program without its
template is beside them, and the native interpreter with `pass`.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from bench.common import ROOT, median, percentile, say
from bench.vm_daemon import Client, Native, Program, compiled, served
from zerocloud.protocol.manifest import (
    Manifest,
    ManifestChannel,
    ManifestFile,
    ManifestLayer,
    ManifestLimits,
)

IMAGE = ROOT / "build" / "images" / "python3.tar"
HELLO = "print('hello')"
# Between two requests, so that a process waits again.
PAUSE_SECONDS = 0.005
_IN_MODIFY = 2
_NATIVE = (sys.executable, "-I", "-S", "-c")


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rounds in which each has its turn; ratios of medians."""
    rounds = 3 if quick else 20
    with served() as (service, folder):
        native = Native(folder)
        image = Image(folder)
        client = Client(service.socket)
        watch = Watch(folder / "output")
        samples: dict[str, list[float]] = {}
        for name in image.programs:
            one_by_one(client, image, name, watch, 20)
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}")
            measured: dict[str, list[float]] = {
                "floor": native.floor(50),
                "native_pass_gone": native.spawn(10, *_NATIVE, "pass"),
            }
            for name in image.programs:
                first, gone = one_by_one(client, image, name, watch, 20)
                measured[f"{name}_first_byte"] = first
                measured[f"{name}_gone"] = gone
            first, gone = native.spawn_first_byte(10, *_NATIVE, HELLO)
            measured["native_first_byte"] = first
            measured["native_gone"] = gone
            for key, values in measured.items():
                samples.setdefault(key, []).extend(values)
        client.close()
    return _figures(samples), samples


class Image:
    """The system image: its programs compiled, its own environment."""

    def __init__(self, folder: Path) -> None:
        with tarfile.open(IMAGE) as tar:
            said = _member(tar, ".zerocloud/image.json")
            self.env = tuple(json.loads(said)["env"].items())
            self.programs: dict[str, Program] = {}
            members = {
                "template": ".zerocloud/templates/python",
                "program": "python",
            }
            for name, member in members.items():
                path = folder / f"{name}.wasm"
                path.write_bytes(_member(tar, member))
                self.programs[name] = compiled(path, folder)
        self.layer = os.open(IMAGE, os.O_RDONLY | os.O_CLOEXEC)

    def manifest(self, name: str) -> bytes:
        """Hello, with the image as its only layer."""
        limits = (1 << 30, 1 << 20)
        stdout = ManifestChannel(
            "/dev/stdout", "write", "sequential", 2, "", *limits
        )
        return Manifest(
            job="bench",
            node="python",
            program=ManifestFile(0, self.programs[name].sha256, "python"),
            args=("python", "-c", HELLO),
            env=self.env,
            layers=(ManifestLayer(1, "00" * 32, "python3", system=True),),
            channels=(stdout,),
            limits=ManifestLimits(512 << 20, 120.0, 120.0, 1024),
            clock_nanoseconds=0,
            seed="5e" * 32,
        ).to_json()


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise RuntimeError(f"{IMAGE} has no file {name}")
    return file.read()


class Watch:
    """An output whose first byte can be waited for (inotify)."""

    def __init__(self, path: Path) -> None:
        self.output = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_CLOEXEC)
        watched = libc.inotify_add_watch(
            self._events, os.fsencode(path), _IN_MODIFY
        )
        if self._events < 0 or watched < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def clear(self) -> None:
        """Empty the output, and forget what has happened to it."""
        if os.fstat(self.output).st_size:
            os.ftruncate(self.output, 0)
            os.read(self._events, 4096)

    def first(self) -> int:
        """Wait for a change; its nanosecond on the monotonic clock."""
        event = os.read(self._events, 4096)
        now = time.monotonic_ns()
        if not struct.unpack_from("iI", event)[1] & _IN_MODIFY:
            raise RuntimeError("the output was not written")
        return now


def one_by_one(
    client: Client, image: Image, name: str, watch: Watch, count: int
) -> tuple[list[float], list[float]]:
    """Seconds to the first byte of output, and to the report."""
    manifest = image.manifest(name)
    fds = [image.programs[name].artefact, image.layer, watch.output]
    first, gone = [], []
    for number in range(1, count + 1):
        watch.clear()
        began = client.begin(number, manifest, fds)
        wrote = watch.first()
        ended, _, document = client.receive()
        outcome = document["report"]["outcome"]
        if (outcome["kind"], outcome["code"]) != ("exit", 0):
            raise RuntimeError(f"python: {document['report']}")
        first.append((wrote - began) / 1e9)
        gone.append((ended - began) / 1e9)
        time.sleep(PAUSE_SECONDS)
    return first, gone


def _figures(samples: dict[str, list[float]]) -> dict[str, Any]:
    middle = {name: median(values) for name, values in samples.items()}
    figures = {
        "first_byte_speedup": middle["native_first_byte"]
        / middle["template_first_byte"],
        "gone_speedup": middle["native_gone"] / middle["template_gone"],
        "gone_over_floor": middle["template_gone"] / middle["floor"],
        "gone_p99_over_native_gone": percentile(samples["template_gone"], 99)
        / middle["native_gone"],
        "template_over_program_gone": middle["template_gone"]
        / middle["program_gone"],
    }
    for name, value in middle.items():
        figures[f"{name}_ms"] = 1000 * value
    return {name: round(value, 3) for name, value in figures.items()}
