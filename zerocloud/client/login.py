"""Credentials → storage URL and token.

Four ways, as Swift users have them; the first that the variables allow is
taken:

1. `OS_STORAGE_URL` and `OS_AUTH_TOKEN`: used as they are.
2. `ST_AUTH`, `ST_USER`, `ST_KEY`: Swift's own (v1) auth, one GET.
3. `OS_AUTH_URL` and company: Keystone v3, by python-swiftclient.
4. none of them: a LoginError that names all three.

The variables come from the process's environment or from the `env` file that
`zerocloud cluster` writes.  That file is parsed, never run by a shell: lines
`export NAME=VALUE`, quotes as in a shell, no expansion of any kind.  Keys and
tokens are never part of an error's text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zerocloud.client.errors import ConnectError, LoginError
from zerocloud.client.transport import (
    CONNECT_SECONDS,
    Transport,
    check_url,
)

ENV_FILE_MAX_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ALLOWED = (
    "allowed are OS_STORAGE_URL and OS_AUTH_TOKEN; or ST_AUTH, ST_USER and "
    "ST_KEY; or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME; "
    "`zerocloud cluster` writes a file of them for --env-file"
)


@dataclass(frozen=True)
class Login:
    """Where the account is, and the token for it (not shown by repr)."""

    storage_url: str
    token: str = field(repr=False)

    @property
    def account(self) -> str:
        """The account's name: the last part of the storage URL's path."""
        return self.storage_url.rstrip("/").rsplit("/", 1)[-1]


def read_env_file(path: str | Path) -> dict[str, str]:
    """Parse a file of `export NAME=VALUE` lines, without running anything.

    Raises LoginError that names the line when it is anything else.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(ENV_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise LoginError(f"env file {path}: {error.strerror}") from error
    if len(raw) > ENV_FILE_MAX_BYTES:
        raise LoginError(
            f"env file {path} is larger than {ENV_FILE_MAX_BYTES} bytes; "
            "allowed are a few lines `export NAME=VALUE`"
        )
    values: dict[str, str] = {}
    lines = raw.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        pair = _parse_line(line)
        if pair is None:
            raise LoginError(
                f"env file {path}, line {number} is not understood; allowed "
                "are comments and `export NAME=VALUE` without $ or ` "
            )
        if pair:
            values[pair[0]] = pair[1]
    return values


def _parse_line(line: str) -> tuple[str, str] | tuple[()] | None:
    """One pair, nothing (a comment, a blank line), or None: a bad line."""
    text = line.strip()
    if not text or text.startswith("#"):
        return ()
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # an open quote: the line is bad, the caller says so
        return None
    if words and words[0] == "export":
        words = words[1:]
    if len(words) != 1 or "=" not in words[0]:
        return None
    name, _, value = words[0].partition("=")
    # A shell would expand these; taking them literally would surprise.
    expands = ("$" in text or "`" in text) and "'" not in text
    if not _NAME.fullmatch(name) or expands:
        return None
    return name, value


def log_in(variables: Mapping[str, str], transport: Transport) -> Login:
    """Get a storage URL and a token; blocks for at most one exchange.

    Raises LoginError when there are no credentials or they are refused, and
    ConnectError when the auth service cannot be reached.
    """
    given = {name: value for name, value in variables.items() if value}
    if "OS_STORAGE_URL" in given and "OS_AUTH_TOKEN" in given:
        url = check_url(given["OS_STORAGE_URL"], "OS_STORAGE_URL")
        return Login(url, given["OS_AUTH_TOKEN"])
    if "ST_AUTH" in given:
        return _log_in_v1(given, transport)
    if "OS_AUTH_URL" in given:
        return _log_in_keystone(given)
    raise LoginError(f"no credentials are set; {ALLOWED}")


def _need(given: Mapping[str, str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in given]
    if missing:
        raise LoginError(f"{' and '.join(missing)} not set; {ALLOWED}")


def _log_in_v1(given: Mapping[str, str], transport: Transport) -> Login:
    _need(given, ("ST_USER", "ST_KEY"))
    url = check_url(given["ST_AUTH"], "ST_AUTH")
    headers = {
        "X-Auth-User": given["ST_USER"],
        "X-Auth-Key": given["ST_KEY"],
    }
    answer = transport.request("GET", url, headers=headers)
    if answer.status_code in {401, 403}:
        raise LoginError(
            f"{url} refuses user {given['ST_USER']!r} with that key "
            f"[{answer.status_code}]; check ST_USER and ST_KEY"
        )
    storage_url = answer.headers.get("X-Storage-Url", "")
    token = answer.headers.get("X-Auth-Token", "")
    if not answer.ok or not storage_url or not token:
        raise LoginError(
            f"{url} answers {answer.status_code} without a storage URL and "
            "token; ST_AUTH must be the URL of a v1 auth service, such as "
            "http://HOST:PORT/auth/v1.0"
        )
    # An explicit storage URL wins, as for the swift command.
    chosen = given.get("OS_STORAGE_URL", storage_url)
    return Login(check_url(chosen, "X-Storage-Url"), token)


def _log_in_keystone(given: Mapping[str, str]) -> Login:
    names = ("OS_USERNAME", "OS_PASSWORD")
    if given.get("OS_AUTH_TYPE") != "v3applicationcredential":
        _need(given, names)
    # Imported here: most logins need neither swiftclient nor its start time.
    from swiftclient import client as swift  # noqa: PLC0415
    from swiftclient.exceptions import ClientException  # noqa: PLC0415

    auth_url = check_url(given["OS_AUTH_URL"], "OS_AUTH_URL")
    options = {
        name.removeprefix("OS_").lower(): value
        for name, value in given.items()
        if name.startswith("OS_")
    }
    options["object_storage_url"] = given.get("OS_STORAGE_URL", "")
    try:
        storage_url, token = swift.get_auth(
            auth_url,
            given.get("OS_USERNAME"),
            given.get("OS_PASSWORD"),
            auth_version="3",
            os_options=options,
            timeout=CONNECT_SECONDS,
        )
    except ClientException as error:
        said = " ".join(str(error).split())
        raise LoginError(f"login at {auth_url} failed: {said}") from error
    except OSError as error:  # requests' own errors are OSErrors as well
        raise ConnectError(f"cannot reach {auth_url}") from error
    return Login(check_url(storage_url, "the storage URL"), token)
