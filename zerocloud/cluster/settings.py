"""What an embedded cluster is asked to be: typed, checked, no I/O.

Three of the settings (`nodes`, `replicas`, `encrypt`) are burnt into the
folder's rings and data when it is first used; asking for others later is an
error that names what differs.  The rest may change from start to start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from zerocloud.config import (
    MIN_KEY_LENGTH,
    option_tables,
    read_executor_settings,
    read_proxy_settings,
    unknown_options,
)
from zerocloud.errors import ConfigError

DISKS_PER_NODE = 2
MAX_NODES = 200  # one loopback address each, 127.0.0.1 upwards
MAX_PROXIES = 32
MODES = ("single", "process")

# What the folder keeps for good.
LASTING = ("nodes", "replicas", "encrypt")


class StartError(Exception):
    """The cluster cannot start; the text is for the person who asked."""


class SettingsError(StartError):
    """What was asked is at fault; nothing was started."""


@dataclass(frozen=True)
class Erasure:
    """Fragments per object."""

    data: int
    parity: int


def erasure_for(disks: int) -> Erasure | None:
    """4+2 when that many disks are there, else 2+1, else none."""
    for scheme in (Erasure(4, 2), Erasure(2, 1)):
        if scheme.data + scheme.parity <= disks:
            return scheme
    return None


def disk_names(number: int) -> list[str]:
    """The disks of storage node `number`; unique in the cluster."""
    first = (number - 1) * DISKS_PER_NODE + 1
    return [f"d{first + i}" for i in range(DISKS_PER_NODE)]


@dataclass(frozen=True)
class ClusterSettings:
    """One embedded cluster.

    `mode`: `single` keeps all Swift servers in one process, `process` gives
    each its own.  `port` is the first proxy's (None: any free one).
    `filters=False` is plain Swift.  The option mappings are written into the
    two filters' conf sections; names as in zerocloud.config.  The constraints
    are Swift's own (`max_file_size` and so on), for all of its servers.
    `keep_confs` starts with the conf files of the last start, as whoever
    edited them left them; `filters` then says nothing.
    """

    nodes: int = 4
    replicas: int = 3
    port: int | None = None
    proxies: int = 1
    mode: str = "single"
    encrypt: bool = False
    filters: bool = True
    keep_confs: bool = False
    proxy_options: Mapping[str, str] = field(default_factory=dict)
    executor_options: Mapping[str, str] = field(default_factory=dict)
    swift_constraints: Mapping[str, str] = field(default_factory=dict)

    @property
    def disks(self) -> int:
        """How many disks all nodes have together."""
        return self.nodes * DISKS_PER_NODE


def check_settings(settings: ClusterSettings) -> None:
    """Raise SettingsError: the setting, its value and what is allowed."""
    _check_range("nodes", settings.nodes, 1, MAX_NODES)
    _check_range("replicas", settings.replicas, 1, settings.disks)
    _check_range("proxies", settings.proxies, 1, MAX_PROXIES)
    if settings.port is not None:
        _check_range("port", settings.port, 1, 65535)
    if settings.mode not in MODES:
        raise SettingsError(
            f"mode is {settings.mode!r}; allowed is {' or '.join(MODES)}"
        )
    if settings.keep_confs and (
        settings.proxy_options or settings.executor_options
    ):
        raise SettingsError(
            "options of the filters and keep_confs were both asked for; conf "
            "files that are kept are not written: edit them instead"
        )
    _check_options("proxy", settings.proxy_options)
    _check_options("executor", settings.executor_options)
    for name, value in settings.swift_constraints.items():
        if not (value.isascii() and value.isdigit()):
            raise SettingsError(
                f"Swift's constraint {name} is {value!r}; allowed is a whole "
                "number"
            )


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        hint = (
            f" (a disk holds at most one replica; there are {high} disks)"
            if name == "replicas"
            else ""
        )
        raise SettingsError(
            f"{name} is {value}; allowed is {low} to {high}{hint}"
        )


def _check_options(kind: str, asked: Mapping[str, str]) -> None:
    for name in unknown_options(kind, asked):
        known = ", ".join(sorted(o for o, _ in option_tables()[kind]))
        raise SettingsError(
            f"{kind} option {name!r} is unknown; allowed are {known}"
        )
    for name, value in asked.items():
        if not value.isprintable():
            raise SettingsError(
                f"{kind} option {name} has a control character in its value"
            )
    read = read_proxy_settings if kind == "proxy" else read_executor_settings
    try:
        read({"cluster_key": "x" * MIN_KEY_LENGTH, **asked})
    except ConfigError as error:
        raise SettingsError(f"{kind} option {error}") from error


def settle(
    asked: Mapping[str, Any], stored: Mapping[str, Any] | None
) -> ClusterSettings:
    """Merge what was asked with what the folder keeps (None: a new one).

    A setting that is absent from `asked` takes the folder's value, else the
    default.  Raises SettingsError when the two contradict each other.
    """
    kept = dict(stored or {})
    differing = [
        f"{name} {_shown(kept[name])} (asked: {_shown(asked[name])})"
        for name in LASTING
        if name in kept and name in asked and asked[name] != kept[name]
    ]
    if differing:
        raise SettingsError(
            "the folder was made with " + ", ".join(differing) + "; "
            "start it as it was made, or choose another folder"
        )
    names = {known.name for known in fields(ClusterSettings)}
    values = {k: v for k, v in {**kept, **asked}.items() if k in names}
    settings = replace(ClusterSettings(), **values)
    check_settings(settings)
    return settings


def lasting(settings: ClusterSettings) -> dict[str, Any]:
    """The part of the settings that the folder keeps."""
    return {name: getattr(settings, name) for name in LASTING}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
