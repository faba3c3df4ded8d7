"""A job reads the versions that it was planned with, however it reads them.

In place or streamed: the same bytes, the same receipt.  Changed meanwhile: a
409 that names the object, and nothing stored.  The change is made while a
first node runs, on the cluster `narrow` with one task at a time; that node is
then killed from outside, which is an outcome like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.running import kill, posted, wait_for_vm
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
)
from zerocloud.cluster import Cluster, ClusterSettings

LEFT_SECONDS = 3.0
DATA = bytes(range(256)) * 3000


@pytest.fixture(scope="module")
def box(narrow: Cluster) -> Iterator[Account]:
    """A container with the programs."""
    for account in with_container(Account(narrow)):
        for name in ("cat", "spin"):
            put_guest(account, name)
        yield account


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process, descriptor, staged file, draft on `narrow`."""
    if "box" not in request.fixturenames:
        yield
        return
    box = request.getfixturevalue("box")
    box.session.close()
    before = residue(box.cluster)
    yield
    box.session.close()
    assert_nothing_left(box.cluster, before, LEFT_SECONDS)


def plain(box: Account, data: bytes) -> None:
    box.put("in/o", data)


def large(box: Account, data: bytes) -> None:
    """A static large object of two segments."""
    half = len(data) // 2
    parts = []
    for number, part in enumerate((data[:half], data[half:])):
        name = f"parts/{number}"
        etag = box.put(name, part)
        parts.append({"path": f"/{box.container}/{name}", "etag": etag})
    box.request(
        "PUT",
        f"{box.container}/in/o?multipart-manifest=put",
        data=json.dumps(parts),
    ).raise_for_status()


def slow_then(box: Account, path: str, **more: Any) -> list[Any]:
    """A node that runs until it is killed, then one that reads `path`."""
    return [
        group(
            box.path("bin/spin.wasm"),
            name="slow",
            limits={"wall_seconds": 60},
        ),
        group(
            box.path("bin/cat.wasm"),
            reads(path),
            writes(box.path("out/*")),
            name="reader",
            **more,
        ),
    ]


def answered(box: Account, job: Any, change: Callable[[], object]) -> Any:
    """The answer of such a job with a change between plan and read."""
    with posted(box, job) as answer:
        *_, vm = wait_for_vm(box.cluster, "slow")
        try:
            change()
        finally:
            kill(vm)
        return answer.result()


WAYS = {
    "in place": (plain, "in/o", {}),
    "in place, by wildcard": (plain, "in/*", {}),
    "streamed": (plain, "in/o", {"attach": "stdout"}),
    "streamed, by wildcard": (plain, "in/*", {"attach": "stdout"}),
    "a large object": (large, "in/o", {}),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    "change", ["overwritten", "of another size", "deleted"]
)
def test_input_changed_after_planning_is_a_409_that_names_it(
    box: Account, way: Any, change: str
) -> None:
    make, path, more = way
    make(box, b"old version")
    before = [name for name in box.listing() if name.startswith("out/")]

    def now() -> None:
        if change == "deleted":
            assert box.delete("in/o") == 204
        else:
            box.put(
                "in/o", b"new" if change == "of another size" else b"x" * 11
            )

    answer = answered(box, slow_then(box, box.path(path), **more), now)

    assert answer.status_code == 409, answer.text
    error = answer.json()["error"]
    assert error["code"] == "object_changed"
    assert error["may_retry"]
    full = f"object swift://{box.name}/{box.container}/in/o"
    assert error["message"].startswith(full)
    word = "not exist" if change == "deleted" else "changed while the job"
    assert word in error["message"]
    assert [n for n in box.listing() if n.startswith("out/")] == before


def dynamic(box: Account, data: bytes) -> None:
    """A dynamic large object of two segments."""
    half = len(data) // 2
    box.put("parts/0", data[:half])
    box.put("parts/1", data[half:])
    box.put("in/o", X_Object_Manifest=f"{box.container}/parts/")


