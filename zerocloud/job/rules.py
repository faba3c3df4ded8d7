"""Rules that join several keys of a group, or several groups.

Called after every key has been parsed by itself, so that texts about one key
come first.  Each `check_` gives nothing or raises JobError; each rule has one
function, and needs nothing but the parsed job: whether a job obeys them never
depends on what is stored (what does is in job/expand.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zerocloud.errors import JobError
from zerocloud.job.devices import Device
from zerocloud.job.document import listed, plain
from zerocloud.job.group import DEFAULT_ATTACH, Group
from zerocloud.job.limits import JobCaps
from zerocloud.job.wildcards import Pattern

_NUMBERED = re.compile("(.*)-([1-9][0-9]*)", re.DOTALL)


def check_group(group: Group) -> None:
    """Check what must fit within one group."""
    _check_wildcards(group)
    _check_count(group)
    for device in group.devices:
        if isinstance(device.path, Pattern) and device.wildcard is None:
            _check_stars(group, device)
        elif device.path is not None and group.count > 1:
            _check_one_writer(group, device)
    _check_attach(group)


def check_groups(groups: Sequence[Group], caps: JobCaps) -> None:
    """Check what must fit between the groups of a job."""
    known: dict[str, Group] = {}
    for group in groups:
        if group.name in known:
            raise JobError(
                "job_rule",
                f"group {plain(group.name)} is there twice; allowed is once",
                where=group.where,
            )
        known[group.name] = group
    for group in groups:
        _check_numbered(group, known)
    check_total(sum(group.count for group in groups), caps)


def check_total(nodes: int, caps: JobCaps) -> None:
    """Check the number of nodes of a job against the operator's cap."""
    if nodes > caps.nodes:
        raise JobError(
            "too_many_nodes",
            f"job has {nodes} nodes; the limit is {caps.nodes} (max_nodes)",
        )


def _check_wildcards(group: Group) -> None:
    first: Device | None = None
    for device in group.devices:
        if device.wildcard is None:
            continue
        if first is not None:
            raise JobError(
                "job_rule",
                f"group {plain(group.name)}: devices {first.name} and "
                f"{device.name} both read a wildcard; allowed is one per "
                "group",
                where=f"{device.where}/path",
            )
        first = device


def _check_count(group: Group) -> None:
    device = group.wildcard_device
    if device is not None and group.counted:
        raise JobError(
            "job_rule",
            f"group {plain(group.name)}: count and the wildcard in path of "
            f"device {device.name} both say how many nodes there are; allowed "
            "is one of them",
            where=f"{group.where}/count",
        )


def _check_stars(group: Group, device: Device) -> None:
    """Check that every star of an output's path has something to stand for."""
    source = group.wildcard_device
    pattern = device.path
    if source is None or source.wildcard is None:
        return
    have = source.wildcard.stars
    if isinstance(pattern, Pattern) and pattern.stars > have:
        raise JobError(
            "job_rule",
            f"group {plain(group.name)}: device {device.name} has "
            f"{pattern.stars} wildcards in its path; allowed are {have}, as "
            f"many as device {source.name} has",
            where=f"{device.where}/path",
        )


def _check_one_writer(group: Group, device: Device) -> None:
    if device.kind is not None and not device.kind.reads:
        raise JobError(
            "job_rule",
            f"group {plain(group.name)}: its {group.count} nodes would all "
            f"write {plain(str(device.path))} (device {device.name}); allowed "
            "is a path with *, which becomes the node's name",
            where=f"{device.where}/path",
        )


def _check_attach(group: Group) -> None:
    names = [device.name for device in group.devices]
    if group.attach != DEFAULT_ATTACH and group.attach not in names:
        raise JobError(
            "job_rule",
            f"group {plain(group.name)}: attach is {plain(group.attach)}; "
            f"allowed are {listed([*names, DEFAULT_ATTACH])}",
            where=f"{group.where}/attach",
        )


def _check_numbered(group: Group, known: dict[str, Group]) -> None:
    """Check that no group has the name of another group's node.

    For a wildcard every number counts: the number of matches must not decide
    whether a job is right.
    """
    numbered = _NUMBERED.fullmatch(group.name)
    if numbered is None:
        return
    other = known.get(numbered[1])
    if other is None:
        return
    wild = other.wildcard_device is not None
    if wild or (other.count > 1 and int(numbered[2]) <= other.count):
        raise JobError(
            "job_rule",
            f"group {plain(group.name)} has the name of a node of group "
            f"{plain(other.name)}; allowed is another name",
            where=f"{group.where}/name",
        )
