"""The store of blobs: whole or not there, bounded, harmless to readers."""

from __future__ import annotations

import os
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
    return writer.finish()


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
    store.write(digest_of(b""), 9).finish()
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
    assert one.finish() == two.finish() == digest
    assert files(tmp_path) == [digest]


def test_eviction_takes_what_was_used_longest_ago(tmp_path):
    store = store_of(tmp_path, cache_bytes=25)
    names = [stored(store, c * 10) for c in (b"a", b"b")]
    for age, name in enumerate(names):
        os.utime(store.path(name), (age, age))
    held = store_of(tmp_path).open(names[1])
    third = stored(store, b"c" * 10)
    # Opening "b" made it the younger one.
    assert store.open(names[0]) is None
    assert content(store.open(third)) == b"c" * 10
    assert content(held) == b"b" * 10


def test_eviction_leaves_open_blobs_readable(tmp_path):
    store = store_of(tmp_path)
    fd = store.open(stored(store, b"bytes"))
    store_of(tmp_path, cache_bytes=0).evict(0)
    assert store.open(digest_of(b"bytes")) is None
    assert content(fd) == b"bytes"


def test_eviction_spares_the_key_of_the_installation(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("key", "a.cwasm", "a.cwasm.mac"):
        (programs / name).write_bytes(b"x")
    store_of(tmp_path, cache_bytes=0).evict(0)
    assert files(tmp_path) == ["key"]


def test_part_of_a_file_is_copied(tmp_path):
    store = store_of(tmp_path)
    (tmp_path / "tar").write_bytes(b"..member..")
    with (tmp_path / "tar").open("rb") as file:
        writer = store.write_derived("key", 100)
        copy_part(file.fileno(), 2, 6, writer)
        writer.finish()
    assert content(store.open_derived("key")) == b"member"
