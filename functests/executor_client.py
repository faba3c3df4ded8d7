"""A client of the executor's verb, for tests of the storage node's side.

It does what the proxy filter does, in plain blocking code and step by step, so
that a test can stop, lie or vanish at any of the steps.
"""

from __future__ import annotations

import http.client
import json
import os
import pickle
import socket
import struct
import time
import uuid
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from functests.support import Account
from zerocloud import headers
from zerocloud.cluster import Cluster
from zerocloud.cluster.folder import Server
from zerocloud.protocol import frames, signing
from zerocloud.protocol.frames import Frame, FrameSigner
from zerocloud.protocol.report import Report, parse_report
from zerocloud.protocol.task import (
    Identity,
    TaskDocument,
    TaskInput,
    TaskLimits,
    TaskOutput,
    TaskProgram,
    digest,
)

TIMEOUT_SECONDS = 30


def task(program: bytes | None = None, **changes: Any) -> TaskDocument:
    """A small valid task of a job of its own."""
    values: dict[str, Any] = {
        "job": uuid.uuid4().hex,
        "node": "node-1",
        "attempt": 1,
        "program": TaskProgram("prog", sha256(program or b"").hexdigest()),
        "args": ("prog",),
        "env": (),
        "images": (),
        "inputs": (),
        "outputs": (TaskOutput("stdout", "sequential", 1 << 30),),
        "limits": TaskLimits(64 << 20, 20.0, 20.0, 65536),
        "ok_exit": (0,),
        "clock_nanoseconds": 946684800000000000,
        "seed": "0" * 64,
        "inline_bytes": 65536,
    }
    return TaskDocument(**{**values, **changes})


def streamed(
    device: str, data: bytes, identity: Identity | None = None
) -> TaskInput:
    """An input that the client sends."""
    known = identity or Identity(f"/a/c/{device}", len(data), "1.00000")
    return TaskInput(device, "sequential", "stream", len(data), known)


@dataclass
class Place:
    """An object server, and the object there that a task may read."""

    server: Server
    disk: str
    partition: int
    object: str = ""
    pin: str = ""
    bytes: int = 0
    policy_index: int = 0

    @property
    def path(self) -> str:
        """Unquoted, as a WSGI string."""
        return f"/{self.disk}/{self.partition}" + self.object.encode().decode(
            "latin-1"
        )

    def input(self, device: str = "stdin", **changes: Any) -> TaskInput:
        """The object as a local input."""
        known = Identity(self.object, self.bytes, self.pin)
        made = TaskInput(device, "sequential", "local", None, known)
        return replace(made, **changes)


def anywhere(cluster: Cluster, number: int = 1) -> Place:
    """A node, without an object."""
    node = cluster.nodes[number - 1]
    disk = sorted(os.listdir(node.folder / "disks"))[0]
    return Place(node.server("object"), disk, 0)


def places(
    cluster: Cluster, account: Account, name: str, policy: str = ""
) -> list[Place]:
    """Where the replicas of an object are, found on the disks."""
    head = account.head(name)
    found = []
    path = f"/{account.name}/{account.container}/{name}"
    for node in cluster.nodes:
        for file in node.folder.glob("disks/*/objects*/*/*/*/*.data"):
            if _name_of(file) == path:
                folder = file.parts[-5]
                found.append(
                    Place(
                        node.server("object"),
                        disk=file.parts[-6],
                        partition=int(file.parts[-4]),
                        object=path,
                        pin=file.name.partition(".data")[0].partition("#")[0],
                        bytes=int(head.headers["Content-Length"]),
                        policy_index=int(folder.partition("-")[2] or 0),
                    )
                )
    return found


def _name_of(file: Any) -> str:
    # A small object's metadata fits into one attribute.
    value = os.getxattr(file, "user.swift.metadata")
    metadata = pickle.loads(value, encoding="bytes")
    name = metadata.get(b"name", metadata.get("name"))
    return name.decode() if isinstance(name, bytes) else str(name)


@dataclass
class Answer:
    """What an exchange gave, in the end."""

    kinds: str = ""
    need: list[str] = field(default_factory=list)
    report: Report | None = None
    outputs: dict[int, bytes] = field(default_factory=dict)
    heads: dict[int, dict[str, Any]] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)


