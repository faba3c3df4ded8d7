"""Whether the caps of a storage node fit the machine that they are for."""

from __future__ import annotations

import os
from collections.abc import Iterator

from zerocloud.check.finding import Finding, fail, note, ok
from zerocloud.config import ExecutorSettings
from zerocloud.executor.admission import OVERHEAD_BYTES
from zerocloud.executor.machine import default_memory_bytes, memory_bytes
from zerocloud.job.limits import JobCaps


def check_memory(
    settings: ExecutorSettings, have_bytes: int | None = None
) -> Iterator[Finding]:
    """The memory for all programs, against what the machine has.

    `have_bytes` stands for the machine's; as with `memory_bytes`, half of it
    is given when the conf names no number.
    """
    have = memory_bytes() if have_bytes is None else have_bytes
    given = settings.memory_bytes
    cap = given or (
        default_memory_bytes() if have_bytes is None else have // 2
    )
    usual = JobCaps().defaults.memory_bytes + OVERHEAD_BYTES
    if given > have:
        yield fail(
            "limits",
            "memory_bytes",
            f"is {given}; the machine, or its control group, has {have}",
            "lower memory_bytes, or set it to 0 for half of the machine",
        )
    elif cap < usual:
        yield fail(
            "limits",
            "memory_bytes",
            f"programs have {cap} bytes together; one with the default limit "
            f"needs {usual}, so that no such task is ever taken here",
            "raise memory_bytes, or the memory of the machine or control "
            "group",
        )
    else:
        yield ok(
            "limits",
            "memory_bytes",
            f"{cap} of {have} bytes for programs together",
        )


def check_disk(settings: ExecutorSettings) -> Iterator[Finding]:
    """The caps of the cache, against the disk that it is on."""
    folder = settings.cache_dir
    if not os.path.isdir(folder):
        folder = folder.parent
    try:
        disk = os.statvfs(folder)
    except OSError:
        return  # said by the folders' check
    total = disk.f_blocks * disk.f_frsize
    kept = settings.cache_bytes + settings.artefact_bytes
    if kept + settings.reserve_bytes > total:
        yield note(
            "limits",
            f"cache_dir {settings.cache_dir}",
            f"may hold {kept} bytes (cache_bytes, artefact_bytes) and leave "
            f"{settings.reserve_bytes} (reserve_bytes) on a disk of {total}",
            "lower cache_bytes, so that the cache makes room before tasks "
            "are refused",
        )
    else:
        yield ok(
            "limits",
            f"cache_dir {settings.cache_dir}",
            f"{kept} of {total} bytes for the cache",
        )
