"""Programs that explode in the validator, the compiler or the VM.

On the cluster `harsh`: 3 s and 256 MiB to compile.  The tables are in
hostile_programs.py.  After each of them the only slot is free, which the next
one needs, and nothing is left: no compiler, no draft in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from functests.conftest import leaving_nothing, with_container
from functests.hostile_programs import (
    BOMBS,
    MALFORMED,
    RUNNING,
    Program,
    Running,
    one,
)
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.refusing import error_of
from functests.support import Account
from zerocloud.cluster import Cluster

# 3 s to compile, and what it takes to send 100 MB twice.
BOMB_SECONDS = 20.0


@pytest.fixture(scope="module")
def box(harsh: Cluster) -> Iterator[Account]:
    """A container with a program that works."""
    for account in with_container(Account(harsh)):
        account.put("a", b"hello")
        put_guest(account, "cat")
        yield account


@pytest.fixture(autouse=True)
def nothing_is_left(box: Account) -> Iterator[None]:
    """No process, no descriptor, no draft; and nothing was published."""
    stored = set(box.listing()) | {"bad.wasm"}
    with leaving_nothing(box.cluster, box):
        yield
    assert set(box.listing()) <= stored


def check_refused(box: Account, program: Program) -> None:
    box.put("bad.wasm", program.make())
    path = box.path("bad.wasm")

    error = error_of(
        box,
        [group(path, writes(box.path("o")))],
        within_seconds=BOMB_SECONDS,
    )

    assert error.code == "program_invalid", error
    assert error.where == "n"
    full = path.replace("~", box.name)
    assert error.message.startswith(f"node n: program {full} cannot run here")
    for word in program.words:
        assert word in error.message, error
    assert error.message.isprintable()
    assert len(error.message) < 900


@pytest.mark.parametrize("program", MALFORMED.values(), ids=MALFORMED.keys())
def test_program_that_is_malformed_is_refused_with_the_reason(
    box: Account, program: Program
) -> None:
    check_refused(box, program)


@pytest.mark.parametrize("program", BOMBS.values(), ids=BOMBS.keys())
def test_program_that_explodes_is_refused_in_time(
    box: Account, program: Program
) -> None:
    check_refused(box, program)


def test_bomb_that_comes_again_is_refused_at_once(box: Account) -> None:
    """Also for another user and job, whatever the object is called."""
    bomb = one(b"\x41\x00" + b"\x41\x01\x6a" * 1_300_001 + b"\x1a")()
    told = []
    for name in ("bad.wasm", "bad.wasm", "worse.wasm"):
        box.put(name, bomb)
        error = error_of(
            box,
            [group(box.path(name), writes(box.path("o")))],
            within_seconds=BOMB_SECONDS,
        )
        box.delete(name)
        assert error.code == "program_invalid"
        told.append(error.message)
    first, *others = told
    assert "(compile_limit)" in first
    assert "known for" not in first
    for message in others:
        assert "(compile_limit)" in message
        assert "; known for " in message


@pytest.mark.parametrize("program", RUNNING.values(), ids=RUNNING.keys())
def test_program_that_needs_too_much_ends_as_data(
    box: Account, program: Running
) -> None:
    box.put("bad.wasm", program.make())
    limits = {"wall_seconds": 0.5, "memory_bytes": 64 * 1024 * 1024}

    answer = box.post_job(
        {
            "version": 2,
            "limits": limits,
            "nodes": [group(box.path("bad.wasm"), STDOUT)],
        },
        {"Accept": "application/json"},
    )

    assert answer.status_code == 200, answer.text
    assert "X-Evil" not in answer.headers
    outcome = answer.json()["nodes"][0]["outcome"]
    assert (outcome["kind"], outcome["code"]) == (program.kind, program.code)
    assert program.message in outcome["message"]
    assert outcome["message"].isprintable()


def test_good_job_after_all_bombs_runs_at_once(box: Account) -> None:
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]

    assert box.post_job(job).content == b"hello"
