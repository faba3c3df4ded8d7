"""Other servers: every answer to a probe, on real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from unittests.check.conftest import KEY, failed, only
from zerocloud.check.rings import ObjectServer
from zerocloud.check.servers import ask_proxy, check_servers, probe
from zerocloud.errors import TaskRefused
from zerocloud.headers import TASK_SIGNATURE
from zerocloud.protocol import signing


@dataclass
class Peer:
    """A server that answers each request alike."""

    status: int = 403
    document: Any = None
    ahead_seconds: float = 0.0
    date: bool = True
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def refuse(self, status: int, code: str, message: str = "so") -> Peer:
        """Answer as the executor does."""
        self.status = status
        self.document = {"error": {"code": code, "message": message}}
        return self

    @property
    def server(self) -> ObjectServer:
        return ObjectServer("127.0.0.1", self.port, "d1")


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def _answer(self) -> None:
        peer: Peer = self.server.peer
        peer.seen.append((self.command, self.path, dict(self.headers)))
        body = json.dumps(peer.document).encode()
        self.send_response_only(peer.status)
        if peer.date:
            when = time.time() + peer.ahead_seconds
            self.send_header("Date", formatdate(when, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_EXECUTE = do_GET = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made = Peer(port=listening.server_address[1])
    listening.peer = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield made
    listening.shutdown()
    thread.join()
    listening.server_close()


def look(*servers: ObjectServer, timeout: float = 5.0) -> list[Any]:
    return list(check_servers(servers, KEY.encode(), timeout))


def test_server_with_our_key_and_time_is_well(peer: Peer) -> None:
    peer.refuse(403, "expired")
    assert [f.level for f in look(peer.server)] == ["ok", "ok"]
    [(method, path, sent)] = peer.seen
    assert (method, path) == ("EXECUTE", "/d1/0")
    assert KEY not in json.dumps(sent)
    assert sent["X-Zerocloud-Task"] == "zerocloud-check/probe/1"


def test_probe_is_signed_and_runs_nothing_by_any_clock() -> None:
    path, sent = probe("d1", KEY.encode())
    request = signing.parse_request(path, "0", sent)
    for now in (time.time(), 10_000.0):
        with pytest.raises(TaskRefused) as caught:
            signing.verify((KEY.encode(),), request, sent[TASK_SIGNATURE], now)
        assert caught.value.code == "expired"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "unknown_key", "has another key: so"),
        (412, "version_unknown", "speaks another version: so"),
        (405, "", "has no executor filter in its pipeline"),
        (500, "internal", "answers 500 so"),
        (403, "bad_signature", "answers 403 so"),
        (200, "", "answers 200 so"),
    ],
)
def test_server_that_answers_otherwise_is_told(
    peer: Peer, status: int, code: str, said: str
) -> None:
    peer.refuse(status, code)
    assert only(look(peer.server)).said == said


def test_answer_that_is_no_document_is_told(peer: Peer) -> None:
    for document in (None, [], "text", {"error": "text"}):
        peer.document = document
        assert only(look(peer.server)).said == "answers 403"


@pytest.mark.parametrize(
    ("ahead", "level", "said"),
    [
        (90, "fail", "is 90 s ahead of us"),
        (-90, "fail", "is 90 s behind us"),
        (10, "note", "is 10 s ahead of us"),
        (0, "ok", "has our time"),
    ],
)
def test_clock_of_a_server_is_compared_with_ours(
    peer: Peer, ahead: float, level: str, said: str
) -> None:
    peer.refuse(403, "expired").ahead_seconds = ahead
    found = look(peer.server)[1]
    assert (found.check, found.level) == ("clock", level)
    # Dates are cut to seconds: one more or less.
    shown = [said.replace(str(abs(ahead)), str(abs(ahead) + n))
             for n in (-1, 0, 1)]  # fmt: skip
    assert any(found.said.startswith(text) for text in shown)


def test_server_that_says_no_time_is_a_note(peer: Peer) -> None:
    peer.refuse(403, "expired").date = False
    assert look(peer.server)[1].level == "note"


def test_server_that_is_gone_or_hangs_is_told_in_time(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        port = hung.getsockname()[1]
        before = time.monotonic()
        found = only(look(ObjectServer("127.0.0.1", port, "d"), timeout=0.2))
        assert time.monotonic() - before < 2
        assert found.said == "does not answer: timed out"
    gone = only(look(ObjectServer("127.0.0.1", port, "d")))
    assert gone.said == "does not answer: Connection refused"
    assert gone.subject == f"object server 127.0.0.1:{port}"


def test_every_server_is_asked_though_some_are_gone(peer: Peer) -> None:
    peer.refuse(403, "expired")
    gone = ObjectServer("127.0.0.1", 1, "d")
    assert len(failed(look(gone, peer.server, gone))) == 2
    assert len(peer.seen) == 1


def test_proxy_says_what_it_promises(peer: Peer) -> None:
    peer.status, peer.document = 200, {"zerocloud": {"version": "0.1.0"}}
    found: dict[str, Any] = {}
    url = f"http://127.0.0.1:{peer.port}"
    findings = list(ask_proxy(url, 5, found.update))
    assert [f.level for f in findings] == ["ok", "ok"]
    assert found == {"version": "0.1.0"}
    assert peer.seen[0][:2] == ("GET", "/info")


@pytest.mark.parametrize("document", [{"swift": {}}, None, []])
def test_proxy_without_the_filter_is_told(peer: Peer, document: Any) -> None:
    peer.status, peer.document = 200, document
    url = f"http://127.0.0.1:{peer.port}"
    found = only(ask_proxy(url, 5, dict[str, Any]().update))
    assert found.said.startswith("does not offer jobs")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://"])
def test_proxy_that_does_not_answer_is_told(url: str) -> None:
    found = only(ask_proxy(url, 1, dict[str, Any]().update))
    assert found.said.startswith("does not answer")
