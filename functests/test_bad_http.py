"""Requests that are wrong as HTTP: clumsy clients, and hostile ones.

Over a socket, byte by byte, at a proxy of the cluster `harsh`, which gives a
body 2 s.  What cannot be read as HTTP is answered by Swift's server itself,
without our words; everything else with a code of ours.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from functests.conftest import leaving_nothing, with_container
from functests.jobs import STDOUT, group, put_guest, reads
from functests.refusing import tasks_run
from functests.support import Account
from zerocloud.cluster import Cluster
from zerocloud.errors import CODES

# 2 s for the upload, and the same again on a busy machine.
SECONDS = 6.0
# Swift's server, or its auth, says it: no request of ours came of the bytes.
SERVERS_OWN = ""


@dataclass(frozen=True)
class Case:
    """Changed headers (None: none), the body, and the answer."""

    code: str
    words: tuple[str, ...] = ()
    status: int = 0
    headers: dict[str, bytes | None] = field(default_factory=dict)
    body: bytes = b""


def length(value: bytes) -> dict[str, bytes | None]:
    """With that Content-Length."""
    return {"Content-Length": value}


def coded(value: bytes) -> dict[str, bytes | None]:
    """With that Transfer-Encoding."""
    return {"Transfer-Encoding": value, "Content-Length": None}


def own(name: str, value: bytes) -> dict[str, bytes | None]:
    """With one header of that value."""
    return {name: value}


CHUNKED = coded(b"chunked")
LENGTHS = {
    "of 5000 digits": Case(SERVERS_OWN, (), 400, length(b"9" * 5000)),
    "negative": Case(SERVERS_OWN, (), 400, length(b"-5")),
    "a word": Case(SERVERS_OWN, (), 400, length(b"many")),
    "empty": Case(SERVERS_OWN, (), 400, length(b"")),
    "two of them": Case(SERVERS_OWN, (), 400, length(b"5, 5")),
    "with a sign": Case(
        "bad_request", ("'+5'", "a whole number"), headers=length(b"+5")
    ),
    "with an underscore": Case(
        "bad_request", ("'1_0'", "a whole number"), headers=length(b"1_0")
    ),
    "too large to come": Case(
        "upload_timeout",
        ("2 seconds (upload_timeout)",),
        headers=length(b"9" * 20),
    ),
    "more than is sent": Case(
        "upload_timeout",
        ("2 seconds (upload_timeout)",),
        headers=length(b"500"),
        body=b"[",
    ),
    "less than is sent": Case(
        "job_not_json", ("line 1",), headers=length(b"5"), body=b'[{"name"}]'
    ),
    "none": Case("job_not_json", ("not JSON",), headers=length(b"0")),
}

CODINGS = {
    "gzip": Case("bad_request", ("'gzip'", "chunked"), headers=coded(b"gzip")),
    "identity": Case(
        "bad_request", ("'identity'", "chunked"), headers=coded(b"identity")
    ),
    "chunked twice": Case(
        "bad_request",
        ("'chunked, chunked'",),
        headers=coded(b"chunked, chunked"),
    ),
    "a chunk of no length": Case(
        "bad_request", ("not chunked",), headers=CHUNKED, body=b"zz\r\n"
    ),
    "an empty chunk line": Case(
        "bad_request", ("not chunked",), headers=CHUNKED, body=b"\r\n\r\n"
    ),
    "plain JSON": Case(
        "bad_request", ("not chunked",), headers=CHUNKED, body=b'[{"n":1}]\r\n'
    ),
    "a chunk of a negative length": Case(
        "upload_timeout", ("2 seconds",), headers=CHUNKED, body=b"-5\r\nabc"
    ),
    "a chunk of 2^68": Case(
        "upload_timeout", ("2 sec",), headers=CHUNKED, body=b"F" * 17 + b"\r\n"
    ),
    "a chunk cut off": Case(
        "upload_timeout", ("2 seconds",), headers=CHUNKED, body=b"5\r\nabc"
    ),
    "a chunk longer than it says": Case(
        "upload_timeout",
        ("2 seconds",),
        headers=CHUNKED,
        body=b"3\r\nabcdef\r\n",
    ),
    "a chunk line without an end": Case(
        "upload_timeout", ("2 seconds",), headers=CHUNKED, body=b"1" * 100_000
    ),
    "no last chunk": Case(
        "upload_timeout", ("2 seconds",), headers=CHUNKED, body=b"2\r\n[]\r\n"
    ),
}

HEADERS = {
    "a line of 70 kB": Case(SERVERS_OWN, (), 400, own("X-A", b"y" * 70_000)),
    "1000 of them": Case(
        SERVERS_OWN, (), 431, {f"X-{i}": b"y" for i in range(1000)}
    ),
    "mode with a NUL": Case(
        "bad_mode", (r"'1.0\x00'",), headers=own("X-Zerovm-Execute", b"1.0\0")
    ),
    "mode with another header in it": Case(
        "bad_mode",
        (r"\r\n X: y",),
        headers=own("X-Zerovm-Execute", b"1.0\r\n X: y"),
    ),
    "mode that is no ASCII": Case(
        "bad_mode", ("1.0",), headers=own("X-Zerovm-Execute", b"\xe2\x98\x83")
    ),
    "mode twice": Case(
        "bad_mode",
        ("'1.0, 1.0'",),
        headers=own("X-Zerovm-Execute", b"1.0, 1.0"),
    ),
    "type missing": Case(
        "bad_request",
        ("Content-Type is missing", "application/json"),
        headers=own("Content-Type", b";"),
    ),
    "type with a NUL": Case(
        "bad_script", ("#!",), headers=own("Content-Type", b"a/json\0")
    ),
    "type of a form": Case(
        "bad_script",
        ("#!",),
        headers=own("Content-Type", b"multipart/form-data; boundary=x"),
    ),
    "type of 8 kB": Case(
        "bad_script", ("#!",), headers=own("Content-Type", b"a" * 8000)
    ),
    "etag that is none": Case(
        "etag_mismatch", ("ETag says xyz",), headers=own("ETag", b'"xyz"')
    ),
    "token that is none": Case(
        SERVERS_OWN, (), 401, own("X-Auth-Token", b"AUTH_tk\xff'\"--")
    ),
    "no token": Case("auth_required", (), headers={"X-Auth-Token": None}),
}

SOURCES: dict[str, Case] = {}
for title, value, code, words in (
    ("empty", b"", "bad_source", ("swift://ACCOUNT",)),
    ("a host's file", b"file:///etc/passwd", "bad_source", ("swift://",)),
    ("another site", b"http://a/b/c", "bad_source", ("http://a/b/c",)),
    ("raw bytes", b"\xff", "bad_source", ("not UTF-8 at byte 0",)),
    ("bytes encoded", b"swift://~/BOX/%ff", "bad_source", ("at byte",)),
    ("half a surrogate", b"swift://~/%ED%A0%80/x", "bad_source", ("UTF-8",)),
    ("a NUL", b"swift://~/BOX/a%00b", "bad_source", ("NUL",)),
    ("a container", b"swift://~/BOX", "bad_source", ("not an object",)),
    ("all accounts", b"swift://*/BOX/a", "bad_source", ("wildcard",)),
    ("long", b"swift://~/BOX/" + b"x" * 2000, "bad_source", ("1024",)),
    ("a long container", b"swift://~/%s/x" % (b"b" * 300), "bad_source",
     ("256",)),
    ("one that climbs", b"swift://~/BOX/../a", "not_found", ("BOX/../a",)),
    ("one that climbs, encoded", b"swift://~/BOX/%2e%2e/a", "not_found",
     ("BOX/../a",)),
    ("a line end", b"swift://~/BOX/a%0Ab", "not_found", (r"BOX/a\nb",)),
    ("another's", b"swift://AUTH_other/c/o", "forbidden", ("AUTH_other",)),
    ("another's, with a slash", b"swift://a%2fb/c/d", "forbidden", ("a/b",)),
):  # fmt: skip
    SOURCES[title] = Case(code, words, headers={"X-Zerovm-Source": value})

TABLES = {
    "length": LENGTHS,
    "coding": CODINGS,
    "header": HEADERS,
    "source": SOURCES,
}


@pytest.fixture(scope="module")
def box(harsh: Cluster) -> Iterator[Account]:
    """A container with a program and an object."""
    for account in with_container(Account(harsh)):
        account.put("a", b"hello")
        put_guest(account, "cat")
        yield account


@pytest.fixture(scope="module", autouse=True)
def quiet(box: Account) -> Iterator[None]:
    """All of them together leave nothing."""
    with leaving_nothing(box.cluster, box):
        yield


def sent(box: Account, case: Case) -> bytes:
    """The request's bytes."""
    url = urlsplit(box.url)
    table: dict[str, bytes | None] = {
        "Host": url.netloc.encode(),
        "X-Auth-Token": box.token.encode(),
        "X-Zerovm-Execute": b"1.0",
        "Content-Type": b"application/json",
        "Accept": b"application/json",
        "Connection": b"close",
        "Content-Length": str(len(case.body)).encode(),
        **case.headers,
    }
    lines = [f"POST {url.path} HTTP/1.1".encode()]
    lines += [
        b"%s: %s" % (name.encode(), value)
        for name, value in table.items()
        if value is not None
    ]
    head = b"\r\n".join([*lines, b"", b""])
    return (head + case.body).replace(b"BOX", box.container.encode())


