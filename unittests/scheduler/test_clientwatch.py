"""A client that goes away: noticed without reading, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from unittests.scheduler.conftest import Cluster, group
from zerocloud.errors import JobError
from zerocloud.scheduler import clientwatch
from zerocloud.scheduler.clientwatch import ClientWatch
from zerocloud.scheduler.concurrency import sleep, socket, spawn


class Input:
    """eventlet's request body, as far as it is used here."""

    def __init__(self, peer: Any, body: bytes = b"") -> None:
        self._peer = peer
        self._body = body

    def get_socket(self) -> Any:
        return self._peer

    def read(self, size: int) -> bytes:
        data, self._body = self._body[:size], self._body[size:]
        return data

    @property
    def rfile(self) -> Any:
        return self._peer


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clientwatch, "INTERVAL_SECONDS", 0.005)


def test_watch_calls_once_when_the_client_closes(pair: Any) -> None:
    ours, theirs = pair
    calls: list[int] = []
    watch = ClientWatch({"eventlet.input": Input(ours)})

    watch.start(lambda: calls.append(1))
    sleep(0.02)
    assert calls == []
    theirs.close()
    sleep(0.02)

    assert calls == [1]
    watch.stop()


def test_watch_takes_no_byte_of_a_pipelined_request(pair: Any) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET /next")
    watch = ClientWatch({"eventlet.input": Input(ours)})
    watch.start(lambda: None)
    sleep(0.02)
    watch.stop()

    assert not watch.gone
    assert ours.recv(100) == b"GET /next"


def test_watch_sees_a_close_behind_pipelined_bytes(pair: Any) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET /next")
    theirs.close()

    assert ClientWatch({"eventlet.input": Input(ours)}).look()


def test_watch_without_a_socket_watches_nothing() -> None:
    watch = ClientWatch({"wsgi.input": object()})
    watch.start(lambda: None)

    assert not watch.look()
    watch.stop()


@pytest.mark.parametrize("gone", [True, False])
def test_only_a_dead_connection_is_closed_at_the_end_of_a_request(
    pair: Any, gone: bool
) -> None:
    """One whose client has only ended its sending may still be answered."""
    ours, theirs = pair
    hooks: list[Any] = []
    env = {"eventlet.input": Input(ours), "eventlet.posthooks": hooks}
    clientwatch.close_when_reset(env)
    if gone:
        theirs.close()
    else:
        theirs.shutdown(socket.SHUT_WR)

    for hook, args, keywords in hooks:
        hook(env, *args, **keywords)

    assert (ours.fileno() == -1) == gone
    assert len(hooks) == 1


def test_job_of_a_client_that_went_away_is_given_up(
    cluster: Cluster, pair: Any
) -> None:
    ours, theirs = pair
    cluster.swift.container("out")
    cluster.nodes.every("run for long")
    body = json.dumps(
        [
            group(
                "name",
                count=6,
                devices=[{"name": "stdout", "path": "swift://~/out/*"}],
            )
        ]
    ).encode()
    controller = cluster.controller(body, **{"wsgi.input": Input(ours, body)})

    def leave() -> None:
        while len(cluster.nodes.ran) < 6:
            sleep(0)
        theirs.close()

    spawn(leave)
    with pytest.raises(JobError) as caught:
        controller.run()
    sleep(0.01)

    assert caught.value.code == "client_disconnect"
    assert cluster.ended() == ["given up"] * 6
    assert cluster.swift.stored() == {}
    assert "status=abandoned stage=run" in cluster.log.lines[-1]


def test_job_of_a_client_that_went_away_publishes_nothing(
    cluster: Cluster, pair: Any
) -> None:
    """It goes away when the last node has ended, before the commit."""
    ours, theirs = pair
    cluster.swift.container("out")
    body = json.dumps(
        [
            group(
                "name 100000",
                devices=[{"name": "stdout", "path": "swift://~/out/x"}],
            )
        ]
    ).encode()
    controller = cluster.controller(body, **{"wsgi.input": Input(ours, body)})
    connect = cluster.nodes.connect

    def connect_and_leave(ip: str, port: int, timeout: float) -> Any:
        theirs.close()
        return connect(ip, port, timeout)

    cluster.service.connect = connect_and_leave
    with pytest.raises(JobError):
        controller.run()

    assert cluster.swift.stored() == {}
