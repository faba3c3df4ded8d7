"""Whatever a client sends: an answer in time, and never a 500.

Hypothesis makes the requests, the same ones each time; a real proxy, real
object servers and real VMs answer them.  The job language by itself is tried
in unittests/job/test_properties.py, with many more examples.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from functests.conftest import leaving_nothing, with_container
from functests.jobs import guest, put_guest
from functests.support import Account
from unittests.fakes.tars import entry, pax_records
from zerocloud.cluster import Cluster
from zerocloud.errors import CODES
from zerocloud.headers import JOB_STATUS, JSON_TYPE, SOURCE

SECONDS = 10.0
CONTROLS = {*map(chr, range(32)), *map(chr, range(127, 160))}
REPEATABLE = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    # Without shrinking, which would take minutes here.
    "phases": (Phase.explicit, Phase.generate),
    # The module's container is the same for all examples, on purpose.
    "suppress_health_check": list(HealthCheck),
}
MANY = settings(max_examples=150, **REPEATABLE)
FEW = settings(max_examples=40, **REPEATABLE)


@pytest.fixture(scope="module")
def box(harsh: Cluster) -> Iterator[Account]:
    """A container with what the made-up jobs may name."""
    for account in with_container(Account(harsh)):
        for name in ("a", "in/1", "in/2", "é☃ %41"):
            account.put(name, name.encode())
        put_guest(account, "cat")
        put_guest(account, "args_env")
        with leaving_nothing(account.cluster, account):
            yield account


def check(box: Account, body: bytes, **headers: str) -> int:
    """POST that; whatever it is, the answer is one of ours, in time."""
    asked = {
        "Accept": JSON_TYPE,
        "Content-Type": JSON_TYPE,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    began = time.monotonic()
    answer = box.post_job(body.replace(b"BOX", box.container.encode()), asked)
    assert time.monotonic() - began < SECONDS, (body, headers)
    if answer.status_code == 200:
        assert answer.headers[JOB_STATUS] in ("succeeded", "failed")
        assert answer.json()["status"] == answer.headers[JOB_STATUS]
        return 200
    error = answer.json()["error"]
    assert answer.status_code == CODES[error["code"]].status
    # 501: the job language's rest, which is a part of it that is named.
    assert answer.status_code < 500 or error["code"] == "not_implemented", (
        body,
        headers,
        error,
    )
    assert not set(error["message"]) & CONTROLS, error
    assert "Traceback" not in error["message"]
    return answer.status_code


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_star = st.text("*a/i.n1é", min_size=1, max_size=8)
_path = st.one_of(
    st.sampled_from(["a", "in/*", "in/1", "é☃ %41", "no", "*", "out/*", "o"]),
    _star,
    st.text(max_size=6),
).map(lambda name: f"swift://~/BOX/{name}")
_device = st.fixed_dictionaries(
    {
        "name": st.sampled_from(
            ["stdin", "stdout", "stderr", "input", "output", "image", "x"]
        )
    },
    optional={
        "path": _path,
        "content_type": st.sampled_from(["a/b", "text/plain; x=y", "x"]),
        "meta": st.dictionaries(st.text(max_size=4), st.text(max_size=4)),
        "min_size": st.integers(-1, 9),
    },
)
_exec = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["cat", "args_env", "no"]).map(
            lambda name: f"swift://~/BOX/bin/{name}.wasm"
        )
    },
    optional={
        "args": st.text(max_size=12) | st.lists(st.text(max_size=5)),
        "env": st.dictionaries(st.text(max_size=4), st.text(max_size=6)),
    },
)
_group = st.fixed_dictionaries(
    {"name": st.text("abé -1", min_size=1, max_size=4), "exec": _exec},
    optional={
        "devices": st.lists(
            _device, max_size=3, unique_by=lambda device: device["name"]
        ),
        "count": st.integers(-1, 3),
        "ok_exit": st.lists(st.integers(0, 255), max_size=3),
        "limits": st.just({"wall_seconds": 0.5}),
    },
)


@MANY
@given(st.lists(_group, max_size=3) | _json)
def test_any_job_is_run_or_refused(box: Account, job: Any) -> None:
    check(box, json.dumps(job).encode())


@FEW
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_job_or_refused(
    box: Account, body: bytes, marked: bool
) -> None:
    check(box, b"#!" * marked + body, Content_Type="text/x-script")
    check(box, body)


@FEW
@given(_star, _star)
def test_any_wildcards_are_filled_or_refused(
    box: Account, read: str, written: str
) -> None:
    job = {
        "name": "n",
        "exec": {"path": "swift://~/BOX/bin/cat.wasm"},
        "devices": [
            {"name": "stdin", "path": f"swift://~/BOX/{read}"},
            {"name": "stdout", "path": f"swift://~/BOX/{written}"},
        ],
    }
    inputs = {"a", "in/1", "in/2", "é☃ %41", "bin/cat.wasm"}
    inputs.add("bin/args_env.wasm")
    try:
        check(box, json.dumps([job]).encode())
    finally:
        for name in set(box.listing()) - inputs:
            box.delete(name)
        # What was overwritten, as a job may.
        box.put("bin/cat.wasm", guest("cat"))


@FEW
@given(st.text(max_size=40))
def test_any_args_reach_the_program_or_are_refused(
    box: Account, args: str
) -> None:
    job = {
        "name": "n",
        "exec": {"path": "swift://~/BOX/bin/args_env.wasm", "args": args},
        "devices": [{"name": "stdout"}],
    }
    assert check(box, json.dumps([job]).encode()) in (200, 400)


_header = st.text(
    st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40
).map(str.strip)


@FEW
@given(_header, _header)
def test_any_headers_are_taken_or_refused(
    box: Account, kind: str, source: str
) -> None:
    body = b"#!swift://~/BOX/bin/cat.wasm\n"
    check(box, body, Content_Type=kind.encode("latin-1"))  # type: ignore[arg-type] # raw bytes
    for value in (source, f"swift://~/{source}", f"swift://~/BOX/{source}"):
        check(
            box,
            b"payload",
            **{SOURCE: value.encode("latin-1")},  # type: ignore[arg-type] # raw bytes
        )


_damage = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6
)


def damaged(data: bytes, damage: list[tuple[int, int]]) -> bytes:
    made = bytearray(data)
    for at, value in damage:
        made[at % len(made)] = value
    return bytes(made)


@MANY
@given(_damage, st.booleans(), st.booleans(), st.integers(0, 5000))
def test_any_damaged_tar_is_run_or_refused(
    box: Account,
    damage: list[tuple[int, int]],
    packed: bool,
    early: bool,
    cut: int,
) -> None:
    job = json.dumps(
        [{"name": "n", "exec": {"path": "swift://~/BOX/bin/cat.wasm"}}]
    )
    # As long as BOX: the tar's lengths stay right.
    content = job.replace("BOX", box.container).encode()
    tar = b"".join(
        (
            entry(b"boot/cluster.map", content),
            entry(b"p", pax_records((b"path", b"q")), kind=b"x"),
            entry(b"x", b"1"),
            entry(b"L", b"long/name\0", kind=b"L"),
            entry(b"y", b"2"),
            bytes(1024),
        )
    )
    if packed and early:
        tar = gzip.compress(damaged(tar, damage))
    elif packed:
        tar = damaged(gzip.compress(tar), damage)
    else:
        tar = damaged(tar, damage)
    check(
        box, tar[: len(tar) - cut % len(tar)], Content_Type="application/x-tar"
    )


@FEW
@given(_damage, st.integers(0, 2000))
def test_any_damaged_program_ends_or_is_refused(
    box: Account, damage: list[tuple[int, int]], cut: int
) -> None:
    program = damaged(guest("hello"), damage)
    box.put("bin/damaged.wasm", program[: len(program) - cut])
    job = {
        "version": 2,
        "limits": {"wall_seconds": 0.5},
        "nodes": [
            {"name": "n", "exec": {"path": "swift://~/BOX/bin/damaged.wasm"}}
        ],
    }
    assert check(box, json.dumps(job).encode()) in (200, 422)
