"""Storage nodes that are not as the others.

Without our filter, of another version of the protocol, full, with another
key, without a runner: one such node costs a try on another one, and no job;
when there is nothing else, the client is told so and may try again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.refusing import error_of
from functests.replaced import replaced
from functests.support import Account
from zerocloud.cluster import Cluster, ClusterSettings

MANY = 12
TIB = 1024**4
BARE = {"pipeline": "healthcheck object-server"}
NODES: dict[str, tuple[dict[str, str], str, str]] = {
    "without the filter": (BARE, "no_node", "it answered 405"),
    "of an older protocol": ({"protocol": "0"}, "no_node", "known here is 0"),
    "of a newer protocol": ({"protocol": "3"}, "no_node", "known here is 3"),
    "that is full": (
        {"reserve_bytes": str(TIB)},
        "disk_full",
        f"a reserve of {TIB}",
    ),
    "of another key": (
        {"cluster_key": "another cluster's key"},
        "no_node",
        "key",
    ),
    "without a runner": ({"zvm": "/bin/false"}, "no_node", "compile"),
}
KINDS = pytest.mark.parametrize(
    ("changes", "code", "word"), NODES.values(), ids=NODES.keys()
)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes, the second of which is replaced for each test."""
    folder = tmp_path_factory.mktemp("four")
    settings = ClusterSettings(
        mode="process",
        # What one has compiled, another would find.
        executor_options={"cache_dir": str(folder / "cache")},
    )
    with started(folder / "it", settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, which is replaced for each test."""
    folder = tmp_path_factory.mktemp("alone")
    settings = ClusterSettings(
        mode="process",
        nodes=1,
        replicas=1,
        executor_options={"cache_dir": str(folder / "cache")},
    )
    with started(folder / "it", settings) as cluster:
        yield cluster


@KINDS
def test_one_node_that_is_different_costs_no_job(
    four: Cluster, changes: dict[str, Any], code: str, word: str
) -> None:
    with replaced(four, 2, **changes):
        for box in with_container(Account(four)):
            for number in range(MANY):
                box.put(f"in/{number:02}", b"%d\n" % number)
            job = [
                group(
                    put_guest(box, "cat"),
                    reads(box.path("in/*")),
                    writes(box.path("out/*")),
                )
            ]

            report = box.run(job)

            assert report["status"] == "succeeded"
            for number in range(MANY):
                assert box.get(f"out/{number:02}") == b"%d\n" % number
            servers = {node["server"] for node in report["nodes"]}
            assert not any(name.startswith("127.0.0.2") for name in servers)


@KINDS
def test_only_node_that_is_different_is_told_of(
    alone: Cluster, changes: dict[str, Any], code: str, word: str
) -> None:
    with replaced(alone, 1, **changes):
        for box in with_container(Account(alone)):
            box.put("a", b"hello")
            devices = (reads(box.path("a")), writes(box.path("o")))
            before = box.listing()

            error = error_of(box, [group(put_guest(box, "cat"), *devices)])

            assert (error.code, error.may_retry) == (code, True), error
            assert error.where == "n"
            assert word in error.message, error
            assert set(box.listing()) == {*before, "bin/cat.wasm"}


def test_node_that_is_as_before_serves_again(alone: Cluster) -> None:
    with replaced(alone, 1):
        for box in with_container(Account(alone)):
            box.put("a", b"hello")
            program = put_guest(box, "cat")
            job = [group(program, reads(box.path("a")), STDOUT)]
            assert box.post_job(job).content == b"hello"


def test_left_nothing(four: Cluster, alone: Cluster) -> None:
    """No VM of a node that was replaced runs on."""
    for cluster in (four, alone):
        staging = Path(cluster.folder.root).glob("*/zerocloud/staging/*")
        assert not list(staging)
