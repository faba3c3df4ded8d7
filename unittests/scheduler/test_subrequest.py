"""What the job's sub-requests carry, seen from the pipeline's side."""

from __future__ import annotations

import io
from typing import Any

import pytest
from swift.common.swob import HTTPForbidden, HTTPUnauthorized

from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.subrequest import Pipeline

PATH = ObjectPath("AUTH_a", "c ä", "o/%41?#")


class App:
    """Remembers requests; answers as it is told."""

    def __init__(self, status: str = "200 OK", body: bytes = b"data") -> None:
        self.status = status
        self.body = body
        self.envs: list[dict[str, Any]] = []
        self.received = b""
        self.closed = 0

    def __call__(self, env: dict[str, Any], start: Any) -> Any:
        self.envs.append(env)
        if env["REQUEST_METHOD"] == "PUT":
            self.received = env["wsgi.input"].read()
        headers = [("X-Backend-Data-Timestamp", "1.0"), ("Etag", "e")]
        start(self.status, headers)
        return self

    def __iter__(self) -> Any:
        yield from (self.body[:2], self.body[2:])

    def close(self) -> None:
        self.closed += 1


def client_env(**more: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/AUTH_a",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b"the job"),
        "REMOTE_USER": "alice",
        "HTTP_X_AUTH_TOKEN": "AUTH_tk_secret",
        "HTTP_COOKIE": "c=secret",
        "HTTP_AUTHORIZATION": "Bearer secret",
        "HTTP_ORIGIN": "http://evil",
        "HTTP_X_ZEROVM_EXECUTE": "1.0",
        "HTTP_X_TIMESTAMP": "9.9",
        "HTTP_REFERER": "http://here",
        "swift.authorize": lambda req: None,
        "swift.trans_id": "tx1",
        **more,
    }


def make(app: App, **env: Any) -> Pipeline:
    return Pipeline(app, client_env(**env), "v1")


def test_get_asks_for_the_literal_name_as_the_user() -> None:
    app = App()
    reply = make(app).get(PATH)

    [env] = app.envs
    name = env["PATH_INFO"].encode("latin-1").decode()
    assert name == "/v1/AUTH_a/c ä/o/%41?#"
    assert env["REMOTE_USER"] == "alice"
    assert env["swift.source"] == "ZC"
    assert env["swift.trans_id"] == "tx1"
    assert env["QUERY_STRING"] == ""
    assert b"".join(reply.chunks()) == b"data"
    assert reply.headers["X-Backend-Data-Timestamp"] == "1.0"


def test_no_request_carries_the_clients_secrets_or_headers() -> None:
    app = App(body=b"[]")
    pipeline = make(app)
    pipeline.get(PATH)
    pipeline.head(PATH)
    pipeline.put(PATH, io.BytesIO(b"x"), {"Content-Length": "1"})
    pipeline.listing("AUTH_a", "c", prefix="")

    for env in app.envs:
        assert "secret" not in repr(env)
        for name in ("ORIGIN", "X_ZEROVM_EXECUTE", "X_TIMESTAMP", "COOKIE"):
            assert f"HTTP_{name}" not in env


def test_head_leaves_no_open_answer() -> None:
    app = App()

    assert make(app).head(PATH).status == 200
    assert app.closed == 1


def test_put_sends_headers_and_body() -> None:
    app = App("201 Created")
    headers = {"Content-Length": "5", "ETag": "e", "X-Object-Meta-A": "b"}

    reply = make(app).put(PATH, io.BytesIO(b"hello"), headers)

    [env] = app.envs
    assert reply.ok
    assert app.received == b"hello"
    assert env["CONTENT_LENGTH"] == "5"
    assert env["HTTP_ETAG"] == "e"
    assert env["HTTP_X_OBJECT_META_A"] == "b"


def test_put_that_fails_tells_swifts_words() -> None:
    app = App("413 Request Entity Too Large", b"Upload exceeds quota.")

    reply = make(app).put(PATH, io.BytesIO(), {"Content-Length": "0"})

    assert not reply.ok
    assert reply.text == "Upload exceeds quota."


def test_listing_asks_for_a_page_of_json() -> None:
    app = App(body=b'[{"name": "a"}]')

    reply, entries = make(app).listing(
        "AUTH_a", "c ä", prefix="x&y", marker="", limit=5
    )

    [env] = app.envs
    assert reply.ok
    assert entries == [{"name": "a"}]
    assert env["QUERY_STRING"] == "format=json&prefix=x%26y&limit=5"
    assert env["PATH_INFO"].encode("latin-1").decode() == "/v1/AUTH_a/c ä"


def test_listing_that_is_refused_has_no_entries() -> None:
    reply, entries = make(App("403 Forbidden", b"<html>")).listing("A", None)

    assert (reply.status, entries) == (403, [])


def test_empty_listing_may_have_no_body() -> None:
    assert make(App("204 No Content", b"")).listing("A", "c")[1] == []


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (lambda req: None, 0),
        (lambda req: HTTPForbidden(request=req), 403),
        (lambda req: HTTPUnauthorized(request=req), 401),
    ],
)
def test_denied_is_the_callbacks_verdict(verdict: Any, status: int) -> None:
    pipeline = make(App(), **{"swift.authorize": verdict})

    assert pipeline.denied("GET", "/AUTH_a/c/o", ".r:*") == status


def test_denied_shows_the_callback_method_path_and_acl() -> None:
    seen = []

    def callback(req: Any) -> None:
        seen.append((req.method, req.path_info, req.acl, req.referer))
        req.environ["swift_owner"] = True

    env = client_env(**{"swift.authorize": callback})
    pipeline = Pipeline(App(), env, "v1")

    pipeline.denied("PUT", "/AUTH_a/c/ä", "AUTH_b")

    name = "/v1/AUTH_a/c/ä".encode().decode("latin-1")
    assert seen == [("PUT", name, "AUTH_b", "http://here")]
    assert "swift_owner" not in env


def test_denied_without_a_callback_is_no() -> None:
    env = client_env()
    del env["swift.authorize"]

    assert Pipeline(App(), env, "v1").denied("GET", "/AUTH_a", None) == 403


def test_read_stops_at_its_limit_and_closes() -> None:
    app = App(body=b"0123456789")

    assert make(app).get(PATH).read(3) == b"0123"
    assert app.closed >= 1
