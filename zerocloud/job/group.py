"""A group: one member of a job's list, JSON → typed.

Each key has its own parser in one table, and keys are read in the order of
the document, so that of several faults the first is told.  What joins several
keys is in job/rules.py; a group's limits stay as asked (`AskedGroup`) until
those of the whole job are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zerocloud.errors import JobError
from zerocloud.job.devices import Device, parse_devices, parse_name
from zerocloud.job.document import Value, plain, shown
from zerocloud.job.limits import LEAST, LIMIT_NAMES, JobCaps, Limits
from zerocloud.job.program import Exec, parse_exec

GROUP_KEYS = (
    "attach",
    "connect",
    "count",
    "devices",
    "exec",
    "file_list",
    "limits",
    "location",
    "name",
    "ok_exit",
    "replicate",
)
DEFAULT_ATTACH = "default"
MAX_COPIES = 2**31 - 1
MAX_EXIT = 2**32 - 1
MAX_LOCATION_BYTES = 128


@dataclass(frozen=True)
class Group:
    """One member of a job's list: it becomes one or more nodes.

    `where` is its JSON pointer.  `counted` says whether `count` was written.
    """

    name: str
    where: str
    exec: Exec
    limits: Limits
    devices: tuple[Device, ...] = ()
    count: int = 1
    counted: bool = False
    attach: str = DEFAULT_ATTACH
    location: str | None = None
    ok_exit: tuple[int, ...] = (0,)

    @property
    def wildcard_device(self) -> Device | None:
        """The device that reads a wildcard; a group has at most one."""
        for device in self.devices:
            if device.wildcard is not None:
                return device
        return None


@dataclass(frozen=True)
class AskedGroup:
    """A group whose limits are still only what it asks for."""

    group: Group
    limits: dict[str, float]

    def with_limits(self, base: Limits, caps: Limits) -> Group:
        """The group, with the job's limits changed to what it asks for."""
        where = f"{self.group.where}/limits"
        return replace(
            self.group, limits=base.with_request(self.limits, caps, where)
        )


@dataclass(frozen=True)
class Scope:
    """What the parsers of a group need to know; `group` names it."""

    account: str
    caps: JobCaps
    group: str = ""


def parse_group(item: Value, scope: Scope) -> AskedGroup:
    """Parse one group, each key by itself.  Raises JobError."""
    subject = _called(item)
    scope = Scope(scope.account, scope.caps, subject)
    fields: dict[str, Any] = {}
    for key, value in item.fields(GROUP_KEYS, subject):
        if key in ("devices", "file_list") and "devices" in fields:
            raise JobError(
                "job_schema",
                f"{subject} has devices and file_list; allowed is one "
                "(file_list is the old spelling of devices)",
                where=item.where,
            )
        name, parser = _GROUP_PARSERS[key]
        fields[name] = parser(value, scope)
    for key in ("name", "exec"):
        if key not in fields:
            raise JobError(
                "job_schema", f"{subject} has no {key}", where=item.where
            )
    for key in ("connect", "replicate"):
        fields.pop(key, None)
    limits = fields.pop("limits", {})
    group = Group(
        where=item.where,
        limits=scope.caps.defaults,
        counted="count" in fields,
        **fields,
    )
    return AskedGroup(group, limits)


def _called(item: Value) -> str:
    """`group NAME` for error texts, or where it stands if it has no name."""
    name = item.raw.get("name") if isinstance(item.raw, dict) else None
    if isinstance(name, str) and name:
        return f"group {plain(name)}"
    return f"group {item.where.rpartition('/')[2]}"


def parse_limits(value: Value, caps: JobCaps) -> dict[str, float]:
    """Parse `limits` of a group or of a job, each within its cap."""
    asked: dict[str, float] = {}
    for name, item in value.fields(LIMIT_NAMES):
        cap = getattr(caps.caps, name)
        if type(item.raw) in (int, float) and item.raw > cap:
            raise JobError(
                "job_limit",
                f"{item.subject} is {item.raw}; the operator's cap is "
                f"{cap:.16g} (max_{name})",
                where=item.where,
            )
        least = getattr(LEAST, name)
        if name.endswith("_seconds"):
            asked[name] = item.number(least, cap)
        else:
            asked[name] = item.whole(least, cap)
    return asked


def _parse_count(value: Value, scope: Scope) -> int:
    if type(value.raw) is int and value.raw > scope.caps.nodes:
        raise value.error(
            "too_many_nodes",
            f"{shown(value.raw)} nodes; the limit is {scope.caps.nodes} "
            "(max_nodes)",
        )
    return value.whole(1, scope.caps.nodes)


def _parse_connect(value: Value, scope: Scope) -> None:
    names = list(value.members("names of groups or nodes"))
    for item in names:
        item.text("the name of a group or node")
    if names:
        raise value.error(
            "not_implemented",
            "connecting nodes is not offered yet; leave the key out",
        )


def _parse_replicate(value: Value, scope: Scope) -> None:
    if value.whole(0, MAX_COPIES) > 1:
        raise value.error(
            "not_implemented",
            f"{value.raw} copies of a node are not offered yet; allowed are "
            "0 and 1",
        )


def _parse_attach(value: Value, scope: Scope) -> str:
    return value.text(f"the name of a device, or {DEFAULT_ATTACH}")


def _parse_location(value: Value, scope: Scope) -> str:
    allowed = f"1 to {MAX_LOCATION_BYTES} bytes of printable characters"
    text = value.text(allowed)
    if (
        not text.isprintable()
        or len(text.encode("utf-8")) > MAX_LOCATION_BYTES
    ):
        raise value.wrong(allowed)
    return text


def _parse_ok_exit(value: Value, scope: Scope) -> tuple[int, ...]:
    allowed = "exit codes"
    codes = {item.whole(0, MAX_EXIT) for item in value.members(allowed)}
    if not codes:
        raise value.error(
            "job_schema", "no exit codes; allowed is at least one"
        )
    return tuple(sorted(codes))


def _parse_limits_of_group(value: Value, scope: Scope) -> dict[str, float]:
    return parse_limits(value, scope.caps)


def _parse_devices(value: Value, scope: Scope) -> tuple[Device, ...]:
    return parse_devices(value, group=scope.group, account=scope.account)


def _parse_exec(value: Value, scope: Scope) -> Exec:
    return parse_exec(value, group=scope.group, account=scope.account)


def _parse_name(value: Value, scope: Scope) -> str:
    return parse_name(value)


_GROUP_PARSERS: dict[str, tuple[str, Callable[[Value, Scope], Any]]] = {
    "attach": ("attach", _parse_attach),
    "connect": ("connect", _parse_connect),
    "count": ("count", _parse_count),
    "devices": ("devices", _parse_devices),
    "exec": ("exec", _parse_exec),
    "file_list": ("devices", _parse_devices),
    "limits": ("limits", _parse_limits_of_group),
    "location": ("location", _parse_location),
    "name": ("name", _parse_name),
    "ok_exit": ("ok_exit", _parse_ok_exit),
    "replicate": ("replicate", _parse_replicate),
}
