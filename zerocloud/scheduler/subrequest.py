"""The only caller into Swift's pipeline: requests of a job, as its user.

Every request is a fresh sub-request of the job's: it carries the user's
identity and authorisation callback (so the pipeline right of us decides about
ACLs, quotas, versions and encryption as for any client), but none of the
client's headers: no token, no cookie, no Origin.

`container` and `denied` are what the pipeline offers for a decision without a
request to the object: the container's ACL and policy, read past
authorisation, and the callback's verdict about it.  Only authorize.py uses
them to allow anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from swift.common import constraints
from swift.common.registry import get_swift_info
from swift.common.utils import close_if_possible, friendly_close
from swift.common.wsgi import make_subrequest
from swift.proxy.controllers.base import get_container_info

from zerocloud.errors import ClusterError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.concurrency import Timeout

SOURCE = "ZC"
AGENT = "%(orig)s ZeroCloud"
ERROR_BYTES = 4096


@dataclass(frozen=True)
class ContainerInfo:
    """What the proxy knows of a container; `status` 404 when it is absent."""

    status: int
    policy_index: int
    read_acl: str | None
    write_acl: str | None

    @property
    def exists(self) -> bool:
        """Whether the container is there."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class ObjectLimits:
    """Swift's limits: bytes of an object, segments of a large one (or 0)."""

    object_bytes: int
    segments: int


class Reply:
    """The answer of a sub-request; close it, or read it to its end.

    `text` is the beginning of a PUT's answer.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], body: Any
    ) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        self.text = ""

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    def chunks(self) -> Iterator[bytes]:
        """The body; closes it at the end or when the reader stops.

        Raises ClusterError `input_failed` when Swift cannot go on.
        """
        try:
            yield from self._body
        except (Exception, Timeout) as error:
            # Whatever the pipeline raises within a body (its timeouts are no
            # Exceptions), the reader must hear of it as one thing.
            raise ClusterError(
                "input_failed",
                f"Swift stopped within an answer ({type(error).__name__})",
            ) from error
        finally:
            self.close()

    def read(self, limit: int) -> bytes:
        """At most `limit` + 1 bytes of the body, which is then closed."""
        parts, size = [], 0
        for chunk in self.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                break
        self.close()
        return b"".join(parts)[: limit + 1]

    def drain(self) -> None:
        """Read what is left of a short body, so that nothing is logged."""
        friendly_close(self._body)

    def close(self) -> None:
        """Give up the rest of the body."""
        close_if_possible(self._body)


class Pipeline:
    """The rest of the pipeline as one job's user sees it."""

    def __init__(self, app: Any, env: dict[str, Any], version: str) -> None:
        self._app = app
        self._env = env
        self._version = version
        # One memo of container and account facts for all sub-requests.
        env.setdefault("swift.infocache", {})

    def head(
        self, path: ObjectPath, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """HEAD an object."""
        reply = self._request("HEAD", path.quoted, headers)
        reply.drain()
        return reply

    def manifest(self, path: ObjectPath) -> Reply:
        """GET a large object's manifest; any other object as it is."""
        return self._request("GET", path.quoted + "?multipart-manifest=get")

    def get(
        self, path: ObjectPath, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """GET an object."""
        return self._request("GET", path.quoted, headers)

    def put(
        self, path: ObjectPath, body: Any, headers: Mapping[str, str]
    ) -> Reply:
        """PUT an object from `body.read(size)`; Content-Length is needed."""
        return self._write("PUT", path.quoted, headers, body)

    def put_manifest(
        self, path: ObjectPath, body: Any, headers: Mapping[str, str]
    ) -> Reply:
        """PUT a static large object from its manifest in JSON."""
        quoted = path.quoted + "?multipart-manifest=put"
        return self._write("PUT", quoted, headers, body)

    def delete(self, path: ObjectPath) -> Reply:
        """DELETE an object."""
        return self._write("DELETE", path.quoted)

    def create_container(
        self, account: str, container: str, headers: Mapping[str, str]
    ) -> Reply:
        """PUT a container."""
        return self._write("PUT", quote(f"/{account}/{container}"), headers)

    @property
    def object_limits(self) -> ObjectLimits:
        """How long objects may be, as /info tells it."""
        slo = get_swift_info().get("slo", {})
        return ObjectLimits(
            object_bytes=int(constraints.MAX_FILE_SIZE),
            segments=int(slo.get("max_manifest_segments", 0)),
        )

    def listing(
        self, account: str, container: str | None, **query: str | int
    ) -> tuple[Reply, list[dict[str, Any]]]:
        """One page of a listing; an empty one unless the reply is ok."""
        path = quote(f"/{account}")
        if container is not None:
            path += quote(f"/{container}")
        known = {k: v for k, v in query.items() if v not in ("", None)}
        reply = self._request(
            "GET", path + "?" + urlencode({"format": "json", **known})
        )
        if not reply.ok:
            reply.drain()
            return reply, []
        data = b"".join(reply.chunks())
        return reply, json.loads(data) if data else []

    def container(self, account: str, container: str) -> ContainerInfo:
        """The container's ACLs and policy, without asking for rights."""
        request = self._subrequest("HEAD", quote(f"/{account}/{container}"))
        info = get_container_info(
            request.environ, self._app, swift_source=SOURCE
        )
        return ContainerInfo(
            status=int(info["status"] or 404),
            policy_index=int(info["storage_policy"] or 0),
            read_acl=info["read_acl"],
            write_acl=info["write_acl"],
        )

    def denied(self, method: str, path: str, acl: str | None) -> int:
        """The status with which the user may not do it, or 0 when allowed.

        `path` is `/account[/container/object]`, unquoted.  Without a callback
        nobody has any right: Swift would allow, a job must not.
        """
        request = self._subrequest(method, quote(path))
        authorize = request.environ.get("swift.authorize")
        if authorize is None:
            return 403
        # A fresh environment each time: callbacks leave marks in it, like
        # tempauth's swift_owner, that must not carry over to another name.
        request.acl = acl
        verdict = authorize(request)
        return int(verdict.status_int) if verdict is not None else 0

    def _write(
        self,
        method: str,
        quoted: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        reply = self._request(method, quoted, headers, body)
        reply.text = reply.read(ERROR_BYTES).decode("utf-8", "replace")
        return reply

    def _subrequest(
        self,
        method: str,
        quoted: str,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        request = make_subrequest(
            self._env,
            method,
            f"/{self._version}{quoted}",
            headers=dict(headers or {}),
            agent=AGENT,
            swift_source=SOURCE,
        )
        # It is not a browser's request any more.
        request.environ.pop("HTTP_ORIGIN", None)
        return request

    def _request(
        self,
        method: str,
        quoted: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        request = self._subrequest(method, quoted, headers)
        if body is not None:
            request.environ["wsgi.input"] = body
        response = request.get_response(self._app)
        return Reply(
            int(response.status_int), response.headers, response.app_iter
        )
