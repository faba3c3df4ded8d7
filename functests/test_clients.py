"""Clients that go away: before, during and after their job runs.

On the cluster `narrow`, which has one slot: after each test a job of somebody
else runs there at once, and nothing is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from functests.conftest import with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.refusing import tasks_run
from functests.running import Client, posted, vms, wait_for_vm
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
    wait_until,
)
from zerocloud.cluster import Cluster

# The promise: a VM is killed and reaped so soon after its client has gone.
GONE_SECONDS = 2.0
HOW = pytest.mark.parametrize("how", ["close", "reset"])


@pytest.fixture(scope="module")
def box(narrow: Cluster) -> Iterator[Account]:
    """A container with guests and a large object."""
    for account in with_container(Account(narrow)):
        account.put("a", b"hello")
        account.put("large", bytes(30_000_000))
        for name in ("cat", "spin", "exit_code"):
            put_guest(account, name)
        yield account


@pytest.fixture(autouse=True)
def others_go_on(box: Account) -> Iterator[None]:
    """Nothing is left, nothing was stored, the only slot is free."""
    cluster, stored = box.cluster, box.listing()
    box.session.close()
    before = residue(cluster)
    yield
    assert_nothing_left(cluster, before, GONE_SECONDS)
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]
    assert box.post_job(job).content == b"hello"
    assert box.listing() == stored


def endless(box: Account) -> list[dict[str, object]]:
    """A job that would run for long, and store something then."""
    return [
        group(
            box.path("bin/spin.wasm"),
            writes(box.path("o")),
            name="endless",
            limits={"wall_seconds": 60},
            ok_exit=[0],
        )
    ]


# Not by a reset: before there is a request, that leaves a dead socket until
# Python's garbage collector comes by, in plain Swift as well.
@pytest.mark.parametrize("sent", ["nothing", "half the head", "half the body"])
def test_client_gone_while_it_sends_its_job_runs_nothing(
    box: Account, sent: str
) -> None:
    ran = tasks_run(box.cluster)
    client = Client(box, endless(box))
    if sent == "half the head":
        client.socket.sendall(client.head[: len(client.head) // 2])
    elif sent == "half the body":
        half = len(client.body) // 2
        client.socket.sendall(client.head + client.body[:half])

    client.vanish()

    assert tasks_run(box.cluster) == ran


@HOW
def test_client_gone_when_its_body_is_waited_for_runs_nothing(
    box: Account, how: str
) -> None:
    ran = tasks_run(box.cluster)
    client = Client(box, endless(box), Expect="100-continue")
    client.socket.sendall(client.head)
    assert client.socket.recv(65536).startswith(b"HTTP/1.1 100 Continue")
    client.socket.sendall(client.body[: len(client.body) // 2])

    client.vanish(how)

    assert tasks_run(box.cluster) == ran


@HOW
def test_client_gone_while_its_vm_runs_ends_it_within_two_seconds(
    box: Account, how: str
) -> None:
    client = Client(box, endless(box)).send()
    wait_for_vm(box.cluster)

    client.vanish(how)
    began = time.monotonic()

    assert wait_until(lambda: not vms(box.cluster), GONE_SECONDS)
    assert time.monotonic() - began < GONE_SECONDS
    assert residue(box.cluster).processes == 0


def test_client_gone_at_once_runs_nothing_for_long(box: Account) -> None:
    Client(box, endless(box)).send().vanish()

    assert not wait_until(lambda: len(vms(box.cluster)) > 1, 0.1)
    assert wait_until(lambda: not vms(box.cluster), GONE_SECONDS)


def test_client_gone_while_it_waits_for_a_slot_gives_up_its_place(
    box: Account,
) -> None:
    cluster = box.cluster
    first = Client(box, endless(box)).send()
    wait_for_vm(cluster, "endless")
    alone = residue(cluster).descriptors
    job = endless(box)
    job[0]["name"] = "waiting"
    second = Client(box, job).send()
    # The client's connection, and both ends of the one to the storage node.
    assert wait_until(lambda: residue(cluster).descriptors >= alone + 3)

    second.vanish()
    assert wait_until(
        lambda: residue(cluster).descriptors <= alone, GONE_SECONDS
    )
    first.vanish()

    # Were its place still taken, its VM would come next.
    assert not wait_until(lambda: bool(vms(cluster, "waiting")), 0.2)
    assert wait_until(lambda: not vms(cluster), GONE_SECONDS)


@HOW
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_client_gone_while_it_reads_a_large_answer_releases_it(
    box: Account, how: str, accept: str
) -> None:
    job = [group(box.path("bin/cat.wasm"), reads(box.path("large")), STDOUT)]
    client = Client(box, job, Accept=accept).send()
    assert client.socket.recv(17) == b"HTTP/1.1 200 OK\r\n"

    client.vanish(how)

    assert wait_until(
        lambda: residue(box.cluster).deleted_files == 0, GONE_SECONDS
    )


def test_client_gone_after_its_answer_changes_nothing(box: Account) -> None:
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]
    client = Client(box, job).send()
    answer = b""
    while not answer.endswith(b"hello"):
        answer += client.socket.recv(65536)

    client.vanish("reset")

    assert not vms(box.cluster)


def test_job_of_another_client_goes_on(box: Account) -> None:
    """The one that stays is not hit with the one that goes."""
    gone = Client(box, endless(box)).send()
    wait_for_vm(box.cluster)
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]
    with posted(box, job) as answer:
        gone.vanish()
        report = answer.result().json()
    box.session.close()

    [node] = report["nodes"]
    assert node["outputs"][0]["text"] == "hello"
