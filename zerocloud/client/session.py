"""The client: one account on one endpoint, and the jobs submitted to it.

Asks `/info` before the first job: on a Swift without ZeroCloud a job's POST
would be a plain account POST, which answers 204 and does nothing.  A job goes
as one request; the answer asked for is always the report, which holds the
immediate outputs as well.  Nothing is retried.  Payloads are streamed from a
file, never read whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from zerocloud import __version__, headers
from zerocloud.client.errors import (
    AnswerError,
    FilterMissingError,
    LoginError,
    UsageError,
    error_from_answer,
)
from zerocloud.client.login import Login, log_in, read_env_file
from zerocloud.client.result import JobResult, parse_result
from zerocloud.client.transport import Body, Transport
from zerocloud.job.paths import SCHEME, ObjectPath

SCRIPT_START = b"#!"
SCRIPT_TYPE = "text/x-script"
BLANK = b"\xef\xbb\xbf \t\r\n"  # JSON may begin with a byte order mark
GZIP_START = b"\x1f\x8b"
TAR_MAGIC = slice(257, 262)
PAYLOAD_TYPE = "application/octet-stream"
INFO_KEY = "zerocloud"

Job = bytes | str | Sequence[Any] | Mapping[str, Any]
Payload = bytes | str | os.PathLike[str] | IO[bytes]


class Client:
    """Submits jobs to one account.  Safe to use from several threads."""

    def __init__(
        self, login: Login, *, transport: Transport | None = None
    ) -> None:
        self._login = login
        self._transport = transport or Transport()
        self._info: dict[str, Any] | None = None

    @classmethod
    def from_environment(
        cls,
        env_file: str | Path | None = None,
        *,
        transport: Transport | None = None,
    ) -> Client:
        """Log in by the process's environment, or by an env file alone.

        Raises LoginError and ConnectError, see `log_in`.
        """
        transport = transport or Transport()
        variables: Mapping[str, str] = (
            os.environ if env_file is None else read_env_file(env_file)
        )
        return cls(log_in(variables, transport), transport=transport)

    @property
    def login(self) -> Login:
        """The account's URL and the token in use."""
        return self._login

    def info(self) -> dict[str, Any]:
        """The endpoint's `/info` document; asked once, then remembered.

        Raises ConnectError, and AnswerError when it is no JSON object.
        """
        if self._info is None:
            parts = urlsplit(self._login.storage_url)
            url = f"{parts.scheme}://{parts.netloc}/info"
            answer = self._transport.request("GET", url, headers=_COMMON)
            self._info = _json_object(answer.content, f"{url} answers")
        return self._info

    def zerocloud_info(self) -> dict[str, Any]:
        """ZeroCloud's part of `/info`; FilterMissingError without one."""
        part = self.info().get(INFO_KEY)
        if not isinstance(part, dict):
            parts = urlsplit(self._login.storage_url)
            raise FilterMissingError(
                f"{parts.scheme}://{parts.hostname}:{parts.port or ''} is a "
                "Swift without ZeroCloud: /info has no key "
                f"{INFO_KEY!r}; the operator adds egg:zerocloud#zerocloud to "
                "the proxy's pipeline"
            )
        return part

    def submit(
        self,
        job: Job | None = None,
        *,
        source: str | None = None,
        payload: Payload | None = None,
    ) -> JobResult:
        """Run a job and wait for its end.

        Give either `job` (a document as Python values or as JSON; a script's
        bytes, beginning with `#!`; a tar's bytes) or `source`, the `swift://`
        name of a stored one.  `payload` is what path-less stdin devices of a
        stored job read: bytes, the path of a file, or an open binary file,
        which is streamed.

        Returns a result whether the job succeeded or not.  Raises UsageError,
        FilterMissingError, ConnectError, RefusedError, ClusterFailedError and
        AnswerError.
        """
        if (job is None) == (source is None):
            raise UsageError("give either a job or a source, not both")
        if job is not None and payload is not None:
            raise UsageError(
                "a payload needs a stored job: store it (store_job) and "
                "submit it by source"
            )
        self.zerocloud_info()
        if job is not None:
            body, content_type = job_body(job)
            return self._run(body, {"Content-Type": content_type})
        asked = {
            headers.SOURCE: quote(
                str(self._object_path(source or "")), safe=":/"
            ),
            "Content-Type": PAYLOAD_TYPE,
        }
        with ExitStack() as stack:
            return self._run(_payload_body(payload, stack), asked)

    def store_job(self, name: str, job: Job) -> None:
        """Store a job or script at a `swift://` name, to run it by source.

        Makes the container when there is none.  Raises UsageError for a bad
        name, RefusedError, ClusterFailedError and ConnectError.
        """
        path = self._object_path(name)
        body, content_type = job_body(job)
        url = self._object_url(path)
        status = self._put(url, body, content_type, missing_is_error=False)
        if status == 404:
            container = url.removesuffix("/" + quote(path.object))
            self._put(container, b"", content_type)
            self._put(url, body, content_type)

    def _put(
        self,
        url: str,
        body: bytes,
        content_type: str,
        *,
        missing_is_error: bool = True,
    ) -> int:
        sent = {**self._headers, "Content-Type": content_type}
        answer = self._transport.request("PUT", url, headers=sent, body=body)
        if answer.status_code == 404 and not missing_is_error:
            return answer.status_code
        if answer.status_code >= 400:
            raise error_from_answer(answer.status_code, answer.content)
        return answer.status_code

    def _run(self, body: Body, asked: Mapping[str, str]) -> JobResult:
        sent = {
            **self._headers,
            headers.EXECUTE: "1.0",
            "Accept": headers.REPORT_TYPE,
            **asked,
        }
        url = self._login.storage_url
        answer = self._transport.request("POST", url, headers=sent, body=body)
        transaction = answer.headers.get("X-Trans-Id", "")
        if answer.status_code == 401:
            raise LoginError(
                "the token is not valid any more; log in again [401]"
            )
        if answer.status_code >= 400:
            raise error_from_answer(
                answer.status_code, answer.content, transaction
            )
        if headers.JOB_STATUS not in answer.headers:
            raise FilterMissingError(
                f"{url} answers {answer.status_code} without "
                f"{headers.JOB_STATUS}: no ZeroCloud took the job"
            )
        return parse_result(_json_object(answer.content, "the job's answer"))

    @property
    def _headers(self) -> dict[str, str]:
        return {**_COMMON, "X-Auth-Token": self._login.token}

    def _object_path(self, name: str) -> ObjectPath:
        account, _, rest = name.removeprefix(SCHEME).partition("/")
        container, _, key = rest.partition("/")
        if not (name.startswith(SCHEME) and account and container and key):
            raise UsageError(
                f"{name!r} is not the name of an object; allowed is "
                "swift://ACCOUNT/CONTAINER/OBJECT, with ~ for your account"
            )
        if account in {"~", "."}:
            account = self._login.account
        return ObjectPath(account, container, key)

    def _object_url(self, path: ObjectPath) -> str:
        root = self._login.storage_url.rpartition("/")[0]
        return root + path.quoted


