"""The task connection: bytes on the wire, and everything that breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from zerocloud.errors import TaskRefused
from zerocloud.protocol import frames
from zerocloud.protocol.frames import FrameOpener, encode_frame, frame_key
from zerocloud.protocol.signing import TaskId, TaskRequest, sign
from zerocloud.scheduler.concurrency import socket, spawn
from zerocloud.scheduler.transport import (
    ConnectionLost,
    TaskConnection,
    TransportSettings,
    open_task,
    parse_refusal,
)

KEY = b"a key of the cluster"
SETTINGS = TransportSettings(KEY, connect_timeout=1, node_timeout=0.05)
REQUEST = TaskRequest(
    path="/d1/7/AUTH_a/in/\xc3\xa4 b",
    policy_index=2,
    task=TaskId("j" * 32, "n 1", 3),
    digest="0" * 64,
    expires=1_700_000_200,
    pin="1700000000.00000",
)
OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def opened(pair: tuple[Any, Any], answer: bytes = OK) -> TaskConnection:
    ours, theirs = pair
    theirs.sendall(answer)
    return open_task(ours, SETTINGS, "10.0.0.1:6000", REQUEST, b"{}")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_request_is_one_write_with_signed_headers(
    pair: tuple[Any, Any],
) -> None:
    opened(pair)

    head, _, rest = pair[1].recv(65536).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert lines[0] == "EXECUTE /d1/7/AUTH_a/in/%C3%A4%20b HTTP/1.1"
    table = dict(line.split(": ", 1) for line in lines[1:])
    signature = sign(KEY, REQUEST)
    assert table["X-Zerocloud-Signature"] == signature
    assert table["X-Zerocloud-Task"] == f"{'j' * 32}/n%201/3"
    assert table["X-Zerocloud-Pin"] == "1700000000.00000"
    assert table["X-Backend-Storage-Policy-Index"] == "2"
    assert table["Transfer-Encoding"] == "chunked"
    size, _, body = rest.partition(b"\r\n")
    assert int(size, 16) == len(body) - 2
    taken = iter([body])
    opener = FrameOpener(frame_key(KEY, signature))
    held = bytearray(next(taken))

    def read(count: int) -> bytes:
        data = bytes(held[:count])
        del held[:count]
        return data

    assert opener.read_frame(read) == frames.Frame(frames.TASK, 0, b"{}")


def test_frames_may_be_cut_anywhere(pair: tuple[Any, Any]) -> None:
    data = encode_frame(frames.REPORT, 0, b"x" * 300)
    wire = b"".join(chunk(bytes([byte])) for byte in data)
    connection = opened(pair, OK + wire)

    assert connection.read().payload == b"x" * 300


def test_frames_may_share_a_chunk(pair: tuple[Any, Any]) -> None:
    both = encode_frame(frames.HEARTBEAT) + encode_frame(frames.DONE)
    connection = opened(pair, OK + chunk(both))

    assert connection.read().kind == frames.HEARTBEAT
    assert connection.read().kind == frames.DONE


def test_interim_answers_are_skipped(pair: tuple[Any, Any]) -> None:
    wire = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
    connection = opened(
        pair, wire + chunk(encode_frame(frames.ACCEPTED, 0, b"{}"))
    )

    assert connection.read().kind == frames.ACCEPTED


def test_silent_node_is_lost(pair: tuple[Any, Any]) -> None:
    connection = opened(pair)

    with pytest.raises(ConnectionLost, match="receiving failed"):
        connection.read()


def test_node_that_does_not_answer_is_lost(pair: tuple[Any, Any]) -> None:
    with pytest.raises(ConnectionLost, match="no answer"):
        opened(pair, b"")

    assert pair[0].fileno() == -1


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"x" * 200_000,
    ],
)
def test_answer_that_is_not_http_is_lost(
    pair: tuple[Any, Any], wire: bytes
) -> None:
    ours, theirs = pair
    theirs.setblocking(True)

    def serve() -> None:
        try:
            theirs.sendall(wire)
        except OSError:
            pass  # the other side has had enough
        theirs.close()

    spawn(serve)
    with pytest.raises(ConnectionLost, match="no answer"):
        open_task(ours, SETTINGS, "10.0.0.1:6000", REQUEST, b"{}")


@pytest.mark.parametrize(
    "wire",
    [
        b"zz\r\n",
        chunk(b"?1234567"),
        chunk(encode_frame(frames.REPORT, 0, b"abc")[:-1]),
        chunk(b"R\0\0\xff\xff\xff\xff"),
        b"0\r\n\r\n",
    ],
)
def test_answer_that_is_not_frames_is_lost(
    pair: tuple[Any, Any], wire: bytes
) -> None:
    connection = opened(pair, OK + wire)
    pair[1].close()

    with pytest.raises(ConnectionLost):
        connection.read()


def test_refusal_carries_code_and_status(pair: tuple[Any, Any]) -> None:
    body = b'{"error":{"code":"busy","message":"full","may_retry":true}}'
    wire = b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )

    with pytest.raises(TaskRefused, match="full") as caught:
        opened(pair, wire)

    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert caught.value.may_retry


@pytest.mark.parametrize(
    ("status", "may_retry"),
    [(405, True), (404, True), (507, True), (500, True), (400, False)],
)
def test_refusal_of_swift_itself_has_no_json(
    status: int, may_retry: bool
) -> None:
    refusal = parse_refusal(status, b"<html><h1>No</h1></html>")

    assert refusal.code == f"status_{status}"
    assert refusal.may_retry is may_retry


def test_give_up_says_so_and_closes(pair: tuple[Any, Any]) -> None:
    connection = opened(pair)
    pair[1].recv(65536)

    connection.give_up()
    connection.give_up()

    wire = pair[1].recv(65536)
    assert wire.split(b"\r\n", 1)[1].startswith(b"X\0\0\0\0\0\0")
    assert pair[1].recv(10) == b""


def test_sending_to_a_closed_node_is_lost(pair: tuple[Any, Any]) -> None:
    connection = opened(pair)
    pair[1].close()

    with pytest.raises(ConnectionLost, match="sending failed"):
        for _ in range(3):
            connection.send(frames.PING)


def test_lost_connection_tells_no_address(pair: tuple[Any, Any]) -> None:
    connection = opened(pair)
    pair[0].close()

    with pytest.raises(ConnectionLost) as caught:
        connection.send(frames.PING)

    assert "10.0.0.1" not in str(caught.value)
