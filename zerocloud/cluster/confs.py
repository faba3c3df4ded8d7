"""The conf file of each Swift server of an embedded cluster, as text.

Pure: settings in, text out.  The pipelines are complete, so that Swift adds
nothing by itself: a filter that it inserts lands left of ours, and ours would
lose it.  `zerocloud` stands right of auth and left of everything that gives
an object its meaning (copy, quotas, large objects, versions, symlinks,
encryption); `executor` stands right before the object server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zerocloud.cluster.folder import Folder, Server
from zerocloud.cluster.installation import InstalledImage
from zerocloud.cluster.settings import ClusterSettings

# A storage node that hangs costs this much, not Swift's 10 s: this cluster's
# network is the loopback device.
NODE_TIMEOUT_SECONDS = 3

# A dead server of this machine refuses at once.  Swift's half a second would
# take a busy moment of the one process for a dead server, and put the object
# on a handoff.
CONNECT_TIMEOUT_SECONDS = 5

USERS = {
    "test:tester": "testing .admin",
    "test:tester3": "testing3",
    "test2:tester2": "testing2 .admin",
    "admin:admin": "admin .admin .reseller_admin",
}

_PROXY_PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats "
    "bulk tempurl s3api tempauth {zerocloud}copy container-quotas "
    "account-quotas slo dlo versioned_writes symlink {encryption}"
    "proxy-logging proxy-server"
)


@dataclass(frozen=True)
class Installation:
    """What the filters' conf sections point to."""

    zvm: Path | None
    images: tuple[InstalledImage, ...]
    cache: Path


def server_conf(
    server: Server,
    folder: Folder,
    settings: ClusterSettings,
    installation: Installation,
) -> str:
    """The text of one server's conf file; holds secrets."""
    common = _common(server, folder)
    if server.kind == "proxy":
        return common + _proxy(folder, settings, installation)
    if server.kind == "object":
        return common + _object(server, folder, settings, installation)
    return (
        common
        + _section(
            "pipeline:main", {"pipeline": f"healthcheck {server.kind}-server"}
        )
        + _HEALTHCHECK
        + _storage_app(server)
    )


def _user() -> str:
    """Who runs the servers, not Swift's default `swift`."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())  # a user without a name


def _section(name: str, options: Mapping[str, object]) -> str:
    lines = [f"{key} = {value}\n" for key, value in options.items()]
    return f"[{name}]\n" + "".join(lines) + "\n"


_HEALTHCHECK = _section("filter:healthcheck", {"use": "egg:swift#healthcheck"})


def _common(server: Server, folder: Folder) -> str:
    options: dict[str, object] = {
        "bind_ip": server.ip,
        "bind_port": server.port,
        "workers": 0,
        "swift_dir": folder.swift,
        "user": _user(),
        "log_name": server.name,
        "log_custom_handlers": "zerocloud.cluster.logs.add_file_handler",
    }
    if server.kind != "proxy":
        options |= {
            "devices": folder.disks(server.number),
            "mount_check": "false",
            "fallocate_reserve": 0,
            "recon_cache_path": folder.run,
        }
    return _section("DEFAULT", options)


def _storage_app(server: Server) -> str:
    return _section(
        f"app:{server.kind}-server",
        {
            "use": f"egg:swift#{server.kind}",
            "node_timeout": NODE_TIMEOUT_SECONDS,
            "conn_timeout": CONNECT_TIMEOUT_SECONDS,
        },
    )


def _object(
    server: Server,
    folder: Folder,
    settings: ClusterSettings,
    installation: Installation,
) -> str:
    executor = "executor " if settings.filters else ""
    text = _section(
        "pipeline:main", {"pipeline": f"healthcheck {executor}object-server"}
    )
    text += _HEALTHCHECK + _storage_app(server)
    if not settings.filters:
        return text
    options: dict[str, object] = {
        "use": "egg:zerocloud#executor",
        "cluster_key": folder.key(),
        "zvm": installation.zvm,
        "zvm_socket": folder.daemon(server.number),
        "state_dir": folder.node(server.number) / "zerocloud",
        "cache_dir": installation.cache / "artefacts",
        "slots": 2 * (os.cpu_count() or 1),
        "system_images": " ".join(
            f"{name}={image.tar}"
            for image in installation.images
            for name in image.names
        ),
        **settings.executor_options,
    }
    return text + _section("filter:executor", options)


def _proxy(
    folder: Folder, settings: ClusterSettings, installation: Installation
) -> str:
    pipeline = _PROXY_PIPELINE.format(
        zerocloud="zerocloud " if settings.filters else "",
        encryption="keymaster encryption " if settings.encrypt else "",
    )
    text = _section("pipeline:main", {"pipeline": pipeline})
    text += _section("app:proxy-server", _PROXY_APP)
    for name, options in _PROXY_FILTERS.items():
        text += _section(f"filter:{name}", options)
    text += _section(
        "filter:cache",
        {
            "paste.filter_factory": "zerocloud.cluster.cache:filter_factory",
            "path": folder.run / "cache.sqlite",
        },
    )
    if settings.encrypt:
        text += _encryption(folder)
    if settings.filters:
        text += _section(
            "filter:zerocloud",
            {
                "use": "egg:zerocloud#zerocloud",
                "cluster_key": folder.key(),
                "node_timeout": NODE_TIMEOUT_SECONDS,
                "system_images": " ".join(
                    f"{name}={image.sha256}"
                    for image in installation.images
                    for name in image.names
                ),
                **settings.proxy_options,
            },
        )
    return text


def _encryption(folder: Folder) -> str:
    secret = hmac.digest(
        folder.key().encode(), b"encryption root secret", hashlib.sha256
    )
    return _section(
        "filter:keymaster",
        {
            "use": "egg:swift#keymaster",
            "encryption_root_secret": base64.b64encode(secret).decode(),
        },
    ) + _section("filter:encryption", {"use": "egg:swift#encryption"})


_PROXY_APP: dict[str, object] = {
    "use": "egg:swift#proxy",
    "account_autocreate": "true",
    "allow_account_management": "true",
    "node_timeout": NODE_TIMEOUT_SECONDS,
    "conn_timeout": CONNECT_TIMEOUT_SECONDS,
    # A node that came back is used again soon.
    "error_suppression_interval": 10,
}

_PROXY_FILTERS: dict[str, dict[str, object]] = {
    "catch_errors": {"use": "egg:swift#catch_errors"},
    "gatekeeper": {"use": "egg:swift#gatekeeper"},
    "healthcheck": {"use": "egg:swift#healthcheck"},
    "proxy-logging": {"use": "egg:swift#proxy_logging"},
    "listing_formats": {"use": "egg:swift#listing_formats"},
    "bulk": {"use": "egg:swift#bulk"},
    "tempurl": {"use": "egg:swift#tempurl"},
    "s3api": {"use": "egg:swift#s3api", "location": "us-east-1"},
    "tempauth": {
        "use": "egg:swift#tempauth",
        **{
            "user_" + user.replace(":", "_"): groups
            for user, groups in USERS.items()
        },
    },
    "copy": {"use": "egg:swift#copy"},
    "container-quotas": {"use": "egg:swift#container_quotas"},
    "account-quotas": {"use": "egg:swift#account_quotas"},
    "slo": {"use": "egg:swift#slo"},
    "dlo": {"use": "egg:swift#dlo"},
    "versioned_writes": {
        "use": "egg:swift#versioned_writes",
        "allow_versioned_writes": "true",
        "allow_object_versioning": "true",
    },
    "symlink": {"use": "egg:swift#symlink"},
}
