"""Requests that must be refused: what the client gets, and that nothing ran.

`refuse` POSTs a job and gives its error; whatever the error is, it checks that
no task was run on any storage node, that the account's container holds what it
held, and that the text tells nothing of the hosts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from functests.support import Account
from zerocloud import headers as names
from zerocloud.cluster import Cluster
from zerocloud.errors import CODES

# A host's folders, an address with a port, a trace of Python.
_HOST = re.compile(
    r"/(?:tmp|root|home|work|var|usr|proc|dev/shm)/|127\.0\.0\.\d|Traceback|"
    r"\.py[:\"]|0x[0-9a-f]{6}"
)

# How long a refusal may take, on a machine that does other things as well.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Refusal:
    """The error of a job's answer."""

    status: int
    code: str
    message: str
    where: str
    may_retry: bool


def refuse(
    account: Account,
    job: Any,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Refusal:
    """POST what must be refused before anything runs; its error."""
    ran = tasks_run(account.cluster)
    before = account.listing()
    error = error_of(account, job, headers, **more)
    assert account.listing() == before, "something was published"
    assert tasks_run(account.cluster) == ran, "a task was run"
    return error


def error_of(
    account: Account,
    job: Any,
    headers: Mapping[str, str] | None = None,
    within_seconds: float = ANSWER_SECONDS,
    **more: Any,
) -> Refusal:
    """POST a job that has no answer but an error, and has it in time."""
    asked = {"Accept": names.JSON_TYPE, **(headers or {})}
    began = time.monotonic()
    answer = account.post_job(job, asked, **more)
    took = time.monotonic() - began
    assert took < within_seconds, f"answered after {took:.1f} s"
    assert answer.status_code >= 400, answer.text
    assert names.JOB_STATUS not in answer.headers
    assert answer.headers["Content-Type"] == names.JSON_TYPE
    error = answer.json()["error"]
    refusal = Refusal(
        status=answer.status_code,
        code=error["code"],
        message=error["message"],
        where=error.get("where", ""),
        may_retry=error["may_retry"],
    )
    assert set(error) <= {"code", "message", "where", "may_retry"}
    assert refusal.status == CODES[refusal.code].status
    assert refusal.may_retry == CODES[refusal.code].may_retry
    assert not _HOST.search(refusal.message), refusal.message
    return refusal


def tasks_run(cluster: Cluster) -> int:
    """How many tasks the storage nodes have logged; each logs its end."""
    return sum(
        log.read_bytes().count(b" INFO: task ")
        for log in cluster.folder.log.glob("*.log")
    )
