"""What the kernel is told about our processes: Linux's prctl, rlimits.

No child may outlive the command that started it, whatever kills the latter:
each asks for SIGKILL at its parent's death, and the supervisor adopts
orphaned grandchildren (programs in their sandboxes) to reap them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, argument: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(parent: int) -> None:
    """Be killed when `parent`, which forked us, dies; die now if it has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_process_name(name: str) -> None:
    """Show as `name` in the process table (15 bytes of it)."""
    _prctl(_PR_SET_NAME, name.encode())


def raise_descriptor_limit() -> None:
    """Raise the soft limit on open files to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def children_of(parent: int) -> list[int]:
    """Living processes whose parent is `parent`, zombies excluded."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # A process may end while we look: then it is no child to report.
        with contextlib.suppress(OSError):
            # "pid (name) state ppid": the name may hold blanks and brackets.
            rest = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(rest[1]) == parent and rest[0] != "Z":
                found.append(int(entry.name))
    return found
