"""Notices that the client has gone, while its job runs.

Looks twice a second whether the client has closed its side of the connection
(POLLRDHUP), and calls back once when it has.  It only asks the kernel and
never reads, so a pipelined request, and TLS, lose no byte; a client that
closes its sending side early counts as gone, as HTTP clients wait for answers
with the connection open.

At the end of a request it also sees to it that a connection which the client
has reset is closed: the server itself leaves that to the garbage collector.

The only place that knows how to get at the client's socket.  Where the server
offers none, nothing is watched: the answer's first write then finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zerocloud.scheduler.concurrency import (
    peer_closed,
    peer_reset,
    sleep,
    spawn,
)

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


def close_when_reset(env: Mapping[str, Any]) -> None:
    """Have the server close a connection that its client has reset.

    It closes its reading file after its writing file, and closing that fails
    when the answer could not be written: the descriptor would stay open until
    the garbage collector comes by.  Its hooks run in between, after the last
    read and the last write of the request.
    """
    hooks = env.get("eventlet.posthooks")
    if hooks is not None:
        hooks.append((_close_if_reset, (), {}))


def _close_if_reset(env: Mapping[str, Any]) -> None:
    descriptor = client_descriptor(env)
    if descriptor is not None and peer_reset(descriptor):
        _body(env).rfile.close()


def _body(env: Mapping[str, Any]) -> Any:
    return env.get("eventlet.input") or env.get("wsgi.input")


def client_descriptor(env: Mapping[str, Any]) -> int | None:
    """The client's socket of an eventlet server, if there is one."""
    body = _body(env)
    get_socket = getattr(body, "get_socket", None)
    if get_socket is None:
        return None
    descriptor = int(get_socket().fileno())
    return descriptor if descriptor >= 0 else None
