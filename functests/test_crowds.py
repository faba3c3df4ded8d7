"""Many clients at once, and floods of refused jobs.

Each client is answered or told to come again; none hangs; afterwards the
cluster serves at once, and neither its memory nor its descriptors have grown.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from functests.conftest import leaving_nothing, with_container
from functests.hostile_images import LIES, NO_TARS
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.support import Account
from zerocloud.cluster import Cluster
from zerocloud.headers import EXECUTE, JSON_TYPE

CLIENTS = 200
LEAVING = 50
FLOOD = 500
# For all of them, at 0.05 s a job here, on a machine that is busy.
CROWD_SECONDS = 60.0
# What a client waits at most afterwards.
SERVES_SECONDS = 5.0
# What Python's allocator may keep of a flood.
GROWTH_MIB = 24


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[Account]:
    """A container on the cluster that the test names."""
    running: Cluster = request.getfixturevalue(request.param)
    for account in with_container(Account(running)):
        account.put("a", b"hello")
        put_guest(account, "cat")
        with leaving_nothing(running, account):
            yield account


def posting(box: Account, job: Any) -> tuple[int, dict[str, Any], float]:
    """Status, answer and seconds of one job on a connection of its own."""
    began = time.monotonic()
    answer = requests.post(
        box.url,
        data=job if isinstance(job, bytes) else json.dumps(job),
        headers={
            "X-Auth-Token": box.token,
            EXECUTE: "1.0",
            "Content-Type": JSON_TYPE,
            "Accept": JSON_TYPE,
            "Connection": "close",
        },
        timeout=CROWD_SECONDS,
    )
    return answer.status_code, answer.json(), time.monotonic() - began


def crowd(box: Account, jobs: list[Any], width: int) -> list[Any]:
    with ThreadPoolExecutor(width) as pool:
        return list(pool.map(lambda job: posting(box, job), jobs))


def copying(box: Account) -> list[dict[str, Any]]:
    return [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]


def check_serves(box: Account) -> None:
    status, report, took = posting(box, copying(box))
    assert (status, report["status"]) == (200, "succeeded")
    assert took < SERVES_SECONDS


ONE_SLOT = pytest.mark.parametrize("box", ["narrow"], indirect=True)
BOTH = pytest.mark.parametrize("box", ["cluster", "narrow"], indirect=True)


@BOTH
def test_200_clients_are_answered_or_told_to_come_again(box: Account) -> None:
    posting(box, copying(box))  # compiled once, before
    began = time.monotonic()

    answers = crowd(box, [copying(box)] * CLIENTS, CLIENTS)

    assert time.monotonic() - began < CROWD_SECONDS
    for status, body, _ in answers:
        if status == 200:
            assert body["status"] == "succeeded"
            assert body["nodes"][0]["outputs"][0]["text"] == "hello"
        else:
            assert (status, body["error"]["code"]) == (503, "busy"), body
            assert body["error"]["may_retry"]
    # One slot cannot serve all of them in its queue's time; eight can.
    served = sum(status == 200 for status, _, _ in answers)
    assert served >= (CLIENTS if box.cluster.settings.nodes > 1 else 1)
    check_serves(box)


@ONE_SLOT
def test_many_clients_that_go_away_are_forgotten(box: Account) -> None:
    program = put_guest(box, "spin")
    job = [group(program, writes(box.path("o")), limits={"wall_seconds": 30})]

    def leave(_: int) -> None:
        with pytest.raises(requests.exceptions.Timeout):
            requests.post(
                box.url,
                json=job,
                headers={"X-Auth-Token": box.token, EXECUTE: "1.0"},
                timeout=1.0,
            )

    stored = box.listing()
    with ThreadPoolExecutor(LEAVING) as pool:
        list(pool.map(leave, range(LEAVING)))

    check_serves(box)
    assert box.listing() == stored


def refused(box: Account) -> list[Any]:
    """Jobs that are refused by the proxy, by Swift, by a node, by the VM."""
    box.put("image.tar", LIES["size negative"].data)
    box.put("text", NO_TARS["text"].data)
    cat = box.path("bin/cat.wasm")
    return [
        b"{",
        [],
        [{"name": "n"}],
        [group(cat, reads(box.path("no*")))],
        [group(box.path("no.wasm"))],
        [group(cat, reads(box.path("no")), writes(box.path("o")))],
        [group(box.path("text"))],
        [group(cat, reads(box.path("image.tar"), "image"))],
        [group(cat, writes("swift://~/nobox/o"))],
    ]


def memory_mib(cluster: Cluster) -> int:
    """What the servers' process holds."""
    [server] = set(cluster.pids.values())
    status = Path(f"/proc/{server}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


@ONE_SLOT
def test_flood_of_refused_jobs_leaves_no_growth(box: Account) -> None:
    kinds = refused(box)
    stored = box.listing()
    jobs = [kinds[number % len(kinds)] for number in range(FLOOD)]
    crowd(box, jobs[: FLOOD // 5], 8)
    before = memory_mib(box.cluster)

    answers = crowd(box, jobs, 8)

    statuses = Counter(status for status, _, _ in answers)
    assert set(statuses) == {400, 404, 422}, statuses
    assert max(took for _, _, took in answers) < SERVES_SECONDS
    assert memory_mib(box.cluster) - before < GROWTH_MIB
    assert box.listing() == stored
    check_serves(box)
