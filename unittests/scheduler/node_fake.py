"""Storage nodes with rules, in this process, over socket pairs.

`FakeNodes.connect` is what the transport calls instead of TCP's connect: the
other end of the pair is a green thread that reads the request, checks the
signature, takes frames, runs the task's program and answers in frames, as
docs/protocol.md section 4 says.

A program is the name of a rule: its first argument (argv[0]) chooses what the
guest does.  `cat` writes its inputs to its outputs; `fail` exits with 42.
A node's `mood` makes it misbehave; moods end after `times` tasks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from unittests.scheduler.swift_fake import FakeSwift
from zerocloud.job.paths import ObjectPath
from zerocloud.protocol import frames
from zerocloud.protocol.frames import FrameOpener, encode_frame, frame_key
from zerocloud.protocol.report import (
    ChannelReport,
    ExecutorNotes,
    Outcome,
    Report,
)
from zerocloud.protocol.signing import parse_request, verify
from zerocloud.protocol.task import TaskDocument, digest, parse_task
from zerocloud.scheduler.concurrency import Event, socket, spawn
from zerocloud.scheduler.placement import Target, spread

KEY = b"a key of the cluster"
NOW = 1_700_000_000.0


class HungUpError(Exception):
    """The node drops the connection here."""


@dataclass
class Mood:
    """How a node misbehaves, for so many tasks."""

    kind: str
    times: int = 10**6
    detail: Any = None


@dataclass
class Ran:
    """A task that a node took."""

    server: str
    path: str
    task: TaskDocument
    inputs: dict[str, bytes] = field(default_factory=dict)
    blobs: list[str] = field(default_factory=list)
    pings: int = 0
    ended: str = "running"


class FakeNodes:
    """The storage servers of a cluster, and its rings."""

    def __init__(
        self, swift: FakeSwift, servers: int = 4, replicas: int = 3
    ) -> None:
        self.swift = swift
        self.replicas = replicas
        self.targets = [
            Target(f"127.0.0.{n}", 6000, "d1", 0, 0)
            for n in range(1, servers + 1)
        ]
        self.moods: dict[str, list[Mood]] = {}
        self.ran: list[Ran] = []
        self.blobs: dict[str, set[str]] = {}
        self.uploads: list[tuple[str, str]] = []
        self.reported: list[Target] = []
        self.wait_for: Any = Event()

    # Rings.

    def primaries(
        self, policy_index: int, path: ObjectPath
    ) -> tuple[Target, ...]:
        chosen = sorted(
            self.targets, key=lambda t: spread(str(path), t.server)
        )
        return tuple(
            Target(t.ip, t.port, t.device, 7, policy_index)
            for t in chosen[: self.replicas]
        )

    def everywhere(self, names: tuple[str, ...]) -> tuple[Target, ...]:
        return tuple(self.targets)

    def is_replicated(self, policy_index: int) -> bool:
        return policy_index == 0

    def policy_name(self, policy_index: int) -> str:
        return ("gold", "ec")[policy_index]

    def is_suspect(self, target: Target) -> bool:
        return False

    def report_failure(self, target: Target, what: str) -> None:
        self.reported.append(target)

    # Rules.

    def mood(self, ip: str, kind: str, times: int = 10**6, **k: Any) -> None:
        self.moods.setdefault(ip, []).append(Mood(kind, times, **k))

    def first(self, times: int, kind: str, **k: Any) -> None:
        """The first so many tasks, on whichever server."""
        self.mood("*", kind, times, **k)

    def every(self, kind: str, **k: Any) -> None:
        """All tasks on all servers."""
        self.mood("*", kind, **k)

    def _mood(self, ip: str, kind: str) -> Mood | None:
        for mood in (*self.moods.get(ip, ()), *self.moods.get("*", ())):
            if mood.kind == kind and mood.times > 0:
                mood.times -= 1
                return mood
        return None

    # Network.

    def connect(self, ip: str, port: int, timeout: float) -> Any:
        if self._mood(ip, "refuse"):
            raise ConnectionRefusedError("refused")
        ours, theirs = socket.socketpair()
        spawn(_Server(self, ip, theirs).serve)
        return ours


class _Server:
    """One connection on the storage node's side."""

    def __init__(self, nodes: FakeNodes, ip: str, peer: Any) -> None:
        self._nodes = nodes
        self._ip = ip
        self._peer = peer
        self._buffer = b""
        self._chunk = 0
        self._ran: Ran | None = None

    def serve(self) -> None:
        try:
            self._serve()
        except (HungUpError, OSError):
            pass  # the connection is closed below
        except frames.StreamEnded:
            if self._ran is not None and self._ran.ended == "running":
                self._ran.ended = "proxy gone"
        finally:
            self._peer.close()

    def _serve(self) -> None:
        verb, path, table = self._head()
        assert verb == "EXECUTE"
        request = parse_request(
            path,
            table["X-Backend-Storage-Policy-Index"],
            {k: v for k, v in table.items() if k.startswith("X-Zerocloud")},
        )
        signature = table["X-Zerocloud-Signature"]
        now = float(request.expires) - 100
        verify([KEY], request, signature, now)
        opener = FrameOpener(frame_key(KEY, signature))
        frame = opener.read_frame(self._read)
        assert frame.kind == frames.TASK
        assert digest(frame.payload) == request.digest
        task = parse_task(frame.payload)
        if self._refused(path, request.pin, task):
            return
        self._peer.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        ran = self._ran = Ran(self._ip, path, task)
        self._nodes.ran.append(ran)
        self._hang_up("die before A")
        if self._nodes._mood(self._ip, "fall silent"):
            self._nodes.wait_for.wait()
        self._say(frames.HEARTBEAT)
        self._take(ran, opener, path)
        self._hang_up("die before R")
        mood = self._nodes._mood(self._ip, "fail")
        if mood is not None:
            self._say(frames.FAILED, payload=json.dumps(mood.detail).encode())
            ran.ended = "failed"
            return
        if self._nodes._mood(self._ip, "run for long"):
            opener.read_frame(self._read)
            ran.ended = "given up"
            return
        self._finish(ran, opener)

    def _refused(self, path: str, pin: str, task: TaskDocument) -> bool:
        for kind, status in (
            ("busy", 503),
            ("disk", 507),
            ("no filter", 405),
            ("lost object", 404),
            ("job limit", 400),
        ):
            if self._nodes._mood(self._ip, kind):
                if status == 405:
                    self._answer(status, b"<html>no</html>")
                else:
                    self._refuse(status, kind.replace(" ", "_"))
                return True
        if not task.reads_local:
            return False
        found = self._nodes.swift.find(object_of(path))
        if found is None:
            self._refuse(404, "not_found")
        elif found.headers:
            self._refuse(422, "not_local")
        elif found.timestamp != pin:
            self._refuse(409, "object_changed")
        else:
            return False
        return True

    def _take(self, ran: Ran, opener: FrameOpener, path: str) -> None:
        had = self._nodes.blobs.setdefault(self._ip, set())
        digests = [i.sha256 for i in ran.task.images if i.kind == "blob"]
        if ran.task.program.sha256:
            digests.append(ran.task.program.sha256)
        need = [d for d in dict.fromkeys(digests) if d not in had]
        self._say(frames.ACCEPTED, payload=json.dumps({"need": need}).encode())
        for stream, sha256 in enumerate(need):
            data = self._stream(opener, frames.BLOB, stream)
            assert hashlib.sha256(data).hexdigest() == sha256
            had.add(sha256)
            self._nodes.uploads.append((self._ip, sha256))
        if need and not self._nodes._mood(self._ip, "no heartbeat"):
            self._say(frames.HEARTBEAT)
        for stream, item in enumerate(ran.task.inputs):
            data = b""
            if item.source == "local":
                found = self._nodes.swift.find(object_of(path))
                assert found is not None
                data = found.data
            elif item.source == "stream":
                data = self._stream(opener, frames.DATA, stream)
                assert len(data) == item.bytes
            ran.inputs[item.device] = data

    def _stream(self, opener: FrameOpener, kind: bytes, stream: int) -> bytes:
        data = b""
        while True:
            frame = opener.read_frame(self._read)
            if frame.kind == frames.END:
                assert json.loads(frame.payload) == {"bytes": len(data)}
                return data
            if frame.kind == frames.GIVE_UP:
                assert self._ran is not None
                self._ran.ended = "proxy gave up"
                raise HungUpError
            assert frame.kind == kind
            data += frame.payload

    def _finish(self, ran: Ran, opener: FrameOpener) -> None:
        program = PROGRAMS.get(ran.task.args[0].partition(":")[0], cat)
        outcome, outputs = program(ran)
        report = make_report(ran, outcome, outputs)
        self._say(frames.REPORT, payload=report.to_json())
        self._hang_up("die after R")
        datas = [outputs.get(o.device, b"") for o in ran.task.outputs]
        total = sum(map(len, datas))
        if (
            outcome.succeeded(ran.task.ok_exit)
            and total <= ran.task.inline_bytes
        ):
            self._send(datas, range(len(datas)))
            ran.ended = "sent at once"
            return
        while True:
            frame = opener.read_frame(self._read)
            if frame.kind == frames.PING:
                ran.pings += 1
            elif frame.kind == frames.GIVE_UP:
                ran.ended = "given up"
                return
            else:
                assert frame.kind == frames.GO
                self._hang_up("die at G")
                self._send(datas, json.loads(frame.payload)["outputs"])
                ran.ended = "sent"
                return

    def _send(self, datas: list[bytes], positions: Any) -> None:
        for position in positions:
            data = datas[position]
            about = {"bytes": len(data), "md5": "", "blake3": ""}
            self._say(frames.OUTPUT, position, json.dumps(about).encode())
            for at in range(0, len(data), 50_000):
                self._say(frames.DATA, position, data[at : at + 50_000])
            self._say(frames.END, position)
        self._say(frames.DONE)

    def _hang_up(self, kind: str) -> None:
        if self._nodes._mood(self._ip, kind):
            if self._ran is not None:
                self._ran.ended = "died"
            raise HungUpError

    # HTTP.

    def _say(self, kind: bytes, stream: int = 0, payload: bytes = b"") -> None:
        data = encode_frame(kind, stream, payload)
        self._peer.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def _refuse(self, status: int, code: str) -> None:
        error = {"code": code, "message": f"it is {code}", "may_retry": True}
        self._answer(status, json.dumps({"error": error}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self._peer.sendall(
            b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )

    def _fill(self) -> None:
        data = self._peer.recv(65536)
        if not data:
            raise frames.StreamEnded("gone")
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _head(self) -> tuple[str, str, dict[str, str]]:
        verb, target, _ = self._line().decode().split(" ")
        table = {}
        while line := self._line().decode("latin-1"):
            name, _, value = line.partition(": ")
            table[name] = value
        return verb, unquote_to_bytes(target).decode("latin-1"), table

    def _read(self, size: int) -> bytes:
        if not self._chunk:
            self._chunk = int(self._line(), 16)
            if not self._chunk:
                return b""
        if not self._buffer:
            self._fill()
        size = min(size, self._chunk, len(self._buffer))
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        self._chunk -= size
        if not self._chunk:
            self._line()
        return data


def object_of(path: str) -> ObjectPath:
    """The object in a task's path."""
    text = path.encode("latin-1").decode("utf-8")
    _, _, _, account, container, name = text.split("/", 5)
    return ObjectPath(account, container, name)


Program = Callable[[Ran], tuple[Outcome, dict[str, bytes]]]


def cat(ran: Ran) -> tuple[Outcome, dict[str, bytes]]:
    """All inputs to each output."""
    data = b"".join(ran.inputs.values())
    outputs = {o.device: data for o in ran.task.outputs}
    return Outcome("exit", 0), outputs


def fail(ran: Ran) -> tuple[Outcome, dict[str, bytes]]:
    """Exit 42, after a word on each output."""
    outputs = {o.device: b"before failing" for o in ran.task.outputs}
    return Outcome("exit", 42), outputs


def trap(ran: Ran) -> tuple[Outcome, dict[str, bytes]]:
    """A trap without any output."""
    return Outcome("trap", "unreachable", "wasm, and more"), {}


def name(ran: Ran) -> tuple[Outcome, dict[str, bytes]]:
    """The node's name, or as many bytes as the second argument says."""
    data = ran.task.node.encode()
    if len(ran.task.args) > 1:
        data = (data * int(ran.task.args[1]))[: int(ran.task.args[1])]
    return Outcome("exit", 0), {o.device: data for o in ran.task.outputs}


PROGRAMS: dict[str, Program] = {
    "cat": cat,
    "fail": fail,
    "trap": trap,
    "name": name,
}


def make_report(
    ran: Ran, outcome: Outcome, outputs: dict[str, bytes]
) -> Report:
    """The report of a guest that did this."""
    channels = [
        ChannelReport(
            path=f"/dev/{device}",
            reads=1,
            read_bytes=len(data),
            writes=0,
            write_bytes=0,
            size=len(data),
            blake3="ab" * 32,
            md5=None,
            device=device,
        )
        for device, data in ran.inputs.items()
    ]
    for device, data in outputs.items():
        channels.append(
            ChannelReport(
                path=f"/dev/{device}",
                reads=0,
                read_bytes=0,
                writes=1,
                write_bytes=len(data),
                size=len(data),
                blake3="cd" * 32,
                md5=hashlib.md5(data).hexdigest(),
                device=device,
            )
        )
    return Report(
        outcome=outcome,
        wall_seconds=0.25,
        cpu_seconds=0.125,
        memory_peak_bytes=65536,
        channels=tuple(channels),
        stderr_tail="a word on stderr",
        limits_reached=(),
        program_sha256="ef" * 32,
        receipt="12" * 32,
        executor=ExecutorNotes(0.0, 0.0, 0.0, 0.1, 0, 0),
    )