@pytest.mark.parametrize("make", [large, dynamic])
@pytest.mark.parametrize("segment", [0, 1])
@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_segment_changed_after_planning_is_a_409_that_names_the_object(
    box: Account, make: Any, segment: int, change: str
) -> None:
    make(box, DATA)
    length = len(DATA) // 2

    def now() -> None:
        if change == "deleted":
            assert box.delete(f"parts/{segment}") == 204
        else:
            box.put(f"parts/{segment}", b"x" * length)

    answer = answered(box, slow_then(box, box.path("in/o")), now)

    assert answer.status_code == 409, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["may_retry"]) == ("object_changed", True)
    full = f"swift://{box.name}/{box.container}"
    assert error["message"].startswith(f"object {full}/in/o changed")
    if make is large:
        assert f"segment {full}/parts/{segment}" in error["message"]
    box.delete("in/o")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_input_with_new_metadata_has_not_changed(
    box: Account, way: Any
) -> None:
    make, path, more = way
    make(box, b"old version")

    def now() -> None:
        box.request(
            "POST", f"{box.container}/in/o", {"X-Object-Meta-Color": "blue"}
        ).raise_for_status()

    answer = answered(box, slow_then(box, box.path(path), **more), now)

    assert answer.status_code == 200, answer.text
    slow, reader = answer.json()["nodes"]
    assert slow["outcome"]["kind"] == "killed"
    assert reader["succeeded"]
    assert reader["io"][0]["read_bytes"] == 11


def test_input_changed_while_it_is_read_in_place_is_read_as_it_was(
    box: Account,
) -> None:
    """The node holds the file: what comes later has another one."""
    box.put("in/o", DATA)
    program = put_guest(box, "spin")
    device = reads(box.path("in/o"))
    job = [group(program, device, name="slow", limits={"wall_seconds": 60})]

    answer = answered(box, job, lambda: box.put("in/o", b"new"))

    assert answer.status_code == 200
    [node] = answer.json()["nodes"]
    assert node["io"][0]["size"] == len(DATA)


# In place or streamed.


def cases(box: Account) -> list[dict[str, Any]]:
    """Nodes that read in order, at random, and by wildcard."""
    box.put("in/large", DATA)
    box.put("in/small", b"hello")
    box.put("in/empty", b"")
    for name in ("cat", "count_bytes", "seek_read"):
        put_guest(box, name)
    large = box.path("in/large")
    return [
        group(
            box.path("bin/cat.wasm"),
            reads(box.path("in/*")),
            STDOUT,
            name="all",
        ),
        group(
            box.path("bin/seek_read.wasm"),
            reads(large, "input"),
            STDOUT,
            name="random",
            args=["700000", "5", "3", "4"],
        ),
        group(
            box.path("bin/count_bytes.wasm"),
            reads(large, "input"),
            STDOUT,
            name="whole",
            args=["/dev/input"],
        ),
    ]


def results(box: Account, job: Any) -> tuple[bytes, list[Any], set[str]]:
    """Bytes; what must not differ in the report; how inputs were read."""
    body = box.post_job(job).content
    nodes = box.run(job)["nodes"]
    assert all(node["succeeded"] for node in nodes)
    same = [
        (node["name"], node["receipt"], node["digests"], node["outcome"])
        for node in nodes
    ]
    sources = {
        io["source"]
        for node in nodes
        for io in node["io"]
        if io["device"] in ("stdin", "input")
    }
    return body, same, sources


def test_local_and_streamed_inputs_give_the_same_bytes_and_receipts(
    tmp_path: Path,
) -> None:
    """The same folder, served three times with reading in place on and off."""
    off = {"local_reads": "no"}
    found = []
    job: list[dict[str, Any]] = []
    container = ""
    for proxy, executor in (({}, {}), (off, {}), ({}, off)):
        settings = ClusterSettings(
            nodes=2,
            replicas=2,
            proxy_options=proxy,
            executor_options=executor,
        )
        with started(tmp_path / "it", settings) as cluster:
            box = Account(cluster).log_in()
            container = container or box.create("box")
            box.container = container
            job = job or cases(box)
            found.append(results(box, job))
            box.close()

    local, streamed, refused = found
    # in/empty, in/large, in/small; then the other two nodes.
    assert local[0].startswith(DATA + b"hello")
    assert local[0].endswith(b"%d\n" % len(DATA))
    assert local[2] == {"local"}
    assert streamed[2] == refused[2] == {"stream"}
    assert local[0] == streamed[0] == refused[0]
    assert local[1] == streamed[1] == refused[1]
    assert all(receipt for _, receipt, _, _ in local[1])
