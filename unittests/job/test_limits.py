"""Limits: what a job asks for, within the operator's caps."""

from __future__ import annotations

from dataclasses import astuple, fields

import pytest

from zerocloud.errors import JobError
from zerocloud.job.limits import LEAST, LIMIT_NAMES, JobCaps, Limits

CAPS = JobCaps().caps


def test_limits_that_are_asked_for_replace_the_base() -> None:
    asked = {"wall_seconds": 5, "memory_bytes": 65536}
    made = Limits().with_request(asked, CAPS, "/limits")
    assert made == Limits(wall_seconds=5.0, memory_bytes=65536)
    assert isinstance(made.wall_seconds, float)
    assert Limits().with_request({}, CAPS, "/limits") == Limits()


def test_limit_at_its_cap_is_taken_and_above_refused() -> None:
    cap = CAPS.memory_bytes
    made = Limits().with_request({"memory_bytes": cap}, CAPS, "/limits")
    assert made.memory_bytes == cap
    with pytest.raises(JobError) as caught:
        Limits().with_request({"memory_bytes": cap + 1}, CAPS, "/limits")
    assert (caught.value.code, caught.value.where) == (
        "job_limit",
        "/limits/memory_bytes",
    )
    assert caught.value.message == (
        "limit memory_bytes is 2147483649; the operator's cap is 2147483648 "
        "(max_memory_bytes)"
    )


def test_defaults_lie_between_the_least_and_the_caps() -> None:
    assert tuple(f.name for f in fields(Limits)) == LIMIT_NAMES
    rows = zip(*map(astuple, (LEAST, Limits(), CAPS)), strict=True)
    assert all(least <= default <= cap for least, default, cap in rows)
