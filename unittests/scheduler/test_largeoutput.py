"""Outputs that are longer than Swift's longest object."""

from __future__ import annotations

import re
from typing import Any

import pytest

from unittests.scheduler.conftest import Cluster, group
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.largeoutput import (
    Large,
    segment_length,
    segment_name,
)
from zerocloud.scheduler.subrequest import ObjectLimits

DATA = b"n" * 2500


@pytest.fixture
def small(cluster: Cluster) -> Cluster:
    """A Swift whose objects have at most 1000 bytes."""
    cluster.swift.limits = ObjectLimits(1000, 10)
    cluster.swift.container("out")
    return cluster


def job(size: int = 2500, **more: Any) -> list[dict[str, Any]]:
    device = {"name": "stdout", "path": "swift://~/out/x", **more}
    return [group(f"name {size}", devices=[device])]


def segments(cluster: Cluster) -> list[int]:
    """The lengths of all segments, in the order of their names."""
    box = cluster.swift.containers.get(("AUTH_a", "out_segments"))
    found = sorted(box.objects.items()) if box else []
    return [len(o.data) for _, o in found]


def test_output_of_the_greatest_length_is_one_object(small: Cluster) -> None:
    small.run(job(1000))

    assert small.swift.stored() == {"x": b"n" * 1000}
    assert segments(small) == []


@pytest.mark.parametrize("inline", ["0", "65536"])
def test_longer_output_is_segments_and_then_a_manifest(
    small: Cluster, inline: str
) -> None:
    small.options["inline_bytes"] = inline

    done = small.run(
        job(content_type="text/x", meta={"Color": "red"}), report=True
    )

    assert segments(small) == [1000, 1000, 500]
    stored = small.swift.containers["AUTH_a", "out"].objects["x"]
    assert stored.data == DATA
    assert stored.content_type == "text/x"
    assert stored.headers["X-Object-Meta-Color"] == "red"
    [entry] = done.report["nodes"][0]["outputs"]
    assert entry["bytes"] == 2500
    assert entry["etag"] == stored.headers["ETag"]


def test_segments_have_the_policy_of_the_output(small: Cluster) -> None:
    small.swift.container("out", policy_index=1)

    small.run(job())

    assert "CREATE out_segments ec" in small.swift.log


def test_segments_container_that_is_there_is_used(small: Cluster) -> None:
    small.swift.container("out_segments")

    small.run(job())

    assert not any(line.startswith("CREATE") for line in small.swift.log)
    assert segments(small) == [1000, 1000, 500]


def test_manifests_come_after_all_other_outputs(small: Cluster) -> None:
    outputs = [{"name": "stdout", "path": "swift://~/out/*"}]
    small.swift.put("in/a", b"a" * 2500)
    small.swift.put("in/b", b"b")
    device = {"name": "stdin", "path": "swift://~/in/*"}

    small.run([group(devices=[device, *outputs])])

    puts = [
        line.split(" ")
        for line in small.swift.log
        if line.startswith(("PUT", "MANIFEST"))
    ]
    assert puts[-1] == ["MANIFEST", "swift://AUTH_a/out/a"]
    assert len(puts) == 5


def test_segments_are_deleted_when_one_of_them_is_refused(
    small: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["one", "two", "three"])

    def name(output: Large, job_id: str, number: int) -> str:
        return next(names)

    monkeypatch.setattr("zerocloud.scheduler.largeoutput.segment_name", name)
    small.swift.refuse_put["three"] = 413

    with pytest.raises(JobError, match="out_segments, and Swift") as caught:
        small.run(job())

    assert caught.value.code == "output_refused"
    assert segments(small) == []
    assert small.swift.stored() == {}


def test_segments_are_deleted_when_the_manifest_is_refused(
    small: Cluster,
) -> None:
    small.swift.refuse_put["manifest"] = 413

    with pytest.raises(JobError, match="out/x could not be stored: Swift"):
        small.run(job())

    assert segments(small) == []


def test_segments_stay_when_the_manifest_may_be_stored(small: Cluster) -> None:
    small.swift.refuse_put["manifest"] = 503

    with pytest.raises(ClusterError, match="may be stored all") as caught:
        small.run(job())

    assert caught.value.code == "output_failed"
    assert "swift://AUTH_a/out_segments are left" in caught.value.message
    assert segments(small) == [1000, 1000, 500]
    tries = [e for e in small.swift.log if e.startswith("MANIFEST")]
    assert len(tries) == 3


def test_segments_are_deleted_when_another_output_is_refused(
    small: Cluster,
) -> None:
    small.swift.refuse_put["b"] = 413
    devices = [
        {"name": "stdout", "path": "swift://~/out/a"},
        {"name": "output", "path": "swift://~/out/c"},
    ]
    other = [{"name": "stdout", "path": "swift://~/out/b"}]

    with pytest.raises(JobError, match="out/b could not be stored"):
        small.run(
            [
                group("name 2500", devices=devices),
                group("name 10", name="m", devices=other),
            ]
        )

    assert segments(small) == []
    assert small.swift.stored() == {}


def test_segments_container_that_may_not_be_made_is_named(
    small: Cluster,
) -> None:
    small.swift.may_create = False

    with pytest.raises(JobError) as caught:
        small.run(job())

    assert (caught.value.code, caught.value.status) == ("forbidden", 403)
    assert "swift://AUTH_a/out_segments" in caught.value.message
    assert small.swift.stored() == {}


def output(name: str = "x", size: int = 2500) -> Large:
    return Large(ObjectPath("a", "c", name), size, None, {}, "0/stdout")


@pytest.mark.parametrize(
    ("size", "limits", "length"),
    [
        (2500, ObjectLimits(1000, 10), 1000),
        (3 * 2**30, ObjectLimits(5 * 2**30, 1000), 2**30),
        (3000 * 2**30, ObjectLimits(5 * 2**30, 1000), 3 * 2**30),
    ],
)
def test_segments_are_as_few_as_need_be(
    size: int, limits: ObjectLimits, length: int
) -> None:
    assert segment_length(output(size=size), limits) == length


@pytest.mark.parametrize("segments", [0, 2])
def test_output_too_long_for_a_large_object_is_refused(segments: int) -> None:
    with pytest.raises(JobError, match="has 2500 bytes; Swift's") as caught:
        segment_length(output(), ObjectLimits(1000, segments))

    assert caught.value.code == "output_refused"


@pytest.mark.parametrize("name", ["x", "ä" * 512, "a" + "😀" * 255])
def test_segment_name_fits_and_differs_by_job_node_and_number(
    name: str,
) -> None:
    made = segment_name(output(name), "ab" * 16, 7)

    assert len(made.encode()) <= 1024
    tail = "/zerocloud/" + "ab" * 16 + "/0/stdout/00000007"
    assert made.endswith(tail)
    assert name.startswith(made.removesuffix(tail))
    assert re.fullmatch(r"[^\ufffd]+", made)