def connected(box: Account) -> socket.socket:
    url = urlsplit(box.url)
    return socket.create_connection(
        (url.hostname or "", url.port or 80), timeout=SECONDS
    )


def received(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    try:
        while data := client.recv(65536):
            parts.append(data)
    except ConnectionResetError:
        # The server did not read all of it; its answer came before.
        assert parts
    return b"".join(parts)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{table}: {name}")
        for table, cases in TABLES.items()
        for name, case in cases.items()
    ],
)
def test_request_that_is_wrong_is_refused_in_time(
    box: Account, case: Case
) -> None:
    ran, stored = tasks_run(box.cluster), box.listing()
    began = time.monotonic()

    with connected(box) as client:
        client.sendall(sent(box, case))
        answer = received(client)

    assert time.monotonic() - began < SECONDS
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"Traceback" not in answer
    if case.code == SERVERS_OWN:
        assert status == case.status
    else:
        error = json.loads(body)["error"]
        assert error["code"] == case.code, error
        assert status == CODES[case.code].status
        for word in case.words:
            assert word.replace("BOX", box.container) in error["message"]
    assert tasks_run(box.cluster) == ran
    assert box.listing() == stored


def good(box: Account) -> bytes:
    """A job that runs, as a request."""
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]
    return sent(box, Case("", body=json.dumps(job).encode()))