class Exchange:
    """One task request, step by step."""

    def __init__(
        self,
        cluster: Cluster,
        place: Place,
        document: TaskDocument,
        **changes: Any,
    ) -> None:
        self.key = cluster.folder.key().encode()
        self.place = place
        self.document = document
        self.data = document.to_json()
        values = {
            "path": place.path,
            "policy_index": place.policy_index,
            "task": signing.TaskId(
                document.job, document.node, document.attempt
            ),
            "digest": digest(self.data),
            "expires": int(time.time()) + 60,
            "pin": place.pin,
            **changes,
        }
        self.request = signing.TaskRequest(**values)
        self.sign(self.key)
        self.answer = Answer()

    def sign(self, key: bytes) -> None:
        """Sign with that key, instead of the cluster's."""
        self.signature = signing.sign(key, self.request)
        self.signer = FrameSigner(frames.frame_key(key, self.signature))

    def open(self, **changed: str) -> Exchange:
        """Send the head; keywords change headers (X_Zerocloud_Version=…)."""
        place = self.place
        self.connection = http.client.HTTPConnection(
            place.server.ip, place.server.port, timeout=TIMEOUT_SECONDS
        )
        path = place.path.encode("latin-1")
        self.connection.putrequest(
            headers.TASK_VERB, quote(path), skip_accept_encoding=True
        )
        table = {
            **self.request.headers(self.signature),
            "Transfer-Encoding": "chunked",
            **{k.replace("_", "-"): v for k, v in changed.items()},
        }
        for name, value in table.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        self.socket = self.connection.sock
        return self

    def send(self, kind: bytes, stream: int = 0, payload: bytes = b"") -> None:
        """Send a frame, as a chunk of its own."""
        self.send_raw(self.signer.seal(kind, stream, payload))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as a chunk."""
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def send_task(self) -> None:
        """Send the document."""
        self.send(frames.TASK, 0, self.data)

    def send_stream(self, kind: bytes, stream: int, data: bytes) -> None:
        """Send a blob or an input, and its end."""
        for start in range(0, len(data), frames.MAX_PAYLOAD):
            piece = data[start : start + frames.MAX_PAYLOAD]
            self.send(kind, stream, piece)
        end = json.dumps({"bytes": len(data)}).encode()
        self.send(frames.END, stream, end)

    def begin(self) -> http.client.HTTPResponse:
        """Send head and task, wait for the status."""
        self.open()
        self.send_task()
        return self.status()

    def status(self) -> http.client.HTTPResponse:
        """Wait for the status."""
        self.response = self.connection.getresponse()
        return self.response

    def next(self) -> Frame:
        """The next frame but heartbeats, noted in `answer`."""
        while True:
            frame = frames.read_frame(self.response.read)
            self.note(frame)
            if frame.kind != frames.HEARTBEAT:
                return frame

    def note(self, frame: Frame) -> None:
        """Put a frame into `answer`."""
        answer = self.answer
        answer.kinds += frame.kind.decode()
        if frame.kind == frames.ACCEPTED:
            answer.need = json.loads(frame.payload)["need"]
        elif frame.kind == frames.REPORT:
            answer.report = parse_report(frame.payload)
        elif frame.kind == frames.OUTPUT:
            answer.heads[frame.stream] = json.loads(frame.payload)
            answer.outputs[frame.stream] = b""
        elif frame.kind == frames.DATA:
            answer.outputs[frame.stream] += frame.payload
        elif frame.kind == frames.FAILED:
            answer.error = json.loads(frame.payload)["error"]

    def until(self, kinds: bytes) -> Frame:
        """Read until a frame of one of the kinds, or the last one."""
        while True:
            frame = self.next()
            if frame.kind in (frames.FAILED, frames.DONE) or (
                frame.kind in kinds
            ):
                return frame

    def finish(self) -> Answer:
        """Read to the last frame, end the stream, close."""
        if self.answer.kinds[-1:] not in ("F", "Z"):
            self.until(b"")
        self.socket.sendall(b"0\r\n\r\n")
        assert self.response.read() == b""
        self.close()
        return self.answer

    def reset(self) -> None:
        """Vanish without a good-bye: the kernel resets the connection."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        """Vanish."""
        if getattr(self, "response", None) is not None:
            self.response.close()
        self.connection.close()
        self.socket.close()


def begun(cluster: Cluster, program: bytes, **changes: object) -> Exchange:
    """Accepted, and the program is there."""
    exchange = Exchange(cluster, anywhere(cluster), task(program, **changes))
    assert exchange.begin().status == 200
    exchange.until(frames.ACCEPTED)
    for stream, _ in enumerate(exchange.answer.need):
        exchange.send_stream(frames.BLOB, stream, program)
    return exchange


def run(
    cluster: Cluster,
    place: Place,
    document: TaskDocument,
    blobs: tuple[bytes, ...] = (),
    inputs: tuple[bytes, ...] = (),
) -> Answer:
    """A whole exchange that nothing disturbs; refusals fail the test."""
    exchange = Exchange(cluster, place, document)
    response = exchange.begin()
    assert response.status == 200, response.read()
    exchange.until(frames.ACCEPTED)
    by_digest = {sha256(blob).hexdigest(): blob for blob in blobs}
    for stream, name in enumerate(exchange.answer.need):
        exchange.send_stream(frames.BLOB, stream, by_digest[name])
    streams = iter(inputs)
    for stream, source in enumerate(document.inputs):
        if source.source == "stream":
            exchange.send_stream(frames.DATA, stream, next(streams))
    last = exchange.until(frames.REPORT)
    report = exchange.answer.report
    if last.kind == frames.REPORT and report is not None:
        size = sum(c.size for c in report.channels if c.writes)
        ended = report.outcome.succeeded(document.ok_exit)
        if not ended or size > document.inline_bytes:
            exchange.send(frames.GO)
    return exchange.finish()
