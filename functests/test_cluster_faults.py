"""Storage nodes that die or hang, and several proxies: mode `process`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from functests.conftest import started, with_container
from functests.support import Account
from zerocloud.cluster import Cluster, ClusterSettings


@pytest.fixture
def there(process_cluster: Cluster) -> Iterator[Account]:
    """test:tester with a container on the cluster of many processes."""
    yield from with_container(Account(process_cluster))


def test_every_server_has_a_process(process_cluster: Cluster) -> None:
    pids = process_cluster.pids
    assert len(pids) == 13
    assert len(set(pids.values())) == 13


def test_hung_node_costs_seconds_but_no_request(there: Account) -> None:
    there.put("before", b"old")
    there.cluster.stop_node(2)
    try:
        before = time.monotonic()
        there.put("during", b"new")
        reads = there.get("before"), there.get("during")
        took = time.monotonic() - before
    finally:
        there.cluster.continue_node(2)
    assert reads == (b"old", b"new")
    # Three requests, each at most twice NODE_TIMEOUT_SECONDS.
    assert took < 20
    assert there.get("during") == b"new"


def test_dead_node_is_worked_around(tmp_path: Path) -> None:
    with started(tmp_path / "it", ClusterSettings(mode="process")) as cluster:
        account = Account(cluster).log_in()
        plain = account.create("c")
        coded = account.create("ec", X_Storage_Policy="erasure")
        for box in (plain, coded):
            account.put("before", b"old", box)
        cluster.kill_node(1)
        for box in (plain, coded):
            account.put("during", b"new", box)
            assert account.get("before", box) == b"old"
            assert account.get("during", box) == b"new"
        account.close()


def test_token_and_acl_of_one_proxy_hold_on_the_other(
    tmp_path: Path,
) -> None:
    settings = ClusterSettings(nodes=1, replicas=1, proxies=2, mode="process")
    with started(tmp_path / "it", settings) as cluster:
        first, second = cluster.urls
        owner = Account(cluster).log_in(first)
        box = owner.create("c")
        owner.put("o", b"shared", box)
        reader = Account(cluster, "test2:tester2", "testing2").log_in(first)
        reader.url = owner.url.replace(first, second)
        assert reader.request("GET", "c/o").status_code == 403
        owner.request(
            "POST", box, {"X-Container-Read": "test2:tester2"}
        ).raise_for_status()
        # No minute of stale container info on the other proxy.
        assert reader.request("GET", "c/o").content == b"shared"
        owner.close()
        reader.close()
