"""Rules between the keys of a group, and between groups."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.job.samples import group, parse, refused

WILD = {"name": "stdin", "path": "swift://~/c/*"}
OUT = {"name": "stdout", "path": "swift://~/out/*"}


def test_count_with_a_wildcard_names_both() -> None:
    for count in (1, 3):
        error = refused([group(devices=[OUT, WILD], count=count)])
        assert (error.code, error.where) == ("job_rule", "/0/count")
        assert error.message == (
            "group wc: count and the wildcard in path of device stdin both "
            "say how many nodes there are; allowed is one of them"
        )
    parse([group(devices=[OUT, WILD])])
    parse([group(devices=[OUT], count=3)])


def test_two_wildcards_in_a_group_are_refused_by_name() -> None:
    other = {"name": "input", "path": "swift://~/d/*"}
    error = refused([group(devices=[WILD, OUT, other])])
    assert (error.code, error.where) == ("job_rule", "/0/devices/2/path")
    assert error.message == (
        "group wc: devices stdin and input both read a wildcard; allowed is "
        "one per group"
    )
    parse([group("a", devices=[WILD]), group("b", devices=[other])])


def test_output_with_more_stars_than_the_input_is_refused() -> None:
    more = {"name": "stderr", "path": "swift://~/e*/*"}
    for devices in ([WILD, OUT, more], [more, OUT, WILD]):
        error = refused([group(devices=devices)])
        place = devices.index(more)
        assert error.code == "job_rule"
        assert error.where == f"/0/devices/{place}/path"
        assert error.message == (
            "group wc: device stderr has 2 wildcards in its path; allowed "
            "are 1, as many as device stdin has"
        )
    parse([group(devices=[OUT, more])])


def test_fixed_output_of_counted_nodes_is_refused() -> None:
    fixed = {"name": "output", "path": "swift://~/out/x"}
    error = refused([group(devices=[fixed], count=2)])
    assert (error.code, error.where) == ("job_rule", "/0/devices/0/path")
    assert error.message == (
        "group wc: its 2 nodes would all write swift://AUTH_a/out/x (device "
        "output); allowed is a path with *, which becomes the node's name"
    )
    parse([group(devices=[fixed], count=1)])
    parse([group(devices=[{"name": "stdout"}], count=2)])
    parse([group(devices=[{**fixed, "name": "input"}], count=2)])


def test_attach_to_no_device_of_the_group_lists_them() -> None:
    error = refused([group(devices=[WILD, OUT], attach="input")])
    assert (error.code, error.where) == ("job_rule", "/0/attach")
    assert error.message == (
        "group wc: attach is input; allowed are stdin, stdout and default"
    )
    error = refused([group(attach="stdin")])
    assert error.message.endswith("attach is stdin; allowed are default")
    parse([group(devices=[WILD, OUT], attach="stdout")])
    parse([group(attach="default")])


def test_two_groups_of_one_name_are_refused() -> None:
    error = refused([group("a"), group("b"), group("a")])
    assert (error.code, error.where) == ("job_rule", "/2")
    assert error.message == "group a is there twice; allowed is once"


@pytest.mark.parametrize(
    "job",
    [
        [group("x", count=2), group("x-1")],
        [group("x-2"), group("x", count=2)],
        [group("x-2", count=7), group("x", count=2)],
        [group("x-99", count=1), group("x", devices=[WILD])],
    ],
)
def test_group_named_as_a_node_of_another_is_refused(job: Any) -> None:
    error = refused(job)
    assert error.code == "job_rule"
    assert error.where.endswith("/name")
    assert "has the name of a node of group x; allowed is" in error.message


@pytest.mark.parametrize(
    "job",
    [
        [group("x"), group("x-1")],
        [group("x", count=2), group("x-3")],
        [group("x", count=2), group("x-01")],
        [group("x", count=2), group("x-0")],
        [group("x", count=2), group("x-a")],
        [group("x", devices=[WILD]), group("y-1")],
    ],
)
def test_group_whose_name_no_node_can_have_is_read(job: Any) -> None:
    assert len(parse(job).groups) == 2
