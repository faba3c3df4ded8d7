"""Rot: is the file that a VM reads in place still what was stored?

Swift's reader takes the MD5 of what it sends and quarantines a file that is
not what its metadata says.  A VM reads through a descriptor, past that; so the
same is done beside it: the file is hashed in a thread while the VM runs, and
no report leaves the node before the verdict.  A VM that read damaged bytes has
never happened: its task is refused, the proxy goes on to the next replica.

A sound file is remembered by what the kernel says of it (disk, inode, length,
times of change) and is not hashed again for `verified_seconds`: a job that
reads what the one before it read pays nothing.  Rot below the file system
changes no time, hence the limit.  Small files are hashed on the spot, each
time: that costs less than a thread, and as little as remembering them.

The verdict only refuses a task.  What is moved to quarantine is decided, and
done, by Swift's own reader, which reads the file once more.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import IO

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import Background, Turns, in_thread
from zerocloud.executor.localobject import LocalObject
from zerocloud.job.limits import MIB

DAMAGED = "object_damaged"
# 0.1 ms of hashing; a thread and back costs as much.
INLINE_BYTES = 64 * 1024
# A cancelled task waits for its thread, and Swift's own disk work for a free
# one of the same threads: 6 ms a slice, and never behind all of our tasks.
SLICE_BYTES = 4 * MIB
SLICES_AT_ONCE = 4
REMEMBERED = 16_384

# Disk, inode, length, two times of change; then what it should be.
_Key = tuple[int, int, int, int, int, str]


class _Look:
    """One file that is being hashed, for all tasks that wait for it.

    Its descriptor is its own, since the task that began may end first, and is
    closed by hand: an interrupted green thread is held by its traceback until
    the garbage collector comes by.
    """

    def __init__(self, fd: int, over: Callable[[_Look], None]) -> None:
        self.file = os.fdopen(os.dup(fd), "rb", buffering=0)
        self.work: Background[None] | None = None
        self.waiters = 0
        self._over = over

    def start(self, look: Callable[[IO[bytes]], None]) -> None:
        """Begin, in a green thread."""
        self.work = Background(self._run, look)

    def _run(self, look: Callable[[IO[bytes]], None]) -> None:
        try:
            look(self.file)
        finally:
            self.end()

    def end(self) -> None:
        """Nobody can join any more; harmless the second time."""
        self._over(self)
        self.file.close()

    def leave(self) -> None:
        """One task less waits; the last one ends it."""
        self.waiters -= 1
        if not self.waiters and self.work is not None:
            if not self.work.done:
                self.work.cancel()
            # It may have been ended before its first step.
            self.end()


class Proof:
    """The verdict on one task's local object, as soon as it is there."""

    def __init__(self, look: _Look | None = None) -> None:
        self._look = look
        if look is not None:
            look.waiters += 1

    def wait(self) -> None:
        """Return when the file is sound; TaskRefused when it is not."""
        if self._look is not None and self._look.work is not None:
            self._look.work.wait()

    def cancel(self) -> None:
        """Nobody wants to know any more; harmless when it is over."""
        look, self._look = self._look, None
        if look is not None:
            look.leave()


class Verifier:
    """Hashes files and remembers the sound ones; one per object server."""

    def __init__(
        self,
        seconds: float,
        *,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._enabled = enabled
        self._clock = clock
        self._sound: OrderedDict[_Key, float] = OrderedDict()
        self._looks: dict[_Key, _Look] = {}
        self._turns = Turns(SLICES_AT_ONCE)

    def begin(self, local: LocalObject) -> Proof:
        """Start to look at the object's file; `local` stays the caller's.

        A small file is looked at before this returns: TaskRefused.  The proof
        must be cancelled in the end.
        """
        if not self._enabled or not local.etag:
            return Proof()
        if local.bytes <= INLINE_BYTES:
            _check_small(local)
            return Proof()
        key = _key(local)
        if self._is_sound(key):
            return Proof()
        look = self._looks.get(key)
        if look is None:
            look = _Look(local.fd, lambda ended: self._drop(key, ended))
            self._looks[key] = look
            look.start(lambda file: self._hash(key, local, file))
        return Proof(look)

    def _drop(self, key: _Key, ended: _Look) -> None:
        # Another one of the same file may have begun meanwhile.
        if self._looks.get(key) is ended:
            del self._looks[key]

    def _is_sound(self, key: _Key) -> bool:
        since = self._sound.get(key)
        if since is None:
            return False
        if self._clock() - since >= self._seconds:
            del self._sound[key]
            return False
        self._sound.move_to_end(key)
        return True

    def _hash(self, key: _Key, local: LocalObject, file: IO[bytes]) -> None:
        began = self._clock()
        self._compare(local, file)
        self._sound[key] = began
        while len(self._sound) > REMEMBERED:
            self._sound.popitem(last=False)

    def _compare(self, local: LocalObject, file: IO[bytes]) -> None:
        digest, at = hashlib.md5(usedforsecurity=False), 0
        try:
            while at < local.bytes:
                # pread: the offset belongs to the VM's descriptor as well.
                with self._turns:
                    done = in_thread(_hash_slice, digest, file.fileno(), at)
                if not done:
                    break
                at += done
        except OSError:
            raise _damaged(local) from None
        if at != local.bytes or digest.hexdigest() != local.etag:
            raise _damaged(local)


def _key(local: LocalObject) -> _Key:
    found = os.fstat(local.fd)
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        local.etag,
    )


def _hash_slice(digest: hashlib._Hash, fd: int, at: int) -> int:
    """Add a slice of the file; how many bytes there were."""
    done = 0
    while done < SLICE_BYTES:
        data = os.pread(fd, MIB, at + done)
        if not data:
            break
        digest.update(data)
        done += len(data)
    return done


def _check_small(local: LocalObject) -> None:
    try:
        data = os.pread(local.fd, local.bytes + 1, 0)
    except OSError:
        raise _damaged(local) from None
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != local.etag:
        raise _damaged(local)


def _damaged(local: LocalObject) -> TaskRefused:
    """The refusal, after Swift has had its look."""
    local.reread()
    return TaskRefused(
        DAMAGED,
        "the object's file here is not what was stored",
        status=503,
        may_retry=True,
    )
