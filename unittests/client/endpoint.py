"""A small endpoint with rules, on a free port of 127.0.0.1.

Auth v1, `/info`, object PUTs, and jobs whose programs are

    file://fake:cat     stdout is what stdin reads
    file://fake:fail    exits 3 and says why on stderr

    file://python3:python   stdout is its arguments as JSON

or scripts, whose stdout is the script after its first line.  A job may come in
a tar.  Jobs are refused as the real endpoint does it: status, JSON body with
code and message.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

TOKEN = "AUTH_tk_unit"
USER, KEY = "test:tester", "testing"
ACCOUNT = "AUTH_test"


class RefusalError(Exception):
    """Answer with this status and body."""

    def __init__(self, status: str, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def refuse(
    status: str, code: str, message: str, where: str = ""
) -> RefusalError:
    """The error body of docs/http-api.md."""
    error = {"code": code, "message": message, "may_retry": status > "500"}
    if where:
        error["where"] = where
    return RefusalError(status, json.dumps({"error": error}).encode())


class Endpoint:
    """The WSGI application, with its state open to tests."""

    def __init__(self) -> None:
        self.info: Any = {"swift": {}, "zerocloud": {"max_nodes": 1000}}
        self.containers = {"jobs"}
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.broken = ""  # a status: every job is answered with it
        self.report_bytes = 1 << 20
        self.more_headers: dict[str, str] = {}  # of objects
        self.damage = bytes  # what happens to objects on their way
        self.missing_bytes = 0  # of every answer, of what it announces
        self.url = ""

    @property
    def storage_url(self) -> str:
        return f"{self.url}/v1/{ACCOUNT}"

    def variables(self) -> dict[str, str]:
        """Credentials that this endpoint accepts."""
        return {
            "ST_AUTH": f"{self.url}/auth/v1.0",
            "ST_USER": USER,
            "ST_KEY": KEY,
        }

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        method = environ["REQUEST_METHOD"]
        path = environ["PATH_INFO"].encode("latin-1").decode()
        self.requests.append(f"{method} {path}")
        headers: dict[str, str] = {}
        try:
            body = read_body(environ)
            status, answer = self.answer(method, path, environ, body, headers)
        except RefusalError as refused:
            status, answer = refused.status, refused.body
        headers["Content-Length"] = str(len(answer) + self.missing_bytes)
        headers["X-Trans-Id"] = "tx-unit"
        start(status, list(headers.items()))
        return [answer]

    def answer(
        self,
        method: str,
        path: str,
        environ: dict[str, Any],
        body: bytes,
        headers: dict[str, str],
    ) -> tuple[str, bytes]:
        if path == "/info":
            return "200 OK", json.dumps(self.info).encode()
        if path == "/auth/v1.0":
            given = environ.get("HTTP_X_AUTH_USER")
            if (given, environ.get("HTTP_X_AUTH_KEY")) != (USER, KEY):
                raise RefusalError("401 Unauthorized", b"<html>no</html>")
            headers["X-Storage-Url"] = self.storage_url
            headers["X-Auth-Token"] = TOKEN
            return "200 OK", b""
        if environ.get("HTTP_X_AUTH_TOKEN") != TOKEN:
            raise RefusalError("401 Unauthorized", b"<html>no token</html>")
        if method == "PUT":
            return self.put(path, environ, body)
        if method == "GET":
            return self.get(path, environ, headers)
        if "zerocloud" not in self.info:
            return "204 No Content", b""
        return self.run(environ, body, headers)

    def put(
        self, path: str, environ: dict[str, Any], body: bytes
    ) -> tuple[str, bytes]:
        container, _, name = path.removeprefix(f"/v1/{ACCOUNT}/").partition(
            "/"
        )
        if not name:
            self.containers.add(container)
        elif container not in self.containers:
            raise RefusalError(
                "404 Not Found",
                b"<html><h1>Not Found</h1><p>No such container.</p></html>",
            )
        else:
            key = f"swift://{ACCOUNT}/{container}/{name}"
            self.objects[key] = (environ["CONTENT_TYPE"], body)
        return "201 Created", b""

    def get(
        self, path: str, environ: dict[str, Any], headers: dict[str, str]
    ) -> tuple[str, bytes]:
        key = "swift://" + path.removeprefix("/v1/")
        if key not in self.objects:
            raise RefusalError(
                "404 Not Found",
                b"<html><h1>Not Found</h1><p>No such object.</p></html>",
            )
        kind, content = self.objects[key]
        etag = hashlib.md5(content).hexdigest()
        if environ.get("HTTP_IF_MATCH", f'"{etag}"') != f'"{etag}"':
            raise RefusalError("412 Precondition Failed", b"")
        headers["Etag"] = f'"{etag}"'
        headers["Content-Type"] = kind
        headers.update(self.more_headers)
        return "200 OK", self.damage(content)

    def run(
        self, environ: dict[str, Any], body: bytes, headers: dict[str, str]
    ) -> tuple[str, bytes]:
        self.bodies.append(body)
        if self.broken:
            raise refuse(self.broken, "busy", "all slots are full")
        assert environ["HTTP_X_ZEROVM_EXECUTE"] == "1.0"
        payload, kind = b"", environ["CONTENT_TYPE"]
        source = unquote(environ.get("HTTP_X_ZEROVM_SOURCE", ""))
        if source:
            if source not in self.objects:
                raise refuse(
                    "404 Not Found", "not_found", f"no object {source}"
                )
            payload, (kind, body) = body, self.objects[source]
        nodes = run_job(kind, body, payload)
        failed = any(node["outcome"]["code"] for node in nodes)
        status = "failed" if failed else "succeeded"
        headers["X-Zerovm-Job-Status"] = status
        headers["X-Zerovm-Job-Id"] = "j-1"
        if "report" in environ.get("HTTP_ACCEPT", ""):
            self.cut(nodes)
            document = {"job": "j-1", "status": status, "nodes": nodes}
            return "200 OK", json.dumps(document).encode()
        if failed:
            headers["X-Nexe-Error"] = "exit 3"
        outputs = [node["outputs"][0]["base64"] for node in nodes]
        return "200 OK", b"".join(map(base64.b64decode, outputs))

    def cut(self, nodes: list[dict[str, Any]]) -> None:
        """Leave outputs out of the report that are too long for it."""
        for node in nodes:
            for output in node["outputs"]:
                size = len(base64.b64decode(output["base64"]))
                if size > self.report_bytes:
                    del output["base64"]
                    output.update(bytes=size, omitted=True)


def read_body(environ: dict[str, Any]) -> bytes:
    """The request's body, chunked or not (wsgiref leaves that to us)."""
    stream = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING") != "chunked":
        read: bytes = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
        return read
    parts = []
    while size := int(stream.readline(), 16):
        parts.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(parts)


