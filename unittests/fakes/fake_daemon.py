"""A daemon with rules: the socket of `zvm serve`, one script per connection.

It checks that every packet of a client is of the protocol, and answers a
request by its manifest's first argument: `exit` with a report, `refuse:CODE`
with an error, `vanish` by closing, `hang` not at all until it is taken back
(`deaf`: not even then), `last:CODE` with a last word, `garbage` with that.
What it saw is in `seen`: kinds of packets, and how many descriptors came.
`welcome` is its answer to a hello, None for none.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

from unittests.protocol.test_daemon import FIXTURE, PROCESS


class FakeDaemon:
    """Serves in a thread until `close`."""

    def __init__(self, path: Path) -> None:
        self.seen: list[tuple[str, int]] = []
        self.welcome: bytes | None = b"{}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Stop; wait for the last connection's end.  Twice is harmless."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        manifest = b""
        total = 0
        while True:
            with contextlib.suppress(ConnectionError):
                data, fds, _, _ = socket.recv_fds(connection, 65536, 253)
                for fd in fds:
                    os.close(fd)
                if not data:
                    return
                self.seen.append((chr(data[0]), len(fds)))
                if data[:1] == b"H":
                    assert json.loads(data[8:]) == {"version": 1}
                    if self.welcome is not None:
                        connection.send(b"H" + bytes(7) + self.welcome)
                elif data[:1] == b"C":
                    if self._word == "deaf":
                        continue
                    _answer(connection, b"R", _error("cancelled"))
                else:
                    if data[:1] == b"B":
                        total = struct.unpack_from(">I", data, 8)[0]
                    manifest += data[20 if data[:1] == b"B" else 8 :]
                    if len(manifest) == total and not self._run(
                        connection, json.loads(manifest)
                    ):
                        return

    def _run(self, connection: socket.socket, manifest: Any) -> bool:
        """Do as told; False closes the connection."""
        self._word, _, rest = manifest["args"][0].partition(":")
        if self._word == "exit":
            report = json.loads(FIXTURE.read_text())
            report["stderr_tail"] = "e" * int(rest or 0)
            _answer(connection, b"R", {"report": report, "process": PROCESS})
        elif self._word == "refuse":
            _answer(connection, b"R", _error(rest))
        elif self._word == "last":
            _answer(connection, b"E", _error(rest))
            return False
        elif self._word == "garbage":
            connection.send(b"nonsense")
        return self._word != "vanish"


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "in /secret/path"}}


def _answer(
    connection: socket.socket, kind: bytes, document: dict[str, Any]
) -> None:
    data = json.dumps(document).encode()
    for start in range(0, len(data), 60_000):
        more = start + 60_000 < len(data)
        header = struct.pack(">cBHI", kind, more, 0, 1)
        connection.send(header + data[start : start + 60_000])
