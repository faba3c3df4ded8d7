"""Files of the cache that are not what was put there are made anew."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest

from zerocloud.errors import TaskRefused
from zerocloud.executor import seals
from zerocloud.executor.blobs import BlobStore

DATA = b"bytes of a program" * 100
DIGEST = sha256(DATA).hexdigest()


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warned: list[str]) -> BlobStore:
    return BlobStore(tmp_path, 1 << 30, 0, warned.append)


def put(store: BlobStore, *, derived: bool = False) -> Path:
    writer = (
        store.write_derived("key", 1 << 20)
        if derived
        else store.write(DIGEST, 1 << 20)
    )
    writer.write(DATA)
    os.close(writer.finish())
    return Path(store.derived_path("key") if derived else store.path(DIGEST))


def content(fd: int | None) -> bytes | None:
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


def flip(path: Path) -> None:
    state = path.stat()
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    # The clock may be too coarse to tell.
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


@pytest.mark.parametrize("derived", [False, True])
def test_file_that_is_sound_is_hashed_once(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, derived: bool
) -> None:
    hashed = []
    digest = seals._digest
    monkeypatch.setattr(
        seals, "_digest", lambda fd: hashed.append(fd) or digest(fd)
    )
    put(store, derived=derived)
    for _ in range(3):
        fd = store.open_derived("key") if derived else store.open(DIGEST)
        assert content(fd) == DATA
    assert len(hashed) == 1


@pytest.mark.parametrize("derived", [False, True])
def test_file_that_is_damaged_is_removed_and_told(
    store: BlobStore, warned: list[str], derived: bool
) -> None:
    path = put(store, derived=derived)
    for _ in range(2):
        fd = store.open_derived("key") if derived else store.open(DIGEST)
        assert content(fd) == DATA
        flip(path)
        fd = store.open_derived("key") if derived else store.open(DIGEST)
        assert content(fd) is None
        assert not path.exists()
        assert "its bytes are not those of its digest" in warned.pop()
        assert put(store, derived=derived) == path
    assert warned == []


def test_file_of_another_process_is_believed_when_it_is_sound(
    store: BlobStore, tmp_path: Path
) -> None:
    put(store)
    put(store, derived=True)
    other = BlobStore(tmp_path, 1 << 30, 0)
    assert content(other.open(DIGEST)) == DATA
    assert content(other.open_derived("key")) == DATA


def test_derived_file_without_its_digest_is_not_believed(
    store: BlobStore,
) -> None:
    path = Path(store.derived_path("key"))
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert store.open_derived("key") is None
    assert not path.exists()


def test_disk_without_attributes_is_believed(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "getxattr", refuse)
    put(store, derived=True)
    assert content(store.open_derived("key")) == DATA


def test_link_is_removed_and_its_target_is_not(
    store: BlobStore, tmp_path: Path, warned: list[str]
) -> None:
    (tmp_path / "victim").write_bytes(DATA)
    path = put(store)
    path.unlink()
    path.symlink_to(tmp_path / "victim")
    assert store.open(DIGEST) is None
    assert "it is a link" in warned[0]
    assert not path.is_symlink()
    assert (tmp_path / "victim").read_bytes() == DATA
    assert put(store) == path


def test_pipe_does_not_hold_up_the_server(store: BlobStore) -> None:
    path = put(store)
    path.unlink()
    os.mkfifo(path)
    assert store.open(DIGEST) is None
    assert put(store) == path


def test_folder_where_a_file_belongs_is_said(store: BlobStore) -> None:
    path = put(store)
    path.unlink()
    path.mkdir()
    with pytest.raises(TaskRefused, match="cannot be removed") as caught:
        store.open(DIGEST)
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)


def test_damaged_file_in_the_way_of_a_new_one_is_replaced(
    store: BlobStore,
) -> None:
    path = put(store)
    flip(path)
    assert put(store) == path
    assert content(store.open(DIGEST)) == DATA


def test_artefact_is_believed_until_it_changes(
    store: BlobStore, tmp_path: Path
) -> None:
    path = tmp_path / "artefact"
    path.write_bytes(DATA)
    assert store.open_sealed(str(path)) is None
    store.seal(str(path))
    assert content(store.open_sealed(str(path))) == DATA
    flip(path)
    assert store.open_sealed(str(path)) is None
    assert path.exists()
