"""What can go wrong between a caller and a ZeroCloud endpoint.

    ClientError
      UsageError           the call itself makes no sense (nothing was sent)
      LoginError           no credentials, or they were refused
      ConnectError         no connection, or it broke before the answer
      FilterMissingError   a Swift without ZeroCloud answers there
      RefusedError         4xx (and 501): the request or the job is at fault
      ClusterFailedError   5xx: the cluster's failure
      AnswerError          an answer that docs/http-api.md does not allow
      JobFailedError       raised by JobResult.raise_for_failure alone

A job that ran and failed is no error by itself: its result says so
(`JobResult.succeeded`), and turns it into one where that is wanted.  Every
text is one line that names what is wrong and what is allowed; none holds a
token or a key.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

MAX_ERROR_TEXT = 2000
NOT_OFFERED = 501


class ClientError(Exception):
    """Base of all errors of the SDK; the text is for people."""

    may_retry = False


class UsageError(ClientError):
    """The caller asks for something that cannot be sent."""


class LoginError(ClientError):
    """No usable credentials, or the auth service refused them."""


class ConnectError(ClientError):
    """No connection to the endpoint, or it broke before the answer."""

    may_retry = True


class FilterMissingError(ClientError):
    """Swift answers there, but ZeroCloud is not in its pipeline."""


class AnswerError(ClientError):
    """The endpoint answered with something docs/http-api.md excludes."""


class JobFailedError(ClientError):
    """The job ran, and at least one node failed; nothing was stored."""


@dataclass(frozen=True)
class Refusal:
    """What an error answer says; all but the status may be missing."""

    status: int
    code: str
    message: str
    where: str = ""
    may_retry: bool = False
    transaction: str = ""

    def __str__(self) -> str:
        place = f" (at {self.where})" if self.where else ""
        code = f" {self.code}" if self.code else ""
        ours = self.status >= 500 and self.status != NOT_OFFERED
        # What an operator finds the request by in the logs.
        logged = f", {self.transaction}" if ours and self.transaction else ""
        again = "; trying again may help" if self.may_retry else ""
        return f"{self.message}{place} [{self.status}{code}{logged}]{again}"


class _AnsweredError(ClientError):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.may_retry = refusal.may_retry

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.refusal.status

    @property
    def code(self) -> str:
        """The stable code (docs/error-codes.md), or empty: Swift's own."""
        return self.refusal.code


class RefusedError(_AnsweredError):
    """The request or the job is at fault (4xx), or not offered (501)."""


class ClusterFailedError(_AnsweredError):
    """The cluster failed (5xx); `may_retry` says whether to try again."""


def error_from_answer(
    status: int, body: bytes, transaction: str = "", subject: str = ""
) -> RefusedError | ClusterFailedError:
    """Make the error that an answer with a status from 400 up stands for.

    `subject` is put before a text of Swift's, which does not name any.
    """
    refusal = _parse_refusal(status, body, transaction)
    if subject:
        message = f"{subject}: {refusal.message}"
        refusal = replace(refusal, message=message)
    if status < 500 or status == NOT_OFFERED:
        return RefusedError(refusal)
    return ClusterFailedError(refusal)


def _parse_refusal(status: int, body: bytes, transaction: str) -> Refusal:
    document = _error_document(body)
    if document is not None:
        return Refusal(
            status=status,
            code=str(document.get("code", "")),
            message=_one_line(str(document.get("message", ""))),
            where=str(document.get("where", "")),
            may_retry=document.get("may_retry") is True,
            transaction=transaction,
        )
    text = body[:MAX_ERROR_TEXT].decode("utf-8", "replace")
    # Swift's own errors are small HTML pages: headline and a sentence.
    headline = re.sub(r"</h1>", ": ", text, flags=re.IGNORECASE)
    plain = _one_line(re.sub(r"<[^>]*>", "", headline))
    return Refusal(
        status=status,
        code="",
        message=plain or "the endpoint gave no reason",
        may_retry=status in {408, 429, 503},
        transaction=transaction,
    )


def _error_document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:  # plain text or HTML: read as such by the caller
        return None
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    return error if isinstance(error, dict) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
