"""Notices that the client has gone, while its job runs.

Looks twice a second whether the client has closed its side of the connection
(POLLRDHUP), and calls back once when it has.  It only asks the kernel and
never reads, so a pipelined request, and TLS, lose no byte; a client that
closes its sending side early counts as gone, as HTTP clients wait for answers
with the connection open.

The only place that knows how to get at the client's socket.  Where the server
offers none, nothing is watched: the answer's first write then finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zerocloud.scheduler.concurrency import peer_closed, sleep, spawn

INTERVAL_SECONDS = 0.5


class ClientWatch:
    """Watches one client from `start` to `stop`."""

    def __init__(self, env: Mapping[str, Any]) -> None:
        self._descriptor = client_descriptor(env)
        self._thread: Any = None
        self.gone = False

    def start(self, gone: Callable[[], None]) -> None:
        """Call `gone()` once, in a green thread, when the client is gone."""
        if self._descriptor is not None:
            self._thread = spawn(self._watch, gone)

    def stop(self) -> None:
        """Watch no longer."""
        if self._thread is not None:
            self._thread.kill()
            self._thread = None

    def _watch(self, gone: Callable[[], None]) -> None:
        while not self.look():
            sleep(INTERVAL_SECONDS)
        self._thread = None
        gone()

    def look(self) -> bool:
        """Whether the client has gone; asks the kernel now."""
        if self._descriptor is not None and not self.gone:
            self.gone = peer_closed(self._descriptor)
        return self.gone


def client_descriptor(env: Mapping[str, Any]) -> int | None:
    """The client's socket of an eventlet server, if there is one."""
    body = env.get("eventlet.input") or env.get("wsgi.input")
    get_socket = getattr(body, "get_socket", None)
    if get_socket is None:
        return None
    descriptor = int(get_socket().fileno())
    return descriptor if descriptor >= 0 else None
