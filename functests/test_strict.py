"""Strict jobs on a real cluster: the mode, its fuel, and one receipt."""

from __future__ import annotations

from typing import Any

import pytest

from functests.jobs import STDOUT, group, put_guest, reads
from functests.running import on_two_servers
from functests.support import Account

pytestmark = pytest.mark.usefixtures("nothing_left")


def strict(*groups: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "determinism": "strict",
        "nodes": list(groups),
        **keys,
    }


def only(report: dict[str, Any]) -> dict[str, Any]:
    (node,) = report["nodes"]
    return dict(node)


def test_strict_job_has_one_receipt_anywhere_and_says_what_it_used(
    account: Account,
) -> None:
    account.put("a", b"hello")
    wanted = group(put_guest(account, "cat"), reads(account.path("a")), STDOUT)

    nodes = on_two_servers(lambda: account.run(strict(wanted)))
    usual = only(account.run([wanted]))

    assert {node["determinism"] for node in nodes} == {"strict"}
    assert len({node["receipt"] for node in nodes}) == 1
    assert len({node["fuel_used"] for node in nodes}) == 1
    assert nodes[0]["fuel_used"] > 0
    assert (usual["determinism"], usual["fuel_used"]) == ("default", None)
    assert usual["receipt"] not in (None, nodes[0]["receipt"])
    assert usual["digests"] == nodes[0]["digests"]


def test_fuel_is_a_limit_of_the_job_to_the_unit(account: Account) -> None:
    wanted = group(put_guest(account, "hello"), STDOUT)
    used = only(account.run(strict(wanted)))["fuel_used"]

    enough = account.run(strict(wanted, limits={"fuel": used}))
    short = account.run(strict({**wanted, "limits": {"fuel": used - 1}}))

    assert enough["status"] == "succeeded"
    assert short["status"] == "failed"
    assert only(short)["outcome"] == {
        "kind": "limit",
        "code": "fuel",
        "message": f"the limit is {used - 1} units (fuel)",
    }
    assert only(short)["attempts"] == 1
    assert only(short)["receipt"]


def test_script_is_the_same_in_both_modes(account: Account) -> None:
    script = (
        "import random, time, os; print(random.random(), time.time(), "
        "os.environ.get('A'), sum(x ** 0.5 for x in range(1000)), {'b', 'a'})"
    )
    wanted = {
        "name": "script",
        "exec": {
            "path": "file://python3:python",
            "args": ["-c", script],
            "env": {"A": "1"},
        },
        "devices": [{"name": "python3"}, STDOUT],
    }

    seen = [only(account.run(strict(wanted))) for _ in range(3)]
    usual = only(account.run([wanted]))

    assert seen[0]["outcome"]["kind"] == "exit", seen[0]
    assert len({node["receipt"] for node in seen}) == 1
    assert len({node["fuel_used"] for node in seen}) == 1
    assert {node["outputs"][0]["text"] for node in [*seen, usual]} == {
        usual["outputs"][0]["text"]
    }


def test_fuel_without_strict_is_refused(account: Account) -> None:
    wanted = group("file://python3:python", STDOUT, {"name": "python3"})
    answer = account.post_job([{**wanted, "limits": {"fuel": 5}}])

    assert answer.status_code == 400
    assert "fuel is counted in strict mode only" in answer.text


def test_info_says_which_modes_there_are(account: Account) -> None:
    root = account.url.partition("/v1/")[0]
    info = account.session.get(f"{root}/info").json()["zerocloud"]

    assert info["determinism"] == {
        "default": "default",
        "allowed": ["default", "strict"],
    }
    assert info["limits"]["defaults"]["fuel"] == 100_000_000_000
