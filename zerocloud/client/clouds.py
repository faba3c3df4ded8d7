"""Keystone and clouds.yaml → storage URL and token, by openstacksdk.

openstacksdk is what `openstack` itself reads its configuration with: the
search path of clouds.yaml (., ~/.config/openstack, /etc/openstack), the merge
of secure.yaml, public profiles, regions, and every `auth_type` that
keystoneauth1 and its plugins know.  It is an extra (`zerocloud[keystone]`):
most logins at a Swift of one's own need none of it, and it is loaded only
when a login needs it.

What it and keystoneauth say is put into the SDK's words here.  The texts of
others pass a filter that takes out every secret that went in, and its log
lines (a broken clouds.yaml is only logged) become part of our error.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zerocloud.client.errors import ConnectError, LoginError
from zerocloud.client.transport import (
    UNTRUSTED,
    Tls,
    Transport,
    check_url,
    shown_url,
)

if TYPE_CHECKING:
    from openstack.config.cloud_region import CloudRegion

API_SECONDS = 30.0
SERVICE = "object-store"
INSTALL = "pip install 'zerocloud[keystone]'"
# Variables that are not settings of a cloud.
_NOT_SETTINGS = frozenset(
    {
        "OS_CLOUD",
        "OS_CLIENT_CONFIG_FILE",
        "OS_CLIENT_SECURE_FILE",
        "OS_CACERT",
        "OS_CERT",
        "OS_INSECURE",
        "OS_KEY",
        "OS_STORAGE_URL",
    }
)
# What may be said about a cloud of clouds.yaml from outside of it.
_OVERRIDES = ("OS_REGION_NAME", "OS_INTERFACE", "OS_ENDPOINT_TYPE")
_CREDENTIALS = (
    "application_credential",
    "auth_token",
    "default_domain",
    "domain",
    "passcode",
    "password",
    "project",
    "system_scope",
    "tenant",
    "token",
    "trust_id",
    "user",
)
# Types that ask for the versions of Keystone first.
_DISCOVERING = frozenset({"password", "token"})
_SECRETS = ("password", "secret", "token", "passcode")
_LOGGERS = ("openstack", "keystoneauth")


def log_in_openstack(
    given: Mapping[str, str], cloud: str | None, tls: Tls
) -> tuple[str, str, Tls]:
    """Log in to a cloud of clouds.yaml, or by OS_* variables alone.

    Returns the storage URL, the token and how HTTPS is checked there: `tls`
    where it says something, else as clouds.yaml does.  Raises LoginError and
    ConnectError.
    """
    if importlib.util.find_spec("openstack") is None:
        asked = f"cloud {cloud!r}" if cloud else "OS_AUTH_URL (Keystone)"
        raise LoginError(
            f"{asked} needs openstacksdk, which is not installed; install it "
            f"with {INSTALL}, or set ST_AUTH, ST_USER and ST_KEY, or "
            "OS_STORAGE_URL and OS_AUTH_TOKEN"
        )
    with _collected_log() as said, warnings.catch_warnings():
        # Of its own to come, and of HTTPS that the user wants unchecked.
        warnings.simplefilter("ignore")
        region = _region(given, cloud, tls, said)
        _check_password(region, cloud)
        return _account(region)


def _region(
    given: Mapping[str, str], cloud: str | None, tls: Tls, said: list[str]
) -> CloudRegion:
    # Imported here: it takes half a second.
    from keystoneauth1 import exceptions as ksa  # noqa: PLC0415
    from openstack.config import OpenStackConfig  # noqa: PLC0415
    from openstack.exceptions import SDKException  # noqa: PLC0415

    settings = _settings(given, cloud)
    try:
        if cloud is None:
            settings = _of_this_type(settings)
        config = OpenStackConfig(
            config_files=_files(given, "clouds", cloud),
            secure_files=_files(given, "secure", cloud),
            load_envvars=False,
            app_name="zerocloud",
        )
        _check_cloud(config.cloud_config, config.config_filename, cloud, said)
        return config.get_one(cloud=cloud, **settings, **_tls_settings(tls))
    except ksa.MissingRequiredOptions as error:
        raise LoginError(_missing(error.options, cloud, settings)) from error
    except ksa.NoMatchingPlugin as error:
        raise LoginError(
            f"{_subject(cloud, given)}: auth_type {error.name!r} is not "
            "known; allowed are password, v3password, "
            "v3applicationcredential, v3token, v1password and what the "
            "installed plugins of keystoneauth1 add"
        ) from error
    except (SDKException, ksa.ClientException) as error:
        raise LoginError(
            f"{_subject(cloud, given)}: {_clean(error, settings)}"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # What openstacksdk raises for a clouds.yaml of another shape; their
        # texts may show values.
        raise LoginError(
            f"{_subject(cloud, given)} is not understood: its settings are "
            "not what clouds.yaml allows"
        ) from error


def _account(region: CloudRegion) -> tuple[str, str, Tls]:
    from keystoneauth1 import exceptions as ksa  # noqa: PLC0415 - see above

    auth = region.get_auth_args()
    where = shown_url(str(auth.get("auth_url") or "the auth service"))
    verify, cert = region.get_requests_verify_args()
    tls = Tls(True if verify is None else verify, cert)
    if region.config.get("auth_type") in _DISCOVERING:
        _check_keystone(str(auth.get("auth_url")), tls)
    if not region.config.get("api_timeout"):  # there, and None, by default
        region.config["api_timeout"] = API_SECONDS
    try:
        session = region.get_session()
        token = session.get_token()
        url = region.get_session_endpoint(SERVICE)
    except ksa.Unauthorized as error:
        raise LoginError(
            f"{where} refuses {_who(auth)} [401]; check the credentials, the "
            "project and the domains"
        ) from error
    except ksa.ClientException as error:
        if _holds(error, ksa.ConnectionError):
            raise ConnectError(_cannot_reach(where, error)) from error
        raise LoginError(
            f"login at {where} failed: {_clean(error, auth)}"
        ) from error
    if not token:
        raise LoginError(f"login at {where} brought no token")
    if not url:
        raise LoginError(_no_endpoint(region, where))
    return url, token, tls


def _check_keystone(url: str, tls: Tls) -> None:
    """Look whether versions are told there, as a Keystone tells anybody.

    keystoneauth1 5.18 waits for ever, for itself, where the answer is 401: it
    then wants a token to ask with, while it is getting one.
    """
    transport = Transport(answer_seconds=API_SECONDS, tls=tls)
    answer = transport.request("GET", check_url(url, "auth_url"), headers={})
    if answer.status_code == 401:
        raise LoginError(
            f"{shown_url(url)} is no Keystone: it answers 401 to a question "
            "for versions; for v1 auth set OS_AUTH_TYPE=v1password (in "
            "clouds.yaml auth_type: v1password)"
        )


def _settings(given: Mapping[str, str], cloud: str | None) -> dict[str, Any]:
    """OS_* variables as openstacksdk names settings: region_name, …"""
    names = _OVERRIDES if cloud else tuple(given)
    found = {
        name.removeprefix("OS_").lower(): given[name]
        for name in names
        if name.startswith("OS_")
        and name not in _NOT_SETTINGS
        and given.get(name)
    }
    kind = found.pop("endpoint_type", None)
    if kind and "interface" not in found:  # the word of `swift`
        found["interface"] = kind
    return found


def _of_this_type(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what the chosen auth_type does not know.

    A shell may have OS_USERNAME from one login and OS_TOKEN from another.
    """
    from keystoneauth1 import loading  # noqa: PLC0415 - see _region

    kind = settings.get("auth_type", "password")
    loader: Any = loading.get_plugin_loader(kind)
    known = {"auth_token"} if _has(loader, "token") else set()
    for option in loader.get_options():
        every = (option, *option.deprecated)
        known |= {each.name.replace("-", "_") for each in every}
    return {
        name: value
        for name, value in settings.items()
        if name in known or not name.startswith(_CREDENTIALS)
    }