def run_job(kind: str, body: bytes, payload: bytes) -> list[dict[str, Any]]:
    if kind == "application/x-tar":
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            job = tar.extractfile("boot/system.map")
            assert job is not None
            kind, body = "application/json", job.read()
    if kind != "application/json":
        return [node("script", body.partition(b"\n")[2], 0)]
    try:
        groups = json.loads(body)
    except ValueError as error:
        raise refuse(
            "422 Unprocessable Entity", "job_not_json", "the job is not JSON"
        ) from error
    nodes = []
    for index, group in enumerate(groups):
        path = group["exec"]["path"]
        if path == "file://python3:python":
            said = json.dumps(group["exec"]["args"]) + "\n"
            nodes.append(node(group["name"], said.encode(), 0))
        elif path == "file://fake:cat":
            nodes.append(node(group["name"], payload, 0))
        elif path == "file://fake:fail":
            nodes.append(node(group["name"], b"", 3))
        else:
            raise refuse(
                "404 Not Found",
                "program_not_found",
                f"no program {path}",
                f"/{index}/exec/path",
            )
    return nodes


def node(name: str, stdout: bytes, code: int) -> dict[str, Any]:
    """One node of a report."""
    encoded = base64.b64encode(stdout).decode()
    use = {"device": "stdout", "write_bytes": len(stdout), "source": ""}
    return {
        "name": name,
        "server": "a1b2",
        "policy": "gold",
        "attempts": 1,
        "succeeded": code == 0,
        "outcome": {"kind": "exit", "code": code, "message": ""},
        "wall_seconds": 0.25,
        "cpu_seconds": 0.125,
        "memory_peak_bytes": 65536,
        "in_place_bytes": 0,
        "streamed_bytes": 0,
        "io": [use],
        "outputs": [{"device": "stdout", "base64": encoded}],
        "stderr_tail": "it broke\n" if code else "",
        "receipt": "00" * 32,
    }


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


@contextmanager
def serving() -> Iterator[Endpoint]:
    """An endpoint that answers until the end of the block."""
    endpoint = Endpoint()
    server: WSGIServer = make_server(
        "127.0.0.1", 0, endpoint, handler_class=_Silent
    )
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.005,))
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
