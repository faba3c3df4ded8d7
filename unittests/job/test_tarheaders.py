"""What a tar says of itself, honest and hostile, in a time that is linear."""

from __future__ import annotations

import io
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unittests.fakes.tars import block, entry, pax_records, tar_of
from zerocloud.job import tarheaders
from zerocloud.job.tarheaders import Member, TarError, members

SECONDS = 2.0


def read(data: bytes, *, may_be_cut: bool = False) -> list[Member]:
    found = members(
        lambda at, size: data[at : at + size],
        len(data),
        may_be_cut=may_be_cut,
    )
    return list(found)


def error(data: bytes) -> str:
    with pytest.raises(TarError) as caught:
        read(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_members_are_those_that_tarfile_wrote(form: int) -> None:
    names = ["a", "d/" * 40 + "b", "é☃", "with blank"]
    data = tar_of(
        *((name, name.encode()) for name in names),
        ("folder", None),
        ("link", "->a"),
        ("other", "=>a"),
        format=form,
    )
    found = {member.name: member for member in read(data)}
    for name in names:
        member = found[name]
        end = member.offset + member.size
        assert member.kind == tarheaders.FILE
        assert data[member.offset : end] == name.encode()
    kinds = {name: found[name].kind for name in ("link", "other")}
    assert kinds == {"link": tarheaders.SYMLINK, "other": tarheaders.HARDLINK}
    assert found["link"].target == "a"
    # The old formats end the name of a folder with a slash.
    [folder] = [m for m in found.values() if m.name.strip("/") == "folder"]
    assert folder.kind == tarheaders.DIRECTORY


def test_long_names_and_links_are_whole() -> None:
    name, target = "n" * 300, "t" * 300
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar_of((name, b"1"), ("l", f"->{target}"), format=form)
        first, second = read(data)
        assert (first.name, second.target) == (name, target)


def test_pax_size_counts_before_the_headers() -> None:
    data = entry(b"p", pax_records((b"size", b"3")), kind=b"x")
    data += block(b"a", size=b"00000000000\0") + b"abc".ljust(512, b"\0")
    assert [(m.name, m.size) for m in read(data)] == [("a", 3)]


def test_sparse_files_and_devices_are_no_files() -> None:
    sparse = entry(b"p", pax_records((b"GNU.sparse.major", b"1")), kind=b"x")
    for data in (
        sparse + entry(b"a", b"1"),
        *(block(b"a", kind=kind) for kind in (b"S", b"3", b"4", b"6", b"?")),
    ):
        assert [m.kind for m in read(data)] == [tarheaders.OTHER]


def test_signed_checksum_of_old_writers_is_taken() -> None:
    data = bytearray(block("é".encode()))
    signed = sum(b - 256 * (b > 127) for b in data[:148] + data[156:]) + 256
    data[148:156] = b"%06o\0 " % signed
    assert [m.name for m in read(bytes(data))] == ["é"]


def test_reading_ends_at_a_block_of_zeros() -> None:
    data = entry(b"a", b"1") + bytes(512) + b"anything" * 100
    assert [m.name for m in read(data)] == ["a"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "an empty file"),
        (b"x", "ends inside a header at byte 0"),
        (b"x" * 600, "header at byte 0 has a wrong checksum"),
        (entry(b"a", b"1") + b"x" * 512, "header at byte 1024 has a wrong"),
        (block(b"a", size=b"00000001000\0"), "512 bytes, which passes the"),
        (block(b"a", size=b"\x80" + b"\0" * 7 + b"\x7f" * 4), "passes the"),
        (block(b"a", size=b"\x80" + b"\xff" * 11), "a size that is none"),
        (block(b"a", size=b"\xff" * 12), "a size that is none"),
        (block(b"a", size=b"\xff" * 10 + b"\xfe\0"), "a size that is none"),
        (block(b"a", size=b"-0000000001\0"), "a size that is none"),
        (block(b"a", size=b"0000000000x\0"), "a size that is none"),
        (block(b"L", size=b"00010000001\0", kind=b"L"), "is too large"),
        (entry(b"p", b"1" * 900_000, kind=b"x"), "byte 0 is broken"),
        (entry(b"p", b"1 " * 9_000, kind=b"x"), "byte 0 is broken"),
        (entry(b"p", b"0 path=a\n", kind=b"x"), "byte 0 is broken"),
        (entry(b"p", b"9 path=ab\n", kind=b"x"), "byte 0 is broken"),
        (entry(b"p", b"99 path=a\n", kind=b"x"), "byte 0 is broken"),
        (entry(b"p", b"-9 path=a\n", kind=b"x"), "byte 0 is broken"),
        (entry(b"p", b"\xc2\xb2 path=a\n", kind=b"x"), "byte 0 is broken"),
        (
            entry(b"p", pax_records((b"size", b"-512")), kind=b"x"),
            "byte 0 has a size that is none",
        ),
        (
            entry(b"p", pax_records((b"size", b"9" * 5000)), kind=b"x"),
            "byte 0 has a size that is none",
        ),
    ],
)
def test_tar_that_lies_is_told_where(data: bytes, text: str) -> None:
    assert text in error(data)


