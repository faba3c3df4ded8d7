"""docs/job-format.md: its examples are jobs, its tables are the parser's."""

from __future__ import annotations

import re
from dataclasses import astuple
from pathlib import Path

import pytest

from unittests.job.samples import ACCOUNT, CAPS, IMAGES, find, path
from zerocloud.job.description import JOB_KEYS, MAX_CLOCK_SECONDS, parse_job
from zerocloud.job.devices import DEVICE_KEYS, KINDS, MODES
from zerocloud.job.expand import PlanContext, build_plan
from zerocloud.job.group import GROUP_KEYS
from zerocloud.job.limits import LEAST, LIMIT_NAMES
from zerocloud.job.program import EXEC_KEYS
from zerocloud.job.template import parse_script

DOCS = Path(__file__).resolve().parents[2] / "docs"
MANUAL = (DOCS / "job-format.md").read_text(encoding="utf-8")
STORE = [path("texts", "a/b.txt"), path("texts", "c.txt"), path("orders", "1")]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", MANUAL, re.M | re.S)


@pytest.mark.parametrize("text", _blocks("json"))
def test_example_of_the_manual_is_a_job_with_a_plan(text: str) -> None:
    job = parse_job(text.encode(), account=ACCOUNT, caps=CAPS)
    context = PlanContext(ACCOUNT, CAPS, system_images=IMAGES)
    assert build_plan(job, find(job, STORE), context=context).nodes


def test_wildcard_example_of_the_manual_gives_the_names_it_tells() -> None:
    (text,) = (t for t in _blocks("json") if "*.lines" in t)
    job = parse_job(text.encode(), account=ACCOUNT, caps=CAPS)
    made = build_plan(job, find(job, STORE), context=PlanContext(ACCOUNT))
    assert path("results", "a/b.lines") in list(made.writes())


def test_script_of_the_manual_is_the_job_that_it_tells() -> None:
    (text,) = _blocks("python")
    script = parse_script(text.encode(), account=ACCOUNT, caps=CAPS)
    told = parse_job(_blocks("json")[-1].encode(), account=ACCOUNT, caps=CAPS)
    context = PlanContext(
        ACCOUNT, CAPS, posted_image=True, system_images=IMAGES
    )
    plans = [
        build_plan(job, {}, context=context) for job in (script.job, told)
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    "word",
    [
        *JOB_KEYS,
        *GROUP_KEYS,
        *EXEC_KEYS,
        *DEVICE_KEYS,
        *KINDS,
        *MODES,
        *LIMIT_NAMES,
    ],
)
def test_word_of_the_format_is_in_the_manual(word: str) -> None:
    assert f"`{word}`" in MANUAL


def test_limits_of_the_manual_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [a-zA-Z' ]+ \| ([\d.]+) \| (\d+) \| (\d+) \|$",
        MANUAL,
        re.M,
    )
    told = {name: tuple(map(float, numbers)) for name, *numbers in rows}
    values = zip(*map(astuple, (LEAST, CAPS.defaults, CAPS.caps)), strict=True)
    assert told == dict(zip(LIMIT_NAMES, values, strict=True))
    assert f"`max_nodes` ({CAPS.nodes})" in MANUAL
    assert f"{CAPS.job_bytes} bytes long" in MANUAL
    assert f"{MAX_CLOCK_SECONDS:,}".replace(",", " ") in MANUAL


def test_errors_of_the_manual_are_those_that_are_answered() -> None:
    # The texts themselves are asserted where each is tested.
    codes = re.findall(r"^\| `.*` \| `(\w+)`: ", MANUAL, re.M)
    assert codes == [
        "job_schema",
        "job_schema",
        "job_rule",
        "job_limit",
        "no_match",
    ]
