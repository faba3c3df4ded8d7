"""What VMs need of the kernel, and of this process's limits.

Each feature is asked for itself, never by the kernel's version: distributions
carry features back, containers take them away.  What is asked for is given up
again at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zerocloud.check.finding import Finding, fail, note, ok
from zerocloud.config import ExecutorSettings

_SYS_LANDLOCK_CREATE_RULESET = 444  # the same on all architectures
_LANDLOCK_CREATE_RULESET_VERSION = 1
_PR_GET_SECCOMP = 21

# A task's pipes, layers, inputs and outputs; a client's connection and the
# object file behind it; the server's own.
FILES_PER_TASK = 32
FILES_PER_CLIENT = 2
FILES_OF_SERVER = 256


@dataclass(frozen=True)
class Feature:
    """One thing to ask the kernel for; `ask` raises OSError without it."""

    name: str
    ask: Callable[[], object]
    needed: bool
    why: str


def _memfd() -> None:
    os.close(os.memfd_create("zerocloud-check"))


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _landlock() -> int:
    return _checked(
        _libc().syscall(
            _SYS_LANDLOCK_CREATE_RULESET,
            None,
            ctypes.c_size_t(0),
            _LANDLOCK_CREATE_RULESET_VERSION,
        )
    )


def _seccomp() -> int:
    return _checked(_libc().prctl(_PR_GET_SECCOMP, 0, 0, 0, 0))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


FEATURES = (
    Feature("memfd_create", _memfd, True, "tasks and reports travel in it"),
    Feature("pidfd_open", _pidfd, True, "the end of a VM is told by it"),
    Feature("landlock", _landlock, False, "it bars a VM from all files"),
    Feature("seccomp", _seccomp, True, "it bars a VM from system calls"),
)


def check_features(
    features: tuple[Feature, ...] = FEATURES,
) -> Iterator[Finding]:
    """Each feature by itself."""
    for feature in features:
        try:
            feature.ask()
        except OSError as error:
            yield _missing(feature, error)
        else:
            yield ok("kernel", feature.name, "is there")


def _missing(feature: Feature, error: OSError) -> Finding:
    said = f"the kernel refuses it ({_name(error)}); {feature.why}"
    if feature.needed:
        return fail(
            "kernel",
            feature.name,
            said,
            "use Linux 5.6 or later, and let the container or unit that the "
            "object server runs in allow it",
        )
    return note(
        "kernel",
        feature.name,
        f"{said}; VMs run with one layer less",
        "use a kernel that has it switched on (landlock: 5.13 or later)",
    )


def check_nameless_files(folder: Path) -> Iterator[Finding]:
    """O_TMPFILE where outputs are staged: a crash then leaves nothing."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return  # said by the folders' check
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError as error:
        yield note(
            "kernel",
            f"O_TMPFILE in {folder}",
            f"the file system refuses it ({_name(error)}); staged files have "
            "a name for a moment, and a crash then may leave one",
            "put state_dir on xfs, ext4, btrfs or tmpfs",
        )
    else:
        yield ok("kernel", f"O_TMPFILE in {folder}", "is there")


def check_xattrs(folder: Path) -> Iterator[Finding]:
    """user.* attributes, which Swift keeps objects' metadata in."""
    try:
        os.getxattr(folder, "user.zerocloud-check")
    except OSError as error:
        if error.errno == errno.ENODATA:
            yield ok("kernel", f"user.* xattrs in {folder}", "are there")
        elif error.errno == errno.EOPNOTSUPP:
            yield fail(
                "kernel",
                f"user.* xattrs in {folder}",
                "the file system has none; Swift stores no object there",
                "use xfs or ext4, mounted without nouser_xattr",
            )
        else:
            yield note(
                "kernel",
                f"user.* xattrs in {folder}",
                f"cannot be looked at ({_name(error)})",
                "run this as Swift's user",
            )


def check_open_files(
    settings: ExecutorSettings, max_clients: int, limits: tuple[int, int, str]
) -> Iterator[Finding]:
    """The limit on open files; `limits` are soft, hard, and whose they are."""
    needed = (
        settings.slots * FILES_PER_TASK
        + max_clients * FILES_PER_CLIENT
        + FILES_OF_SERVER
    )
    soft, hard, whose = limits
    if 0 <= soft < needed:
        yield fail(
            "limits",
            f"open files of {whose}",
            f"{soft} may be open (hard limit {hard}); {settings.slots} slots "
            f"and {max_clients} clients need {needed}",
            f"LimitNOFILE={max(32768, needed)} in the object server's unit, "
            "or `ulimit -n` where it is started",
        )
        return
    yield ok("limits", f"open files of {whose}", f"{soft}; needed: {needed}")


def file_limits(conf: Path) -> tuple[int, int, str]:
    """Soft and hard limit of the object server that runs by that conf.

    Of this process, when none is found; -1 is without limit.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(conf) not in words or not any(
                word.endswith(b"swift-object-server") for word in words
            ):
                continue
            soft, hard = _limits(entry / "limits")
        except OSError:
            continue  # it ended while we looked, or is none of our business
        return soft, hard, f"the object server (process {entry.name})"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft, hard, "this session"


def _limits(path: Path) -> tuple[int, int]:
    for line in path.read_text("ascii").splitlines():
        if line.startswith("Max open files"):
            soft, hard = line.split()[3:5]
            return _whole(soft), _whole(hard)
    return -1, -1


def _whole(word: str) -> int:
    return int(word) if word.isdigit() else -1


def check_queue(
    settings: ExecutorSettings, max_clients: int
) -> Iterator[Finding]:
    """Waiting tasks hold connections that storage needs, too."""
    held = settings.slots + settings.queue
    if held >= max_clients:
        yield fail(
            "limits",
            "slots and queue",
            f"{held} tasks may hold a connection each; the object server "
            f"takes {max_clients} (max_clients), so storage could starve",
            "lower queue, or raise max_clients in [DEFAULT]",
        )
    else:
        yield ok("limits", "slots and queue", f"{held} of {max_clients}")


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