def test_extended_headers_together_have_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tarheaders, "MAX_EXTENSIONS_BYTES", 10_000)
    data = entry(b"L", b"n" * 300, kind=b"L") * 34 + entry(b"a", b"1")
    assert "more than 10000 bytes together" in error(data)
    assert read(data[1024:])[0].name == "n" * 300


@pytest.mark.parametrize(
    "data",
    [
        entry(b"L", b"n\0", kind=b"L") * 3000 + entry(b"a", b"1"),
        entry(b"p", pax_records((b"path", b"n")), kind=b"x") * 3000
        + entry(b"a", b"1"),
        entry(b"p", b"20 hdrcharset=BINARY\n" * 40_000, kind=b"x"),
        entry(b"p", b"5 a=\n" * 200_000, kind=b"x"),
        entry(b"a", b"") * 20_000,
    ],
    ids=["long names", "pax headers", "charsets", "records", "entries"],
)
def test_megabytes_of_headers_take_no_time(data: bytes) -> None:
    began = time.thread_time()
    try:
        read(data)
    except TarError as refused:
        assert "is broken" in str(refused)
    assert time.thread_time() - began < SECONDS


def test_beginning_of_a_tar_is_read_as_far_as_it_goes() -> None:
    data = tar_of(("a", b"1"), ("b", bytes(5000)), ("c", b"3"))
    for length in range(1, len(data), 37):
        head = data[:length]
        names = [m.name for m in read(head, may_be_cut=True)]
        assert names == ["a", "b", "c"][: len(names)]
    assert [m.name for m in read(data[:2000], may_be_cut=True)] == ["a", "b"]


_fields = st.sampled_from(
    [b"\0", b"/", b".", b"7", b"\n", b"\x80", b"\xff", b"x", b"L", b" "]
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 4095), _fields), max_size=4))
def test_damaged_tar_is_read_or_refused(
    damage: list[tuple[int, bytes]],
) -> None:
    good = bytearray(
        entry(b"p", pax_records((b"path", b"q"), (b"size", b"3")), kind=b"x")
        + entry(b"a", b"abc")
        + entry(b"L", b"long\0", kind=b"L")
        + entry(b"b", b"1")
    )
    for at, value in damage:
        good[at : at + 1] = value
        start = at // 512 * 512
        header = good[start : start + 512]
        header[148:156] = b" " * 8
        good[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    try:
        for member in read(bytes(good)):
            assert 0 <= member.size <= len(good)
            assert member.offset <= len(good)
    except TarError as refused:
        assert len(str(refused)) < 200


@given(st.binary(max_size=1200))
def test_any_bytes_are_members_or_an_error(data: bytes) -> None:
    for cut in (False, True):
        try:
            assert isinstance(read(data, may_be_cut=cut), list)
        except TarError as refused:
            assert str(refused)


@given(st.lists(st.text(min_size=1, max_size=150), max_size=5), st.booleans())
def test_names_are_those_of_tarfile(names: list[str], pax: bool) -> None:
    names = [n for n in names if "\0" not in n and n[-1] != "/"]
    names = [n.encode("utf-8", "replace").decode() for n in names]
    form = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    data = tar_of(*((name, b"x") for name in names), format=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        theirs = tar.getnames()
    assert [m.name.rstrip("/") for m in read(data)] == theirs
