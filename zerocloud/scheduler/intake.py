"""The HTTP request → what is to be run: a job, an image, a payload.

    Content-Type            body (or X-Zerovm-Source's object)
    application/json        the job
    a tar type              an image with the job in boot/…map, early in it
    anything else           a script: `#!` and an interpreter

With X-Zerovm-Source the job, image or script is an object, read as the user;
its own content type says which, and the request's body is the payload of
path-less stdin.

Everything from outside has a limit before it is read: lengths by caps, time by
`upload_timeout`, inflation by the image's cap.  Nothing is parsed as a path
here, and nothing of the request but body and payload reaches a guest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from zerocloud.errors import JobError
from zerocloud.headers import SOURCE as SOURCE_HEADER
from zerocloud.job.description import Job, parse_job
from zerocloud.job.document import Value
from zerocloud.job.limits import JobCaps
from zerocloud.job.paths import FORM, ObjectPath, parse_object_path
from zerocloud.job.tarheaders import FILE, Member, TarError, members
from zerocloud.job.template import parse_script
from zerocloud.scheduler.blobs import Blob
from zerocloud.scheduler.clientwatch import client_descriptor
from zerocloud.scheduler.concurrency import Timeout, peer_closed
from zerocloud.scheduler.content import Content, collect, inflated
from zerocloud.scheduler.inputs import Reader, failed_read
from zerocloud.scheduler.segments import rest, retried, sound
from zerocloud.scheduler.taskdoc import Payload

T = TypeVar("T")

TAR_TYPES = frozenset(
    (
        "application/x-tar",
        "application/x-gtar",
        "application/x-ustar",
        "application/x-gzip",
    )
)
JSON_TYPE = "application/json"
MAPS = ("boot/cluster.map", "boot/system.map")
MAP_WITHIN_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class IntakeLimits:
    """What bounds a request's body."""

    caps: JobCaps
    image_bytes: int
    payload_bytes: int
    upload_timeout: float


@dataclass(frozen=True)
class Submission:
    """What a request asks to run."""

    job: Job
    image: Blob | None = None
    payload: Payload | None = None

    def close(self) -> None:
        """Let go of the bytes that came with the request."""
        for part in (self.image, self.payload):
            if part is not None:
                part.content.close()


class Intake:
    """Reads one request."""

    def __init__(
        self,
        env: Mapping[str, Any],
        account: str,
        reader: Reader,
        limits: IntakeLimits,
    ) -> None:
        self._env = env
        self._account = account
        self._reader = reader
        self._limits = limits

    def read(self) -> Submission:
        """Read and parse the whole request; raises JobError."""
        source = self._env.get("HTTP_X_ZEROVM_SOURCE")
        if source is None:
            kind = media_type(str(self._env.get("CONTENT_TYPE") or ""))
            if not kind:
                raise JobError(
                    "bad_request",
                    "Content-Type is missing; a job is application/json, a "
                    "tar type, or any other type for a script",
                )
            return self._within(
                lambda: self._submission(kind, self._body(), stored=False)
            )
        path = source_path(str(source), self._account)
        asked = retried(lambda: self._stored(path))
        try:
            payload = self._within(self._payload)
        except BaseException:
            asked.close()
            raise
        return Submission(asked.job, asked.image, payload)

    def _stored(self, path: ObjectPath) -> Submission:
        reply = self._reader.get(path)
        try:
            if reply.status != 200:
                raise failed_read(path, reply.status)
            kind = media_type(reply.headers.get("Content-Type", ""))
            return self._sound(kind, sound(self._reader, path, reply))
        finally:
            reply.close()

    def _sound(self, kind: str, body: Iterator[bytes]) -> Submission:
        """What a stored job asks, once its object is known to be sound."""
        try:
            asked = self._submission(kind, body, stored=True)
        except JobError as error:
            if error.status != 413:
                # The user's mistake, or rot: the object's end tells.
                rest(body)
            raise
        try:
            rest(body)
        except BaseException:
            asked.close()
            raise
        return asked

    def _submission(
        self, kind: str, body: Iterable[bytes], *, stored: bool
    ) -> Submission:
        caps = self._limits.caps
        if kind in TAR_TYPES:
            return self._posted_tar(body)
        # The list form has a smaller limit, which only its reader can apply.
        limit = max(caps.stored_job_bytes, caps.job_bytes)
        data = read_all(body, limit, "max_stored_job_bytes")
        if kind == JSON_TYPE:
            return Submission(
                parse_job(
                    data, account=self._account, caps=caps, stored=stored
                )
            )
        script = parse_script(data, account=self._account, caps=caps)
        content, sha256 = collect(
            [script.image_tar], len(script.image_tar), RuntimeError
        )
        return Submission(script.job, Blob(sha256, content))

    def _posted_tar(self, body: Iterable[bytes]) -> Submission:
        limit = self._limits.image_bytes
        content, sha256 = collect(
            inflated(body, "the image"),
            limit,
            lambda: JobError(
                "input_too_large",
                f"the image is larger than {limit} bytes (max_blob_bytes)",
            ),
        )
        try:
            job = parse_job(
                find_map(content, self._limits.caps.stored_job_bytes),
                account=self._account,
                caps=self._limits.caps,
                stored=True,
            )
        except BaseException:
            content.close()
            raise
        return Submission(job, Blob(sha256, content))

    def _payload(self) -> Payload:
        limit = self._limits.payload_bytes
        content, sha256 = collect(
            self._body(),
            limit,
            lambda: JobError(
                "input_too_large",
                f"the payload is larger than {limit} bytes (max_input_bytes)",
            ),
        )
        return Payload(content, sha256)

    def _body(self) -> Iterator[bytes]:
        return checked_body(self._env)

    def _within(self, read: Callable[[], T]) -> T:
        """`read()` within the time for an upload."""
        seconds = self._limits.upload_timeout
        with Timeout(seconds) as timeout:
            try:
                return read()
            except Timeout as expired:
                if expired is not timeout:
                    raise
                raise JobError(
                    "upload_timeout",
                    f"the request's body took longer than {seconds:g} "
                    "seconds (upload_timeout)",
                ) from None


