"""The published schema: valid, in step with the parser, and complete."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from unittests.job.samples import PROGRAM, group, parse, refused
from zerocloud.job.description import JOB_KEYS, job_schema
from zerocloud.job.devices import DEVICE_KEYS, MODES
from zerocloud.job.group import GROUP_KEYS
from zerocloud.job.limits import LEAST, LIMIT_NAMES
from zerocloud.job.program import EXEC_KEYS

VALIDATOR = Draft202012Validator(job_schema())

FULL = {
    "version": 2,
    "nodes": [
        {
            "name": "größe 1",
            "exec": {
                "path": "file://python3:bin/python",
                "name": "python",
                "args": ["-c", "print(1)"],
                "env": {"A": "x\ny", "B": 1, "C": 1.5},
            },
            "devices": [
                {"name": "stdin", "path": "swift://~/c/a\nb/*.txt"},
                {
                    "device": "stdout",
                    "path": "swift://AUTH_x/c/*",
                    "content_type": "text/plain; charset=utf-8",
                    "meta": {"a": "b"},
                    "min_size": 1,
                    "mode": "pipe",
                },
                {"name": "python3"},
            ],
            "connect": [],
            "replicate": 1,
            "attach": "stdin",
            "location": "x",
            "ok_exit": [0, 1],
            "limits": {"wall_seconds": 0.5, "memory_bytes": 65536},
        },
        {"name": "b", "exec": {"path": PROGRAM}, "file_list": [], "count": 3},
    ],
    "limits": {
        "cpu_seconds": 1,
        "output_bytes": 0,
        "stderr_bytes": 0,
    },
    "seed": "s",
    "clock": 1.5,
    "determinism": "default",
}


def test_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(job_schema())


def test_schema_is_a_new_copy_each_time() -> None:
    job_schema().clear()
    assert job_schema()


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("job", set(JOB_KEYS) - {"commit"}),
        ("group", set(GROUP_KEYS)),
        ("exec", set(EXEC_KEYS)),
        ("device", set(DEVICE_KEYS)),
        ("limits", set(LIMIT_NAMES)),
    ],
)
def test_schema_has_the_keys_of_the_parser(part: str, keys: set[str]) -> None:
    assert set(job_schema()["$defs"][part]["properties"]) == keys


def test_schema_has_the_least_limits_and_the_modes_of_the_parser() -> None:
    parts = job_schema()["$defs"]
    least = {k: v["minimum"] for k, v in parts["limits"]["properties"].items()}
    assert least == vars(LEAST)
    assert parts["device"]["properties"]["mode"]["enum"] == list(MODES)


@pytest.mark.parametrize("job", [[group()], FULL, FULL["nodes"]])
def test_job_that_is_right_is_right_for_both(job: Any) -> None:
    parse(job)
    VALIDATOR.validate(job)


@pytest.mark.parametrize(
    "job",
    [
        3,
        [],
        {},
        {"version": 2},
        {"version": 1, "nodes": [group()]},
        {"version": 2, "nodes": [group()], "x": 1},
        {"version": 2, "nodes": [group()], "commit": 1},
        {"version": 2, "nodes": [group()], "seed": -1},
        {"version": 2, "nodes": [group()], "seed": ""},
        {"version": 2, "nodes": [group()], "clock": -1},
        [group("")],
        [group(" a")],
        [group("a,b")],
        [group("..")],
        [group(count=0)],
        [group(count="1")],
        [group(connect=["a"])],
        [group(replicate=2)],
        [group(ok_exit=[])],
        [group(limits={"memory": 1})],
        [group(limits={"memory_bytes": 1})],
        [group(exec={})],
        [group(exec={"path": "/bin/sh"})],
        [group(exec={"path": "swift://~/c"})],
        [group(exec={"path": "zvm://a:b"})],
        [group(exec={"path": PROGRAM, "args": 3})],
        [group(exec={"path": PROGRAM, "args": "a\nb"})],
        [group(exec={"path": PROGRAM, "env": {"A": True}})],
        [group(exec={"path": PROGRAM, "env": {"A=": ""}})],
        [group(devices=[], file_list=[])],
        [group(devices=[{}])],
        [group(devices=[{"name": "stdin", "device": "stdin"}])],
        [group(devices=[{"name": "input"}])],
        [group(devices=[{"device": "script"}])],
        [group(devices=[{"name": "stdin", "min_size": 1}])],
        [group(devices=[{"name": "stdin", "path": "swift://~/c"}])],
        [group(devices=[{"name": "stdin", "path": "swift://*/c/o"}])],
        [group(devices=[{"name": "stdin", "mode": "r"}])],
        [group(devices=[{"name": "stdout", "meta": {"a b": ""}}])],
        [group(devices=[{"name": "stdout", "meta": {"a": 1}}])],
        [group(devices=[{"name": "stdout", "content_type": "text"}])],
        [group(devices=[{"name": "stdout", "min_size": -1}])],
    ],
)
def test_job_of_wrong_form_is_wrong_for_both(job: Any) -> None:
    assert not VALIDATOR.is_valid(job)
    assert refused(job).status in (400, 501)
