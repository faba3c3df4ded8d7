"""How much memory this machine has for us: what the kernel says at the start.

The least of the machine's memory and the limits of the control groups around
this process (both versions), since a container's limit is what a VM would hit.
"""

from __future__ import annotations

import os
from pathlib import Path

# What tasks may take by default: the rest is for storage and its page cache.
DEFAULT_SHARE = 0.5
_GROUPS = Path("/sys/fs/cgroup")


def default_memory_bytes() -> int:
    """The node's `memory_bytes` when the operator names none."""
    return int(memory_bytes() * DEFAULT_SHARE)


def memory_bytes(
    groups: Path = _GROUPS, mine: Path = Path("/proc/self/cgroup")
) -> int:
    """Bytes of memory that this process and its children can ever have."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return min(pages * page_bytes, *_group_limits(groups, mine))


def _group_limits(groups: Path, mine: Path) -> list[int]:
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        lines = []
    found = [1 << 63]
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if not kinds:
            root, name = groups, "memory.max"
        elif "memory" in kinds.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        # Inside a container the path may be of the outside: its own root is
        # the limit then, and is looked at in any case.
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place == root or root in place.parents:
                found += _number(place / name)
    return found


def _number(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    # "max" stands for no limit.
    return [int(text)] if text.isdigit() else []
