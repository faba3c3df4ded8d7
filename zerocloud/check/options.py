"""Values and names of our filter's options; policies; the key's quality."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from zerocloud.check.conf import Conf
from zerocloud.check.finding import Finding, fail, note, ok
from zerocloud.config import (
    ExecutorSettings,
    ProxySettings,
    unknown_options,
)
from zerocloud.errors import ConfigError
from zerocloud.protocol.signing import key_id

Settings = TypeVar("Settings", ProxySettings, ExecutorSettings)

# A key of fewer different characters was typed, not drawn.
FEW_CHARACTERS = 8


def read_settings(
    conf: Conf,
    name: str,
    read: Callable[[dict[str, str]], Settings],
) -> Settings | ConfigError:
    """The filter's settings, or why its server does not start."""
    try:
        return read(conf.effective(name))
    except ConfigError as error:
        return error


def check_names(conf: Conf, kind: str, name: str) -> Iterator[Finding]:
    """Names that are no options, and those that [DEFAULT] overrules."""
    where = f"{conf.path} [filter:{name}]"
    for wrong, near in unknown_options(kind, conf.own(name)).items():
        yield fail(
            "options",
            where,
            f"{wrong} is not an option of this filter; its server does not "
            "start",
            f"write {near} instead" if near else f"take {wrong} out",
        )
    for option in conf.shadowed(name):
        yield fail(
            "options",
            where,
            f"{option} also stands in [DEFAULT], which overrules it here",
            f"write `set {option} = …` in [filter:{name}], or take it out of "
            "[DEFAULT]",
        )


def check_policies(
    settings: ProxySettings, conf: Conf, swift_dir: Path
) -> Iterator[Finding]:
    """Policies that are named must stand in swift.conf."""
    if not settings.standalone_policies:
        return
    known = policy_names(swift_dir)
    for policy in settings.standalone_policies:
        if policy not in known:
            yield fail(
                "options",
                f"{conf.path} standalone_policies",
                f"{policy} is no storage policy of {swift_dir}/swift.conf; "
                "the proxy does not start",
                "name one of: " + (", ".join(known) or "(it cannot be read)"),
            )


def policy_names(swift_dir: Path) -> list[str]:
    """Names and aliases of the storage policies, Policy-0 when none is."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(swift_dir / "swift.conf")
    except (configparser.Error, UnicodeDecodeError):
        return []  # Swift does not start with it either, and says why
    found: list[str] = []
    for section in parser.sections():
        if section.startswith("storage-policy:"):
            found += [parser[section].get("name", "")]
            found += (
                parser[section].get("aliases", "").replace(",", " ").split()
            )
    return [name for name in found if name] or ["Policy-0"]


def check_key(
    settings: ProxySettings | ExecutorSettings, conf: Conf
) -> Iterator[Finding]:
    """The key's id, which may be shown, and whether it was drawn."""
    key = settings.cluster_key
    if len(set(key)) < FEW_CHARACTERS:
        yield fail(
            "key",
            str(conf.path),
            "cluster_key has few different characters; it can be guessed",
            "draw one: openssl rand -hex 32",
        )
    else:
        yield ok("key", str(conf.path), f"cluster_key has id {key_id(key)}")
    mode = conf.path.stat().st_mode if os.path.isfile(conf.path) else 0
    if mode & 0o007:
        yield fail(
            "key",
            str(conf.path),
            f"everybody on this host may read it (mode {mode & 0o777:04o}), "
            "and with it the key",
            f"chmod 0640 {conf.path}",
        )
    previous = settings.previous_cluster_key
    if previous and previous != key:
        yield note(
            "key",
            str(conf.path),
            f"key {key_id(previous)} is accepted as well",
            "once every server has the new key, take previous_cluster_key out",
        )


def check_same_key(
    proxy: ProxySettings, executor: ExecutorSettings
) -> Iterator[Finding]:
    """Both conf files of this host must have the same key."""
    ours = key_id(proxy.cluster_key)
    accepted = [
        key_id(key)
        for key in (executor.cluster_key, executor.previous_cluster_key)
        if key
    ]
    if ours in accepted:
        yield ok(
            "key", "both conf files", f"the proxy's key {ours} is accepted"
        )
        return
    yield fail(
        "key",
        "both conf files",
        f"the proxy signs with key {ours}; the object server accepts "
        + ", ".join(accepted),
        "give both the same cluster_key (docs/operations.md, keys)",
    )
