"""Programs and images that cannot be run: only the storage node finds out.

On the cluster `narrow`, which has one slot: after each of them a good job runs
there at once, and nothing is left in its cache.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from functests import wasm
from functests.conftest import with_container
from functests.jobs import STDOUT, group, guest, put_guest, reads, writes
from functests.refusing import Refusal, error_of
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
)
from zerocloud.cluster import Cluster

LEFT_SECONDS = 3.0
CAT = guest("cat")


@pytest.fixture(scope="module")
def box(narrow: Cluster) -> Iterator[Account]:
    """A container with a program that works and an object for it."""
    for account in with_container(Account(narrow)):
        account.put("a", b"hello")
        put_guest(account, "cat")
        yield account


@pytest.fixture(autouse=True)
def still_works(box: Account) -> Iterator[None]:
    """Nothing is left, and the only slot is free."""
    cluster = box.cluster
    box.session.close()
    before = residue(cluster)
    yield
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]
    assert box.post_job(job).content == b"hello"
    box.session.close()
    assert_nothing_left(cluster, before, LEFT_SECONDS)


def fails(box: Account, job: Any) -> Refusal:
    """The error of a job that ends without a report, publishing nothing."""
    before = box.listing()
    error = error_of(box, job)
    assert box.listing() == before
    return error


PROGRAMS = {
    "a script": (b"#!/bin/sh\necho hello\n", ("WebAssembly",)),
    "empty": (b"", ("WebAssembly",)),
    "an ELF": (b"\x7fELF\x02\x01\x01" + bytes(100), ("WebAssembly",)),
    "a component": (b"\0asm\x0d\0\x01\0", ("component", "wasm32-wasip1")),
    "a later version": (b"\0asm\x02\0\0\0", ("version 1",)),
    "only its magic": (wasm.MAGIC, ("_start",)),
    "cut off": (CAT[: len(CAT) // 2], ("invalid module",)),
    "cut in its head": (CAT[:6], ("first four bytes",)),
    "with a tail of garbage": (CAT + b"\xff" * 9, ("invalid module",)),
    "of a library": (
        wasm.command(start="main"),
        ("_start", "main", "wasm32-wasip1"),
    ),
    "importing a host's function": (
        wasm.command(imports=(("env", "system"),)),
        ("env", "system", "wasi_snapshot_preview1"),
    ),
    "importing of WASI what is not offered": (
        wasm.command(imports=(("wasi_snapshot_preview1", "sock_open"),)),
        ("sock_open", "does not provide"),
    ),
    "importing with another type": (
        wasm.command(imports=(("wasi_snapshot_preview1", "fd_read"),)),
        ("fd_read",),
    ),
    "with a body that is not valid": (
        wasm.command(code=b"\x03\x00\x6a\x0b"),
        ("invalid module",),
    ),
    "with more memory than there is": (
        wasm.command(pages=65537),
        ("invalid module", "memory"),
    ),
}


@pytest.mark.parametrize(
    ("data", "words"), PROGRAMS.values(), ids=PROGRAMS.keys()
)
def test_program_that_is_none_is_named_with_the_reason(
    box: Account, data: bytes, words: tuple[str, ...]
) -> None:
    box.put("bad.wasm", data)
    program = box.path("bad.wasm")

    error = fails(box, [group(program, writes(box.path("o")))])

    assert error.code == "program_invalid", error
    assert error.where == "n"
    full = program.replace("~", box.name)
    assert error.message.startswith(f"node n: program {full} cannot run here")
    for word in words:
        assert word in error.message, error


def test_program_larger_than_allowed_is_refused(box: Account) -> None:
    box.put("big.wasm", bytes(4 * 1024 * 1024 + 1))

    error = fails(box, [group(box.path("big.wasm"))])

    assert error.code == "input_too_large"
    assert "big.wasm" in error.message
    assert "4194304 bytes (max_blob_bytes)" in error.message


def tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """A tar with those entries, as they are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for member in members:
            if isinstance(member, tuple):
                info, data = tarfile.TarInfo(member[0]), member[1]
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
            else:
                made.addfile(member)
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """An entry that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def with_image(box: Account, data: bytes, program: str) -> list[Any]:
    """A job that lays that tar over `/`."""
    box.put("image.tar", data)
    devices = (reads(box.path("image.tar"), "image"), STDOUT)
    return [group(program, *devices, name="n")]


IMAGES = {
    "no tar": (b"no tar at all" * 100, ("image",)),
    "a broken checksum": (
        b"X" + tar(("x", b"1"))[1:],
        ("image",),
    ),
    "cut off": (tar(("x", b"1" * 5000))[:2000], ("image",)),
    "a name that climbs": (tar(("../../x", b"1")), ("image", "..")),
    "an inner name that climbs": (tar(("a/../../x", b"1")), ("image", "..")),
    "a disk": (tar(special("sda", tarfile.BLKTYPE)), ("image", "sda")),
    "a pipe": (tar(special("p", tarfile.FIFOTYPE)), ("image", "p")),
}


@pytest.mark.parametrize(("data", "words"), IMAGES.values(), ids=IMAGES.keys())
def test_image_that_cannot_be_used_is_named(
    box: Account, data: bytes, words: tuple[str, ...]
) -> None:
    error = fails(box, with_image(box, data, box.path("bin/cat.wasm")))

    assert error.code == "image_invalid", error
    assert error.where == "n"
    for word in words:
        assert word in error.message, error


def test_program_that_the_image_lacks_is_named(box: Account) -> None:
    image = tar(("bin/other", CAT))

    error = fails(box, with_image(box, image, "file://image:bin/prog"))

    assert error.code == "program_not_found"
    assert "bin/prog" in error.message
    assert "image" in error.message


def test_program_in_the_image_that_is_none_is_named(box: Account) -> None:
    image = tar(("bin/prog", b"#!/bin/sh\n"))

    error = fails(box, with_image(box, image, "file://image:bin/prog"))

    assert error.code == "program_invalid"
    assert "bin/prog" in error.message


def test_link_out_of_an_image_is_no_way_out(box: Account) -> None:
    image = tar(special("passwd", tarfile.SYMTYPE, "../../etc/passwd"))
    box.put("bin/count.wasm", guest("count_bytes"))
    job = with_image(box, image, box.path("bin/count.wasm"))
    job[0]["exec"]["args"] = ["/passwd"]

    report = box.run(job)

    assert report["nodes"][0]["outcome"]["code"] == 1
    assert "/passwd: errno" in report["nodes"][0]["stderr_tail"]


def test_gzip_bomb_stops_at_the_limit(box: Account) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 100_000

    error = fails(box, with_image(box, bomb, box.path("bin/cat.wasm")))

    assert error.code == "input_too_large", error
    assert "image.tar" in error.message
    assert "4194304 bytes (max_blob_bytes)" in error.message


def test_posted_gzip_bomb_stops_at_the_limit(box: Account) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))

    answer = box.post_job(bomb, {"Content-Type": "application/x-gzip"})

    assert answer.status_code == 413
    assert "4194304 bytes (max_blob_bytes)" in answer.text


def test_gzip_that_is_cut_off_is_named(box: Account) -> None:
    cut = gzip.compress(tar(("x", b"1")))[:-9]

    error = fails(box, with_image(box, cut, box.path("bin/cat.wasm")))

    assert error.code == "image_invalid"
    assert "gzip" in error.message
