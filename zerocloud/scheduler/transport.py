"""One task's connection to a storage node: a duplex HTTP exchange in frames.

    open_task ─▶ request line, signed headers, frame T     (one write)
              ◀─ status line and headers; not 200: TaskRefused
    send      ─▶ further frames, each in an HTTP chunk, each with its MAC
    read      ◀─ frames out of the chunked answer

Built on plain green sockets, because the exchange is longer-lived and more
two-way than http.client allows, and because 600 of them must cost little.
Every wait has an end: a peer that is silent for `node_timeout` is lost.

Whatever goes wrong with the connection is `ConnectionLost`; whoever gets it
may try the task elsewhere, after `give_up` has told this node to stop.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from zerocloud import headers as names
from zerocloud.errors import ProtocolError, TaskRefused
from zerocloud.protocol import frames
from zerocloud.protocol.frames import Frame, FrameSigner, frame_key
from zerocloud.protocol.signing import TaskRequest, sign
from zerocloud.scheduler.concurrency import socket

Connect = Callable[[str, int, float], Any]

HEAD_BYTES = 64 * 1024
REFUSAL_BYTES = 64 * 1024
RECEIVE_BYTES = 256 * 1024
GIVE_UP_SECONDS = 0.5


class ConnectionLost(Exception):  # noqa: N818 - a finding, not a fault here
    """The node could not be reached, fell silent, or broke the protocol."""


@dataclass(frozen=True)
class TransportSettings:
    """What all connections of a job share."""

    key: bytes
    connect_timeout: float
    node_timeout: float
    transaction: str = ""


def connect(ip: str, port: int, timeout: float) -> Any:
    """A connected TCP socket without delays for small writes."""
    try:
        version = ipaddress.ip_address(ip).version
    except ValueError:
        # Rings may hold host names too.
        peer = socket.create_connection((ip, port), timeout)
    else:
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        peer = socket.socket(family, socket.SOCK_STREAM)
        try:
            peer.settimeout(timeout)
            peer.connect((ip, port))
        except BaseException:
            peer.close()
            raise
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


class TaskConnection:
    """An open exchange; close it, or give it up."""

    def __init__(self, peer: Any, key: bytes, node_timeout: float) -> None:
        self._peer = peer
        self._signer = FrameSigner(key)
        self._body = _Body(peer)
        self._peeked: Frame | None = None
        peer.settimeout(node_timeout)

    def send(
        self,
        kind: bytes,
        stream: int = 0,
        payload: bytes = b"",
        *,
        before: bytes = b"",
    ) -> None:
        """Send one frame, after `before`; waits until the kernel has it."""
        frame = self._signer.seal(kind, stream, payload)
        try:
            self._peer.sendall(b"%s%x\r\n%s\r\n" % (before, len(frame), frame))
        except OSError as error:
            raise _lost("sending failed", error) from error

    def wait_for_life(self) -> None:
        """Wait for the next frame, and leave it to be read."""
        if self._peeked is None:
            self._peeked = self.read()

    def read(self) -> Frame:
        """The next frame, heartbeats included."""
        if self._peeked is not None:
            frame, self._peeked = self._peeked, None
            return frame
        try:
            frame = frames.read_frame(self._body.read)
        except (OSError, ProtocolError) as error:
            raise _lost("receiving failed", error) from error
        return frame

    def read_head(self) -> None:
        """Read status and headers; TaskRefused unless it is a 200."""
        try:
            status, length = self._body.read_head()
            if status == 200:
                return
            refusal = self._body.read_all(length, REFUSAL_BYTES)
        except (OSError, ProtocolError) as error:
            raise _lost("no answer", error) from error
        raise parse_refusal(status, refusal)

    def give_up(self) -> None:
        """Tell the node to stop, as well as that can be done, and close.

        Harmless when it is closed already.
        """
        if self.fileno() < 0:
            return
        try:
            self._peer.settimeout(GIVE_UP_SECONDS)
            self.send(frames.GIVE_UP)
        except ConnectionLost:
            pass  # closing says the same
        finally:
            self.close()

    def fileno(self) -> int:
        """The socket's descriptor, -1 when it is closed."""
        return int(self._peer.fileno())

    def close(self) -> None:
        """Close the connection; twice is harmless."""
        self._peer.close()


