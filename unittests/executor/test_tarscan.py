"""A bounded look into tars, honest and hostile ones."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from unittests.fakes.tars import tar_of
from zerocloud.errors import TaskRefused
from zerocloud.executor import tarscan
from zerocloud.executor.tarscan import find, inflate, is_gzip, read_small


@pytest.fixture
def opened(tmp_path):
    held = []

    def open_bytes(data: bytes) -> int:
        (tmp_path / "file").write_bytes(data)
        held.append(os.open(tmp_path / "file", os.O_RDONLY))
        return held[-1]

    yield open_bytes
    for fd in held:
        os.close(fd)


def content(fd: int, member: str) -> bytes | None:
    place = find(fd, "image", (member,)).get(member)
    return None if place is None else read_small(fd, place, "image")


@pytest.mark.parametrize("name", ["bin/x", "./bin/x", "/bin/x", "a/../bin/x"])
def test_member_is_found_however_it_is_written(opened, name):
    fd = opened(tar_of(("other", b"1"), (name, b"program")))
    assert content(fd, "bin/x") == b"program"
    assert content(fd, "/bin/x") == b"program"
    assert content(fd, "bin") is None


def test_member_twice_is_the_last(opened):
    fd = opened(tar_of(("x", b"old"), ("x", b"new")))
    assert content(fd, "x") == b"new"


@pytest.mark.parametrize("link", ["->x.real", "->/bin/x.real", "=>bin/x.real"])
def test_member_that_is_a_link_is_followed(opened, link):
    fd = opened(tar_of(("bin/x.real", b"program"), ("bin/x", link)))
    assert content(fd, "bin/x") == b"program"


def test_member_that_links_out_of_the_tar_is_not_found(opened):
    fd = opened(tar_of(("x", "->../../etc/passwd")))
    assert content(fd, "x") is None


def test_directory_is_no_member(opened):
    assert content(opened(tar_of(("x", None))), "x") is None


def test_long_names_are_found(opened):
    name = "d/" * 80 + "x"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert content(opened(tar_of((name, b"1"), format=kind)), name) == b"1"


@pytest.mark.parametrize(
    "data", [b"", b"not a tar" * 200, bytes(511), b"\x7fELF" + bytes(2000)]
)
def test_something_else_is_refused(opened, data):
    with pytest.raises(TaskRefused, match="not a usable tar") as caught:
        find(opened(data), "image", ("x",))
    assert (caught.value.code, caught.value.status) == ("image_invalid", 422)


def test_tar_cut_off_is_refused(opened):
    data = tar_of(("a", bytes(5000)), ("x", b"1"))
    with pytest.raises(TaskRefused, match=r"image cut\.tar: not a usable tar"):
        find(opened(data[:2000]), "cut.tar", ("x",))


def test_header_that_claims_a_gigabyte_is_refused(opened):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    data = info.tobuf() + bytes(4096)
    with pytest.raises(TaskRefused, match="a header at byte 0 is too large"):
        find(opened(data), "image", ("x",))


def test_too_many_members_are_refused(opened, monkeypatch):
    monkeypatch.setattr(tarscan, "MAX_MEMBERS", 3)
    find(opened(tar_of(*((str(i), b"") for i in range(3)))), "image", ("x",))
    with pytest.raises(TaskRefused, match="more than 3 members"):
        data = tar_of(*((str(i), b"") for i in range(4)))
        find(opened(data), "image", ("x",))


def test_large_member_is_not_read_as_a_small_one(opened):
    fd = opened(tar_of(("x", bytes(tarscan.MAX_SMALL_BYTES + 1))))
    with pytest.raises(TaskRefused, match="a member has 1048577 bytes"):
        content(fd, "x")


def test_gzip_is_told_and_inflated(opened):
    data = tar_of(("x", os.urandom(3_000_000)))
    fd = opened(gzip.compress(data))
    assert is_gzip(fd)
    pieces = list(inflate(fd, "image"))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1024 * 1024
    assert not is_gzip(opened(data))


def test_gzip_bomb_comes_in_bounded_pieces(opened):
    pieces = inflate(opened(gzip.compress(bytes(50_000_000))), "image")
    assert all(len(next(pieces)) <= 1024 * 1024 for _ in range(3))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (gzip.compress(b"x" * 1000)[:-9], "cut off"),
        (b"\x1f\x8b" + b"\xff" * 100, "the gzip data is broken"),
    ],
)
def test_gzip_that_is_broken_is_refused(opened, data, text):
    with pytest.raises(TaskRefused, match=text):
        list(inflate(opened(data), "image"))


def test_tars_made_here_are_tars():
    with tarfile.open(fileobj=io.BytesIO(tar_of(("x", b"1")))) as tar:
        assert tar.getnames() == ["x"]