def test_byte_by_byte_within_the_time_is_a_request(box: Account) -> None:
    request = good(box)
    with connected(box) as client:
        client.sendall(request[:-40])
        for byte in request[-40:]:
            client.sendall(bytes([byte]))
            time.sleep(0.01)
        assert b'"status": "succeeded"' in received(client)


def test_byte_by_byte_for_ever_ends_at_its_time(box: Account) -> None:
    request = sent(box, Case("", headers=length(b"500")))
    began = time.monotonic()
    with connected(box) as client:
        client.sendall(request)
        client.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - began < SECONDS:
            client.sendall(b" ")
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"upload_timeout" in answer


def test_more_than_was_announced_is_another_request(box: Account) -> None:
    request = good(box).replace(b"Connection: close", b"Connection: x")
    with connected(box) as client:
        client.sendall(request + b"garbage\r\n\r\n" * 3)
        answer = received(client)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"status": "succeeded"' in answer
    assert answer.count(b"HTTP/1.1 400 ") == 1


def test_two_jobs_in_one_write_are_answered_in_order(box: Account) -> None:
    first = good(box).replace(b"Connection: close", b"Connection: x")
    with connected(box) as client:
        client.sendall(first + good(box))
        answer = received(client)

    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.count(b'"status": "succeeded"') == 2


def test_100_continue_is_said_before_the_body(box: Account) -> None:
    request = good(box).replace(
        b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"
    )
    head, _, body = request.partition(b"\r\n\r\n")
    with connected(box) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert b'"status": "succeeded"' in received(client)