def open_task(
    peer: Any,
    settings: TransportSettings,
    host: str,
    request: TaskRequest,
    document: bytes,
) -> TaskConnection:
    """Send a task over a connected socket and read the answer's head.

    Closes the socket and raises TaskRefused or ConnectionLost when the node
    does not take it.
    """
    signature = sign(settings.key, request)
    connection = TaskConnection(
        peer, frame_key(settings.key, signature), settings.node_timeout
    )
    try:
        connection.send(
            frames.TASK,
            payload=document,
            before=_request_head(
                host, request, signature, settings.transaction
            ),
        )
        connection.read_head()
    except BaseException:
        connection.close()
        raise
    return connection


def _request_head(
    host: str, request: TaskRequest, signature: str, transaction: str
) -> bytes:
    path = quote(request.path.encode("latin-1"))
    lines = [
        f"{names.TASK_VERB} {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: zerocloud",
        f"X-Trans-Id: {transaction or '-'}",
        "Connection: close",
        "Transfer-Encoding: chunked",
        *(f"{k}: {v}" for k, v in request.headers(signature).items()),
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")


def parse_refusal(status: int, body: bytes) -> TaskRefused:
    """The refusal in an answer that is not 200.

    Swift's own answers (405 where the filter is missing, 507) have no JSON.
    """
    try:
        error = json.loads(body)["error"]
        code, message = str(error["code"]), str(error["message"])
        may_retry = bool(error["may_retry"])
    except (ValueError, KeyError, TypeError):
        code, message = f"status_{status}", f"it answered {status}"
        may_retry = status >= 500 or status in (404, 405)
    return TaskRefused(code, message, status=status, may_retry=may_retry)


class _Body:
    """The answer's bytes: head by lines, then the content of its chunks."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer
        self._buffer = b""
        self._at = 0
        self._chunk_left = 0
        self._ended = False
        self._chunked = False

    def read_head(self) -> tuple[int, int | None]:
        """The status and the Content-Length, if any."""
        status = self._read_head_once()
        while status[0] == 100:
            status = self._read_head_once()
        return status

    def _read_head_once(self) -> tuple[int, int | None]:
        parts = self._line().split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
            raise ProtocolError("the answer is not HTTP/1.1")
        if not parts[1].isdigit():
            raise ProtocolError("the answer's status is not a number")
        length, total = None, 0
        while True:
            line = self._line()
            total += len(line)
            if not line:
                break
            if total > HEAD_BYTES:
                raise ProtocolError("the answer's headers are too long")
            name, _, value = line.partition(b":")
            name, value = name.strip().lower(), value.strip().lower()
            if name == b"content-length" and value.isdigit():
                length = int(value)
            elif name == b"transfer-encoding":
                self._chunked = value == b"chunked"
        return int(parts[1]), length

    def read_all(self, length: int | None, limit: int) -> bytes:
        """The whole of a short answer, at most `limit` bytes."""
        wanted = limit if length is None else min(length, limit)
        parts = []
        while wanted > 0:
            data = self.read(wanted)
            if not data:
                break
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)

    def read(self, size: int) -> bytes:
        """At most `size` bytes of the content; b"" at its end."""
        if not self._chunked:
            return self._some(size)
        if not self._chunk_left and not self._next_chunk():
            return b""
        data = self._some(min(size, self._chunk_left))
        if not data:
            raise ProtocolError("the connection ended within the answer")
        self._chunk_left -= len(data)
        if not self._chunk_left:
            self._line()
        return data

    def _next_chunk(self) -> bool:
        if not self._ended:
            try:
                self._chunk_left = int(self._line().partition(b";")[0], 16)
            except ValueError:
                raise ProtocolError("a chunk's length is not one") from None
            self._ended = self._chunk_left == 0
        return not self._ended

    def _line(self) -> bytes:
        while True:
            end = self._buffer.find(b"\n", self._at)
            if end >= 0:
                line = self._buffer[self._at : end]
                self._at = end + 1
                return line.rstrip(b"\r")
            if len(self._buffer) - self._at > HEAD_BYTES:
                raise ProtocolError("a line of the answer is too long")
            if not self._fill():
                raise ProtocolError("the connection ended too early")

    def _some(self, size: int) -> bytes:
        if self._at == len(self._buffer) and not self._fill():
            return b""
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def _fill(self) -> bool:
        data = cast(bytes, self._peer.recv(RECEIVE_BYTES))
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return bool(data)


def _lost(what: str, error: Exception) -> ConnectionLost:
    # Texts of the operating system may hold addresses: only the class is told.
    detail = str(error) if isinstance(error, ProtocolError) else ""
    return ConnectionLost(f"{what}: {detail or type(error).__name__}")
