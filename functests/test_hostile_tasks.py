"""Bytes at an object server's port that are no task: without the key, with it.

Strangers get a 4xx at once, or the server's own word, and no trace in the log;
who has the key and sends garbage as a task gets a 400 that says what is wrong.
Storage goes on meanwhile, and nothing is left.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from functests.executor_client import Exchange, anywhere, task
from functests.jobs import guest
from functests.refusing import tasks_run
from functests.support import Account
from zerocloud import headers
from zerocloud.cluster import Cluster
from zerocloud.protocol import frames
from zerocloud.protocol.task import digest

CAT = guest("cat")
SECONDS = 5.0
LINE = b"EXECUTE /d1/0/a/c/o HTTP/1.1\r\nHost: x\r\n"
VERSION = b"%s: 1\r\n" % headers.TASK_VERSION.encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NOISE = random.Random(20261126)
pytestmark = pytest.mark.usefixtures("nothing_left", "no_traceback")


@pytest.fixture
def no_traceback(cluster: Cluster) -> Iterator[None]:
    """Nothing of it is a surprise to the server."""
    log = cluster.folder.log / "cluster.log"
    before = log.read_bytes().count(b"Traceback")
    yield
    assert log.read_bytes().count(b"Traceback") == before


def noise(size: int) -> bytes:
    return NOISE.randbytes(size)


def asked(cluster: Cluster, request: bytes) -> bytes:
    """The head of the answer to a request, which comes in time."""
    server = anywhere(cluster).server
    address = (server.ip, server.port)
    with socket.create_connection(address, timeout=SECONDS) as peer:
        peer.sendall(request)
        return peer.recv(65536)


def request(**changed: bytes) -> bytes:
    """A request without a body; keywords are headers."""
    table = {
        headers.TASK_VERSION: b"1",
        headers.TASK_SIGNATURE: b"0123456789abcdef " + b"0" * 64,
        headers.TASK_ID: b"job/node/1",
        headers.TASK_DIGEST: b"0" * 64,
        headers.TASK_EXPIRES: b"%d" % (time.time() + 50),
        headers.POLICY_INDEX: b"0",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = [name.encode() + b": " + value for name, value in table.items()]
    return LINE + b"\r\n".join([*lines, b"Content-Length: 0", b"", b""])


GARBAGE = {
    "noise": noise(65536),
    "noise after the verb": LINE + VERSION + CHUNKED + noise(5000),
    "noise of a length": LINE
    + VERSION
    + b"Content-Length: 5000\r\n\r\n"
    + noise(5000),
    "noise without a length": LINE + VERSION + b"\r\n" + noise(5000),
    "a body of 5 GB": LINE
    + VERSION
    + b"Content-Length: 5000000000\r\n\r\n"
    + noise(5000),
    "no version": LINE + b"Content-Length: 0\r\n\r\n",
    "a path of 100 kB": b"EXECUTE /%s HTTP/1.1\r\n\r\n" % (b"x" * 100_000),
    "a path with NUL": b"EXECUTE /%00/%ff/a HTTP/1.1\r\nHost: x\r\n"
    + VERSION
    + b"\r\n",
    "a path that climbs": b"EXECUTE /../../etc/passwd HTTP/1.1\r\nHost: x\r\n"
    + VERSION
    + b"\r\n",
    "no path": b"EXECUTE / HTTP/1.1\r\nHost: x\r\n" + VERSION + b"\r\n",
    "a header of 70 kB": LINE + b"X-A: %s\r\n\r\n" % (b"y" * 70_000),
    "1000 headers": LINE + b"X-A: y\r\n" * 1000 + b"\r\n",
    "700 kB of headers": LINE + b"X-A: %s\r\n" % (b"y" * 8000) * 90 + b"\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_of_a_stranger_is_refused_at_once(
    cluster: Cluster, data: bytes
) -> None:
    ran = tasks_run(cluster)

    answer = asked(cluster, data)

    assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4")), answer[:99]
    assert tasks_run(cluster) == ran


@pytest.mark.parametrize(
    "value",
    [b"\xff\xfe", b"9" * 5000, b"-1", b"\0", b"1e999", b"nan", b"\xd9\xa3"],
)
@pytest.mark.parametrize(
    "name",
    [
        headers.TASK_VERSION,
        headers.TASK_SIGNATURE,
        headers.TASK_ID,
        headers.TASK_DIGEST,
        headers.TASK_EXPIRES,
        headers.TASK_PIN,
        headers.POLICY_INDEX,
    ],
)
def test_header_of_a_stranger_is_refused_at_once(
    cluster: Cluster, name: str, value: bytes
) -> None:
    answer = asked(cluster, request(**{name.replace("-", "_"): value}))

    assert answer.split()[1] in (b"400", b"403", b"412"), answer[:99]


def test_request_that_is_cut_off_anywhere_is_no_surprise(
    cluster: Cluster,
) -> None:
    whole = request()
    server = anywhere(cluster).server
    for end in range(10, len(whole), 9):
        with socket.create_connection((server.ip, server.port)) as peer:
            peer.sendall(whole[:end])
            peer.shutdown(socket.SHUT_WR)
            # To its end: a reset before there is a request leaves a dead
            # socket until Python's garbage collector comes by, as in plain
            # Swift.
            while peer.recv(65536):
                pass


def test_header_that_is_missing_is_refused(cluster: Cluster) -> None:
    whole = request()
    for line in whole.split(b"\r\n")[2:-3]:
        answer = asked(cluster, whole.replace(line + b"\r\n", b""))
        assert answer.split()[1] in (b"400", b"403", b"412"), line


def signed(cluster: Cluster, data: bytes) -> tuple[int, dict[str, Any]]:
    """Status and error of bytes that are sent as a task, with the key."""
    exchange = Exchange(
        cluster, anywhere(cluster), task(CAT), digest=digest(data)
    )
    exchange.data = data
    exchange.open()
    exchange.send_task()
    response = exchange.status()
    answer = response.status, json.loads(response.read()).get("error", {})
    exchange.close()
    return answer


def test_task_without_a_body_is_refused(cluster: Cluster) -> None:
    exchange = Exchange(cluster, anywhere(cluster), task(CAT))
    table = exchange.request.headers(exchange.signature).items()
    lines = [f"{name}: {value}".encode() for name, value in table]
    path = exchange.place.path.encode()

    answer = asked(
        cluster,
        b"\r\n".join(
            [b"EXECUTE %s HTTP/1.1" % path, b"Host: x", *lines, b"", b""]
        ),
    )

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"the stream has ended" in answer


DOCUMENTS = {
    "nothing": b"",
    "text": b"x",
    "NULs": bytes(100),
    "noise": noise(500),
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "a number of 5000 digits": b'{"version": %s}' % (b"9" * 5000),
    "a key twice": b'{"a": 1, "a": 2}',
}


@pytest.mark.parametrize("data", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_document_that_is_none_is_a_bad_request(
    cluster: Cluster, data: bytes
) -> None:
    status, error = signed(cluster, data)

    assert (status, error["code"]) == (400, "bad_request")
    assert not error["may_retry"]


WRONG = (None, [], {}, -1, "x" * 70_000, "\ud800", "a\0", 1e308, True, [[]])


@pytest.mark.parametrize("key", sorted(json.loads(task(CAT).to_json())))
def test_value_that_is_wrong_is_refused_with_its_key(
    cluster: Cluster, key: str
) -> None:
    good = json.loads(task(CAT).to_json())
    # What a key may hold is no fault: a task of it would be run.
    fits = {
        "args": ([],),
        "env": ([],),
        "images": ([],),
        "inputs": ([],),
        "outputs": ([],),
    }
    for value in WRONG:
        if value in fits.get(key, ()):
            continue
        status, error = signed(
            cluster, json.dumps({**good, key: value}).encode()
        )
        assert status in (400, 403, 422), (key, value, error)
        assert len(error["message"]) < 500


def with_noise(exchange: Exchange) -> None:
    exchange.send_raw(noise(3000))


def with_a_huge_frame(exchange: Exchange) -> None:
    header = frames.HEADER.pack(frames.TASK, 0, 0xFFFFFFFF)
    exchange.send_raw(header + bytes(100))


def with_another_frame(exchange: Exchange) -> None:
    exchange.send(frames.GO)


def with_a_task_of_another(exchange: Exchange) -> None:
    exchange.send(frames.TASK, 0, task(CAT).to_json())


def with_an_end(exchange: Exchange) -> None:
    exchange.socket.sendall(b"0\r\n\r\n")


def with_a_broken_chunk(exchange: Exchange) -> None:
    exchange.socket.sendall(b"zz\r\n")


FIRST = [
    with_noise,
    with_a_huge_frame,
    with_another_frame,
    with_a_task_of_another,
    with_an_end,
    with_a_broken_chunk,
]


@pytest.mark.parametrize("begin", FIRST)
def test_first_frame_that_is_none_is_a_bad_request(
    cluster: Cluster, begin: Callable[[Exchange], None]
) -> None:
    exchange = Exchange(cluster, anywhere(cluster), task(CAT)).open()
    exchange.socket.settimeout(SECONDS)
    begin(exchange)

    response = exchange.status()

    assert response.status in (400, 408)
    assert json.loads(response.read())["error"]["code"] in (
        "bad_request",
        "upload_timeout",
    )
    exchange.close()


@pytest.mark.parametrize("seed", range(4))
def test_noise_in_the_middle_of_a_task_ends_it(
    cluster: Cluster, seed: int
) -> None:
    exchange = Exchange(cluster, anywhere(cluster), task(guest("spin")))
    assert exchange.begin().status == 200
    exchange.until(frames.ACCEPTED)

    exchange.send_raw(random.Random(seed).randbytes(2000))

    assert exchange.until(b"").kind == frames.FAILED
    assert exchange.answer.error["code"] == "bad_request"
    exchange.close()


def test_storage_serves_beside_a_hundred_silent_strangers(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"bytes")
    server = anywhere(cluster).server
    strangers = []
    for number in range(100):
        peer = socket.create_connection((server.ip, server.port), SECONDS)
        peer.sendall((LINE + VERSION + CHUNKED)[: 10 + number])
        strangers.append(peer)
    began = time.monotonic()
    try:
        assert account.get("o") == b"bytes"
    finally:
        for peer in strangers:
            peer.close()
        account.session.close()
    assert time.monotonic() - began < SECONDS
