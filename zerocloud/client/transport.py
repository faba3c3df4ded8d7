"""One HTTP exchange with requests, its failures said in the SDK's words.

A thin layer, so that exactly one place decides on time-outs, proxies of the
environment and texts.  Nothing is retried or redirected here: a redirect
would carry the token to a host that the user has not named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zerocloud.client.errors import ConnectError, LoginError

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 256 * 1024
LOOPBACK = {"localhost", "::1"}

Body = bytes | IO[bytes] | Iterable[bytes] | None


@dataclass(frozen=True)
class Transport:
    """Sends requests.  `answer_seconds`: longest silence of the server.

    The default waits as long as it takes: a job may run and queue for long,
    and its limits end it.
    """

    answer_seconds: float | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body = None,
    ) -> requests.Response:
        """Do one exchange and read the whole answer; blocks.

        Raises ConnectError when there is no connection, when it breaks, or
        when the server stays silent for longer than `answer_seconds`.
        """
        with self.stream(method, url, headers=headers, body=body) as answer:
            with _in_our_words(url):
                answer.content  # noqa: B018 - reads it all
            return answer

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body = None,
    ) -> Iterator[requests.Response]:
        """Do one exchange; the answer's body is unread, see `chunks`.

        Raises ConnectError as `request` does.
        """
        # Imported here: it takes 0.1 s, and the command line loads this
        # module for `zerocloud cluster` too, which patches sockets first.
        import requests  # noqa: PLC0415

        session = requests.Session()
        # A proxy set in the environment cannot reach this machine's loopback.
        session.trust_env = not _is_loopback(url)
        options: dict[str, Any] = {
            "headers": dict(headers),
            "data": body,
            "timeout": (CONNECT_SECONDS, self.answer_seconds),
            "allow_redirects": False,
            "stream": True,
        }
        with session:
            with _in_our_words(url):
                answer = session.request(method, url, **options)
            with answer:
                yield answer


def chunks(answer: requests.Response) -> Iterator[bytes]:
    """The rest of an answer's body; ConnectError when it breaks off."""
    with _in_our_words(answer.url):
        yield from answer.iter_content(CHUNK_BYTES)


@contextmanager
def _in_our_words(url: str) -> Iterator[None]:
    """Turn what requests raises into ConnectError."""
    import requests  # noqa: PLC0415 - see Transport.stream

    try:
        yield
    except requests.Timeout as error:
        raise ConnectError(
            f"{_endpoint(url)} did not answer in time"
        ) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise ConnectError(
            f"the answer of {_endpoint(url)} broke off"
        ) from error
    except requests.RequestException as error:
        raise ConnectError(
            f"cannot reach {_endpoint(url)}: {_reason(error)}"
        ) from error


def check_url(url: str, name: str) -> str:
    """Return the URL without a slash at its end; LoginError if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise LoginError(
            f"{name} is {url!r}; allowed is a URL that begins with http:// "
            "or https://"
        )
    return url.rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in LOOPBACK or host.startswith("127.")


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _reason(error: BaseException) -> str:
    """The system's own words at the bottom of a chain of wrappers."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = _below(seen)
    return type(error).__name__


def _below(error: BaseException) -> BaseException | None:
    if error.__cause__ or error.__context__:
        return error.__cause__ or error.__context__
    for argument in (*error.args, getattr(error, "reason", None)):
        if isinstance(argument, BaseException):
            return argument
    return None
