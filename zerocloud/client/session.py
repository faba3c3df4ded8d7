"""The client: one account on one endpoint, and the jobs submitted to it.

Asks `/info` before the first job: on a Swift without ZeroCloud a job's POST
would be a plain account POST, which answers 204 and does nothing.  A job goes
as one request.  `submit` asks for the report, which holds the immediate
outputs as well, up to a size; `submit_raw` for the outputs alone, of any size.
Stored outputs are objects like all others; `download` and `open_object` read
them.  Nothing is retried.  Payloads are streamed from a file, never read
whole.  A caller that stops (an exception, Ctrl-C, the process's end) closes
the connection, and with it the cluster ends the job.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from zerocloud import __version__, headers
from zerocloud.client.envfile import read_env_file
from zerocloud.client.errors import (
    AnswerError,
    FilterMissingError,
    LoginError,
    Refusal,
    RefusedError,
    UsageError,
    error_from_answer,
)
from zerocloud.client.login import Login, log_in
from zerocloud.client.result import JobResult, StoredOutput, parse_result
from zerocloud.client.sending import (
    Job,
    OnSent,
    Payload,
    job_body,
    payload_body,
)
from zerocloud.client.streams import (
    ObjectStream,
    RawAnswer,
    Target,
    verified,
)
from zerocloud.client.transport import Body, Transport, chunks
from zerocloud.job.paths import SCHEME, ObjectPath

if TYPE_CHECKING:
    import requests

PAYLOAD_TYPE = "application/octet-stream"
INFO_KEY = "zerocloud"
INFO_SECONDS = 60.0
LARGE = ("X-Static-Large-Object", "X-Object-Manifest")


class Client:
    """Submits jobs to one account.  Safe to use from several threads."""

    def __init__(
        self, login: Login, *, transport: Transport | None = None
    ) -> None:
        self._login = login
        self._transport = transport or Transport(tls=login.tls)
        self._info: dict[str, Any] | None = None

    @classmethod
    def from_environment(
        cls,
        env_file: str | Path | None = None,
        *,
        cloud: str | None = None,
        transport: Transport | None = None,
    ) -> Client:
        """Log in by the process's environment, or by an env file alone.

        `cloud` names an entry of clouds.yaml, which is then taken before any
        other credentials.  For other variables than the process's use
        `Client(log_in(variables))`.

        Raises LoginError and ConnectError, see `log_in`.
        """
        variables: Mapping[str, str] = (
            os.environ if env_file is None else read_env_file(env_file)
        )
        login = log_in(variables, transport, cloud=cloud)
        return cls(login, transport=transport)

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
            # A job may take long, this may not.
            longest = self._transport.answer_seconds or INFO_SECONDS
            transport = replace(self._transport, answer_seconds=longest)
            answer = transport.request("GET", url, headers=_COMMON)
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
        on_sent: OnSent | None = None,
    ) -> JobResult:
        """Run a job and wait for its end; blocks for as long as it runs.

        Give either `job` (a document as Python values or as JSON; a script's
        bytes, beginning with `#!`; a tar's bytes; what `make_job` made) or
        `source`, the `swift://` name of a stored one.  `payload` is what
        path-less stdin devices of a stored job read: bytes, the path of a
        file, or an open binary file, which is streamed; while it is sent,
        `on_sent(done, total)` is called with bytes; total is None for a pipe.

        Returns a result whether the job succeeded or not
        (`JobResult.raise_for_failure`).  Raises UsageError,
        FilterMissingError, ConnectError, LoginError (the token is out),
        RefusedError, ClusterFailedError and AnswerError.
        """
        with ExitStack() as stack:
            body, asked = self._asked(job, source, stack, payload, on_sent)
            asked["Accept"] = headers.REPORT_TYPE
            answer = stack.enter_context(self._run(body, asked))
            content = b"".join(chunks(answer))
        return parse_result(_json_object(content, "the job's answer"))

    @contextmanager
    def submit_raw(
        self,
        job: Job | None = None,
        *,
        source: str | None = None,
        payload: Payload | None = None,
        on_sent: OnSent | None = None,
    ) -> Iterator[RawAnswer]:
        """Run a job for its plain answer, however long.

        The body is each node's first immediate output, in node order, with
        nothing between; it is read as it comes, inside the block, by going
        through `RawAnswer.chunks`, by `read()`, or into a file by
        `save(path)`.  Arguments and errors are those of `submit`.
        """
        with ExitStack() as stack:
            body, asked = self._asked(job, source, stack, payload, on_sent)
            answer = stack.enter_context(self._run(body, asked))
            yield RawAnswer(
                job=answer.headers.get(headers.JOB_ID, ""),
                status=answer.headers[headers.JOB_STATUS],
                error=answer.headers.get(headers.NEXE_ERROR, ""),
                chunks=chunks(answer),
            )

    @contextmanager
    def open_object(self, name: str | StoredOutput) -> Iterator[ObjectStream]:
        """Read an object as it comes, inside the block.

        `name` is a `swift://` name, or a stored output of a result: then it
        is read only while it still is what the job stored, and else a
        RefusedError with status 412.  Its MD5 is compared at the end; a
        difference is an AnswerError.  Raises UsageError, ConnectError,
        LoginError, RefusedError (404: there is none) and ClusterFailedError.
        """
        etag = name.etag if isinstance(name, StoredOutput) else ""
        if isinstance(name, StoredOutput):
            name = name.path
        asked = {
            **self._headers,
            **({"If-Match": f'"{etag}"'} if etag else {}),
        }
        url = self._object_url(self._object_path(name))
        with self._transport.stream("GET", url, headers=asked) as answer:
            if answer.status_code == 412:
                raise RefusedError(
                    Refusal(412, "", f"{name} is not what the job stored")
                )
            _check_answer(answer, name)
            found = answer.headers
            etag = found.get("Etag", "").strip('"')
            length = found.get("Content-Length", "")
            body = chunks(answer)
            if not any(header in found for header in LARGE):
                body = verified(body, etag, name)
            yield ObjectStream(
                name=name,
                size=int(length) if length.isdecimal() else None,
                etag=etag,
                content_type=found.get("Content-Type", ""),
                chunks=body,
            )

    def download(self, name: str | StoredOutput, target: Target) -> int:
        """Save an object to a path or an open binary file; returns its bytes.

        The file appears, or is replaced, only when all of it has arrived.
        Arguments and errors are those of `open_object`, and UsageError when
        the file cannot be written.
        """
        with self.open_object(name) as stream:
            return stream.save(target)

    def _asked(
        self,
        job: Job | None,
        source: str | None,
        stack: ExitStack,
        payload: Payload | None,
        on_sent: OnSent | None,
    ) -> tuple[Body, dict[str, str]]:
        """The body and headers of a submission; closed by `stack`."""
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
            return body, {"Content-Type": content_type}
        name = str(self._object_path(source or ""))
        return payload_body(payload, stack, on_sent), {
            headers.SOURCE: quote(name, safe=":/"),
            "Content-Type": PAYLOAD_TYPE,
        }

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
        _check_answer(answer)
        return answer.status_code

    @contextmanager
    def _run(
        self, body: Body, asked: Mapping[str, str]
    ) -> Iterator[requests.Response]:
        """POST a job; the answer's body is unread, its status is good."""
        sent = {**self._headers, headers.EXECUTE: "1.0", **asked}
        url = self._login.storage_url
        with self._transport.stream(
            "POST", url, headers=sent, body=body
        ) as answer:
            _check_answer(answer)
            if headers.JOB_STATUS not in answer.headers:
                raise FilterMissingError(
                    f"{url} answers {answer.status_code} without "
                    f"{headers.JOB_STATUS}: no ZeroCloud took the job"
                )
            yield answer

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


def _check_answer(answer: requests.Response, subject: str = "") -> None:
    """Raise what an answer's status stands for; its body is read then."""
    if answer.status_code == 401:
        raise LoginError(
            "the token is not valid, or not any more; log in again [401]"
        )
    if answer.status_code >= 400:
        raise error_from_answer(
            answer.status_code,
            b"".join(chunks(answer)),
            answer.headers.get("X-Trans-Id", ""),
            subject,
        )


def _json_object(raw: bytes, subject: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise AnswerError(f"{subject}: this is not JSON") from error
    if not isinstance(document, dict):
        raise AnswerError(f"{subject}: this is not a JSON object")
    return document
