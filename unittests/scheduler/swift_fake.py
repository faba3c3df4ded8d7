"""A small Swift with rules: containers, objects, ACLs, listings.

`FakeSwift` is the store; `FakePipeline` its face to one user, with the methods
of zerocloud.scheduler.subrequest.Pipeline.  ACLs are sets of user names; the
account's owner may do everything there; `None` is nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.concurrency import Timeout
from zerocloud.scheduler.subrequest import ContainerInfo, ObjectLimits, Reply

ACCOUNT = "AUTH_a"
OWNER = "alice"


def iso(timestamp: str) -> str:
    """A timestamp as listings show it."""
    moment = datetime.fromtimestamp(int(timestamp[:10]), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp[11:]}0"


@dataclass(frozen=True)
class FakeObject:
    """One version of an object; `listed` is what its listing's row says."""

    data: bytes
    timestamp: str = "1700000000.00000"
    headers: Mapping[str, str] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = "application/octet-stream"

    @property
    def etag(self) -> str:
        return hashlib.md5(self.data).hexdigest()


@dataclass
class FakeContainer:
    """Objects by name, and who may read and write."""

    objects: dict[str, FakeObject] = field(default_factory=dict)
    readers: str | None = None
    writers: str | None = None
    policy_index: int = 0


class FakeSwift:
    """All accounts."""

    def __init__(self) -> None:
        self.containers: dict[tuple[str, str], FakeContainer] = {}
        self.log: list[str] = []
        self.refuse_put: dict[str, int] = {}
        self.break_reads = 0
        self.damage: dict[str, int] = {}
        self.limits = ObjectLimits(5 * 2**30, 1000)
        self.may_create = True

    def container(
        self, name: str, account: str = ACCOUNT, **options: Any
    ) -> FakeContainer:
        made = FakeContainer(**options)
        self.containers[account, name] = made
        return made

    def put(
        self,
        path: str,
        data: bytes,
        account: str = ACCOUNT,
        **options: Any,
    ) -> ObjectPath:
        container, _, name = path.partition("/")
        if (account, container) not in self.containers:
            self.container(container, account)
        made = FakeObject(data, **options)
        self.containers[account, container].objects[name] = made
        return ObjectPath(account, container, name)

    def find(self, path: ObjectPath) -> FakeObject | None:
        container = self.containers.get((path.account, path.container))
        return container.objects.get(path.object) if container else None

    def touch(self, path: ObjectPath, **changes: Any) -> None:
        """Overwrite an object."""
        container = self.containers[path.account, path.container]
        old = container.objects[path.object]
        container.objects[path.object] = replace(old, **changes)

    def stored(self) -> dict[str, bytes]:
        """Everything in AUTH_a's container `out`."""
        found = self.containers.get((ACCOUNT, "out"), FakeContainer())
        return {name: o.data for name, o in found.objects.items()}


