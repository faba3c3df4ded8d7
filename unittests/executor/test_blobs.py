"""The store of blobs: whole or not there, bounded, harmless to readers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from hashlib import sha256

import pytest

from zerocloud.errors import TaskRefused
from zerocloud.executor.blobs import BlobStore, copy_part


def digest_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def store_of(folder, cache_bytes=1 << 30, reserve_bytes=0):
    return BlobStore(folder, cache_bytes, reserve_bytes)


def stored(store: BlobStore, data: bytes) -> str:
    writer = store.write(digest_of(data), 1 << 20)
    writer.write(data)
    os.close(writer.finish())
    return digest_of(data)


def content(fd: int | None) -> bytes:
    assert fd is not None
    with os.fdopen(fd, "rb") as file:
        return file.read()


def files(folder) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file()]


def test_blob_written_is_read_back(tmp_path):
    store = store_of(tmp_path)
    assert content(store.open(stored(store, b"bytes"))) == b"bytes"


def test_blob_of_nothing_is_a_blob(tmp_path):
    store = store_of(tmp_path)
    os.close(store.write(digest_of(b""), 9).finish())
    assert content(store.open(digest_of(b""))) == b""


def test_blob_missing_is_none(tmp_path):
    assert store_of(tmp_path).open("0" * 64) is None
    assert files(tmp_path) == []


def test_blob_unfinished_leaves_no_file(tmp_path):
    store = store_of(tmp_path)
    writer = store.write(digest_of(b"bytes"), 9)
    writer.write(b"byt")
    assert store.open(digest_of(b"bytes")) is None
    writer.close()
    writer.close()
    assert files(tmp_path) == []


def test_blob_of_another_digest_is_refused(tmp_path):
    store = store_of(tmp_path)
    writer = store.write(digest_of(b"bytes"), 9)
    writer.write(b"other")
    with pytest.raises(TaskRefused, match="announced was") as caught:
        writer.finish()
    assert caught.value.status == 400
    writer.close()
    assert files(tmp_path) == []


def test_blob_at_the_limit_passes_beyond_it_is_refused(tmp_path):
    store = store_of(tmp_path)
    writer = store.write(digest_of(b"12345"), 5)
    writer.write(b"12345")
    with pytest.raises(TaskRefused, match="more than 5 bytes") as caught:
        writer.write(b"6")
    assert caught.value.status == 413
    writer.close()


def test_blob_on_a_full_disk_is_refused(tmp_path):
    writer = store_of(tmp_path, reserve_bytes=1 << 60).write("0" * 64, 9)
    with pytest.raises(TaskRefused, match="bytes free; needed") as caught:
        writer.write(b"x")
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)
    writer.close()


def test_blob_written_by_two_at_once_is_one(tmp_path):
    store, digest = store_of(tmp_path), digest_of(b"same")
    one, two = store.write(digest, 9), store.write(digest, 9)
    for writer in (one, two):
        writer.write(b"same")
    assert content(one.finish()) == content(two.finish()) == b"same"
    assert files(tmp_path) == [digest]


def test_eviction_takes_what_was_used_longest_ago(tmp_path):
    store = store_of(tmp_path, cache_bytes=25)
    names = [stored(store, c * 10) for c in (b"a", b"b")]
    for age, name in enumerate(reversed(names)):
        os.utime(store.path(name), (age, age))
    # By another process: opening "b" makes it the younger one.
    assert content(store_of(tmp_path).open(names[1])) == b"b" * 10
    third = stored(store, b"c" * 10)
    assert store.open(names[0]) is None
    assert content(store.open(names[1])) == b"b" * 10
    assert content(store.open(third)) == b"c" * 10


def test_store_filled_to_its_cap_evicts_nothing_one_byte_more_does(tmp_path):
    store = store_of(tmp_path, cache_bytes=30)
    names = [stored(store, c * 10) for c in (b"a", b"b", b"c")]
    assert sorted(files(tmp_path)) == sorted(names)
    os.utime(store.path(names[1]), (1, 1))
    last = stored(store, b"d")
    assert sorted(files(tmp_path)) == sorted([names[0], names[2], last])


def test_store_evicts_nothing_that_is_open(tmp_path):
    store = store_of(tmp_path, cache_bytes=20)
    used = stored(store, b"a" * 10)
    idle = stored(store, b"b" * 10)
    os.utime(store.path(used), (1, 1))
    # In another process, and handed on as a VM gets it.
    held = store_of(tmp_path).open(used)
    copy = os.dup(held)
    os.close(held)
    stored(store, b"c" * 10)
    assert (store.open(idle), content(copy)) == (None, b"a" * 10)
    assert content(store.open(used)) == b"a" * 10


def test_store_full_of_what_is_open_refuses_with_its_figures(tmp_path):
    store = store_of(tmp_path, cache_bytes=20)
    writer = store.write(digest_of(b"a" * 20), 99)
    writer.write(b"a" * 20)
    held = writer.finish()
    other = store.write(digest_of(b"b"), 99)
    other.write(b"b")
    with pytest.raises(TaskRefused) as caught:
        other.finish()
    other.close()
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)
    assert caught.value.may_retry
    assert caught.value.message == (
        "the storage node's cache would have 21 bytes, all of them in use; it "
        "may have 20 (cache_bytes)"
    )
    os.close(held)
    assert content(store.open(stored(store, b"b"))) == b"b"


def test_blob_larger_than_the_whole_store_is_refused_while_it_comes(tmp_path):
    store = store_of(tmp_path, cache_bytes=20)
    kept = stored(store, b"k")
    writer = store.write(digest_of(b"x" * 21), 99)
    writer.write(b"x" * 20)
    with pytest.raises(TaskRefused, match="more than 20 bytes") as caught:
        writer.write(b"x")
    writer.close()
    assert (caught.value.code, caught.value.may_retry) == ("disk_full", True)
    # It cost nothing that was there.
    assert files(tmp_path) == [kept]


def test_store_on_a_short_disk_evicts_before_it_refuses(tmp_path, monkeypatch):
    """`reserve_bytes` above what the disk has, but for what can be evicted."""
    disk = 40 << 20
    store = store_of(tmp_path, reserve_bytes=disk - (20 << 20))
    name = stored(store, b"old" * 1000)
    size = os.stat(store.path(name)).st_size

    def free(folder):
        # 16 MiB must be left above the reserve for what is to come: short by
        # less than the old blob has.
        return (
            disk
            - (4 << 20)
            - sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
            + size
            - 1000
        )

    monkeypatch.setattr("zerocloud.executor.blobs.free_bytes", free)
    monkeypatch.setattr("zerocloud.executor.staging.free_bytes", free)
    new = stored(store, b"n")
    assert files(tmp_path) == [new]


def test_draft_of_a_killed_process_is_nowhere(tmp_path):
    code = (
        "import os, pathlib, signal\n"
        "from zerocloud.executor.blobs import BlobStore\n"
        f"store = BlobStore(pathlib.Path({str(tmp_path)!r}), 1 << 30, 0)\n"
        "writer = store.write('0' * 64, 99)\n"
        "writer.write(b'half')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert files(tmp_path) == []


@pytest.fixture
def no_nameless_files(monkeypatch):
    """A disk without O_TMPFILE: the kernel's answer, from the real open."""
    true_open = os.open

    def without(path, flags, *more, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no nameless files here")
        return true_open(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", without)


@pytest.mark.usefixtures("no_nameless_files")
def test_draft_with_a_name_is_published_or_removed(tmp_path):
    store = store_of(tmp_path)
    name = stored(store, b"whole")
    writer = store.write(digest_of(b"half"), 9)
    writer.write(b"ha")
    assert len(files(tmp_path)) == 2
    writer.close()
    assert files(tmp_path) == [name]
    assert content(store.open(name)) == b"whole"


@pytest.mark.usefixtures("no_nameless_files")
def test_draft_with_a_name_is_swept_when_its_writer_is_gone(tmp_path):
    store = store_of(tmp_path, cache_bytes=30)
    kept = stored(store, b"k" * 10)
    os.utime(store.path(kept), (1, 1))
    living = store.write(digest_of(b"l" * 10), 99)
    living.write(b"l" * 10)
    # As a killed process leaves it: with a name, and without a lock.
    (tmp_path / "blobs" / ".new-dead").write_bytes(b"d" * 10)
    other = stored(store, b"o" * 5)
    living_fd = living.finish()
    names = [kept, digest_of(b"l" * 10), other]
    assert sorted(files(tmp_path)) == sorted(names)
    assert content(living_fd) == b"l" * 10


def test_store_that_cannot_be_written_is_refused_without_a_path(tmp_path):
    (tmp_path / "blobs").write_bytes(b"a file where a folder was")
    writer = store_of(tmp_path).write("0" * 64, 9)
    with pytest.raises(TaskRefused, match="cannot be written") as caught:
        writer.write(b"x")
    assert caught.value.code == "disk_full"
    assert str(tmp_path) not in caught.value.message


def test_part_of_a_file_is_copied(tmp_path):
    store = store_of(tmp_path)
    (tmp_path / "tar").write_bytes(b"..member..")
    with (tmp_path / "tar").open("rb") as file:
        writer = store.write_derived("key", 100)
        copy_part(file.fileno(), 2, 6, writer)
        assert content(writer.finish()) == b"member"
    assert content(store.open_derived("key")) == b"member"