def _has(loader: Any, name: str) -> bool:
    return any(option.name == name for option in loader.get_options())


def _check_password(region: CloudRegion, cloud: str | None) -> None:
    """Ask for a password before Keystone is asked anything."""
    auth = region.get_auth_args()
    kind = str(region.config.get("auth_type") or "password")
    if not kind.endswith("password") or auth.get("password"):
        return
    if cloud:
        raise LoginError(f"cloud {cloud!r} has no password in its auth")
    raise LoginError(f"OS_PASSWORD not set; OS_AUTH_TYPE {kind!r} needs it")


def _tls_settings(tls: Tls) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if tls.verify is False:
        settings["insecure"] = True
    elif isinstance(tls.verify, str):
        settings["cacert"] = tls.verify
    if isinstance(tls.cert, tuple):
        settings["cert"], settings["key"] = tls.cert
    elif tls.cert:
        settings["cert"] = tls.cert
    return settings


def _files(
    given: Mapping[str, str], kind: str, cloud: str | None
) -> list[str] | None:
    """The file that a variable names, None for the search path."""
    if cloud is None:
        return []
    variable = {
        "clouds": "OS_CLIENT_CONFIG_FILE",
        "secure": "OS_CLIENT_SECURE_FILE",
    }[kind]
    return [given[variable]] if variable in given else None


