"""The mode of a job, and the fuel that only a strict one has."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from unittests.job.samples import ACCOUNT, CAPS, group
from zerocloud.config import read_proxy_settings
from zerocloud.errors import ConfigError, JobError
from zerocloud.job.description import Job, parse_job
from zerocloud.job.expand import PlanContext, build_plan
from zerocloud.job.limits import JobCaps
from zerocloud.job.template import parse_script

STRICT = replace(CAPS, determinism="strict")
FORCED = replace(STRICT, allowed_determinism=("strict",))
KEY = {"cluster_key": "x" * 16}


def parse(document: Any, caps: JobCaps = CAPS) -> Job:
    text = json.dumps(document).encode()
    return parse_job(text, account=ACCOUNT, caps=caps)


def whole(**keys: Any) -> dict[str, Any]:
    return {"version": 2, "nodes": [group()], **keys}


def refused(document: Any, caps: JobCaps = CAPS) -> JobError:
    with pytest.raises(JobError) as caught:
        parse(document, caps)
    return caught.value


@pytest.mark.parametrize("mode", ["default", "strict"])
def test_mode_of_a_job_is_the_mode_of_its_plan(mode: str) -> None:
    job = parse(whole(determinism=mode))
    plan = build_plan(job, {}, context=PlanContext(ACCOUNT))
    assert (job.determinism, plan.determinism) == (mode, mode)


def test_job_that_names_no_mode_has_the_operators() -> None:
    script = b"#!swift://~/bin/x.wasm\n"
    for caps in (CAPS, STRICT):
        assert parse([group()], caps).determinism == caps.determinism
        assert parse(whole(), caps).determinism == caps.determinism
        made = parse_script(script, account=ACCOUNT, caps=caps)
        assert made.job.determinism == caps.determinism


@pytest.mark.parametrize("mode", ["loose", "", None, True, ["strict"]])
def test_mode_that_does_not_exist_is_refused(mode: Any) -> None:
    error = refused(whole(determinism=mode))
    assert (error.code, error.where) == ("job_schema", "/determinism")
    assert error.message.endswith("; allowed is default and strict")


def test_mode_that_the_operator_does_not_allow_is_refused() -> None:
    assert parse(whole(determinism="strict"), FORCED).determinism == "strict"
    error = refused(whole(determinism="default"), FORCED)
    assert (error.code, error.where) == ("job_limit", "/determinism")
    assert error.message == (
        "job: determinism: default is not offered here; the operator allows "
        "strict (allowed_determinism)"
    )


@pytest.mark.parametrize("wide", [True, False])
def test_fuel_is_a_limit_of_strict_jobs_only(wide: bool) -> None:
    limits = {"limits": {"fuel": 1000}}
    nodes = [group() if wide else group(**limits)]
    job = {"version": 2, "nodes": nodes, **(limits if wide else {})}
    error = refused(job)
    where = "/limits/fuel" if wide else "/nodes/0/limits/fuel"
    assert (error.code, error.where) == ("job_rule", where)
    assert "fuel is counted in strict mode only" in error.message
    (parsed,) = parse({**job, "determinism": "strict"}).groups
    assert parsed.limits.fuel == 1000
    # The list form has the mode of the operator.
    assert parse(nodes, STRICT).groups[0].limits.fuel == (
        STRICT.defaults.fuel if wide else 1000
    )


@pytest.mark.parametrize(
    ("fuel", "code"),
    [
        (1, None),
        (1_000_000_000_000, None),
        (0, "job_schema"),
        (1.5, "job_schema"),
        (1_000_000_000_001, "job_limit"),
    ],
)
def test_fuel_has_a_least_and_a_cap(fuel: float, code: str | None) -> None:
    job = whole(determinism="strict", limits={"fuel": fuel})
    if code is None:
        assert parse(job).limits.fuel == fuel
    else:
        assert refused(job).code == code


def test_operator_chooses_the_modes() -> None:
    usual = read_proxy_settings(KEY).job_caps
    assert (usual.determinism, usual.allowed_determinism) == (
        "default",
        ("default", "strict"),
    )
    forced = {"determinism": "strict", "allowed_determinism": "strict"}
    caps = read_proxy_settings(KEY | forced).job_caps
    assert caps.determinism == "strict"
    assert caps.allowed_determinism == ("strict",)


@pytest.mark.parametrize(
    ("conf", "text"),
    [
        ({"determinism": "loose"}, "determinism has 'loose'; allowed are"),
        (
            {"allowed_determinism": "strict lax"},
            "allowed_determinism has 'lax'",
        ),
        (
            {"allowed_determinism": "strict"},
            "determinism is 'default'; allowed is one of allowed_determinism, "
            "which is 'strict'",
        ),
        ({"default_fuel": "0"}, "default_fuel is '0'; allowed is a whole"),
        (
            {"max_fuel": "5"},
            "default_fuel is 1e+11; allowed is at most max_fue",
        ),
    ],
)
def test_operators_mistake_is_named(conf: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_proxy_settings(KEY | conf)
    assert str(caught.value).startswith(text)
