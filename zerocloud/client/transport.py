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
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
CHUNK_BYTES = 256 * 1024
LOOPBACK = {"localhost", "::1"}

Body = bytes | IO[bytes] | Iterable[bytes] | None


@dataclass(frozen=True)
class Tls:
    """How HTTPS is done.

    `verify`: True, the system's authorities; a path, a file or folder of
    authorities; False, no check at all.  `cert`: the client's own
    certificate: a file that holds its key as well, or the paths of both.
    """

    verify: bool | str = True
    cert: str | tuple[str, str] | None = None


DEFAULT_TLS = Tls()


@dataclass(frozen=True)
class Transport:
    """Sends requests.  `answer_seconds`: longest silence of the server.

    The default waits as long as it takes: a job may run and queue for long,
    and its limits end it.
    """

    answer_seconds: float | None = None
    tls: Tls = DEFAULT_TLS

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
        # Without this, requests adds what ~/.netrc has for the host.
        session.auth = _no_more_auth
        if self.tls.verify is False:
            _allow_unchecked()
        options: dict[str, Any] = {
            "headers": dict(headers),
            "data": body,
            "timeout": (CONNECT_SECONDS, self.answer_seconds),
            "verify": self.tls.verify,
            "cert": self.tls.cert,
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
    except requests.exceptions.SSLError as error:
        raise ConnectError(
            f"{_endpoint(url)}: {_tls_reason(error)}"
        ) from error
    except requests.RequestException as error:
        raise ConnectError(
            f"cannot reach {_endpoint(url)}: {_reason(error)}"
        ) from error
    except OSError as error:
        # requests says so itself when a file of certificates is missing.
        raise ConnectError(f"{_endpoint(url)}: {error}") from error


def check_url(url: str, name: str) -> str:
    """Return the URL without a slash at its end; LoginError if it is none."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"}
        usable = known and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        usable = False
    if not usable:
        raise LoginError(
            f"{name} is {shown_url(url)!r}; allowed is a URL that begins with "
            "http:// or https://"
        )
    return url.rstrip("/")


def shown_url(url: str) -> str:
    """The URL without the user and password that may stand in it."""
    head, scheme, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    return f"{head}{scheme}{authority.rpartition('@')[2]}{slash}{path}"


def _no_more_auth(request: Any) -> Any:
    return request


def _allow_unchecked() -> None:
    """Do not warn at each request of what the user has asked for."""
    import urllib3  # noqa: PLC0415 - see Transport.stream

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


def _tls_reason(error: Exception) -> str:
    if UNTRUSTED in str(error):
        return (
            "its certificate is not trusted; OS_CACERT names a file of "
            "authorities to trust"
        )
    return "no secure connection: " + _reason(error)


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
