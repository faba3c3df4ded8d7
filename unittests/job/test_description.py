"""Whole jobs: both forms, groups, job-wide settings, sizes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unittests.job.samples import (
    ACCOUNT,
    CAPS,
    PROGRAM,
    group,
    parse,
    path,
    refused,
)
from zerocloud.job.description import parse_job
from zerocloud.job.group import Group
from zerocloud.job.limits import JobCaps, Limits
from zerocloud.job.plan import Program
from zerocloud.job.wildcards import Pattern


def _object(**keys: Any) -> dict[str, Any]:
    return {"version": 2, "nodes": [group()], **keys}


def _group(**keys: Any) -> Group:
    return parse([group(**keys)]).groups[0]


def test_job_with_only_what_is_needed_has_defaults() -> None:
    job = parse([group()])
    assert len(job.groups) == 1
    assert job.limits == CAPS.defaults
    assert job.patterns == ()
    assert job.clock_nanoseconds == 946_684_800 * 10**9
    assert job.seed == "0" * 64
    only = job.groups[0]
    assert (only.name, only.where, only.count) == ("wc", "/0", 1)
    assert only.exec.program == Program(path=path("bin", "wc.wasm"))
    assert (only.devices, only.attach, only.location) == ((), "default", None)
    assert (only.ok_exit, only.limits) == ((0,), CAPS.defaults)


def test_job_in_object_form_is_the_same_but_for_its_places() -> None:
    listed, wrapped = parse([group()]), parse(_object())
    assert wrapped.groups[0].where == "/nodes/0"
    assert wrapped.groups[0].exec.program == listed.groups[0].exec.program
    assert (wrapped.seed, wrapped.limits) == (listed.seed, listed.limits)


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ("x", 'job is "x"; allowed is a list of groups, or an object with'),
        (3, "job is 3; allowed is a list of groups"),
        (None, "job is null; allowed is a list of groups"),
        ([], "job: no groups; allowed is at least one"),
        ({}, "job: an object has no version; allowed is 2"),
        ({"version": 2}, "job: nodes is missing; allowed is a list of"),
        (_object(nodes=[]), "job: nodes: no groups; allowed is at least one"),
        (_object(nodes={}), "job: nodes is an object; allowed is a list of "),
        (_object(version=1), "job: version is 1; allowed is 2 (a plain list"),
        (_object(version=3), "job: version is 3; allowed is 2"),
        (_object(version="2"), 'job: version is "2"; allowed is 2'),
        (_object(version=2.0), "job: version is 2.0; allowed is 2"),
        (_object(version=True), "job: version is true; allowed is 2"),
        (
            _object(name="x"),
            'job: key "name" is not known; allowed are clock, commit, determ',
        ),
        ([3], "job[0] is 3; allowed is an object with the keys attach, con"),
        ([[]], "job[0] is a list; allowed is an object with the keys"),
    ],
)
def test_job_of_another_form_is_refused(job: Any, text: str) -> None:
    error = refused(job)
    assert (error.code, error.status) == ("job_schema", 400)
    assert error.message.startswith(text)


def test_job_with_commit_is_not_implemented() -> None:
    error = refused(_object(commit="atomic"))
    assert (error.code, error.where) == ("not_implemented", "/commit")
    assert "leave the key out" in error.message


def test_job_with_several_faults_tells_the_first_in_the_document() -> None:
    first = '[{"name": "a", "count": -1, "exec": {"path": "x"}, "y": 1}]'
    assert refused(first.encode()).where == "/0/count"
    second = '[{"name": "a", "exec": {"path": "x"}, "y": 1, "count": -1}]'
    assert refused(second.encode()).where == "/0/exec/path"
    third = '[{"y": 1, "name": 7, "exec": 7}]'
    assert 'group 0: key "y" is not known' in refused(third.encode()).message


def test_job_longer_than_its_form_may_be_is_413() -> None:
    caps = JobCaps(job_bytes=1000, stored_job_bytes=2000)
    small = json.dumps([group()]).encode()

    def padded(form: bytes, size: int) -> bytes:
        return form + b" " * (size - len(form))

    parse(padded(small, 1000), caps=caps)
    error = refused(padded(small, 1001), caps=caps)
    assert (error.code, error.status) == ("job_too_large", 413)
    assert error.message == (
        "job is 1001 bytes; the limit is 1000 (max_job_bytes)"
    )
    parse(padded(small, 2000), caps=caps, stored=True)
    error = refused(padded(small, 2001), caps=caps, stored=True)
    assert error.message == (
        "job is 2001 bytes; the limit is 2000 (max_stored_job_bytes)"
    )
    wrapped = b" \n" + json.dumps(_object()).encode()
    parse(padded(wrapped, 2000), caps=caps)
    error = refused(padded(wrapped, 2001), caps=caps)
    assert error.code == "job_too_large"


def test_job_too_large_is_refused_without_being_read() -> None:
    assert refused(b"\xff" * 70_000).code == "job_too_large"


@pytest.mark.parametrize("key", ["name", "exec"])
def test_group_without_a_needed_key_is_refused(key: str) -> None:
    whole = group()
    del whole[key]
    error = refused([group("first"), whole])
    assert (error.code, error.where) == ("job_schema", "/1")
    assert error.message == (
        f"group {'1' if key == 'name' else 'wc'} has no {key}"
    )


def test_group_with_unknown_key_lists_the_known_ones() -> None:
    error = refused([group(cuont=3)])
    assert (error.code, error.where) == ("job_schema", "/0")
    assert error.message == (
        'group wc: key "cuont" is not known; allowed are attach, connect, '
        "count, devices, exec, file_list, limits, location, name, ok_exit and "
        "replicate"
    )


def test_group_with_both_spellings_of_devices_is_refused() -> None:
    error = refused([group(file_list=[], devices=[])])
    assert (error.code, error.where) == ("job_schema", "/0")
    assert "has devices and file_list; allowed is one" in error.message


@pytest.mark.parametrize("count", [0, -1, 1.0, "2", True, None, [], -(10**90)])
def test_count_that_is_no_positive_number_is_refused(count: object) -> None:
    error = refused([group(count=count)])
    assert (error.code, error.where) == ("job_schema", "/0/count")
    assert "allowed is a whole number from 1 to 1000" in error.message


@pytest.mark.parametrize("count", [1001, 10**9, 10**99])
def test_count_beyond_the_cap_is_too_many_nodes(count: int) -> None:
    error = refused([group(count=count)])
    assert (error.code, error.status) == ("too_many_nodes", 400)
    assert error.message == (
        f"group wc: count: {count} nodes; the limit is 1000 (max_nodes)"
    )
    assert _group(count=1000).count == 1000


def test_counts_beyond_the_cap_together_are_too_many_nodes() -> None:
    parse([group("a", count=500), group("b", count=500)])
    error = refused([group("a", count=500), group("b", count=501)])
    assert (error.code, error.message) == (
        "too_many_nodes",
        "job has 1001 nodes; the limit is 1000 (max_nodes)",
    )


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"connect": ["b"]}, "/0/connect"),
        ({"replicate": 2}, "/0/replicate"),
    ],
)
def test_group_that_asks_for_what_comes_later_is_501(
    keys: dict[str, Any], where: str
) -> None:
    error = refused([group(**keys)])
    assert (error.code, error.status) == ("not_implemented", 501)
    assert error.where == where
    assert "not offered yet" in error.message


@pytest.mark.parametrize(
    "keys", [{"connect": []}, {"replicate": 0}, {"replicate": 1}]
)
def test_group_that_asks_for_nothing_in_old_words_is_read(
    keys: dict[str, Any],
) -> None:
    assert _group(**keys) == _group()


@pytest.mark.parametrize(
    ("keys", "where", "problem"),
    [
        ({"connect": "abc"}, "/connect", "allowed is a list of names of gr"),
        ({"connect": [1]}, "/connect/0", "allowed is the name of a group o"),
        ({"connect": [""]}, "/connect/0", "allowed is the name of a group "),
        ({"replicate": -1}, "/replicate", "allowed is a whole number from 0"),
        ({"replicate": "2"}, "/replicate", "allowed is a whole number from "),
        ({"replicate": True}, "/replicate", "allowed is a whole number fro"),
        ({"attach": ""}, "/attach", "allowed is the name of a device, or d"),
        ({"attach": 1}, "/attach", "allowed is the name of a device, or de"),
        ({"location": ""}, "/location", "allowed is 1 to 128 bytes of print"),
        ({"location": 1}, "/location", "allowed is 1 to 128 bytes of print"),
        ({"location": "a\n"}, "/location", "allowed is 1 to 128 bytes of p"),
        ({"location": "ö" * 65}, "/location", "allowed is 1 to 128 bytes o"),
        ({"ok_exit": 0}, "/ok_exit", "allowed is a list of exit codes"),
        ({"ok_exit": []}, "/ok_exit", "no exit codes; allowed is at least"),
        ({"ok_exit": [-1]}, "/ok_exit/0", "allowed is a whole number from 0"),
        ({"ok_exit": [0, "1"]}, "/ok_exit/1", "allowed is a whole number f"),
        ({"ok_exit": [2**32]}, "/ok_exit/0", "from 0 to 4294967295"),
        ({"limits": []}, "/limits", "allowed is an object with the keys wal"),
    ],
)
def test_group_key_of_another_type_or_range_is_refused(
    keys: dict[str, Any], where: str, problem: str
) -> None:
    error = refused([group(**keys)])
    assert (error.code, error.where) == ("job_schema", f"/0{where}")
    assert error.message.startswith("group wc: ")
    assert problem in error.message


def test_location_and_ok_exit_are_kept() -> None:
    made = _group(location="rack, größe", ok_exit=[42, 0, 42, 2**32 - 1])
    assert made.location == "rack, größe"
    assert made.ok_exit == (0, 42, 2**32 - 1)


def test_limits_of_a_group_win_over_the_jobs_whatever_the_order() -> None:
    nodes = [group("a", limits={"wall_seconds": 5}), group("b")]
    limits = {"wall_seconds": 7.5, "memory_bytes": 65536}
    for job in (
        {"version": 2, "nodes": nodes, "limits": limits},
        {"limits": limits, "nodes": nodes, "version": 2},
    ):
        parsed = parse(job)
        assert parsed.limits == Limits(wall_seconds=7.5, memory_bytes=65536)
        first, second = (g.limits for g in parsed.groups)
        assert first == Limits(wall_seconds=5.0, memory_bytes=65536)
        assert second == parsed.limits


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "wall_seconds",
            300.5,
            "wall_seconds is 300.5; the operator's cap is 300 (",
        ),
        ("cpu_seconds", 10**90, "the operator's cap is 300 (max_cpu_secon"),
        ("memory_bytes", 2**31 + 1, "memory_bytes is 2147483649; the operat"),
        ("output_bytes", 1e300, "the operator's cap is 5368709120 (max_out"),
        ("stderr_bytes", 2**20 + 1, "cap is 1048576 (max_stderr_bytes)"),
    ],
)
@pytest.mark.parametrize("wide", [True, False])
def test_limit_beyond_its_cap_names_value_and_cap(
    name: str, value: float, text: str, wide: bool
) -> None:
    limits = {name: value}
    error = refused(_object(limits=limits) if wide else [group(limits=limits)])
    assert (error.code, error.status) == ("job_limit", 400)
    assert error.where == f"{'' if wide else '/0'}/limits/{name}"
    assert text in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wall_seconds", 300),
        ("wall_seconds", 0.01),
        ("memory_bytes", 65536),
        ("memory_bytes", 2**31),
        ("output_bytes", 0),
        ("stderr_bytes", 0),
    ],
)
def test_limit_at_either_end_is_taken(name: str, value: float) -> None:
    assert getattr(_group(limits={name: value}).limits, name) == value


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("wall_seconds", 0, "a number from 0.01 to 300"),
        ("wall_seconds", "5", "a number from 0.01 to 300"),
        ("cpu_seconds", -1, "a number from 0.01 to 300"),
        ("memory_bytes", 65535, "a whole number from 65536 to 2147483648"),
        ("memory_bytes", 65536.0, "a whole number from 65536 to 2147483648"),
        ("output_bytes", -1, "a whole number from 0 to 5368709120"),
        ("output_bytes", True, "a whole number from 0 to 5368709120"),
        ("stderr_bytes", None, "a whole number from 0 to 1048576"),
    ],
)
def test_limit_of_another_type_or_too_small_is_refused(
    name: str, value: object, allowed: str
) -> None:
    error = refused([group(limits={name: value})])
    assert (error.code, error.where) == ("job_schema", f"/0/limits/{name}")
    assert error.message.endswith(f"; allowed is {allowed}")


def test_limit_that_does_not_exist_lists_those_that_do() -> None:
    error = refused([group(limits={"memory": 1})])
    assert (error.code, error.where) == ("job_schema", "/0/limits")
    assert error.message == (
        'group wc: limits: key "memory" is not known; allowed are '
        "wall_seconds, cpu_seconds, memory_bytes, output_bytes, "
        "stderr_bytes and fuel"
    )


def test_seed_as_text_or_number_is_64_digits_of_its_own() -> None:
    seeds = [parse(_object(seed=s)).seed for s in ("a", "b", 7, 2**64 - 1)]
    assert len(set(seeds)) == 4
    assert all(len(bytes.fromhex(seed)) == 32 for seed in seeds)
    assert parse(_object(seed="7")).seed == seeds[2]


@pytest.mark.parametrize("seed", ["", "a" * 257, -1, 2**64, 1.0, True, None])
def test_seed_of_another_type_or_range_is_refused(seed: object) -> None:
    error = refused(_object(seed=seed))
    assert (error.code, error.where) == ("job_schema", "/seed")
    assert "allowed is a string of 1 to 256 characters, or a" in error.message


@pytest.mark.parametrize(
    ("clock", "nanoseconds"),
    [
        (0, 0),
        (1, 10**9),
        (0.1, 10**8),
        (1700000000.123456, 1700000000123456000),
        (9e9, 9 * 10**18),
    ],
)
def test_clock_in_seconds_is_kept_in_nanoseconds(
    clock: float, nanoseconds: int
) -> None:
    assert parse(_object(clock=clock)).clock_nanoseconds == nanoseconds


@pytest.mark.parametrize("clock", [-1, 9e9 + 1, "2000-01-01", True, None])
def test_clock_of_another_type_or_range_is_refused(clock: object) -> None:
    error = refused(_object(clock=clock))
    assert (error.code, error.where) == ("job_schema", "/clock")
    assert "allowed is a number from 0 to 9000000000" in error.message


def test_patterns_are_told_once_and_only_those_that_are_read() -> None:
    def reads(name: str, source: str) -> dict[str, Any]:
        devices = [
            {"name": "stdin", "path": source},
            {"name": "stdout", "path": f"swift://~/out/{name}-*"},
        ]
        return group(name, devices=devices)

    job = [
        reads("a", "swift://~/c/b*"),
        reads("b", "swift://~/c/a*"),
        reads("c", f"swift://{ACCOUNT}/c/b*"),
        reads("d", "swift://~/c/fixed"),
        group("e", devices=[{"name": "stdout", "path": "swift://~/c/*"}]),
    ]
    assert parse(job).patterns == (
        Pattern(ACCOUNT, "c", "b*"),
        Pattern(ACCOUNT, "c", "a*"),
    )


def test_account_of_the_request_may_hold_any_text() -> None:
    document = json.dumps([group()]).encode()
    job = parse_job(document, account="KEY_größe", caps=CAPS)
    program = job.groups[0].exec.program
    assert str(program) == "swift://KEY_größe/bin/wc.wasm"
    assert PROGRAM.startswith("swift://~/")