_COMMON = {"User-Agent": f"zerocloud/{__version__}"}


def job_body(job: Job) -> tuple[bytes, str]:
    """The bytes and content type to send for a job; UsageError if it is none.

    The endpoint judges the job's rules; checked here is only what decides
    how it travels.
    """
    if isinstance(job, str):
        job = job.encode("utf-8")
    if not isinstance(job, bytes):
        return json.dumps(job).encode("utf-8"), headers.JSON_TYPE
    if job.startswith(SCRIPT_START):
        return job, SCRIPT_TYPE
    if job.startswith(GZIP_START):
        return job, "application/x-gzip"
    if job[TAR_MAGIC] == b"ustar":
        return job, "application/x-tar"
    if job.lstrip(BLANK)[:1] not in {b"[", b"{"}:
        raise UsageError(
            "a job is a JSON list or object, a script that begins with #!, "
            "or a tar with a job in it; this is none of them"
        )
    return job, headers.JSON_TYPE


def _payload_body(payload: Payload | None, stack: ExitStack) -> Body:
    if payload is None:
        return b""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str | os.PathLike):
        try:
            return stack.enter_context(open(payload, "rb"))
        except OSError as error:
            raise UsageError(
                f"payload {os.fspath(payload)}: {error.strerror}"
            ) from error
    return payload


def _json_object(raw: bytes, subject: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise AnswerError(f"{subject}: this is not JSON") from error
    if not isinstance(document, dict):
        raise AnswerError(f"{subject}: this is not a JSON object")
    return document
