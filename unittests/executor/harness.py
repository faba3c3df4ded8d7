"""A proxy and an object server with rules, around the real executor filter.

`Wire` is a request's body that a test fills step by step, or breaks;
`Conversation` signs, sends and reads frames as the proxy does, with the
server's part (iterate the response, then close it) in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from swift.common.concurrency import Event, sleep, spawn
from swift.common.exceptions import DiskFileNotExist
from swift.common.utils import Timestamp

from unittests.fakes.processes import CLUSTER_KEY, settings
from unittests.fakes.statsd import FakeStatsd
from zerocloud.executor.controller import Log
from zerocloud.executor.service import ExecutorFilter
from zerocloud.observe import EXECUTOR_COUNTERS, Counters
from zerocloud.protocol import frames, signing, task
from zerocloud.protocol.frames import Frame, FrameSigner
from zerocloud.protocol.report import Report, parse_report

KEY = CLUSTER_KEY.encode()
STAMP = "1700000000.00000"


class Wire:
    """A request's body as the server gives it: blocks, ends, breaks."""

    def __init__(self) -> None:
        self._data = b""
        self._ended = False
        self._broken = False
        self._news = Event()
        # What the server goes by when it reads the rest of a body.
        self.position, self.content_length = 0, 1 << 30
        self.chunk_length = -1
        self.shut_down = False
        self.closed = False
        self.timeout: float | None = 60.0
        self.options: dict[tuple[int, int], int] = {}

    def read(self, size: int = -1) -> bytes:
        while len(self._data) < size and not self._ended:
            if self._broken:
                raise OSError("unexpected end of file")
            self._news.wait()
            self._news = Event()
        data, self._data = self._data[:size], self._data[size:]
        return data

    def feed(self, data: bytes) -> None:
        self._data += data
        self._tell()

    def end(self) -> None:
        self._ended = True
        self._tell()

    def vanish(self) -> None:
        self._broken = True
        self._tell()

    def _tell(self) -> None:
        if not self._news.ready():
            self._news.send(True)

    def get_socket(self) -> Any:
        return self

    def settimeout(self, seconds: float | None) -> None:
        self.timeout = seconds

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self.options[level, name] = value

    def shutdown(self, how: int) -> None:
        self.shut_down = True
        self.vanish()

    @property
    def rfile(self) -> Wire:
        return self

    def close(self) -> None:
        # The server would read on, and a closed file raises ValueError.
        assert (self.content_length, self.chunk_length) == (self.position, 0)
        self.closed = True


class FakeDiskFile:
    """An open DiskFile: metadata, a descriptor, a timestamp."""

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        self._path = path
        self._metadata = metadata
        self.data_timestamp = Timestamp(STAMP)

    def open(self, current_time: Any) -> FakeDiskFile:
        if not self._path.exists():
            raise DiskFileNotExist
        self._fp = self._path.open("rb")
        self.content_length = self._path.stat().st_size
        return self

    def __enter__(self) -> FakeDiskFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._fp.close()

    def get_metadata(self) -> dict[str, str]:
        return self._metadata

    def reader(self, *, keep_cache: bool) -> Iterator[bytes]:
        """Like Swift's: at its end, what is damaged is moved away."""
        data = self._path.read_bytes()
        yield from (data[at : at + 65536] for at in range(0, len(data), 65536))
        if hashlib.md5(data).hexdigest() != self._metadata["ETag"]:
            self._path.rename(self._path.with_name("quarantined"))


@dataclass
class FakeServer:
    """Swift's ObjectController, as far as the executor knows it."""

    folder: Path
    metadata: dict[str, str] = field(default_factory=dict)
    fault: Exception | None = None

    def get_diskfile(self, *name: str, policy: Any) -> FakeDiskFile:
        if self.fault is not None:
            raise self.fault
        return FakeDiskFile(self.folder / name[-1], self.metadata)


