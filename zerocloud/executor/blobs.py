"""The node's store of programs and images, by the SHA-256 of their bytes.

`cache_dir/blobs/<2 digits>/<digest>`; `cache_dir/derived/<key>` for what was
made of a blob (an inflated tar, a member of an image), with a key that names
source and recipe.  A file appears by link when it is whole and its digest is
right, and never changes; several processes may share the folder.  One that has
changed all the same is found out (seals.py) and made anew.

What was used longest ago goes when the store would pass `cache_bytes` or the
disk its reserve; when that is not enough, what is to be stored is refused
(`disk_full`).  Nothing in use goes: whoever has a file of the store open holds
a shared lock on that descriptor, the VM that it was given to as well, so that
the end of a process, however it comes, is the end of its use.  So a task that
holds what it was sent never has to ask for it again.

Files that are being written have no name, so that a crash leaves nothing; on
a disk that knows no nameless files they are called `.new-*`, are locked by
their writer, and removed by whoever finds one without.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import breathe, in_thread
from zerocloud.executor.seals import Seals, carry
from zerocloud.executor.staging import (
    check_room,
    free_bytes,
    said_of_the_disk,
    write_all,
)

# How stale the time of last use on the disk may get.
_TOUCH_SECONDS = 60.0
_MAX_REMEMBERED = 4096
_DRAFT = ".new-"
# How many bytes may be written between two looks at the disk's free space.
_CHECK_BYTES = 16 * 1024 * 1024


class BlobStore:
    """One folder of blobs; nothing is created before the first is stored."""

    def __init__(
        self,
        cache_dir: Path,
        cache_bytes: int,
        reserve_bytes: int,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._root = cache_dir
        self._warn = warn
        self._seals = Seals()
        self.cache_bytes = cache_bytes
        self._reserve_bytes = reserve_bytes
        self._touched: dict[str, float] = {}

    def path(self, digest: str) -> str:
        """Where the blob of that digest is, or would be."""
        return f"{self._root}/blobs/{digest[:2]}/{digest}"

    def derived_path(self, key: str) -> str:
        """Where a derived file is, or would be."""
        return f"{self._root}/derived/{key}"

    def open(self, digest: str) -> int | None:
        """A descriptor of the blob, or None; caller closes.

        While it is open, or a copy of it, the blob stays.
        """
        return self.open_stored(self.path(digest), digest)

    def open_derived(self, key: str) -> int | None:
        """A descriptor of the derived file, or None; caller closes."""
        return self.open_stored(self.derived_path(key), None)

    def open_stored(self, path: str, digest: str | None) -> int | None:
        """As `open_path`, but what is damaged is removed, and not there.

        `digest` is that of its bytes; None: the one that the file carries.
        """
        fd = self.open_path(path, touch=False)
        if fd is None:
            return None
        try:
            sound = self._seals.is_sound(path, fd, digest)
        except BaseException:
            os.close(fd)
            raise
        if not sound:
            os.close(fd)
            self._remove_foreign(path, "its bytes are not those of its digest")
            return None
        self._touch(path, fd)
        self._seals.seal(path, fd)
        return fd

    def _remove_foreign(self, path: str, why: str) -> None:
        """Remove what is not ours, or not as it was, and say so."""
        name = os.path.basename(path)
        self._warn(f"cache file {name} is removed: {why}")
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise TaskRefused(
                "disk_full",
                "the storage node's cache has a damaged file, which cannot be "
                f"removed: {error.strerror}",
                status=507,
                may_retry=True,
            ) from error

    def seal(self, path: str) -> None:
        """Remember a file of the cache as sound: its maker says so."""
        fd = self.open_path(path)
        if fd is not None:
            self._seals.seal(path, fd)
            os.close(fd)

    def open_sealed(self, path: str) -> int | None:
        """A descriptor of a file that was sealed, None if it has changed."""
        fd = self.open_path(path, touch=False)
        if fd is None:
            return None
        if not self._seals.unbroken(path, fd):
            os.close(fd)
            return None
        self._touch(path, fd)
        self._seals.seal(path, fd)
        return fd

    def open_path(self, path: str, *, touch: bool = True) -> int | None:
        """A descriptor of a file of the cache, or None; caller closes."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            # Whoever wants to write it is told of a folder that is none.
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            self._remove_foreign(path, "it is a link")
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            self._remove_foreign(path, "it is no file")
            return None
        if not _use(fd):
            # It is being evicted just now.
            os.close(fd)
            return None
        if touch:
            self._touch(path, fd)
        return fd

    @contextmanager
    def kept(self, path: str) -> Iterator[str]:
        """The path of a file of the cache, which stays there meanwhile."""
        fd = self.open_path(path)
        if fd is None:
            # By hand: nothing of ours removes what a task holds.
            raise TaskRefused(
                "internal",
                "a file was removed from the storage node's cache",
                status=503,
                may_retry=True,
            )
        try:
            yield path
        finally:
            os.close(fd)

    def _touch(self, path: str, fd: int) -> None:
        now = time.monotonic()
        if now - self._touched.get(path, -_TOUCH_SECONDS) < _TOUCH_SECONDS:
            return
        if len(self._touched) >= _MAX_REMEMBERED:
            self._touched.clear()
        self._touched[path] = now
        # A cache that cannot be written can be read nevertheless.
        with suppress(OSError):
            os.utime(fd)

    def write(self, digest: str, limit_bytes: int) -> BlobWriter:
        """Begin to store a blob; caller ends it with `finish` or `close`."""
        return BlobWriter(self, self.path(digest), digest, limit_bytes)

    def write_derived(self, key: str, limit_bytes: int) -> BlobWriter:
        """Begin to store a derived file (of a digest that is not known)."""
        return BlobWriter(self, self.derived_path(key), None, limit_bytes)

    def has_room(self, wanted_bytes: int) -> bool:
        """Whether the disk has so much above its reserve."""
        return free_bytes(self._root) - wanted_bytes >= self._reserve_bytes

    def make_room(self, stored_bytes: int, more_bytes: int = 0) -> None:
        """Evict until `stored_bytes` more, which are on the disk already, fit
        into the store, and `more_bytes` onto the disk.

        Blocks; for a thread.  TaskRefused `disk_full` when what is left is
        in use, or not ours.
        """
        files = sorted(self._files())
        total = sum(size for _, size, _ in files) + stored_bytes
        free = free_bytes(self._root)
        for _, size, path in files:
            short = free - more_bytes < self._reserve_bytes
            if total <= self.cache_bytes and not short:
                break
            if _evict(path):
                total -= size
                free += size
        if total > self.cache_bytes:
            raise TaskRefused(
                "disk_full",
                f"the storage node's cache would have {total} bytes, all of "
                f"them in use; it may have {self.cache_bytes} (cache_bytes)",
                status=507,
                may_retry=True,
            )
        check_room(self._root, self._reserve_bytes, more_bytes)

    def _files(self) -> Iterator[tuple[float, int, str]]:
        for kind in ("blobs", "derived"):
            for folder, _, names in os.walk(self._root / kind):
                for name in names:
                    path = os.path.join(folder, name)
                    try:
                        state = os.stat(path)
                    except FileNotFoundError:
                        # Another process has just evicted it.
                        continue
                    # Leftovers first: a draft that nobody holds is garbage.
                    used = 0.0 if name.startswith(_DRAFT) else state.st_mtime
                    yield used, state.st_size, path


