"""The table of all tasks of a storage node, shared by its worker processes.

`state_dir/admission/table`: who runs and who waits, in order of arrival, with
the memory that each was promised.  Swift runs several object servers on one
machine (`workers`, `servers_per_port`); they share slots and memory through
this file, without a daemon.

* One process at a time looks and changes (`flock`); it never waits for
  anything meanwhile, so that this takes microseconds.
* A process holds an open-file-description lock on a byte of its own for as
  long as it lives.  Whatever ends it, `kill -9` too, frees the byte, and the
  next one who looks drops what it had.
* A change is written beside the old state and then takes effect by one small
  write: a process that dies half-way has changed nothing.

A VM outlives its killed object server by a moment that its memory is not
counted for: it ends when it finds its reader gone (docs/guarantees.md, within
2 s).  Knows nothing of rules: those are in admission.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from zerocloud.executor.duplex import pause, readable

_MAGIC = b"zcslots2"
# Magic, number of the change, offset, entries, checksum.
_HEAD = struct.Struct("<8sQQII")
# As `Entry`.
_ENTRY = struct.Struct("<QQQIHBx")
_OFFSETS = (4096, 4096 + (16 << 20))
# struct flock of 64-bit Linux, padded by the compiler.
_FLOCK = struct.Struct("@hhqqi4x")
_OWNERS_AT = 1 << 40
_MAX_OWNERS = 4096
# A process that was stopped (SIGSTOP) in the middle of a change.
_STUCK_SECONDS = 0.25


class TableStuckError(OSError):
    """Another process holds the table and does not go on."""


class Stage(IntEnum):
    """What a task does, and so which of its promises count."""

    WAITS = 0
    RUNS = 1
    # The VM has ended; its outputs are still there.
    HOLDS = 2


@dataclass(slots=True)
class Entry:
    """A task of the node, and what it was promised."""

    arrival: int
    memory_bytes: int
    staged_bytes: int
    passed: int = 0
    owner: int = 0
    stage: Stage = Stage.WAITS


class SlotTable:
    """One process's view of the table; nothing is opened before its use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._pid = 0
        self._change = -1
        self._entries: list[Entry] = []
        self._data = b""
        self.owner = -1

    @contextmanager
    def change(self) -> Iterator[list[Entry]]:
        """The entries in order of arrival, to look at and to change.

        What was changed is kept if no exception is raised.  Raises OSError
        (TableStuckError among them) when the table cannot be had.
        """
        self._open()
        self._lock()
        try:
            entries = self._load()
            try:
                yield entries
                self._save(entries)
            except BaseException:
                # What is remembered is not what the file says.
                self._change = -1
                raise
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def drop_dead(self, entries: list[Entry]) -> None:
        """Remove the entries of processes that have ended; within `change`."""
        owners = {entry.owner for entry in entries} - {self.owner}
        dead = {owner for owner in owners if not self._lives(owner)}
        if dead:
            entries[:] = [e for e in entries if e.owner not in dead]

    def wake(self, owners: set[int]) -> None:
        """Tell other processes that something has changed for them."""
        for owner in owners - {self.owner}:
            try:
                fd = os.open(
                    self._wake_path(owner),
                    os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC,
                )
            except OSError:
                # It has ended, or does not wait.
                continue
            try:
                os.write(fd, b"\0")
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EPIPE):
                    raise
                # Full of words that it has not read yet; or just gone.
            finally:
                os.close(fd)

    @contextmanager
    def waking(self) -> Iterator[Callable[[float], None]]:
        """Hear other processes' `wake` from now on.

        What is yielded waits for the next one, at most so many seconds, and
        blocks its green thread only.
        """
        path = self._wake_path(self.owner)
        try:
            if not os.path.exists(path):
                os.mkfifo(path, 0o600)
            # Also to write, so that it never reads as ended.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(path, flags)
        except OSError:
            # The disk is full, or cannot be written: look now and then.
            yield pause
            return

        def wait(seconds: float) -> None:
            if readable(fd, seconds):
                os.read(fd, 4096)

        try:
            yield wait
        finally:
            os.close(fd)

    def close(self) -> None:
        """Give up this process's place; its entries are dropped by others."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._pid = -1

    def _wake_path(self, owner: int) -> str:
        return f"{self._folder}/wake-{owner}"

    def _open(self) -> None:
        if self._pid == os.getpid():
            return
        if self._fd >= 0:
            # After a fork: the parent's place is the parent's.
            self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._folder / "table", flags, 0o600)
        self._pid = os.getpid()
        self._change = -1
        try:
            self._lock()
            self.owner = self._take_number()
            entries = self._load()
            if any(entry.owner == self.owner for entry in entries):
                # Of a process that has ended; nobody will see that any more.
                self._save([e for e in entries if e.owner != self.owner])
        except BaseException:
            self.close()
            raise
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self) -> None:
        deadline = time.monotonic() + _STUCK_SECONDS
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # No sleep: it would let other green threads in, and this
                # is over sooner than the shortest one.
                os.sched_yield()
            if time.monotonic() > deadline:
                raise TableStuckError(
                    errno.EBUSY, "the table of slots is held"
                )

    def _take_number(self) -> int:
        for owner in range(_MAX_OWNERS):
            wanted = _FLOCK.pack(
                fcntl.F_WRLCK, os.SEEK_SET, _OWNERS_AT + owner, 1, 0
            )
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, wanted)
            except (BlockingIOError, PermissionError):
                continue
            return owner
        raise TableStuckError(
            errno.EBUSY, f"{_MAX_OWNERS} processes share a table"
        )

    def _lives(self, owner: int) -> bool:
        asked = _FLOCK.pack(
            fcntl.F_WRLCK, os.SEEK_SET, _OWNERS_AT + owner, 1, 0
        )
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, asked)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def _load(self) -> list[Entry]:
        head = os.pread(self._fd, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return self._remember(0, [], b"")
        magic, change, offset, count, checksum = _HEAD.unpack(head)
        if magic == _MAGIC and change == self._change:
            return self._entries
        data = os.pread(self._fd, count * _ENTRY.size, offset)
        if magic != _MAGIC or zlib.crc32(data) != checksum:
            # The machine lost its power, and with it all who are in here.
            return self._remember(0, [], b"")
        fields = _ENTRY.iter_unpack(data)
        return self._remember(
            change,
            [
                Entry(arrival, memory, staged, passed, owner, _STAGES[stage])
                for arrival, memory, staged, passed, owner, stage in fields
            ],
            data,
        )

    def _save(self, entries: list[Entry]) -> None:
        data = b"".join([_packed(entry) for entry in entries])
        if data == self._data:
            return
        change = max(self._change, 0) + 1
        offset = _OFFSETS[change % 2]
        os.pwrite(self._fd, data, offset)
        head = _HEAD.pack(
            _MAGIC, change, offset, len(entries), zlib.crc32(data)
        )
        os.pwrite(self._fd, head, 0)
        self._remember(change, entries, data)

    def _remember(
        self, change: int, entries: list[Entry], data: bytes
    ) -> list[Entry]:
        self._change, self._entries, self._data = change, entries, data
        return entries


_STAGES = tuple(Stage)


def _packed(entry: Entry) -> bytes:
    return _ENTRY.pack(
        entry.arrival,
        entry.memory_bytes,
        entry.staged_bytes,
        entry.passed,
        entry.owner,
        entry.stage,
    )
