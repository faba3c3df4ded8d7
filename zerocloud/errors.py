"""Every error class, and the one table of user-facing codes.

Three kinds that never mix:

* a *guest outcome* (exit code, trap, limit) is data in a report, never an
  exception;
* `JobError` (4xx): the user can mend it; says what, where and what is allowed;
* `ClusterError` (5xx): ours; says whether trying again can help.

Every code that reaches a user stands in `CODES` with its HTTP status, and in
docs/error-codes.md (a test holds the two together).  Codes are stable; texts
are not.  No text may hold a host path, an address or a traceback.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Code:
    """What a user-facing code means on the wire."""

    status: int
    may_retry: bool
    meaning: str


# Job errors: the request or the job is at fault.
_JOB_CODES = {
    "auth_required": Code(401, False, "no token, or it is not valid"),
    "forbidden": Code(403, False, "the caller has not this right"),
    "not_found": Code(404, False, "a named thing does not exist"),
    "object_changed": Code(409, True, "an input changed after planning"),
    "object_broken": Code(409, False, "an input cannot be read as stored"),
    "bad_request": Code(400, False, "the HTTP request is malformed"),
    "bad_path": Code(412, False, "the URL does not fit the mode"),
    "bad_mode": Code(412, False, "X-Zerovm-Execute has an unknown value"),
    "bad_source": Code(412, False, "X-Zerovm-Source is malformed"),
    "method_not_supported": Code(501, False, "not offered in this mode"),
    "not_implemented": Code(501, False, "known, but not offered yet"),
    "job_not_json": Code(422, False, "the job is not JSON"),
    "etag_mismatch": Code(422, False, "the body is not what ETag says"),
    "job_too_large": Code(413, False, "the job document is too large"),
    "upload_timeout": Code(408, True, "the request body came too slowly"),
    "client_disconnect": Code(499, False, "the client went away"),
    "job_schema": Code(400, False, "a key, type or value is not allowed"),
    "job_rule": Code(400, False, "the parts of the job do not fit"),
    "job_limit": Code(400, False, "a number is beyond the operator's cap"),
    "no_match": Code(400, False, "a wildcard matches nothing"),
    "too_many_nodes": Code(400, False, "the job has too many nodes"),
    "bad_script": Code(400, False, "the script or its first line is bad"),
    "unknown_image": Code(400, False, "no such system image here"),
    "program_not_found": Code(404, False, "no such member in the images"),
    "program_invalid": Code(422, False, "not a program we can run"),
    "image_invalid": Code(422, False, "the image is not a usable tar"),
    "input_too_large": Code(413, False, "an input is beyond the limit"),
    "output_refused": Code(422, False, "an output was refused by Swift"),
}

# Cluster errors: ours; the text says whether to try again.
_CLUSTER_CODES = {
    "internal": Code(500, True, "a fault of the service"),
    "misconfigured": Code(500, False, "the operator's settings are wrong"),
    "no_node": Code(503, True, "no storage node could take the task"),
    "busy": Code(503, True, "all slots and the queue are full"),
    "output_failed": Code(503, True, "an output could not be stored"),
    "input_failed": Code(503, True, "an input could not be read"),
    "node_lost": Code(503, True, "storage nodes were lost too often"),
    "disk_full": Code(507, True, "a storage node has no room"),
}

CODES: dict[str, Code] = {**_JOB_CODES, **_CLUSTER_CODES}

# Control characters, those that turn the direction of text, ends of lines and
# paragraphs, halves of surrogates.
_CONTROLS = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs"))


def one_line(text: str) -> str:
    r"""The text with control characters escaped, as `\n` and `\x1b`.

    Texts quote names, and Swift allows names that end lines or colour a
    terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in _CONTROLS else c
        for c in text
    )


class ZeroCloudError(Exception):
    """An error with a stable code; base of all that a user may see."""

    def __init__(self, code: str, message: str, *, where: str = "") -> None:
        if code not in CODES:
            raise KeyError(f"error code {code!r} is not in the table")
        self.code = code
        self.message = one_line(message)
        self.where = where
        super().__init__(self.message)

    @property
    def status(self) -> int:
        """The HTTP status of this error."""
        return CODES[self.code].status

    @property
    def may_retry(self) -> bool:
        """Whether the same request may succeed later."""
        return CODES[self.code].may_retry

    def as_dict(self) -> dict[str, Any]:
        """The error as it stands in JSON answers."""
        document: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "may_retry": self.may_retry,
        }
        if self.where:
            document["where"] = self.where
        return document


class JobError(ZeroCloudError):
    """The user can mend it.  `where`: a JSON pointer, or a node's name."""


class ClusterError(ZeroCloudError):
    """Our failure; `may_retry` says whether the user should try again."""


class ConfigError(Exception):
    """A conf option is missing or bad: the server must not start."""


class ProtocolError(Exception):
    """Bytes from another process are not what docs/protocol.md says."""


class TaskRefused(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A storage node refused a task, before or after accepting it.

    `code` is one of docs/protocol.md section 4 (`busy`, `not_local`,
    `object_changed`, …); `status` its HTTP status on the wire.
    """

    def __init__(
        self, code: str, message: str, *, status: int, may_retry: bool
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.may_retry = may_retry

    def as_dict(self) -> dict[str, Any]:
        """The refusal as the executor writes it."""
        return {
            "code": self.code,
            "message": self.message,
            "may_retry": self.may_retry,
        }
