"""The node's store of programs and images, by the SHA-256 of their bytes.

`cache_dir/blobs/<2 digits>/<digest>`; `cache_dir/derived/<key>` for what was
made of a blob (an inflated tar, a member of an image), with a key that names
source and recipe.  A file appears by rename when it is whole and its digest
is right, and never changes; several processes may share the folder.

What was used longest ago goes when the folder would pass `cache_bytes`; an
open descriptor outlives its file, so that a running task never notices.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import breathe, in_thread
from zerocloud.executor.staging import check_room, write_all

# How stale the time of last use on the disk may get.
_TOUCH_SECONDS = 60.0
_MAX_REMEMBERED = 4096
# In the runner's folder: the key of the installation.
_KEPT = ("key",)
# How many bytes may be written between two looks at the disk's free space.
_CHECK_BYTES = 16 * 1024 * 1024


class BlobStore:
    """One folder of blobs; nothing is created before the first is stored."""

    def __init__(
        self, cache_dir: Path, cache_bytes: int, reserve_bytes: int
    ) -> None:
        self._root = cache_dir
        self._cache_bytes = cache_bytes
        self._reserve_bytes = reserve_bytes
        self._touched: dict[str, float] = {}

    def path(self, digest: str) -> str:
        """Where the blob of that digest is, or would be."""
        return f"{self._root}/blobs/{digest[:2]}/{digest}"

    def derived_path(self, key: str) -> str:
        """Where a derived file is, or would be."""
        return f"{self._root}/derived/{key}"

    def open(self, digest: str) -> int | None:
        """A descriptor of the blob, or None; caller closes."""
        return self._open(self.path(digest))

    def open_derived(self, key: str) -> int | None:
        """A descriptor of the derived file, or None; caller closes."""
        return self._open(self.derived_path(key))

    def open_artefact(self, path: str) -> int | None:
        """A descriptor of a file of the runner's, or None; caller closes."""
        return self._open(path)

    def _open(self, path: str) -> int | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        self._touch(path, fd)
        return fd

    def _touch(self, path: str, fd: int) -> None:
        now = time.monotonic()
        if now - self._touched.get(path, -_TOUCH_SECONDS) < _TOUCH_SECONDS:
            return
        if len(self._touched) >= _MAX_REMEMBERED:
            self._touched.clear()
        self._touched[path] = now
        os.utime(fd)

    def write(self, digest: str, limit_bytes: int) -> BlobWriter:
        """Begin to store a blob; caller ends it with `finish` or `close`."""
        return BlobWriter(self, self.path(digest), digest, limit_bytes)

    def write_derived(self, key: str, limit_bytes: int) -> BlobWriter:
        """Begin to store a derived file (of a digest that is not known)."""
        return BlobWriter(self, self.derived_path(key), None, limit_bytes)

    def check_room(self, wanted_bytes: int) -> None:
        """TaskRefused `disk_full` unless the disk has the room."""
        check_room(self._root, self._reserve_bytes, wanted_bytes)

    def evict(self, wanted_bytes: int) -> None:
        """Remove what was not used for longest.  Blocks; for a thread."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files) + wanted_bytes
        for _, size, path in files:
            if total <= self._cache_bytes:
                return
            Path(path).unlink(missing_ok=True)
            total -= size

    def _files(self) -> list[tuple[float, int, str]]:
        found = []
        for kind in ("blobs", "derived", "programs"):
            for folder, _, names in os.walk(self._root / kind):
                for name in names:
                    if kind == "programs" and name in _KEPT:
                        continue
                    path = os.path.join(folder, name)
                    try:
                        state = os.stat(path)
                    except FileNotFoundError:
                        # Another process has just evicted or renamed it.
                        continue
                    found.append((state.st_mtime, state.st_size, path))
        return found


class BlobWriter:
    """A blob that is being stored, under a name of its own until it is whole.

    `close` may always be called, and discards what was not finished.
    """

    def __init__(
        self,
        store: BlobStore,
        path: str,
        digest: str | None,
        limit_bytes: int,
    ) -> None:
        self._store = store
        self._path = path
        self._digest = digest
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._checked_bytes = 0
        self._fd = -1
        self._temporary = ""

    def write(self, data: bytes) -> None:
        """Add bytes; TaskRefused when there are too many, or no room."""
        self._bytes += len(data)
        if self._bytes > self._limit_bytes:
            raise TaskRefused(
                "input_too_large",
                f"a program or image has more than {self._limit_bytes} bytes "
                "(max_blob_bytes)",
                status=413,
                may_retry=False,
            )
        if self._fd < 0:
            self._begin()
        if self._bytes > self._checked_bytes:
            self._store.check_room(len(data) + _CHECK_BYTES)
            self._checked_bytes = self._bytes + _CHECK_BYTES
        self._hash.update(data)
        write_all(self._fd, data)

    def _begin(self) -> None:
        folder = os.path.dirname(self._path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._fd, self._temporary = tempfile.mkstemp(
            prefix=".new-", dir=folder
        )

    def finish(self) -> str:
        """Publish under the digest, which is returned; then closed.

        Raises TaskRefused when the bytes are not those of the digest.
        """
        if self._fd < 0:
            self._begin()
        digest = self._hash.hexdigest()
        if self._digest not in (None, digest):
            raise TaskRefused(
                "bad_request",
                f"a blob's bytes have digest {digest}; announced was "
                f"{self._digest}",
                status=400,
                may_retry=True,
            )
        in_thread(self._store.evict, 0)
        os.rename(self._temporary, self._path)
        self._temporary = ""
        self.close()
        return digest

    def close(self) -> None:
        """Discard what is not finished."""
        if self._temporary:
            Path(self._temporary).unlink(missing_ok=True)
            self._temporary = ""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def copy_part(fd: int, offset: int, size: int, writer: BlobWriter) -> None:
    """Copy a part of a file, in small steps; stops at the file's end."""
    while size > 0:
        data = os.pread(fd, min(size, 256 * 1024), offset)
        if not data:
            return
        writer.write(data)
        offset += len(data)
        size -= len(data)
        breathe()
