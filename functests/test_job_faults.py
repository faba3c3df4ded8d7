"""Storage nodes that die or hang under a job, and clients that go away."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.support import Account, command_name, tree, wait_until
from zerocloud.cluster import Cluster, ClusterSettings

MANY = 24


@pytest.fixture
def there(process_cluster: Cluster) -> Iterator[Account]:
    """test:tester with a container on the cluster of many processes."""
    yield from with_container(Account(process_cluster))


def copies(account: Account) -> list[dict[str, Any]]:
    """A job that copies MANY objects."""
    for number in range(MANY):
        account.put(f"in/{number:02}", b"%d\n" % number)
    return [
        group(
            put_guest(account, "cat"),
            reads(account.path("in/*")),
            writes(account.path("out/*")),
        )
    ]


def check_copies(account: Account) -> None:
    for number in range(MANY):
        assert account.get(f"out/{number:02}") == b"%d\n" % number


def vms(cluster: Cluster) -> list[str]:
    """Names of the processes that are VMs."""
    names = map(command_name, tree(cluster.pid))
    return [name for name in names if name.startswith("zvm:")]


def test_dead_node_costs_no_job(tmp_path: Path) -> None:
    with started(tmp_path / "it", ClusterSettings(mode="process")) as cluster:
        for account in with_container(Account(cluster)):
            job = copies(account)
            cluster.kill_node(2)

            report = account.run(job)

            assert report["status"] == "succeeded"
            check_copies(account)


def test_node_that_dies_under_its_tasks_costs_no_job(tmp_path: Path) -> None:
    with started(tmp_path / "it", ClusterSettings(mode="process")) as cluster:
        for account in with_container(Account(cluster)):
            program = put_guest(account, "spin")
            job = {
                "version": 2,
                "limits": {"wall_seconds": 2},
                "nodes": [group(program, STDOUT, count=8)],
            }
            body = json.dumps(job).encode()
            with posted(account, body) as client:
                assert wait_until(lambda: len(vms(cluster)) >= 8, 20)
                cluster.kill_node(3)
                client.settimeout(60)
                answer = receive(client)

            report = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert len(report["nodes"]) == 8
            kinds = {node["outcome"]["kind"] for node in report["nodes"]}
            assert kinds == {"limit"}
            assert max(node["attempts"] for node in report["nodes"]) == 2


def test_hung_node_costs_its_timeout_once(there: Account) -> None:
    job = copies(there)
    there.run(job)
    there.cluster.stop_node(1)
    began = time.monotonic()
    try:
        report = there.run(job)
    finally:
        there.cluster.continue_node(1)

    assert report["status"] == "succeeded"
    check_copies(there)
    # node_timeout is 3 s there; a hung node must not cost it per task.
    assert time.monotonic() - began < 40


def receive(client: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    parts = []
    while data := client.recv(65536):
        parts.append(data)
    return b"".join(parts)


def posted(account: Account, body: bytes) -> socket.socket:
    """A connection on which a job was POSTed; the caller closes it."""
    url = urlsplit(account.url)
    assert url.hostname is not None
    client = socket.create_connection((url.hostname, url.port or 80))
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"X-Auth-Token: {account.token}\r\nX-Zerovm-Execute: 1.0\r\n"
        "Content-Type: application/json\r\nAccept: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)
    return client


def test_client_that_goes_away_ends_its_job(
    account: Account, nothing_left: None
) -> None:
    program = put_guest(account, "spin")
    account.put("in/1", b"x")
    job = [
        group(program, writes(account.path("out/*")), name="spin", count=4),
        group(
            put_guest(account, "cat"),
            reads(account.path("in/1")),
            writes(account.path("out/copy")),
        ),
    ]
    # Compiled before, so that the VMs are what is waited for.
    account.run(
        {
            "version": 2,
            "limits": {"wall_seconds": 0.1},
            "nodes": [group(program)],
        }
    )

    client = posted(account, json.dumps(job).encode())
    # As many as there are slots, on a machine with two processors.
    assert wait_until(lambda: len(vms(account.cluster)) >= 4, 20)
    client.close()

    assert wait_until(lambda: not vms(account.cluster), 2.0)
    assert account.listing(prefix="out/") == []


def test_client_that_leaves_within_the_answer_leaves_nothing(
    account: Account, nothing_left: None
) -> None:
    account.put("big", bytes(8_000_000))
    job = [
        group(put_guest(account, "cat"), reads(account.path("big")), STDOUT)
    ]

    answer = account.post_job(job, stream=True)
    next(answer.iter_content(1000))
    answer.close()
