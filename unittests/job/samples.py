"""Small jobs, and the two ways to ask for the error that a job gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zerocloud.errors import JobError
from zerocloud.job.description import Job, parse_job
from zerocloud.job.expand import PlanContext, build_plan
from zerocloud.job.limits import JobCaps
from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Plan
from zerocloud.job.wildcards import Match, Pattern

ACCOUNT = "AUTH_a"
CAPS = JobCaps()
PROGRAM = "swift://~/bin/wc.wasm"
IMAGES = ("python", "python3")


def group(name: str = "wc", **keys: Any) -> dict[str, Any]:
    """A group that is right by itself, changed by `keys`."""
    return {"name": name, "exec": {"path": PROGRAM}, **keys}


def with_exec(**keys: Any) -> list[Any]:
    """A job of one group with these keys in its exec."""
    return [group(exec={"path": PROGRAM, **keys})]


def with_device(**keys: Any) -> list[Any]:
    """A job of one group with this one device."""
    return [group(devices=[keys])]


def parse(job: Any, *, caps: JobCaps = CAPS, stored: bool = False) -> Job:
    """Parse a job given as a JSON value, or as bytes."""
    document = job if isinstance(job, bytes) else json.dumps(job).encode()
    return parse_job(document, account=ACCOUNT, caps=caps, stored=stored)


def refused(job: Any, **options: Any) -> JobError:
    """The error of a job that must not be parsed."""
    with pytest.raises(JobError) as caught:
        parse(job, **options)
    return caught.value


def path(container: str, name: str) -> ObjectPath:
    """An object of the account."""
    return ObjectPath(ACCOUNT, container, name)


def find(job: Job, names: list[ObjectPath]) -> dict[Pattern, list[Match]]:
    """What the job's patterns match among these objects, in their order."""
    found: dict[Pattern, list[Match]] = {}
    for pattern in job.patterns:
        found[pattern] = []
        for name in names:
            captures = pattern.match(name.container, name.object)
            if captures is not None and name.account == pattern.account:
                found[pattern].append(Match(name, captures))
    return found


def plan(
    job: Any, names: list[ObjectPath] | None = None, **context: Any
) -> Plan:
    """The plan of a job over a store with these objects."""
    parsed = parse(job)
    context = {"system_images": IMAGES, **context}
    return build_plan(
        parsed,
        find(parsed, names or []),
        context=PlanContext(ACCOUNT, **{"caps": CAPS, **context}),
    )


def unplanned(
    job: Any, names: list[ObjectPath] | None = None, **context: Any
) -> JobError:
    """The error of a job that parses and must not be planned."""
    parse(job)
    with pytest.raises(JobError) as caught:
        plan(job, names, **context)
    return caught.value
