"""gzip as gunzip reads it, bombs in pieces."""

from __future__ import annotations

import gzip
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerocloud.job import gunzip
from zerocloud.job.gunzip import GzipError, gunzipped

DATA = os.urandom(700_000)


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1000, 65536, 1 << 20])
def test_members_are_read_one_after_another(size: int) -> None:
    packed = b"".join(map(gzip.compress, split(DATA, 200_000)))
    assert b"".join(gunzipped(split(packed, size))) == DATA


@pytest.mark.parametrize("size", [1, 7, 100])
def test_small_chunks_are_enough(size: int) -> None:
    packed = gzip.compress(b"hello ") + gzip.compress(b"there") + bytes(50)
    assert b"".join(gunzipped(split(packed, size))) == b"hello there"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "cut off"),
        (b"\x1f\x8b", "cut off"),
        (gzip.compress(b"x" * 1000)[:-1], "cut off"),
        (gzip.compress(b"x") + gzip.compress(b"y")[:-3], "cut off"),
        (b"\x1f\x8b" + b"\xff" * 50, "broken"),
        (gzip.compress(b"x")[:-8] + b"12345678", "broken"),
        (gzip.compress(b"x") + b"trash", "after 1 members come bytes that"),
        (gzip.compress(b"x") + b"\x1f", "after 1 members come bytes that"),
    ],
)
def test_gzip_that_is_none_is_told(data: bytes, text: str) -> None:
    for size in (1, 10_000):
        with pytest.raises(GzipError, match=text):
            list(gunzipped(split(data, size)))


def test_bomb_comes_in_bounded_pieces() -> None:
    bomb = gzip.compress(bytes(30_000_000))
    pieces = [len(piece) for piece in gunzipped([bomb])]
    assert sum(pieces) == 30_000_000
    assert max(pieces) <= gunzip.PIECE_BYTES


def test_empty_members_have_an_end() -> None:
    data = gzip.compress(b"") * (gunzip.MAX_MEMBERS + 1)
    began = time.thread_time()
    with pytest.raises(GzipError, match="more than 100000 members"):
        list(gunzipped(split(data, 65536)))
    assert time.thread_time() - began < 5


@given(st.binary(max_size=300), st.binary(max_size=30), st.integers(1, 40))
def test_any_bytes_are_unpacked_or_refused(
    data: bytes, tail: bytes, size: int
) -> None:
    try:
        got = b"".join(gunzipped(split(gzip.compress(data) + tail, size)))
    except GzipError:
        assert tail.strip(b"\0")
    else:
        assert got.startswith(data)
