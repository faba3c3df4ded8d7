"""Whatever comes in, a job or a JobError comes out, and a plan is sound."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from unittests.job.samples import ACCOUNT, CAPS, IMAGES, find, parse, path
from zerocloud.errors import JobError
from zerocloud.job.description import Job, job_schema, parse_job
from zerocloud.job.devices import DEVICE_KEYS, KINDS
from zerocloud.job.expand import PlanContext, build_plan, check_images
from zerocloud.job.group import GROUP_KEYS
from zerocloud.job.plan import Plan
from zerocloud.job.program import EXEC_KEYS
from zerocloud.job.template import parse_script

VALIDATOR = Draft202012Validator(job_schema())
STORE = [
    path(c, o) for c in ("c", "d") for o in ("a", "a.txt", "b/a.txt", "b/")
]

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["swift://~/c/o", "file://x", "a", "default", 2, 1, 0])
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def _maybe_wrong(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly the right kind of value, else any JSON."""
    return st.integers(0, 29).flatmap(lambda n: right if n else _json)


_paths = st.sampled_from(
    [
        "swift://~/c/a.txt",
        "swift://~/c/*",
        "swift://./*/*.txt",
        "swift://~/out/*",
        "swift://~/out/*-*",
    ]
)
_wrong_devices = st.fixed_dictionaries(
    {"name": st.sampled_from([*KINDS, "python3", "nope"])},
    optional={
        "path": _paths | st.sampled_from(["swift://~/c", "zvm://a:b", "x"]),
        "content_type": st.sampled_from(["a/b", "message/cgi", "x"]),
        "meta": st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
        "min_size": st.integers(-1, 5),
        "mode": st.sampled_from(["file", "pipe", "x"]),
    },
)
_readers = st.fixed_dictionaries(
    {"name": st.sampled_from(["stdin", "input", "image"]), "path": _paths}
)
_writers = st.fixed_dictionaries(
    {"name": st.sampled_from(["stdout", "stderr", "output"])},
    optional={
        "path": _paths,
        "content_type": st.just("a/b"),
        "meta": st.just({"a": "b"}),
        "min_size": st.integers(0, 5),
    },
)
_devices = st.integers(0, 19).flatmap(
    lambda n: _readers | _writers if n else _wrong_devices
)
_execs = st.fixed_dictionaries(
    {
        "path": st.sampled_from(
            ["swift://~/bin/x", "file://python3:p", "file://x"]
        )
    },
    optional={
        "args": st.text("ab '", max_size=6) | st.lists(st.text("ab")),
        "env": st.dictionaries(
            st.text("ab", min_size=1), st.text("a\n") | st.integers()
        ),
        "name": st.text("ab", min_size=1),
    },
)
_groups = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c", "a-1"]),
        "exec": _maybe_wrong(_execs),
    },
    optional={
        "devices": _maybe_wrong(
            st.lists(_devices, max_size=3, unique_by=lambda d: d["name"])
        ),
        "count": _maybe_wrong(st.integers(1, 4)),
        "attach": _maybe_wrong(st.just("default")),
        "limits": st.dictionaries(
            st.just("memory_bytes"),
            _maybe_wrong(st.integers(65536, 10**6)),
        ),
        "ok_exit": _maybe_wrong(st.lists(st.integers(0, 3), min_size=1)),
    },
)
_jobs = _maybe_wrong(
    st.lists(_groups, min_size=1, max_size=3, unique_by=lambda g: g["name"])
)


CONTEXT = PlanContext(ACCOUNT, CAPS, system_images=IMAGES)


def _plan(job: Job) -> Plan:
    return build_plan(job, find(job, STORE), context=CONTEXT)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_job_error(document: bytes) -> None:
    try:
        parse(document)
    except JobError as error:
        assert 400 <= error.status < 500
        error.message.encode()
        error.where.encode()


@given(st.binary(max_size=200))
def test_any_bytes_after_the_mark_are_a_script_or_an_error(
    rest: bytes,
) -> None:
    try:
        parse_script(b"#!" + rest, account=ACCOUNT, caps=CAPS)
    except JobError as error:
        assert error.code == "bad_script"


@given(_json)
def test_any_json_is_a_job_or_a_job_error(raw: Any) -> None:
    document = json.dumps(raw).encode()
    try:
        assert isinstance(parse(document), Job)
    except JobError as error:
        assert 400 <= error.status < 502
        error.message.encode()


@given(st.sampled_from(sorted({*GROUP_KEYS, *EXEC_KEYS, *DEVICE_KEYS})), _json)
def test_any_json_at_any_key_is_a_job_or_a_job_error(
    key: str, raw: Any
) -> None:
    group: dict[str, Any] = {"name": "a", "exec": {"path": "file://x"}}
    places: list[dict[str, Any]] = [group]
    if key in EXEC_KEYS:
        places.append(group["exec"])
    if key in DEVICE_KEYS:
        group["devices"] = [{"name": "stdout"}]
        places.append(group["devices"][0])
    for place in places:
        job = {**place, key: raw}
        whole = job if place is group else {**group}
        if place is not group:
            inner = "exec" if key in EXEC_KEYS else "devices"
            whole[inner] = job if inner == "exec" else [job]
        try:
            parse([whole])
        except JobError as error:
            error.message.encode()
            assert len(error.message) < 1000


@settings(max_examples=400)
@given(_jobs)
def test_job_that_parses_fits_the_schema_and_plans_soundly(raw: Any) -> None:
    try:
        job = parse(raw)
    except JobError as error:
        error.message.encode()
        return
    try:
        # The schema does not know which names are images of the system; what
        # it says of their keys is checked where they are known.
        check_images(job, CONTEXT)
    except JobError as error:
        error.message.encode()
        return
    VALIDATOR.validate(raw)
    try:
        made = _plan(job)
    except JobError:
        return
    assert [n.index for n in made.nodes] == list(range(1, len(made.nodes) + 1))
    names = [n.name for n in made.nodes]
    assert len(set(names)) == len(names)
    writes = list(made.writes())
    assert len(set(writes)) == len(writes)
    reads = set(made.reads())
    assert all(n.attach is None or n.attach in reads for n in made.nodes)
    assert made == _plan(job)


@given(st.permutations(["stdin", "stdout", "image", "python3"]))
def test_order_of_devices_changes_no_node(order: list[str]) -> None:
    paths = {
        "stdin": "swift://~/*/*.txt",
        "stdout": "swift://~/out/*-*",
        "image": "swift://~/c/i.tar",
    }
    devices = [
        {"name": n, **({"path": paths[n]} if n in paths else {})}
        for n in order
    ]
    group = {
        "name": "a",
        "exec": {"path": "file://x"},
        "devices": devices,
    }
    made = _plan(parse_job(json.dumps([group]).encode(),
                           account=ACCOUNT, caps=CAPS))  # fmt: skip
    ordered = [{"name": n, **({"path": paths[n]} if n in paths else {})}
               for n in ("stdin", "stdout", "image", "python3")]  # fmt: skip
    assert made == _plan(parse([{**group, "devices": ordered}]))
