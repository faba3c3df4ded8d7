"""Credentials → storage URL and token.

The variables are those of `swift` and `openstack`; the first of these ways
that they allow is taken:

1. a cloud that the caller names: an entry of clouds.yaml (client/clouds.py)
2. `OS_STORAGE_URL` and `OS_AUTH_TOKEN`: used as they are
3. `ST_AUTH`, `ST_USER`, `ST_KEY`: Swift's own (v1) auth, one GET
4. `OS_CLOUD`: an entry of clouds.yaml
5. `OS_AUTH_URL` with `OS_AUTH_TYPE=v1password`: v1 auth as well
6. `OS_AUTH_URL` and company: Keystone, by whatever `OS_AUTH_TYPE` says

and else there is a LoginError that names them.  2, 3 and 5 need nothing but
requests; Keystone and clouds.yaml need the extra `zerocloud[keystone]`.
`OS_STORAGE_URL` without a token replaces the URL that a login brings, as for
`swift`.  Keys and tokens are never part of an error's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zerocloud.client.clouds import log_in_openstack
from zerocloud.client.errors import LoginError
from zerocloud.client.transport import (
    DEFAULT_TLS,
    Tls,
    Transport,
    check_url,
    shown_url,
)

AUTH_SECONDS = 30.0
V1_TYPES = frozenset({"v1password", "v1", "v1.0"})
ALLOWED = (
    "allowed are ST_AUTH, ST_USER and ST_KEY; or OS_STORAGE_URL and "
    "OS_AUTH_TOKEN; or OS_CLOUD (clouds.yaml); or OS_AUTH_URL, OS_USERNAME, "
    "OS_PASSWORD and OS_PROJECT_NAME; `zerocloud cluster` writes a file of "
    "them for --env-file"
)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class Login:
    """Where the account is, and the token for it (not shown by repr)."""

    storage_url: str
    token: str = field(repr=False)
    tls: Tls = DEFAULT_TLS

    @property
    def account(self) -> str:
        """The account's name: the last part of the storage URL's path."""
        return self.storage_url.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class _V1:
    """What v1 auth needs, and the variables it came from."""

    url: str
    user: str
    key: str = field(repr=False)
    names: tuple[str, str, str]


def log_in(
    variables: Mapping[str, str],
    transport: Transport | None = None,
    *,
    cloud: str | None = None,
) -> Login:
    """Get a storage URL and a token; blocks for at most a few exchanges.

    `variables` are read instead of the process's environment; `cloud` names
    an entry of clouds.yaml and is taken before all of them.  `transport` is
    for v1 auth; by default it follows OS_CACERT, OS_INSECURE, OS_CERT, OS_KEY.

    Raises LoginError when there are no credentials, when they are refused or
    lead to no account, and ConnectError when the auth service cannot be
    reached.
    """
    given = {name: value for name, value in variables.items() if value}
    tls = tls_of(given)
    transport = transport or Transport(answer_seconds=AUTH_SECONDS, tls=tls)
    if cloud:
        return _elsewhere(log_in_openstack(given, cloud, tls), given)
    if "OS_STORAGE_URL" in given and "OS_AUTH_TOKEN" in given:
        url = check_url(given["OS_STORAGE_URL"], "OS_STORAGE_URL")
        return Login(url, given["OS_AUTH_TOKEN"], tls)
    if "ST_AUTH" in given:
        return _log_in_v1(given, ("ST_AUTH", "ST_USER", "ST_KEY"), transport)
    if "OS_CLOUD" in given:
        account = log_in_openstack(given, given["OS_CLOUD"], tls)
        return _elsewhere(account, given)
    if "OS_AUTH_URL" in given:
        if given.get("OS_AUTH_TYPE") in V1_TYPES:
            names = ("OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD")
            return _log_in_v1(given, names, transport)
        check_url(given["OS_AUTH_URL"], "OS_AUTH_URL")
        return _elsewhere(log_in_openstack(given, None, tls), given)
    raise LoginError(f"no credentials are set; {ALLOWED}")


def tls_of(given: Mapping[str, str]) -> Tls:
    """OS_CACERT, OS_INSECURE, OS_CERT and OS_KEY; LoginError."""
    verify: bool | str = given.get("OS_CACERT") or True
    for name in ("OS_INSECURE", "SWIFTCLIENT_INSECURE"):
        if _truth(name, given.get(name, "")):
            verify = False
    cert = given.get("OS_CERT")
    key = given.get("OS_KEY")
    if key and not cert:
        raise LoginError("OS_KEY is set without OS_CERT; allowed are both")
    return Tls(verify, (cert, key) if cert and key else cert)


def _truth(name: str, value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE | {""}:
        raise LoginError(f"{name} is {value!r}; allowed are true and false")
    return value.lower() in _TRUE


def _elsewhere(
    account: tuple[str, str, Tls], given: Mapping[str, str]
) -> Login:
    """The login, at OS_STORAGE_URL if that is set."""
    url, token, tls = account
    chosen = given.get("OS_STORAGE_URL", url)
    return Login(check_url(chosen, "the storage URL"), token, tls)


def _log_in_v1(
    given: Mapping[str, str], names: tuple[str, str, str], transport: Transport
) -> Login:
    missing = [name for name in names if name not in given]
    if missing:
        raise LoginError(f"{' and '.join(missing)} not set; {ALLOWED}")
    url, user, key = (given[name] for name in names)
    auth = _V1(check_url(url, names[0]), user, key, names)
    headers = {"X-Auth-User": auth.user, "X-Auth-Key": auth.key}
    _check_header(auth)
    answer = transport.request("GET", auth.url, headers=headers)
    if answer.status_code in {401, 403}:
        raise LoginError(
            f"{shown_url(auth.url)} refuses user {auth.user!r} with that key "
            f"[{answer.status_code}]; check {names[1]} and {names[2]}"
        )
    storage_url = answer.headers.get("X-Storage-Url", "")
    token = answer.headers.get("X-Auth-Token", "")
    if not answer.ok or not storage_url or not token:
        raise LoginError(
            f"{shown_url(auth.url)} answers {answer.status_code} without a "
            f"storage URL and token; {names[0]} must be the URL of a v1 auth "
            "service, such as http://HOST:PORT/auth/v1.0"
        )
    project = given.get("OS_PROJECT_NAME")
    if project and names[0] == "OS_AUTH_URL":
        # As swiftclient's v1password does: another account, by its name.
        storage_url = f"{storage_url.rstrip('/').rpartition('/')[0]}/{project}"
    chosen = given.get("OS_STORAGE_URL", storage_url)
    return Login(check_url(chosen, "X-Storage-Url"), token, transport.tls)


def _check_header(auth: _V1) -> None:
    """A line end in a key would make requests show it in its error."""
    for name, value in zip(auth.names[1:], (auth.user, auth.key), strict=True):
        if not value.isprintable() or value != value.strip():
            raise LoginError(
                f"{name} has control characters, or blanks at its ends; "
                "allowed is what fits in one header"
            )
