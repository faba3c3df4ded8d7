"""A small Keystone with rules, over HTTP: what v3 clients talk to.

It knows users in domains, projects, application credentials and the tokens it
has issued, and gives a catalog with two regions and three interfaces, each
with a storage URL of its own:

    ACCOUNT_URL/REGION/INTERFACE/v1/AUTH_PROJECT   or what `endpoints` says

As the real one: 401 in JSON without a word on which part was wrong, a token
scoped to a project only for who has a role there, an unscoped one (without a
catalog) when no project is asked for.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

REGIONS = ("RegionOne", "RegionTwo")
INTERFACES = ("public", "internal", "admin")
DEFAULT_DOMAIN = {"id": "default", "name": "Default"}


@dataclass(frozen=True)
class User:
    """A user, and the projects in which it has a role."""

    name: str
    password: str
    projects: tuple[str, ...]
    domain: str = "Default"

    @property
    def id(self) -> str:
        return f"uid-{self.name}"


class _RefusedError(Exception):
    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class FakeKeystone:
    """The WSGI application, with its state open to tests."""

    storage_url: str = "http://swift.example"
    url: str = ""
    users: tuple[User, ...] = (
        User("ada", "lovelace-1815", ("engines", "notes")),
        User("charles", "difference", (), "Analytical"),
    )
    # id → (name, secret, owner, project)
    credentials: dict[str, tuple[str, str, str, str]] = field(
        default_factory=lambda: {
            "cred-1": ("robot", "robot-secret", "ada", "engines")
        }
    )
    endpoints: dict[tuple[str, str], str] = field(default_factory=dict)
    services: tuple[str, ...] = ("identity", "object-store")
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    next_token: str = ""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        raw = environ["wsgi.input"].read(size)
        body = json.loads(raw) if raw else None
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path, body))
        headers: dict[str, str] = {}
        try:
            status, document = self.answer(method, path, body, headers)
        except _RefusedError as refused:
            status = refused.status
            code = int(status[:3])
            document = {"error": {"code": code, "message": str(refused)}}
        content = json.dumps(document).encode()
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(content))
        start(status, list(headers.items()))
        return [content]

    def answer(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[str, Any]:
        version = {
            "id": "v3.14",
            "status": "stable",
            "links": [{"rel": "self", "href": f"{self.url}/v3/"}],
        }
        if path in ("", "/"):
            return "300 Multiple Choices", {"versions": {"values": [version]}}
        if path.rstrip("/") == "/v3":
            return "200 OK", {"version": version}
        if (method, path) != ("POST", "/v3/auth/tokens"):
            raise _RefusedError("404 Not Found", f"no {method} {path}")
        user, project = self.authenticate(body["auth"])
        token = self.next_token or f"token-{len(self.tokens) + 1}"
        self.tokens[token] = (user.name, project)
        headers["X-Subject-Token"] = token
        return "201 Created", {"token": self.token_document(user, project)}

    def authenticate(self, auth: dict[str, Any]) -> tuple[User, str]:
        identity = auth["identity"]
        [method] = identity["methods"]
        if method == "password":
            user = self.by_password(identity["password"]["user"])
        elif method == "token":
            name, _project = self.tokens.get(identity["token"]["id"], ("", ""))
            user = self.named(name)
        elif method == "application_credential":
            return self.by_credential(identity["application_credential"])
        else:
            raise _RefusedError("400 Bad Request", f"no method {method}")
        scope = auth.get("scope")
        return user, self.scoped(user, scope) if scope else ""

    def by_password(self, given: dict[str, Any]) -> User:
        for user in self.users:
            by_name = given.get("name") == user.name and given["domain"] in (
                {"name": user.domain},
                {"id": user.domain.lower()},
            )
            if not by_name and given.get("id") != user.id:
                continue
            if given["password"] == user.password:
                return user
        raise self.unauthorized()

    def by_credential(self, given: dict[str, Any]) -> tuple[User, str]:
        for key, (name, secret, owner, project) in self.credentials.items():
            by_name = given.get("name") == name and (
                given.get("user", {}).get("name") == owner
            )
            if not by_name and given.get("id") != key:
                continue
            if given["secret"] == secret:
                return self.named(owner), project
        raise self.unauthorized()

    def named(self, name: str) -> User:
        for user in self.users:
            if user.name == name:
                return user
        raise self.unauthorized()

    def scoped(self, user: User, scope: dict[str, Any]) -> str:
        project = scope["project"]
        for name in user.projects:
            known = project.get("name") == name and project["domain"] in (
                {"name": "Default"},
                {"id": "default"},
            )
            if known or project.get("id") == f"pid-{name}":
                return name
        raise self.unauthorized()

    @staticmethod
    def unauthorized() -> _RefusedError:
        return _RefusedError(
            "401 Unauthorized",
            "The request you have made requires authentication.",
        )

    def token_document(self, user: User, project: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "methods": ["password"],
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2096-01-01T00:00:00.000000Z",
            "user": {
                "id": user.id,
                "name": user.name,
                "domain": {"id": user.domain.lower(), "name": user.domain},
            },
        }
        if project:
            document["project"] = {
                "id": f"pid-{project}",
                "name": project,
                "domain": DEFAULT_DOMAIN,
            }
            document["roles"] = [{"id": "r1", "name": "member"}]
            document["catalog"] = self.catalog(project)
        return document

    def catalog(self, project: str) -> list[dict[str, Any]]:
        return [
            {
                "id": f"s-{kind}",
                "type": kind,
                "name": kind,
                "endpoints": [
                    {
                        "id": f"e-{region}-{interface}",
                        "region": region,
                        "region_id": region,
                        "interface": interface,
                        "url": self.endpoint(kind, region, interface, project),
                    }
                    for region in REGIONS
                    for interface in INTERFACES
                ],
            }
            for kind in self.services
        ]

    def endpoint(
        self, kind: str, region: str, interface: str, project: str
    ) -> str:
        if kind == "identity":
            return f"{self.url}/v3"
        default = (
            f"{self.storage_url}/{region}/{interface}/v1/AUTH_pid-{project}"
        )
        return self.endpoints.get((region, interface), default)


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


@contextmanager
def keystone_serving() -> Iterator[FakeKeystone]:
    """A Keystone on a free port of 127.0.0.1, until the end of the block."""
    keystone = FakeKeystone()
    server: WSGIServer = make_server(
        "127.0.0.1", 0, keystone, handler_class=_Silent
    )
    keystone.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.005,))
    thread.start()
    try:
        yield keystone
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