class Node:
    """One executor filter on a folder, with what it logged."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder = folder
        self.settings = settings(folder, **options)
        self.logged: list[str] = []
        self.faults: list[str] = []
        self.server = FakeServer(folder)
        log = Log(self.logged.append, self.logged.append, self._fault)
        self.statsd = FakeStatsd()
        counters = Counters(EXECUTOR_COUNTERS, self.statsd)
        self.filter = ExecutorFilter(self._app, self.settings, log, counters)
        self.filter._pipeline_final_app = self.server

    def _fault(self, text: str) -> None:
        self.faults.append(text + "\n" + traceback.format_exc())

    def _app(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("405 Method Not Allowed", [])
        return [environ["REQUEST_METHOD"].encode()]

    def staged_files(self) -> list[str]:
        """What the node keeps beside its memory of requests."""
        return [
            str(path.relative_to(self.folder))
            for path in (self.folder / "state").rglob("*")
            if path.is_file()
            and "replay" not in path.parts
            and "cache" not in path.parts
            and "admission" not in path.parts
        ]


def document(code: bytes = b"fake cat", **changes: Any) -> dict[str, Any]:
    """A task of a job of its own."""
    return {
        "version": 1,
        "job": uuid.uuid4().hex,
        "node": "node-1",
        "attempt": 1,
        "program": {"name": "prog", "sha256": sha256(code).hexdigest()},
        "args": ["prog"],
        "env": [],
        "images": [],
        "inputs": [],
        "outputs": [
            {
                "device": "stdout",
                "access": "sequential",
                "limit_bytes": 1 << 20,
            }
        ],
        "limits": {
            "memory_bytes": 1 << 20,
            "wall_seconds": 5,
            "cpu_seconds": 5,
            "stderr_bytes": 100,
        },
        "ok_exit": [0],
        "clock_nanoseconds": 0,
        "seed": "0" * 64,
        "inline_bytes": 65536,
        **changes,
    }


def source(device: str, kind: str, size: int) -> dict[str, Any]:
    """An input of a task document."""
    known = {"path": "/a/c/o", "bytes": size, "version": STAMP}
    made = {
        "device": device,
        "access": "sequential",
        "source": kind,
        "identity": known,
    }
    return {**made, "bytes": size} if kind == "stream" else made


class Conversation:
    """The proxy's side of one request."""

    def __init__(
        self,
        node: Node,
        sent: dict[str, Any],
        path: str = "/sda/0",
        **more: Any,
    ) -> None:
        self.node = node
        self.wire = Wire()
        self.data = json.dumps(sent).encode()
        values = {
            "path": path,
            "policy_index": 0,
            "task": signing.TaskId(sent["job"], sent["node"], sent["attempt"]),
            "digest": task.digest(self.data),
            "expires": int(time.time()) + 60,
            "pin": STAMP,
            "version": str(sent["version"]),
        }
        self.request = signing.TaskRequest(**{**values, **more})
        self.sign(KEY)
        self.changed: dict[str, str] = {}
        self.kinds = ""
        self.need: list[str] = []
        self.report: Report | None = None
        self.outputs: dict[int, bytes] = {}
        self.error: dict[str, Any] = {}
        self.status = 0
        self._read = b""
        self._response: Any = None
        self._iterator: Iterator[bytes] = iter(())

    def sign(self, key: bytes) -> None:
        self.signature = signing.sign(key, self.request)
        self.signer = FrameSigner(frames.frame_key(key, self.signature))

    def send(self, kind: bytes, stream: int = 0, payload: bytes = b"") -> None:
        self.wire.feed(self.signer.seal(kind, stream, payload))

    def send_stream(self, kind: bytes, stream: int, data: bytes) -> None:
        self.send(kind, stream, data)
        end = json.dumps({"bytes": len(data)}).encode()
        self.send(frames.END, stream, end)

    def environ(self) -> dict[str, Any]:
        table = {**self.request.headers(self.signature), **self.changed}
        environ: dict[str, Any] = {
            "HTTP_" + name.upper().replace("-", "_"): value
            for name, value in table.items()
        }
        return {
            **environ,
            "REQUEST_METHOD": "EXECUTE",
            "PATH_INFO": self.request.path,
            "REMOTE_ADDR": "127.0.0.9",
            "wsgi.input": self.wire,
        }

    def begin(self, *, send_task: bool = True) -> int:
        """Request and status; the error's body is read."""
        if send_task:
            self.send(frames.TASK, 0, self.data)

        def start_response(status: str, _: Any) -> None:
            self.status = int(status.split(maxsplit=1)[0])

        self._response = self.node.filter(self.environ(), start_response)
        self._iterator = iter(self._response)
        if self.status != 200:
            body = b"".join(self._iterator)
            self.error = json.loads(body)["error"]
            self.wire.end()
            self.close()
        return self.status

    def read(self, size: int) -> bytes:
        """Bytes of the response, as many; fewer at its end."""
        while len(self._read) < size:
            data = next(self._iterator, b"")
            if not data:
                break
            self._read += data
        data, self._read = self._read[:size], self._read[size:]
        return data

    def until(self, kinds: bytes) -> Frame:
        """Read to a frame of one of the kinds, or to the last one."""
        while True:
            frame = frames.read_frame(self.read)
            self._note(frame)
            if frame.kind in kinds + frames.FAILED + frames.DONE:
                return frame

    def _note(self, frame: Frame) -> None:
        if frame.kind != frames.HEARTBEAT:
            # On a busy machine they may come anywhere.
            self.kinds += frame.kind.decode()
        if frame.kind == frames.ACCEPTED:
            self.need = json.loads(frame.payload)["need"]
        elif frame.kind == frames.REPORT:
            self.report = parse_report(frame.payload)
        elif frame.kind == frames.OUTPUT:
            self.outputs[frame.stream] = b""
        elif frame.kind == frames.DATA:
            self.outputs[frame.stream] += frame.payload
        elif frame.kind == frames.FAILED:
            self.error = json.loads(frame.payload)["error"]

    def close(self) -> None:
        """What the server does at the end of a response."""
        self._response.close()

    def finish(self) -> Conversation:
        """To the last frame, both streams ended."""
        if self.kinds[-1:] not in ("F", "Z"):
            self.until(b"")
        self.wire.end()
        self.drain()
        return self

    def drain(self) -> None:
        """To the end of the response: nothing but heartbeats may come."""
        rest = self._read + b"".join(self._iterator)
        assert rest.replace(frames.encode_frame(frames.HEARTBEAT), b"") == b""
        self.close()

    def vanish(self) -> None:
        """The proxy's machine is gone: reading and writing fail."""
        self.wire.vanish()
        spawn(self.close).wait()


def run(
    node: Node,
    code: bytes,
    data: tuple[bytes, ...] = (),
    blobs: tuple[bytes, ...] = (),
    **changes: Any,
) -> Conversation:
    """A whole exchange that nothing disturbs."""
    talk = Conversation(node, document(code, **changes))
    assert talk.begin() == 200, talk.error
    talk.until(frames.ACCEPTED)
    known = {sha256(blob).hexdigest(): blob for blob in (code, *blobs)}
    for stream, digest in enumerate(talk.need):
        talk.send_stream(frames.BLOB, stream, known[digest])
    for stream, sent in enumerate(data):
        talk.send_stream(frames.DATA, stream, sent)
    talk.until(frames.REPORT)
    return talk


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Let the green threads run until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        sleep(0.005)
    return True


def blob_path(node: Node, data: bytes) -> str:
    """Where the node keeps a blob."""
    digest = sha256(data).hexdigest()
    return os.path.join(node.settings.cache_dir, "blobs", digest[:2], digest)
