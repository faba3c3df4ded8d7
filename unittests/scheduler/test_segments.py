"""Digests of what is streamed, and segments that are not the manifest's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from unittests.scheduler.swift_fake import FakePipeline, FakeSwift
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.segments import (
    Damaged,
    Expected,
    Flaw,
    checked,
    expected,
    find_flaw,
)
from zerocloud.scheduler.subrequest import Reply

PATH = ObjectPath("AUTH_a", "in", "large")
STATIC = {"X-Static-Large-Object": "True"}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Manifests(FakePipeline):
    """With a manifest at PATH."""

    def __init__(self, swift: FakeSwift, entries: Any) -> None:
        super().__init__(swift)
        self._entries = entries

    def manifest(self, path: ObjectPath) -> Reply:
        if path != PATH:
            return super().manifest(path)
        return Reply(200, {}, iter([json.dumps(self._entries).encode()]))


def entry(name: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {
        "name": f"/parts/{name}",
        "bytes": len(data),
        "hash": md5(data),
        **more,
    }


def wanted(entries: Any, size: int = 11) -> Expected:
    return expected(Manifests(FakeSwift(), entries), PATH, STATIC, size)


@pytest.mark.parametrize("quoted", [False, True])
def test_plain_object_is_expected_to_have_its_etag(*, quoted: bool) -> None:
    etag = md5(b"x")
    headers = {"Etag": f'"{etag}"' if quoted else etag}

    found = expected(FakePipeline(FakeSwift()), PATH, headers, 1)

    assert found == Expected(etag, 0)


@pytest.mark.parametrize("etag", ["", "abc", "z" * 32, md5(b"") + "-2"])
def test_etag_that_is_no_md5_is_not_compared(etag: str) -> None:
    found = expected(FakePipeline(FakeSwift()), PATH, {"Etag": etag}, 1)

    assert found == Expected()


def test_static_large_object_ends_with_its_last_segment() -> None:
    found = wanted([entry("1", b"hello "), entry("2", b"world")])

    assert found == Expected(md5(b"world"), 6)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        "no manifest",
        [{"data": "aGVsbG8="}],
        [entry("1", b"world", range="1-3")],
        [entry("1", b"world", sub_slo=True)],
        [entry("1", b"longer than the object")],
    ],
)
def test_segment_that_cannot_be_compared_is_not(entries: Any) -> None:
    assert wanted(entries) == Expected()


def test_dynamic_large_object_ends_with_the_last_of_its_prefix() -> None:
    swift = FakeSwift()
    swift.put("par ts/a/1", b"hello ")
    swift.put("par ts/a/2", b"world")
    swift.put("par ts/b", b"another")
    headers = {"X-Object-Manifest": "par%20ts/a/"}

    found = expected(FakePipeline(swift), PATH, headers, 11)

    assert found == Expected(md5(b"world"), 6)


def test_dynamic_large_object_of_others_segments_is_not_compared() -> None:
    headers = {"X-Object-Manifest": "nowhere/a/"}

    assert expected(FakePipeline(FakeSwift()), PATH, headers, 1) == Expected()


@pytest.mark.parametrize("cut", range(1, 11))
@pytest.mark.parametrize("offset", [0, 6])
def test_bytes_are_compared_from_the_offset_on(cut: int, offset: int) -> None:
    data = b"hello world"
    good = Expected(md5(data[offset:]), offset)

    chunks = iter([data[:cut], data[cut:]])
    assert b"".join(checked(chunks, PATH, good)) == data
    with pytest.raises(Damaged, match="in/large is damaged"):
        list(checked(iter([data[:cut], data[cut:-1] + b"?"]), PATH, good))


def test_bytes_without_a_digest_pass() -> None:
    assert list(checked(iter([b"x"]), PATH, Expected())) == [b"x"]


@pytest.mark.parametrize(
    ("stored", "changed"),
    [
        ({"1": b"hello ", "2": b"world"}, None),
        ({"1": b"hello ", "2": b"WORLD"}, "2"),
        ({"2": b"world"}, "1"),
    ],
)
def test_changed_segment_is_the_first_that_differs(
    stored: Mapping[str, bytes], changed: str | None
) -> None:
    swift = FakeSwift()
    swift.container("parts")
    for name, data in stored.items():
        swift.put(f"parts/{name}", data)
    reader = Manifests(swift, [entry("1", b"hello "), entry("2", b"world")])

    flaw = changed and Flaw(ObjectPath("AUTH_a", "parts", changed), False)
    assert find_flaw(reader, PATH) == flaw


def test_segment_that_may_not_be_read_is_a_flaw() -> None:
    swift = FakeSwift()
    swift.put("parts/1", b"hello ")
    reader = Manifests(swift, [entry("1", b"hello ")])
    reader._owns = "another account"

    segment = ObjectPath("AUTH_a", "parts", "1")
    assert find_flaw(reader, PATH) == Flaw(segment, forbidden=True)
