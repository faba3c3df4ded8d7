"""Is a file of the cache still what was put there?

Everything in the cache is known by a digest: a blob is named by it, a derived
file carries it as an attribute, an artefact has its MAC, which zvm looks at.
A disk may rot, and a hand may reach in; so a file is believed only after its
bytes were hashed, once per process, and again when the kernel says that it is
another file or was written to (inode, length, time of change).  What is not
what it should be is removed and made anew: a damaged cache costs a copy, not a
wrong answer.

Times are compared after our own touching of the file; another process of the
node that touches it costs one more look.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import OrderedDict

from zerocloud.executor.duplex import in_thread

_ATTRIBUTE = b"user.zerocloud.sha256"
_MAX_REMEMBERED = 4096
_BLOCK_BYTES = 1024 * 1024

_State = tuple[int, int, int]


class Seals:
    """The files that this process has looked at, by their paths."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, _State] = OrderedDict()

    def seal(self, path: str, fd: int) -> None:
        """Remember the open file at this path as sound, as it is now."""
        self._states[path] = _state(fd)
        self._states.move_to_end(path)
        while len(self._states) > _MAX_REMEMBERED:
            self._states.popitem(last=False)

    def unbroken(self, path: str, fd: int) -> bool:
        """Whether it is the sealed file, and nobody has written to it."""
        return self._states.get(path) == _state(fd)

    def is_sound(self, path: str, fd: int, digest: str | None) -> bool:
        """Whether the open file has that digest, or the one it carries.

        Hashes in a thread unless it is sealed; blocks the green thread only.
        """
        if self.unbroken(path, fd):
            return True
        if digest is None:
            try:
                # A disk that keeps no attributes cannot tell: it is believed.
                digest = os.getxattr(fd, _ATTRIBUTE).decode("ascii", "replace")
            except OSError as error:
                return error.errno == errno.EOPNOTSUPP
        return in_thread(_digest, fd) == digest


def carry(fd: int, digest: str) -> None:
    """Let a file tell its digest, where the disk keeps attributes."""
    try:
        os.setxattr(fd, _ATTRIBUTE, digest.encode())
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise


def _state(fd: int) -> _State:
    state = os.fstat(fd)
    return state.st_ino, state.st_size, state.st_mtime_ns


def _digest(fd: int) -> str:
    found, offset = hashlib.sha256(), 0
    while block := os.pread(fd, _BLOCK_BYTES, offset):
        found.update(block)
        offset += len(block)
    return found.hexdigest()
