"""May this user run this job: asked before anything runs, in four steps.

1. *Who*: a named user with Swift's own authorisation callback.  Overriding
   callbacks (tempurl, formpost, signed S3 requests, container sync) allow
   everything in an account or container for one purpose; they never start
   jobs.
2. *The job*: POST on the account.
3. *Every name*: GET or PUT on the object, against its container's ACL, with
   the caller's own rights, whatever will read or write it later.
4. *Outputs' containers exist*, only asked of those who may write there.

A refusal comes before existence is revealed: who may not read a container
gets the same 403 for an object that is there and one that is not.

ACLs are per container, so a verdict is kept per container and method for the
length of one job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from zerocloud.errors import JobError
from zerocloud.job.paths import SCHEME, ObjectPath
from zerocloud.scheduler.subrequest import ContainerInfo

_INTERNAL_USERS = ".wsgi."


class Gatekeeper(Protocol):
    """What of the pipeline is needed here."""

    def container(self, account: str, container: str) -> ContainerInfo:
        """Facts about a container, past authorisation."""

    def denied(self, method: str, path: str, acl: str | None) -> int:
        """0, or the status of the refusal."""


def check_identity(env: Mapping[str, Any]) -> None:
    """JobError unless a named user asks, with rights of their own."""
    if env.get("swift.authorize") is None:
        raise JobError(
            "forbidden",
            "this service has no authorization; jobs are not allowed",
        )
    user = str(env.get("REMOTE_USER") or "")
    if env.get("swift.authorize_override") or user.startswith(_INTERNAL_USERS):
        raise JobError(
            "forbidden",
            "a job needs a user's own token; temporary URLs, forms and other "
            "signed requests cannot start one",
        )
    if not user and not env.get("keystone.identity"):
        raise JobError("auth_required", "a job needs a token")


class Rights:
    """What one job's user may do; one memo per job."""

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self._gatekeeper = gatekeeper
        self._containers: dict[tuple[str, str], ContainerInfo] = {}
        self._verdicts: dict[tuple[str, str, str], int] = {}

    def container(self, account: str, container: str) -> ContainerInfo:
        """The container's facts; asked once per job."""
        key = account, container
        if key not in self._containers:
            self._containers[key] = self._gatekeeper.container(*key)
        return self._containers[key]

    def check_job(self, account: str) -> None:
        """May the user run jobs in this account?"""
        status = self._gatekeeper.denied("POST", f"/{account}", None)
        if status:
            raise refusal(status, f"running jobs in account {account}")

    def check_reads(self, paths: Iterable[ObjectPath]) -> None:
        """May the user read each of them?"""
        for path in paths:
            status = self._verdict("GET", path)
            if status:
                raise refusal(status, f"reading {path}")

    def check_writes(self, paths: Iterable[ObjectPath]) -> None:
        """May the user write each of them, and are the containers there?"""
        wanted = list(paths)
        for path in wanted:
            status = self._verdict("PUT", path)
            if status:
                raise refusal(status, f"writing {path}")
        for path in wanted:
            if not self.container(path.account, path.container).exists:
                raise JobError(
                    "not_found",
                    f"container {SCHEME}{path.account}/{path.container} does "
                    f"not exist; it is to hold output {path}",
                )

    def _verdict(self, method: str, path: ObjectPath) -> int:
        key = method, path.account, path.container
        if key not in self._verdicts:
            info = self.container(path.account, path.container)
            acl = info.read_acl if method == "GET" else info.write_acl
            name = f"/{path.account}/{path.container}/{path.object}"
            self._verdicts[key] = self._gatekeeper.denied(method, name, acl)
        return self._verdicts[key]


def refusal(status: int, doing: str) -> JobError:
    """The error for a 401 or 403 that Swift gave."""
    if status == 401:
        return JobError("auth_required", f"{doing} needs a valid token")
    return JobError("forbidden", f"{doing} is not allowed for this user")