def _use(fd: int) -> bool:
    """Lock a file of the store as used; False when it is being evicted."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0


def _evict(path: str) -> bool:
    """Remove a file unless somebody uses it; whether it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        # Another process was first.
        return True
    finally:
        os.close(fd)
    return True


class BlobWriter:
    """A blob that is being stored, nameless until it is whole.

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
        if self._bytes > self._store.cache_bytes:
            raise TaskRefused(
                "disk_full",
                f"a program or image has more than {self._store.cache_bytes} "
                "bytes, which is all that the storage node's cache may have "
                "(cache_bytes)",
                status=507,
                may_retry=True,
            )
        if self._bytes > self._checked_bytes:
            ahead = len(data) + _CHECK_BYTES
            if not self._store.has_room(ahead):
                in_thread(self._store.make_room, 0, ahead)
            self._checked_bytes = self._bytes + _CHECK_BYTES
        self._hash.update(data)
        with said_of_the_disk("cache"):
            if self._fd < 0:
                self._begin()
            write_all(self._fd, data)

    def _begin(self) -> None:
        folder = os.path.dirname(self._path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            self._fd = os.open(folder, flags, 0o600)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            self._begin_named(folder)

    def _begin_named(self, folder: str) -> None:
        while True:
            fd, path = tempfile.mkstemp(prefix=_DRAFT, dir=folder)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                self._fd, self._temporary = fd, path
                return
            # Taken for a leftover before it was locked.
            os.close(fd)

    def finish(self) -> int:
        """Publish, and give a descriptor that keeps it; caller closes.

        Raises TaskRefused when the bytes are not those of the digest, or
        there is no room.
        """
        if self._fd < 0:
            with said_of_the_disk("cache"):
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
        # A draft with a name is counted already, and locked.
        size = 0 if self._temporary else self._bytes
        in_thread(self._store.make_room, size)
        with said_of_the_disk("cache"):
            carry(self._fd, digest)
            return self._publish()

    def _publish(self) -> int:
        while True:
            own = f"/proc/self/fd/{self._fd}"
            fd = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if self._temporary:
                    os.link(self._temporary, self._path)
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
                    fcntl.flock(fd, fcntl.LOCK_SH)
                else:
                    # Used before it has its name: nobody can evict it first.
                    fcntl.flock(fd, fcntl.LOCK_SH)
                    # The descriptor is not used, as the path is absolute; but
                    # without one Python would link the link.
                    os.link(own, self._path, src_dir_fd=fd)
            except FileExistsError:
                # Another task was sent the same: its copy is as good.
                os.close(fd)
                there = self._store.open_stored(self._path, self._digest)
                if there is None:
                    # Evicted again, or damaged.
                    continue
                fd = there
            except BaseException:
                os.close(fd)
                raise
            self.close()
            return fd

    def close(self) -> None:
        """Discard what is not finished."""
        if self._temporary:
            Path(self._temporary).unlink(missing_ok=True)
            self._temporary = ""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


# The kernel's answers when a disk, or it, knows no O_TMPFILE.
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOTDIR)


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
