"""Where the demo keeps its cluster: a temporary folder, always removed.

Also after a demo that was killed outright: the next one removes what it left.
A folder in use is known by a lock that its demo holds, which the kernel lets
go however the demo ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "zerocloud-demo-"
MEMORY = Path("/dev/shm")  # noqa: S108 - each run has a folder of its own
MEMORY_BYTES = 2 * 1024**3


@contextmanager
def demo_folder() -> Iterator[Path]:
    """A folder of its own for one demo, removed at the end."""
    parent = _parent()
    _remove_abandoned(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name:
        lock = _locked(Path(name))
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def _parent() -> Path:
    """Memory, where Swift can use it; else the system's choice.

    The demo keeps 15 000 small files for a minute.  On a disk that is told
    of every freed block at once (ext4 with `discard`) removing them takes
    longer than everything else.  TMPDIR, if set, decides.
    """
    usual = Path(tempfile.gettempdir())
    if os.environ.get("TMPDIR"):
        return usual
    try:
        usage = os.statvfs(MEMORY)
        if usage.f_bavail * usage.f_frsize < MEMORY_BYTES:
            return usual
        with tempfile.NamedTemporaryFile(dir=MEMORY) as probe:
            # Swift keeps an object's metadata so; tmpfs learnt it in 6.6.
            os.setxattr(probe.name, "user.zerocloud", b"x" * 4000)
    except OSError:  # not there, not ours, or without such attributes
        return usual
    return MEMORY


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if folder.stat().st_uid != os.getuid():
                continue
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """The folder, open and locked; None if it is another demo's."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, no folder, or not ours
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened
