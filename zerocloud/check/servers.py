"""The other servers: reached, with our filter, the same key and time.

Each object server gets one EXECUTE that is rightly signed and long expired.
What it answers tells everything and runs nothing:

    403 expired         it has the filter, our version and our key
    403 unknown_key     it has another key
    412                 it speaks another version of the protocol
    405                 it has no filter

The key itself never travels; its id (docs/protocol.md) does, as with every
task.  Every answer has the server's clock in its Date header.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from zerocloud import headers
from zerocloud.check.finding import Finding, fail, note, ok
from zerocloud.check.rings import ObjectServer
from zerocloud.protocol.signing import SKEW_SECONDS, TaskId, TaskRequest, sign

# In 1970: expired by any clock.
EXPIRES = 0
# A task fails beyond SKEW_SECONDS; versions of objects suffer before.
NOTE_SECONDS = 2.0
FAIL_SECONDS = SKEW_SECONDS / 2
MAX_ANSWER_BYTES = 1 << 20
AT_ONCE = 16


@dataclass(frozen=True)
class Answer:
    """What a server said, and how far its clock is ahead of ours."""

    status: int
    body: bytes
    ahead_seconds: float | None

    def json(self) -> dict[str, Any]:
        """The body, when it is a JSON object; else nothing."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def ask(  # noqa: PLR0913, PLR0917 - one request's parts
    host: str,
    port: int,
    method: str,
    path: str,
    sent: dict[str, str],
    timeout_seconds: float,
    *,
    tls: bool = False,
) -> Answer:
    """One request; without an answer OSError or HTTPException."""
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout_seconds)
    try:
        before = time.time()
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        ours = (before + time.time()) / 2
        body = response.read(MAX_ANSWER_BYTES)
        return Answer(
            response.status, body, _ahead(response.headers["Date"], ours)
        )
    finally:
        connection.close()


def _ahead(date: str | None, ours: float) -> float | None:
    if date is None:
        return None
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    # The header has whole seconds, cut off: its middle is the best guess.
    return theirs + 0.5 - ours


def check_servers(
    servers: tuple[ObjectServer, ...], key: bytes, timeout_seconds: float
) -> Iterator[Finding]:
    """Every object server, several at once; in the order of the rings."""

    def one(server: ObjectServer) -> list[Finding]:
        return list(_check(server, key, timeout_seconds))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for findings in pool.map(one, servers):
            yield from findings


def _check(
    server: ObjectServer, key: bytes, timeout_seconds: float
) -> Iterator[Finding]:
    subject = f"object server {server.address}"
    path, sent = probe(server.device, key)
    try:
        answer = ask(
            server.ip,
            server.port,
            headers.TASK_VERB,
            path,
            sent,
            timeout_seconds,
        )
    except (OSError, http.client.HTTPException) as error:
        yield fail(
            "servers",
            subject,
            f"does not answer: {_reason(error)}",
            "start it, or mend the way there (address, port, firewall); if "
            "it is gone for good, take it out of the ring",
        )
        return
    yield _judged(subject, answer)
    yield from check_clock(subject, answer)


def probe(device: str, key: bytes) -> tuple[str, dict[str, str]]:
    """Path and headers of a signed request that expired long ago."""
    request = TaskRequest(
        path=f"/{device}/0",
        policy_index=0,
        task=TaskId(headers.PROBE_JOB, "probe", 1),
        digest=sha256(b"").hexdigest(),
        expires=EXPIRES,
    )
    return request.path, request.headers(sign(key, request))


def _judged(subject: str, answer: Answer) -> Finding:
    error = answer.json().get("error")
    error = error if isinstance(error, dict) else {}
    code, said = error.get("code"), str(error.get("message", ""))[:300]
    if answer.status == 403 and code == "expired":
        return ok("servers", subject, "has the filter and the same key")
    if answer.status == 403 and code == "unknown_key":
        return fail(
            "servers",
            subject,
            f"has another key: {said}",
            "give every proxy and storage server the same cluster_key "
            "(docs/operations.md, keys)",
        )
    if answer.status == 412:
        return fail(
            "servers",
            subject,
            f"speaks another version: {said}",
            "upgrade the older of the two; jobs use other servers meanwhile",
        )
    if answer.status == 405:
        return fail(
            "servers",
            subject,
            "has no executor filter in its pipeline",
            "add it there (docs/operations.md), and restart the server",
        )
    return fail(
        "servers",
        subject,
        f"answers {answer.status} {said}".rstrip(),
        "look at its log",
    )


def check_clock(subject: str, answer: Answer) -> Iterator[Finding]:
    """The server's clock against ours."""
    ahead = answer.ahead_seconds
    if ahead is None:
        yield note("clock", subject, "says no time")
        return
    said = f"is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} us"
    mend = "let both keep time by NTP (chronyc tracking, timedatectl)"
    if abs(ahead) >= FAIL_SECONDS:
        yield fail(
            "clock",
            subject,
            f"{said}; tasks are refused from {SKEW_SECONDS} s on",
            mend,
        )
    elif abs(ahead) >= NOTE_SECONDS:
        yield note("clock", subject, said, mend)
    else:
        yield ok("clock", subject, "has our time")


def ask_proxy(
    url: str,
    timeout_seconds: float,
    found: Callable[[dict[str, Any]], None],
) -> Iterator[Finding]:
    """A proxy's /info; `found` gets ZeroCloud's part of it."""
    subject = f"proxy {url}"
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    try:
        answer = ask(
            parts.hostname or "",
            parts.port or (443 if tls else 80),
            "GET",
            "/info",
            {},
            timeout_seconds,
            tls=tls,
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield fail(
            "servers",
            subject,
            f"does not answer: {_reason(error)}",
            "start it, or name another by --proxy-url",
        )
        return
    part = answer.json().get("zerocloud")
    if not isinstance(part, dict):
        yield fail(
            "servers",
            subject,
            f"does not offer jobs: its /info ({answer.status}) names no "
            "zerocloud",
            "add the filter to its pipeline (docs/operations.md), and let "
            "expose_info be true",
        )
    else:
        yield ok("servers", subject, f"offers jobs, {part.get('version')}")
        found(part)
    yield from check_clock(subject, answer)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__