def media_type(value: str) -> str:
    """A content type without its parameters, in lower case."""
    return value.partition(";")[0].strip().lower()


def source_path(value: str, account: str) -> ObjectPath:
    """X-Zerovm-Source as a path; raises JobError `bad_source`."""
    raw = unquote_to_bytes(value.encode("latin-1"))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JobError(
            "bad_source",
            f"{SOURCE_HEADER} is not UTF-8 at byte {error.start}; allowed is "
            f"{FORM} (URL-encoded UTF-8)",
        ) from None
    try:
        return parse_object_path(
            Value(text, "", SOURCE_HEADER), account=account
        )
    except JobError as error:
        raise JobError(
            "bad_source", f"{error.message} (URL-encoded)"
        ) from None


def checked_body(env: Mapping[str, Any]) -> Iterator[bytes]:
    """The request's body in pieces, checked against its length and ETag.

    Raises JobError `client_disconnect` when it ends early, `etag_mismatch`,
    and `bad_request` for a length that is none.
    """
    length = _content_length(env)
    etag = str(env.get("HTTP_ETAG") or "").strip('"').lower()
    digest = hashlib.md5(usedforsecurity=False)
    left = length
    while left is None or left > 0:
        data = _read(
            env, READ_BYTES if left is None else min(READ_BYTES, left)
        )
        if not data:
            break
        digest.update(data)
        left = left if left is None else left - len(data)
        yield data
    if left:
        raise JobError(
            "client_disconnect", f"the body ended {left} bytes too early"
        )
    if etag and etag != digest.hexdigest():
        raise JobError(
            "etag_mismatch",
            f"the body's MD5 is {digest.hexdigest()}; ETag says {etag}",
        )


def _content_length(env: Mapping[str, Any]) -> int | None:
    """The body's length; None when it is chunked."""
    coding = str(env.get("HTTP_TRANSFER_ENCODING") or "").strip().lower()
    if coding == "chunked":
        return None
    if coding:
        raise JobError(
            "bad_request",
            f"Transfer-Encoding is {coding!r}; allowed is chunked",
        )
    text = str(env.get("CONTENT_LENGTH") or "0").strip()
    if not (text.isascii() and text.isdigit()):
        raise JobError(
            "bad_request",
            f"Content-Length is {text!r:.40}; allowed is a whole number",
        )
    return int(text)


def _read(env: Mapping[str, Any], size: int) -> bytes:
    try:
        return bytes(env["wsgi.input"].read(size))
    except TimeoutError as error:
        raise JobError(
            "upload_timeout",
            "no byte of the request's body came within the server's "
            "client_timeout",
        ) from error
    except (OSError, ValueError) as error:
        descriptor = client_descriptor(env)
        if (
            isinstance(error, ValueError)
            and descriptor is not None
            and not peer_closed(descriptor)
        ):
            # The client is there and waits: what it sent is no chunk.
            raise JobError(
                "bad_request",
                "the request's body is not chunked as Transfer-Encoding says",
            ) from error
        # Reset, or ended within a chunk: the rest will not come.
        raise JobError(
            "client_disconnect", "the request's body cannot be read to its end"
        ) from error


def read_all(chunks: Iterable[bytes], limit: int, option: str) -> bytes:
    """The whole of a small body; raises JobError `job_too_large`."""
    parts, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise JobError(
                "job_too_large",
                f"the job is larger than {limit} bytes; that is the limit "
                f"({option})",
            )
        parts.append(chunk)
    return b"".join(parts)


def find_map(tar: Content, limit: int) -> bytes:
    """The job in a tar's first megabyte; cluster.map before system.map.

    Raises JobError `image_invalid` for what is no tar or has no map there,
    `job_too_large` for a map over `limit`.
    """
    head = bytearray()
    for chunk in tar.chunks():
        head += chunk
        if len(head) >= MAP_WITHIN_BYTES:
            break
    data, found = bytes(head), dict[str, bytes]()
    try:
        for member in members(
            lambda at, size: data[at : at + size],
            len(data),
            may_be_cut=tar.length > len(data),
        ):
            name = member.name.removeprefix("./").lstrip("/")
            if name in MAPS and member.kind == FILE:
                found[name] = _map_of(data, member, limit)
    except TarError as error:
        raise JobError(
            "image_invalid", f"the image is not a readable tar: {error}"
        ) from None
    for name in MAPS:
        if name in found:
            return found[name]
    raise JobError(
        "image_invalid",
        f"the image has no job: neither {' nor '.join(MAPS)} is within its "
        f"first {MAP_WITHIN_BYTES} bytes",
    )


def _map_of(head: bytes, member: Member, limit: int) -> bytes:
    if member.size > limit:
        raise JobError(
            "job_too_large",
            f"{member.name:.100} has {member.size} bytes; the limit is "
            f"{limit} (max_stored_job_bytes)",
        )
    end = member.offset + member.size
    if end > len(head):
        raise JobError(
            "image_invalid",
            f"{member.name:.100} ends at byte {end} of the image; a job must "
            f"be within its first {MAP_WITHIN_BYTES} bytes",
        )
    return head[member.offset : end]
