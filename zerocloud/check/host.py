"""Everything that can be looked at from a host, in an order that explains.

A conf's values come first: what they do not settle cannot be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zerocloud.check import (
    capacity,
    folders,
    images,
    kernel,
    options,
    pipeline,
    runner,
    servers,
)
from zerocloud.check.conf import Conf
from zerocloud.check.finding import Finding, fail, ok
from zerocloud.check.rings import RingsUnreadable, object_servers
from zerocloud.config import (
    ExecutorSettings,
    ProxySettings,
    read_executor_settings,
    read_proxy_settings,
)
from zerocloud.errors import ConfigError

MAX_CLIENTS = 1024  # Swift's default


@dataclass
class Host:
    """What is looked at, and what was found out about it on the way."""

    proxy_conf: Conf | None
    object_conf: Conf | None
    proxy_url: str | None
    timeout_seconds: float
    proxy: ProxySettings | None = None
    executor: ExecutorSettings | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """Every check, in order."""
        if self.proxy_conf is not None:
            yield from self._proxy(self.proxy_conf)
        if self.object_conf is not None:
            yield from self._object(self.object_conf)
        if self.proxy is not None and self.executor is not None:
            yield from options.check_same_key(self.proxy, self.executor)
        if self.proxy_url is not None:
            yield from servers.ask_proxy(
                self.proxy_url, self.timeout_seconds, self.info.update
            )
        if self.executor is not None:
            yield from images.check_images(self.executor, *self._promised())
        yield from self._servers()

    def _proxy(self, conf: Conf) -> Iterator[Finding]:
        name = conf.find(pipeline.PROXY_FACTORIES)
        if name is None:
            yield _no_section(conf, "zerocloud#zerocloud")
            return
        yield from pipeline.check_proxy(conf, name)
        yield from options.check_names(conf, "proxy", name)
        found = options.read_settings(conf, name, read_proxy_settings)
        if isinstance(found, ConfigError):
            yield _bad_value(conf, name, found)
            return
        self.proxy = found
        yield ok("options", f"{conf.path} [filter:{name}]", "can be used")
        yield from options.check_policies(found, conf, swift_dir(conf))
        yield from options.check_key(found, conf)

    def _object(self, conf: Conf) -> Iterator[Finding]:
        yield from kernel.check_features()
        name = conf.find(pipeline.EXECUTOR_FACTORIES)
        if name is None:
            yield _no_section(conf, "zerocloud#executor")
            return
        yield from pipeline.check_executor(conf, name)
        yield from options.check_names(conf, "executor", name)
        found = options.read_settings(conf, name, read_executor_settings)
        if isinstance(found, ConfigError):
            yield _bad_value(conf, name, found)
            return
        self.executor = found
        yield ok("options", f"{conf.path} [filter:{name}]", "can be used")
        yield from options.check_key(found, conf)
        yield from folders.check_folders(found, folders.server_user(conf))
        if os.path.isdir(found.state_dir):
            yield from kernel.check_nameless_files(found.state_dir)
        for disk in disks(conf):
            yield from kernel.check_xattrs(disk)
        clients = max_clients(conf)
        yield from kernel.check_open_files(
            found, clients, kernel.file_limits(conf.path)
        )
        yield from kernel.check_queue(found, clients)
        yield from capacity.check_memory(found)
        yield from capacity.check_disk(found)
        yield from runner.check_runner(found)
        yield from runner.check_daemon(found)

    def _promised(self) -> tuple[dict[str, str] | None, str]:
        """Digests of images by name, and who says so."""
        if self.proxy is not None and self.proxy_conf is not None:
            said = {i.name: i.sha256 for i in self.proxy.system_images}
            return said, str(self.proxy_conf.path)
        listed = self.info.get("system_images")
        if isinstance(listed, list):
            return {
                str(image.get("name")): str(image.get("sha256"))
                for image in listed
                if isinstance(image, dict)
            }, str(self.proxy_url)
        return None, ""

    def _servers(self) -> Iterator[Finding]:
        conf = self.proxy_conf or self.object_conf
        side = self.proxy or self.executor
        if conf is None or side is None:
            return
        try:
            found = object_servers(swift_dir(conf))
        except RingsUnreadable as error:
            yield fail(
                "servers",
                "rings",
                str(error),
                "copy the rings there, or let swift_dir in [DEFAULT] name "
                "their folder",
            )
            return
        yield from servers.check_servers(
            found, side.cluster_key, self.timeout_seconds
        )


def swift_dir(conf: Conf) -> Path:
    """Where the rings and swift.conf are."""
    return Path(conf.defaults.get("swift_dir", "/etc/swift").strip())


def max_clients(conf: Conf) -> int:
    """Connections that the server takes at once."""
    word = conf.defaults.get("max_clients", "").strip()
    return int(word) if word.isdigit() else MAX_CLIENTS


def disks(conf: Conf) -> list[Path]:
    """The folders of Swift's disks; those that cannot be listed are not."""
    folder = Path(conf.defaults.get("devices", "/srv/node").strip())
    try:
        return sorted(path for path in folder.iterdir() if os.path.isdir(path))
    except OSError:
        return []  # Swift's own trouble, or for its user's eyes only


def _no_section(conf: Conf, factory: str) -> Finding:
    return fail(
        "pipeline",
        str(conf.path),
        f"no filter section has `use = egg:{factory}`",
        "add the filter (docs/operations.md)",
    )


def _bad_value(conf: Conf, name: str, error: ConfigError) -> Finding:
    return fail(
        "options",
        f"{conf.path} [filter:{name}]",
        f"{error}; the server does not start",
        "correct it (docs/configuration.md)",
    )
