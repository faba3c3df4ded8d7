"""Files without a name: outputs until they are fetched, inputs as they come.

Each is unlinked from birth (`O_TMPFILE`), so that a crash of anything leaves
nothing.  Nothing is staged when the disk would fall below the operator's
reserve, which is Swift's `fallocate_reserve` by another name: a task must
never be why an object cannot be stored.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zerocloud.errors import TaskRefused


def free_bytes(folder: Path) -> int:
    """What the disk of a folder, or of where it will be, has free."""
    while True:
        try:
            state = os.statvfs(folder)
        except FileNotFoundError:
            folder = folder.parent
            continue
        return state.f_bavail * state.f_frsize


def check_room(folder: Path, reserve_bytes: int, wanted_bytes: int) -> None:
    """TaskRefused `disk_full` unless so much fits above the reserve."""
    free = free_bytes(folder)
    if free - wanted_bytes < reserve_bytes:
        raise TaskRefused(
            "disk_full",
            f"the storage node has {free} bytes free; needed are "
            f"{wanted_bytes} and a reserve of {reserve_bytes}",
            status=507,
            may_retry=True,
        )


@contextmanager
def said_of_the_disk(folder: str) -> Iterator[None]:
    """TaskRefused `disk_full` for what the disk does not let us write."""
    try:
        yield
    except OSError as error:
        raise TaskRefused(
            "disk_full",
            f"the storage node's {folder} cannot be written: {error.strerror}",
            status=507,
            may_retry=True,
        ) from error


class Staging:
    """The folder of nameless files."""

    def __init__(self, state_dir: Path, reserve_bytes: int) -> None:
        self._folder = state_dir / "staging"
        self._reserve_bytes = reserve_bytes
        self._nameless = True

    def open(self, wanted_bytes: int = 0) -> int:
        """A descriptor of an empty file, to read and write; caller closes.

        `wanted_bytes` must fit on the disk, which must take them, or
        TaskRefused `disk_full`.
        """
        check_room(self._folder, self._reserve_bytes, wanted_bytes)
        with said_of_the_disk("staging folder"):
            try:
                return self._open()
            except FileNotFoundError:
                # The first task of this node.
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                return self._open()

    def _open(self) -> int:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        if self._nameless:
            try:
                return os.open(self._folder, flags, 0o600)
            except (IsADirectoryError, NotADirectoryError):
                # The kernel's answers when it knows no O_TMPFILE.
                self._nameless = False
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._nameless = False
        fd, path = tempfile.mkstemp(dir=self._folder)
        os.unlink(path)
        return fd


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, where the descriptor stands."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
