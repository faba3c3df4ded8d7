"""A job's bytes → `Job`: typed, checked, and still with its wildcards.

The first of two stages (docs/job-format.md is the manual): this one says what
was asked, `job/expand.py` what it means once the names that the wildcards
match are known.  Two spellings are read: the ancestor's list of groups, and
the object `{"version": 2, "nodes": […], …}` with settings of the whole job.

Everything unknown, doubled or out of range is a JobError that names the place
and what is allowed; of several faults the first in the document is told, and
those between keys after those of a key.  Nothing here opens or lists anything,
and no input may raise anything but JobError.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from zerocloud.errors import JobError
from zerocloud.job.document import Value, listed, load_document
from zerocloud.job.group import (
    AskedGroup,
    Group,
    Scope,
    parse_group,
    parse_limits,
)
from zerocloud.job.limits import MODES, Determinism, JobCaps, Limits
from zerocloud.job.rules import check_group, check_groups
from zerocloud.job.wildcards import Pattern

VERSION = 2
JOB_KEYS = (
    "clock",
    "commit",
    "determinism",
    "limits",
    "nodes",
    "seed",
    "version",
)
MAX_CLOCK_SECONDS = 9_000_000_000
MAX_SEED_CHARACTERS = 256
DEFAULT_CLOCK_NANOSECONDS = 946_684_800_000_000_000
DEFAULT_SEED = "0" * 64


@dataclass(frozen=True)
class Job:
    """A job as it was asked for; `seed` is 64 hex digits."""

    groups: tuple[Group, ...]
    limits: Limits
    seed: str = DEFAULT_SEED
    clock_nanoseconds: int = DEFAULT_CLOCK_NANOSECONDS
    determinism: Determinism = "default"

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The distinct wildcards to be listed, in the order of the groups."""
        found = (group.wildcard_device for group in self.groups)
        patterns = [d.wildcard for d in found if d is not None]
        return tuple(dict.fromkeys(p for p in patterns if p is not None))


def parse_job(
    document: bytes, *, account: str, caps: JobCaps, stored: bool = False
) -> Job:
    """Parse a job in either form.

    `account` is what `~` and `.` stand for; `stored` tells that the job is an
    object, which may be larger.  Raises JobError: `job_too_large`,
    `job_not_json`, `job_schema`, `job_rule`, `job_limit`, `too_many_nodes` or
    `not_implemented`.
    """
    _check_size(document, caps, stored=stored)
    root = Value(load_document(document))
    if isinstance(root.raw, dict):
        return _parse_object_form(root, Scope(account, caps))
    if not isinstance(root.raw, list):
        raise root.wrong(
            f'a list of groups, or an object with "version": {VERSION}'
        )
    groups = _parse_groups(root, Scope(account, caps))
    return _finish(groups, {}, {}, caps)


@cache
def _schema_text() -> str:
    folder = resources.files("zerocloud.job") / "schema"
    return (folder / "job.json").read_text(encoding="utf-8")


def job_schema() -> dict[str, Any]:
    """The published JSON Schema of a job; a new copy each time."""
    schema: dict[str, Any] = json.loads(_schema_text())
    return schema


def _check_size(document: bytes, caps: JobCaps, *, stored: bool) -> None:
    """Check the length before anything is read from the document."""
    limit, option = caps.job_bytes, "max_job_bytes"
    if stored or document.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        limit, option = caps.stored_job_bytes, "max_stored_job_bytes"
    if len(document) > limit:
        raise JobError(
            "job_too_large",
            f"job is {len(document)} bytes; the limit is {limit} ({option})",
        )


def _parse_object_form(root: Value, scope: Scope) -> Job:
    groups: list[AskedGroup] | None = None
    limits: dict[str, float] = {}
    settings: dict[str, Any] = {}
    version = False
    for key, value in root.fields(JOB_KEYS):
        if key == "version":
            _check_version(value)
            version = True
        elif key == "nodes":
            groups = _parse_groups(value, scope)
        elif key == "limits":
            limits = parse_limits(value, scope.caps)
        elif key == "seed":
            settings["seed"] = _parse_seed(value)
        elif key == "clock":
            settings["clock_nanoseconds"] = _parse_clock(value)
        elif key == "determinism":
            settings["determinism"] = _parse_determinism(value, scope.caps)
        else:
            raise value.error(
                "not_implemented",
                "choosing how outputs are committed is not offered yet; "
                "leave the key out",
            )
    if not version:
        raise root.error(
            "job_schema", f"an object has no version; allowed is {VERSION}"
        )
    if groups is None:
        raise root.error(
            "job_schema", "nodes is missing; allowed is a list of groups"
        )
    return _finish(groups, limits, settings, scope.caps)


def _finish(
    asked: list[AskedGroup],
    limits: dict[str, float],
    settings: dict[str, Any],
    caps: JobCaps,
) -> Job:
    """Apply the limits, the job's and then each group's, and join all."""
    settings.setdefault("determinism", caps.determinism)
    if settings["determinism"] != "strict":
        _check_no_fuel("/limits", limits)
        for item in asked:
            _check_no_fuel(f"{item.group.where}/limits", item.limits)
    job_limits = caps.defaults.with_request(limits, caps.caps, "/limits")
    groups = tuple(item.with_limits(job_limits, caps.caps) for item in asked)
    check_groups(groups, caps)
    return Job(groups, job_limits, **settings)


def _check_version(value: Value) -> None:
    if type(value.raw) is not int or value.raw != VERSION:
        raise value.wrong(
            f"{VERSION} (a plain list of groups is the older form)"
        )


def _parse_groups(value: Value, scope: Scope) -> list[AskedGroup]:
    groups = []
    for item in value.members("groups"):
        asked = parse_group(item, scope)
        check_group(asked.group)
        groups.append(asked)
    if not groups:
        raise value.error("job_schema", "no groups; allowed is at least one")
    return groups


def _parse_seed(value: Value) -> str:
    raw = value.raw
    number = type(raw) is int and 0 <= raw < 2**64
    text = isinstance(raw, str) and 0 < len(raw) <= MAX_SEED_CHARACTERS
    if not number and not text:
        raise value.wrong(
            f"a string of 1 to {MAX_SEED_CHARACTERS} characters, or a whole "
            f"number from 0 to {2**64 - 1}"
        )
    return hashlib.sha256(f"zerocloud seed {raw}".encode()).hexdigest()


def _parse_determinism(value: Value, caps: JobCaps) -> Determinism:
    for mode in MODES:
        if mode == value.raw and mode in caps.allowed_determinism:
            return mode
        if mode == value.raw:
            raise value.error(
                "job_limit",
                f"{mode} is not offered here; the operator allows "
                f"{listed(caps.allowed_determinism)} (allowed_determinism)",
            )
    raise value.wrong(listed(MODES))


def _check_no_fuel(where: str, limits: dict[str, float]) -> None:
    if "fuel" in limits:
        raise JobError(
            "job_rule",
            "limits: fuel is counted in strict mode only; allowed is fuel in "
            'a job with "determinism": "strict"',
            where=f"{where}/fuel",
        )


def _parse_clock(value: Value) -> int:
    seconds = value.number(0, MAX_CLOCK_SECONDS)
    # By way of the decimal text: 0.1 is to be 100000000 nanoseconds.
    return int(Decimal(str(seconds)) * 10**9)
