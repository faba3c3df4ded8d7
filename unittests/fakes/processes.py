"""What tests of the executor share: settings, and a count of what is left."""

from __future__ import annotations

import os
from pathlib import Path

from zerocloud.config import ExecutorSettings, read_executor_settings

FAKE_ZVM = Path(__file__).with_name("fake_zvm.py")
PYTEST_FOLDER = "/pytest-of-"
CLUSTER_KEY = "the key of the cluster"


def settings(folder: Path, **options: str) -> ExecutorSettings:
    """Executor settings on a folder, with the fake runner."""
    return read_executor_settings(
        {
            "cluster_key": CLUSTER_KEY,
            "zvm": str(FAKE_ZVM),
            "state_dir": str(folder / "state"),
            "reserve_bytes": "0",
            **options,
        }
    )


def census(folder: Path) -> tuple[list[str], list[str]]:
    """Our children (zombies too), and our descriptors by what they are.

    Files of other tests are theirs: some are closed by the garbage collector,
    whenever it comes by.  `folder` is this test's.
    """
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    opened = []
    # The event loop's own stays for good.
    kept = ("anon_inode:[eventpoll]",)
    for entry in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            opened.append(os.readlink(f"/proc/self/fd/{entry}"))
        except OSError:
            # The descriptor of the listing itself.
            continue
    left = sorted(
        name
        for name in opened
        # An earlier test's memory of requests may just be swept; a node's
        # table of slots stays open.
        if name not in kept
        and (PYTEST_FOLDER not in name or name.startswith(f"{folder}/"))
        and "/replay" not in name
        and "/admission/table" not in name
    )
    return children.read_text().split(), left
