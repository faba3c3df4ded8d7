"""Who may ask a storage node to run a task: the request's signature.

The proxy signs verb, path, policy index and the task headers with the
cluster's key; the node verifies before it reads a byte of the body.  The
document itself is bound by its SHA-256 among the headers, all later frames by
a key derived from the signature (zerocloud/protocol/frames.py).

Texts and logs name the key's id (8 hex digits of its SHA-256), never the key.
Two keys may be valid at a time, so that they can be changed node by node.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from zerocloud import headers
from zerocloud.errors import ProtocolError, TaskRefused

VERSION = "1"
# Those that a node knows; zerocloud.protocol.task says what each can say.
VERSIONS: tuple[str, ...] = (VERSION, "2")
MAX_AHEAD_SECONDS = 300
SKEW_SECONDS = 60
_SIGNATURE = re.compile(r"([0-9a-f]{8}) ([0-9a-f]{64})")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WHOLE = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class TaskId:
    """One node of a job, one try."""

    job: str
    node: str
    attempt: int

    def __str__(self) -> str:
        """The header's value: percent-encoded parts."""
        job, node = quote(self.job, safe=""), quote(self.node, safe="")
        return f"{job}/{node}/{self.attempt}"


def parse_task_id(text: str) -> TaskId:
    """Read X-Zerocloud-Task; raises ProtocolError."""
    parts = text.split("/")
    if len(parts) != 3 or not _WHOLE.fullmatch(parts[2]):
        raise ProtocolError(f"{headers.TASK_ID} is {text!r:.200}")
    return TaskId(unquote(parts[0]), unquote(parts[1]), int(parts[2]))


@dataclass(frozen=True)
class TaskRequest:
    """What a signature covers.

    `path` is a WSGI string (UTF-8 bytes read as latin-1), unquoted, from the
    disk on, as PATH_INFO has it; `expires` is in Unix seconds; `digest` is
    the hex SHA-256 of the task document; `pin` is the object's
    X-Backend-Data-Timestamp, empty without an object.
    """

    path: str
    policy_index: int
    task: TaskId
    digest: str
    expires: int
    pin: str = ""
    version: str = VERSION

    def headers(self, signature: str) -> dict[str, str]:
        """The headers to send, without Transfer-Encoding."""
        table = {
            headers.TASK_VERSION: self.version,
            headers.TASK_ID: str(self.task),
            headers.TASK_DIGEST: self.digest,
            headers.TASK_EXPIRES: str(self.expires),
            headers.TASK_SIGNATURE: signature,
            headers.POLICY_INDEX: str(self.policy_index),
        }
        if self.pin:
            table[headers.TASK_PIN] = self.pin
        return table

    def signed_bytes(self) -> bytes:
        """What the HMAC is computed over.

        Only the path can hold a newline, so the joined text can be taken
        apart in one way only.
        """
        parts = (
            headers.TASK_VERB,
            self.path,
            str(self.policy_index),
            self.version,
            str(self.task),
            self.digest,
            str(self.expires),
            self.pin,
        )
        if any("\n" in part for part in (*parts[:1], *parts[2:])):
            raise ProtocolError("a task header holds a newline")
        return "\n".join(parts).encode("latin-1")


def key_id(key: bytes) -> str:
    """The name of a key that may stand in headers and logs."""
    return hashlib.sha256(key).hexdigest()[:8]


def sign(key: bytes, request: TaskRequest) -> str:
    """The value of X-Zerocloud-Signature."""
    mac = hmac.digest(key, request.signed_bytes(), "sha256").hex()
    return f"{key_id(key)} {mac}"


def verify(
    keys: Sequence[bytes], request: TaskRequest, signature: str, now: float
) -> bytes:
    """The key that signed the request, or TaskRefused with status 403.

    `now` is in Unix seconds.  The signature is checked before the expiry, so
    that only a holder of the key learns about clocks.
    """
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        raise refused("bad_signature", "the signature is missing or malformed")
    key = next((k for k in keys if k and key_id(k) == match[1]), None)
    if key is None:
        raise refused(
            "unknown_key",
            f"key {match[1]} is not known here; known are "
            + ", ".join(key_id(k) for k in keys if k),
            may_retry=True,
        )
    mac = hmac.digest(key, request.signed_bytes(), "sha256").hex()
    if not hmac.compare_digest(mac, match[2]):
        raise refused("bad_signature", f"the signature by {match[1]} is wrong")
    _check_expiry(request.expires, now)
    return key


def _check_expiry(expires: int, now: float) -> None:
    if now > expires + SKEW_SECONDS:
        raise refused(
            "expired",
            f"the request expired {now - expires:.0f} seconds ago",
            may_retry=True,
        )
    if expires > now + MAX_AHEAD_SECONDS + SKEW_SECONDS:
        raise refused(
            "expired",
            f"the expiry is {expires - now:.0f} seconds ahead; allowed are "
            f"{MAX_AHEAD_SECONDS}",
        )


def refused(
    code: str, message: str, *, may_retry: bool = False
) -> TaskRefused:
    """A 403: said to whoever asked, and logged."""
    return TaskRefused(code, message, status=403, may_retry=may_retry)


def parse_request(
    path: str, policy_index: str, table: dict[str, str]
) -> TaskRequest:
    """The signed parts of a received request; raises ProtocolError.

    `table` has the task headers by their names in zerocloud.headers; missing
    ones may be left out.
    """
    digest = table.get(headers.TASK_DIGEST, "")
    expires = table.get(headers.TASK_EXPIRES, "")
    if not _DIGEST.fullmatch(digest):
        raise ProtocolError(f"{headers.TASK_DIGEST} is {digest!r:.80}")
    if not _WHOLE.fullmatch(expires):
        raise ProtocolError(f"{headers.TASK_EXPIRES} is {expires!r:.80}")
    if not _WHOLE.fullmatch(policy_index):
        raise ProtocolError(f"{headers.POLICY_INDEX} is {policy_index!r:.80}")
    return TaskRequest(
        path=path,
        policy_index=int(policy_index),
        task=parse_task_id(table.get(headers.TASK_ID, "")),
        digest=digest,
        expires=int(expires),
        pin=table.get(headers.TASK_PIN, ""),
        version=table.get(headers.TASK_VERSION, VERSION),
    )
