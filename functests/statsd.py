"""A statsd on the loopback device: what Swift's loggers send, added up."""

from __future__ import annotations

import socket
import threading
from collections import Counter


class Statsd:
    """Listens from its making until `close`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.counts: Counter[str] = Counter()
        self.timings: dict[str, list[float]] = {}
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            for line in data.decode("ascii").splitlines():
                name, _, rest = line.partition(":")
                value, _, kind = rest.partition("|")
                if kind == "ms":
                    self.timings.setdefault(name, []).append(float(value))
                else:
                    self.counts[name] += int(value)

    @property
    def names(self) -> set[str]:
        """Everything that was sent so far."""
        return {*self.counts, *self.timings}

    def close(self) -> None:
        """Stop; an empty datagram is the word."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