class FakePipeline:
    """One user's requests."""

    def __init__(
        self, swift: FakeSwift, user: str = OWNER, owns: str = ACCOUNT
    ) -> None:
        self._swift = swift
        self._user = user
        self._owns = owns

    def denied(self, method: str, path: str, acl: str | None) -> int:
        account = path.split("/")[1]
        self._swift.log.append(f"may {method} {path}")
        if account == self._owns:
            return 0
        return 0 if acl is not None and self._user in acl.split(",") else 403

    def container(self, account: str, container: str) -> ContainerInfo:
        self._swift.log.append(f"info {account}/{container}")
        found = self._swift.containers.get((account, container))
        if found is None:
            return ContainerInfo(404, 0, None, None)
        return ContainerInfo(
            204, found.policy_index, found.readers, found.writers
        )

    def head(
        self, path: ObjectPath, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return self._object("HEAD", path, headers)

    def manifest(self, path: ObjectPath) -> Reply:
        return self._object("GET", path, None)

    def get(
        self, path: ObjectPath, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return self._object("GET", path, headers)

    def _object(
        self, method: str, path: ObjectPath, headers: Mapping[str, str] | None
    ) -> Reply:
        newest = " newest" if (headers or {}).get("X-Newest") else ""
        self._swift.log.append(f"{method} {path}{newest}")
        info = self.container(path.account, path.container)
        if self.denied(method, path.quoted, info.read_acl):
            return Reply(403, {}, iter(()))
        found = self._swift.find(path)
        if found is None:
            return Reply(404, {}, iter(()))
        table = {
            "Content-Length": str(len(found.data)),
            "Content-Type": found.content_type,
            "Etag": found.etag,
            "X-Backend-Data-Timestamp": found.timestamp,
            **found.headers,
        }
        if (headers or {}).get("If-None-Match") == found.etag:
            return Reply(304, table, iter(()))
        if method == "HEAD":
            return Reply(200, table, iter(()))
        in_bin = path.container == "bin"
        if self._swift.break_reads > 0 and not in_bin:
            self._swift.break_reads -= 1
            return Reply(200, table, _broken(found.data))
        if self._swift.damage.get(path.object, 0) > 0:
            self._swift.damage[path.object] -= 1
            return Reply(200, table, _pieces(found.data[:-1] + b"?"))
        return Reply(200, table, _pieces(found.data))

    def put(
        self, path: ObjectPath, body: Any, headers: Mapping[str, str]
    ) -> Reply:
        self._swift.log.append(f"PUT {path}")
        container = self._swift.containers.get((path.account, path.container))
        status = self._swift.refuse_put.get(path.object, 0)
        if container is None:
            status = 404
        if status or container is None:
            reply = Reply(status, {}, iter(()))
            reply.text = "<html><h1>No</h1><p>Upload exceeds quota.</p></html>"
            return reply
        data = self._received(body)
        if len(data) > self._swift.limits.object_bytes:
            return Reply(413, {}, iter(()))
        if len(data) != int(headers["Content-Length"]):
            return Reply(499, {}, iter(()))
        etag = hashlib.md5(data).hexdigest()
        if headers.get("ETag", etag) != etag:
            return Reply(422, {}, iter(()))
        container.objects[path.object] = FakeObject(
            data, headers=dict(headers), content_type=headers["Content-Type"]
        )
        return Reply(201, {"Etag": etag}, iter(()))

    def _received(self, body: Any) -> bytes:
        parts = []
        while part := body.read(7):
            parts.append(part)
        return b"".join(parts)

    @property
    def object_limits(self) -> ObjectLimits:
        return self._swift.limits

    def create_container(
        self, account: str, container: str, headers: Mapping[str, str]
    ) -> Reply:
        policy = headers["X-Storage-Policy"]
        self._swift.log.append(f"CREATE {container} {policy}")
        if not self._swift.may_create:
            return Reply(403, {}, iter(()))
        self._swift.container(container, account)
        return Reply(201, {}, iter(()))

    def put_manifest(
        self, path: ObjectPath, body: Any, headers: Mapping[str, str]
    ) -> Reply:
        self._swift.log.append(f"MANIFEST {path}")
        status = self._swift.refuse_put.get("manifest", 0)
        if status:
            return Reply(status, {}, iter(()))
        data = self._received(body)
        assert len(data) == int(headers["Content-Length"])
        whole, etags = b"", ""
        for entry in json.loads(data):
            _, container, name = entry["path"].split("/", 2)
            found = self._swift.find(ObjectPath(path.account, container, name))
            assert found is not None
            assert found.etag == entry["etag"]
            assert len(found.data) == entry["size_bytes"]
            whole, etags = whole + found.data, etags + found.etag
        assert headers["ETag"] == hashlib.md5(etags.encode()).hexdigest()
        box = self._swift.containers[path.account, path.container]
        box.objects[path.object] = FakeObject(
            whole, headers=dict(headers), content_type=headers["Content-Type"]
        )
        return Reply(201, {"Etag": f'"{headers["ETag"]}"'}, iter(()))

    def delete(self, path: ObjectPath) -> Reply:
        self._swift.log.append(f"DELETE {path}")
        box = self._swift.containers[path.account, path.container]
        gone = box.objects.pop(path.object, None)
        return Reply(404 if gone is None else 204, {}, iter(()))

    def listing(
        self, account: str, container: str | None, **query: Any
    ) -> tuple[Reply, list[dict[str, Any]]]:
        self._swift.log.append(f"LIST {account}/{container or ''}")
        if container is None:
            return self._account_listing(account, query)
        found = self._swift.containers.get((account, container))
        acl = found.readers if found else None
        if self.denied("GET", f"/{account}/{container}", acl):
            return Reply(403, {}, iter(())), []
        if found is None:
            return Reply(404, {}, iter(())), []
        rows = [
            {
                "name": name,
                "bytes": len(o.data),
                "hash": o.etag,
                "last_modified": iso(o.timestamp),
                **o.entry,
            }
            for name, o in sorted(found.objects.items())
        ]
        return Reply(200, {}, iter(())), _page(rows, query)

    def _account_listing(
        self, account: str, query: Mapping[str, Any]
    ) -> tuple[Reply, list[dict[str, Any]]]:
        if account != self._owns:
            return Reply(403, {}, iter(())), []
        rows = [
            {"name": name}
            for owner, name in sorted(self._swift.containers)
            if owner == account
        ]
        return Reply(200, {}, iter(())), _page(rows, query)


def _page(
    rows: list[dict[str, Any]], query: Mapping[str, Any]
) -> list[dict[str, Any]]:
    wanted = [
        row
        for row in rows
        if row["name"].startswith(query["prefix"])
        and row["name"] > query.get("marker", "")
    ]
    if query.get("reverse"):
        wanted.reverse()
    return wanted[: query["limit"]]


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


def _broken(data: bytes) -> Iterator[bytes]:
    """The beginning, and then one of Swift's timeouts."""
    yield data[:2]
    raise Timeout(None)
