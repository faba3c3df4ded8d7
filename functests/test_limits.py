"""Limits of a node, by a job on a real cluster, exact from both sides.

What ends a guest, and how, is in test_guest_faults.py; the runner's own tests
(runner/tests/limits*.rs) hold each limit by both ways to a VM.  Here: what a
job may ask for, what it gets, and what the report says of it.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests

from functests.conftest import with_container
from functests.jobs import STDOUT, group, put_guest
from functests.refusing import error_of
from functests.running import most_vms, posted
from functests.support import Account
from zerocloud.cluster import Cluster
from zerocloud.job.limits import LEAST, LIMIT_NAMES, MIB, JobCaps
from zerocloud.protocol.manifest import ManifestLimits

pytestmark = pytest.mark.usefixtures("nothing_left")

CAPS = JobCaps().caps
# What no job can change: of every VM.
FIXED = ManifestLimits(0, 0, 0, 0)
# Standard channels and the root are open from the start.
OPEN_FROM_START = 4


def job(account: Account, guest: str, *args: str, **limits: float) -> Any:
    """One node with its standard output in the report.

    Fuel is counted in strict jobs only.
    """
    return {
        "version": 2,
        "determinism": "strict" if "fuel" in limits else "default",
        "nodes": [
            group(
                put_guest(account, guest),
                STDOUT,
                name="n",
                args=[*args],
                limits=limits,
            )
        ],
    }


def run(
    account: Account, guest: str, *args: str, **limits: float
) -> dict[str, Any]:
    """The report of the node."""
    [node] = account.run(job(account, guest, *args, **limits))["nodes"]
    assert node["attempts"] == 1
    return dict(node)


def ended(node: dict[str, Any]) -> tuple[str, int | str]:
    return node["outcome"]["kind"], node["outcome"]["code"]


def printed(node: dict[str, Any]) -> str:
    assert ended(node) == ("exit", 0)
    return str(node["outputs"][0]["text"])


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_limit_is_taken_up_to_its_cap_and_no_further(
    harsh: Cluster, name: str
) -> None:
    """The cap that /info tells: here an operator has set one of them."""
    info = requests.get(f"{harsh.url}/info", timeout=20).json()
    cap = info["zerocloud"]["limits"]["caps"][name]
    set_cap = {"output_bytes": 64 * MIB}
    assert cap == set_cap.get(name, getattr(CAPS, name))
    for account in with_container(Account(harsh)):
        taken = run(account, "hello", **{name: cap})
        assert printed(taken) == "hello\n"

        error = error_of(account, job(account, "hello", **{name: cap + 1}))

        assert (error.status, error.code) == (400, "job_limit")
        assert f"{name} is {cap + 1:.0f}" in error.message
        assert f"the operator's cap is {cap:.0f}" in error.message
        assert error.message.endswith(f"(max_{name})")


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_limit_below_the_least_is_refused(account: Account, name: str) -> None:
    least = getattr(LEAST, name)
    below = -1 if least == 0 else least - 1e-3 if least < 1 else least - 1

    error = error_of(account, job(account, "hello", **{name: below}))

    assert (error.status, error.code) == (400, "job_schema")
    assert name in error.message + error.where


def test_output_is_limited_to_the_byte(account: Account) -> None:
    assert printed(run(account, "hello", output_bytes=6)) == "hello\n"

    node = run(account, "hello", output_bytes=5)

    assert ended(node) == ("limit", "output_bytes")
    assert node["outcome"]["message"] == (
        "/dev/stdout: 6 bytes written; the limit is 5 (output_bytes)"
    )


def test_memory_at_the_start_is_limited_to_the_byte(account: Account) -> None:
    needed = run(account, "hello")["memory_peak_bytes"]
    assert printed(run(account, "hello", memory_bytes=needed)) == "hello\n"

    node = run(account, "hello", memory_bytes=needed - 1)

    assert ended(node) == ("limit", "memory_bytes")
    assert (
        f"the limit is {needed - 1} (memory_bytes)"
        in (node["outcome"]["message"])
    )


def test_memory_grows_to_the_limit_and_the_refusal_is_noted(
    account: Account,
) -> None:
    for limit, peak in ((8 * MIB, 8 * MIB), (8 * MIB - 1, 8 * MIB - 65536)):
        node = run(account, "alloc_all", "grow", memory_bytes=limit)
        assert ended(node) == ("exit", 3)
        assert node["memory_peak_bytes"] == peak
        assert node["limits_reached"] == ["memory_bytes"]


def test_stderr_is_kept_to_the_byte_and_what_is_lost_is_noted(
    account: Account,
) -> None:
    whole = run(account, "endless_stderr", "5000", stderr_bytes=5000)
    assert whole["stderr_tail"] == "b" + "e" * 4095 + "e" * 904
    assert whole["limits_reached"] == []

    cut = run(account, "endless_stderr", "5000", stderr_bytes=4999)

    assert cut["stderr_tail"] == "e" * 4999
    assert cut["limits_reached"] == ["stderr_bytes"]


def test_fuel_is_limited_to_the_unit(account: Account) -> None:
    used = run(account, "hello", fuel=CAPS.fuel)["fuel_used"]
    node = run(account, "hello", fuel=used)
    assert (printed(node), node["fuel_used"]) == ("hello\n", used)

    node = run(account, "hello", fuel=used - 1)

    assert ended(node) == ("limit", "fuel")
    assert node["receipt"]


@pytest.mark.parametrize(
    ("guest", "most", "errno", "reached"),
    [
        ("fill_tmp", FIXED.tmp_bytes, 51, "tmp_bytes"),
        ("many_files", FIXED.files, 51, "files"),
        ("many_names", FIXED.files, 51, "files"),
        ("open_files", FIXED.files - OPEN_FROM_START, 41, "files"),
    ],
)
def test_what_a_guest_makes_in_tmp_is_limited_exactly(
    account: Account, guest: str, most: int, errno: int, reached: str
) -> None:
    node = run(account, guest, str(most))
    assert printed(node).startswith(f"{most} ")
    assert ", errno 0 (" in printed(node)
    assert node["limits_reached"] == []

    node = run(account, guest, str(most + 1))

    assert printed(node).startswith(f"{most} ")
    assert f", errno {errno} (" in printed(node)
    assert node["limits_reached"] == [reached]


def test_slots_of_a_node_are_never_passed(harsh: Cluster) -> None:
    """Five nodes and one slot: one after another, and each has its turn."""
    for account in with_container(Account(harsh)):
        asked = job(account, "spin", wall_seconds=0.3)
        asked["nodes"][0]["count"] = 5
        with posted(account, asked) as answer:
            assert most_vms(harsh, answer) == 1
        nodes = answer.result().json()["nodes"]
        ends = [ended(node) for node in nodes]
        assert ends == [("limit", "wall_seconds")] * 5
        # The last one waited for four before it.
        waited = max(node["executor"]["queue_seconds"] for node in nodes)
        assert waited >= 4 * 0.3
