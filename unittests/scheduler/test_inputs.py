"""Versions of inputs: from listings, from headers, and when they differ."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.scheduler.swift_fake import FakePipeline, FakeSwift, iso
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.inputs import (
    Inputs,
    VersionChanged,
    listing_timestamp,
    version_of_entry,
)

PLANNED = "1800000000.00000"
PATH = ObjectPath("AUTH_a", "in", "a")


def make(swift: FakeSwift, *, planned_at: str = PLANNED) -> Inputs:
    return Inputs(
        FakePipeline(swift),
        lambda path: True,
        planned_at=planned_at,
        limit_bytes=1000,
    )


def listed(inputs: Inputs, timestamp: str, size: int = 5) -> None:
    inputs.add_entry(PATH, {"bytes": size, "last_modified": iso(timestamp)})


@pytest.mark.parametrize(
    ("shown", "timestamp"),
    [
        ("2023-11-14T22:13:20.000000", "1700000000.00000"),
        ("2023-11-14T22:13:20.123450", "1700000000.12345"),
        ("2023-11-14T22:13:20", "1700000000.00000"),
        ("1970-01-01T00:00:01.000010", "0000000001.00001"),
        ("2038-01-19T03:14:08.999990", "2147483648.99999"),
    ],
)
def test_listing_time_is_swifts_timestamp(shown: str, timestamp: str) -> None:
    assert listing_timestamp(shown) == timestamp


@pytest.mark.parametrize("key", ["symlink_path", "slo_etag"])
def test_entry_of_a_link_or_manifest_tells_no_version(key: str) -> None:
    entry = {"bytes": 1, "last_modified": "2023-11-14T22:13:20", key: "x"}

    assert version_of_entry(PATH, entry, replicated=True) is None


def test_listed_objects_need_no_request() -> None:
    swift = FakeSwift()
    inputs = make(swift)
    listed(inputs, "1700000000.00000")

    inputs.resolve([PATH])

    assert swift.log == []
    assert inputs.version(PATH).timestamp == "1700000000.00000"


def test_renewal_takes_what_is_there_when_the_listing_lagged() -> None:
    swift = FakeSwift()
    swift.put("in/a", b"longer", timestamp="1700000005.00000")
    inputs = make(swift)
    listed(inputs, "1700000000.00000")

    inputs.renew(PATH)

    version = inputs.version(PATH)
    assert (version.bytes, version.timestamp) == (6, "1700000005.00000")


def test_renewal_after_a_read_is_a_conflict() -> None:
    swift = FakeSwift()
    swift.put("in/a", b"longer", timestamp="1700000005.00000")
    inputs = make(swift)
    listed(inputs, "1700000000.00000")
    inputs.confirm(PATH)

    with pytest.raises(JobError, match="it was version 17"):
        inputs.renew(PATH)


def test_renewal_of_an_object_younger_than_the_plan_is_a_conflict() -> None:
    swift = FakeSwift()
    swift.put("in/a", b"longer", timestamp="1700000005.00000")
    inputs = make(swift, planned_at="1700000003.00000")
    listed(inputs, "1700000000.00000")

    with pytest.raises(JobError) as caught:
        inputs.renew(PATH)

    assert caught.value.status == 409


def test_renewal_keeps_a_pin_that_is_right() -> None:
    swift = FakeSwift()
    swift.put("in/a", b"hello")
    inputs = make(swift)
    listed(inputs, "1700000000.00000")
    before = inputs.version(PATH)

    inputs.renew(PATH)

    assert inputs.version(PATH) is before


@pytest.mark.parametrize("newest", [False, True])
def test_named_object_is_looked_up_on_all_servers_if_so_asked(
    *, newest: bool
) -> None:
    swift = FakeSwift()
    swift.put("in/a", b"hello")
    inputs = Inputs(
        FakePipeline(swift), lambda path: True, PLANNED, 1000, newest=newest
    )

    inputs.resolve([PATH])

    [head] = [line for line in swift.log if line.startswith("HEAD")]
    assert head == f"HEAD {PATH}" + " newest" * newest


def test_renewal_asks_all_servers_and_so_do_later_reads() -> None:
    swift = FakeSwift()
    swift.put("in/a", b"hello")
    inputs = make(swift)
    listed(inputs, "1700000000.00000")

    inputs.renew(PATH)
    list(inputs.stream(PATH))

    asked = [line for line in swift.log if line.startswith(("HEAD", "GET"))]
    assert asked == [f"HEAD {PATH} newest", f"GET {PATH} newest"]


def test_renewal_that_finds_only_an_older_version_is_ours() -> None:
    swift = FakeSwift()
    swift.put(
        "in/a",
        b"older",
        timestamp="1700000001.00000",
        headers={"X-Timestamp": "1700000001.00000"},
    )
    inputs = make(swift)
    listed(inputs, "1700000005.00000")

    with pytest.raises(ClusterError, match="have 1700000001") as caught:
        inputs.renew(PATH)

    assert caught.value.code == "input_failed"


def test_listing_that_names_the_time_of_a_metadata_change_is_explained() -> (
    None
):
    swift = FakeSwift()
    swift.put(
        "in/a",
        b"older",
        timestamp="1700000001.00000",
        headers={"X-Timestamp": "1700000005.00000"},
    )
    inputs = make(swift)
    listed(inputs, "1700000005.00000")

    inputs.renew(PATH)

    assert inputs.version(PATH).timestamp == "1700000001.00000"


def test_dynamic_large_object_with_other_segments_is_another_version() -> None:
    swift = FakeSwift()
    link = {"X-Object-Manifest": "in/parts/", "Etag": "one"}
    swift.put("in/a", b"hello", headers=link)
    inputs = make(swift)
    inputs.resolve([PATH])
    swift.touch(PATH, headers={**link, "Etag": "two"})

    with pytest.raises(VersionChanged):
        next(inputs.stream(PATH))
    with pytest.raises(JobError, match="00 one and is"):
        inputs.renew(PATH)


def test_stream_of_another_version_is_noticed_before_its_bytes() -> None:
    swift = FakeSwift()
    swift.put("in/a", b"other", timestamp="1700000005.00000")
    inputs = make(swift)
    listed(inputs, "1700000000.00000")

    with pytest.raises(VersionChanged):
        next(inputs.stream(PATH))


@pytest.mark.parametrize("data", [b"shor", b"longer"])
def test_stream_that_is_not_as_long_as_announced_is_an_error(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    swift = FakeSwift()
    swift.put("in/a", data, headers={"Content-Length": "5"})
    inputs = make(swift)
    listed(inputs, "1700000000.00000")

    with pytest.raises(ClusterError, match="bytes too ") as caught:
        list(inputs.stream(PATH))

    assert caught.value.code == "input_failed"


def test_unreadable_object_is_ours() -> None:
    class Down(FakePipeline):
        def head(self, path: ObjectPath, headers: Any = None) -> Any:
            reply = super().head(path, headers)
            reply.status = 503
            return reply

    swift = FakeSwift()
    swift.put("in/a", b"hello")
    inputs = Inputs(Down(swift), lambda path: True, PLANNED, 1000)

    with pytest.raises(ClusterError, match="status 503") as caught:
        inputs.resolve([PATH])

    assert caught.value.may_retry


def many(inputs: Inputs, swift: FakeSwift, count: int) -> list[ObjectPath]:
    """Listed objects in/0 …, all of one version."""
    paths = [swift.put(f"in/{n}", b"hello") for n in range(count)]
    for path in paths:
        entry = {"bytes": 5, "last_modified": iso("1700000000.00000")}
        inputs.add_entry(path, entry)
    return paths


def test_container_that_is_never_local_is_not_tried_for_each_object() -> None:
    swift = FakeSwift()
    inputs = make(swift)
    paths = many(inputs, swift, 5)

    for path in paths[:3]:
        assert inputs.version(path).local
        inputs.make_streamed(path)

    assert not inputs.version(paths[3]).local
    assert inputs.version(paths[4]).timestamp == "1700000000.00000"


def test_container_with_local_objects_is_tried_for_each_object() -> None:
    swift = FakeSwift()
    inputs = make(swift)
    paths = many(inputs, swift, 6)
    inputs.confirm(paths[0], in_place=True)

    for path in paths[1:5]:
        inputs.make_streamed(path)

    assert inputs.version(paths[5]).local