def _check_cloud(
    config: Mapping[str, Any],
    file: str | None,
    cloud: str | None,
    said: list[str],
) -> None:
    """Say which clouds there are, where openstacksdk says only `not found`."""
    if cloud is None:
        return
    if file is None:
        why = f" ({'; '.join(said)})" if said else ""
        raise LoginError(
            f"cloud {cloud!r}: no clouds.yaml was found{why}; looked for are "
            "OS_CLIENT_CONFIG_FILE, ./clouds.yaml, "
            "~/.config/openstack/clouds.yaml and /etc/openstack/clouds.yaml"
        )
    clouds = config.get("clouds")
    known = sorted(map(str, clouds)) if isinstance(clouds, dict) else []
    if cloud not in known:
        raise LoginError(
            f"{file} has no cloud {cloud!r}; it has {', '.join(known) or '-'}"
        )


def _no_endpoint(region: CloudRegion, where: str) -> str:
    asked = f"an {SERVICE} endpoint"
    if name := region.get_region_name(SERVICE):
        asked += f" in region {name!r}"
    if interface := region.get_interface(SERVICE):
        asked += f" with interface {interface!r}"
    found = sorted(_endpoints(region))
    auth = region.get_auth_args()
    if not found and not {"project_id", "project_name"} & set(auth):
        return (
            f"login at {where} is not for a project, so it leads to no "
            "account; OS_PROJECT_NAME or OS_PROJECT_ID (in clouds.yaml "
            "project_name or project_id) says which"
        )
    offered = ", ".join(found) if found else "none"
    return f"the catalog of {where} has not {asked}; it has {offered}"


def _endpoints(region: CloudRegion) -> set[str]:
    """`REGION INTERFACE` of each endpoint of Swift in the catalog."""
    catalog = region.get_service_catalog()
    if catalog is None:
        return set()
    found = catalog.get_endpoints_data(service_type=SERVICE)
    return {
        f"{data.region_name} {data.interface}"
        for every in found.values()
        for data in every
    }


def _subject(cloud: str | None, given: Mapping[str, str]) -> str:
    if cloud:
        return f"cloud {cloud!r}"
    return f"login at {shown_url(given['OS_AUTH_URL'])}"


def _missing(
    options: Any, cloud: str | None, settings: Mapping[str, Any]
) -> str:
    names = sorted(option.name.replace("-", "_") for option in options)
    if cloud:
        return f"cloud {cloud!r} has no {' and '.join(names)} in its auth"
    variables = " and ".join(f"OS_{name.upper()}" for name in names)
    kind = settings.get("auth_type", "password")
    return f"{variables} not set; OS_AUTH_TYPE {kind!r} needs it"


def _who(auth: Mapping[str, Any]) -> str:
    for key, what in (
        ("application_credential_id", "application credential"),
        ("application_credential_name", "application credential"),
        ("username", "user"),
        ("user_id", "user id"),
    ):
        if auth.get(key):
            return f"{what} {auth[key]!r}"
    return "the token"


def _holds(error: BaseException, kind: type[Exception]) -> bool:
    """Whether it is of this kind, or was raised because of one that is.

    A failed connection while Keystone's versions are asked for comes as a
    failed discovery.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kind):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def _cannot_reach(where: str, error: Exception) -> str:
    if UNTRUSTED in str(error):
        return (
            f"{where} has a certificate that is not trusted; OS_CACERT (or "
            "cacert in clouds.yaml) names a file of authorities to trust"
        )
    return f"cannot reach {where}"


def _clean(error: Exception, settings: Mapping[str, Any]) -> str:
    """The error in one line, without any secret that was in the settings."""
    text = " ".join(str(error).split())
    for secret in _secrets(settings):
        text = text.replace(secret, "***")
    return text


def _secrets(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif any(word in name for word in _SECRETS) and value:
            yield str(value)


@contextmanager
def _collected_log() -> Iterator[list[str]]:
    """Keep what the libraries log to ourselves while inside.

    A broken file is only logged.  Of its error just the place is kept: YAML's
    own words may quote what stands there.
    """
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            given = record.args
            arguments = given if isinstance(given, tuple) else (given,)
            mark = getattr(arguments[-1:][0], "problem_mark", None)
            if mark is not None:
                said.append(f"{arguments[0]} is no YAML, line {mark.line + 1}")

    collector = Collector(logging.WARNING)
    changed = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.propagate for logger in changed]
    for logger in changed:
        logger.addHandler(collector)
        logger.propagate = False
    try:
        yield said
    finally:
        for logger, propagate in zip(changed, before, strict=True):
            logger.removeHandler(collector)
            logger.propagate = propagate
