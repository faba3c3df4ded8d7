"""A large image is mapped: the VMs of a node share its pages.

`tools/bench images` measures the same with hundreds of MB; here the image is
large enough to tell a copy from a mapping.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from functests.jobs import STDOUT, group, reads
from functests.running import guests, kill, posted
from functests.support import Account, wait_until
from unittests.fakes.tars import tar_of

MIB = 1 << 20
IMAGE_BYTES = 48 * MIB
VMS = 3
# Read to the end in small pieces, say so, and stay.
READ = (
    "import sys; file = open('/data', 'rb'); "
    "print(sum(map(len, iter(lambda: file.read(65536), b'')))); "
    "exec('while True: pass')"
)


def memory(pid: int) -> dict[str, int]:
    """Bytes of a process by what they are."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        text = ""  # it is only just coming, or has gone
    lines = (line.split() for line in text.splitlines()[1:])
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}


def is_shared(found: dict[str, int]) -> bool:
    """The image is there, and private is what Python itself takes."""
    if not found:
        return False
    shared = found["Shared_Clean"] + found["Shared_Dirty"]
    private = found["Private_Clean"] + found["Private_Dirty"]
    return shared > IMAGE_BYTES and private < 8 * MIB


def test_vms_share_the_pages_of_a_large_image(account: Account) -> None:
    data = random.Random(1).randbytes(IMAGE_BYTES)
    account.put("large.tar", tar_of(("data", data)))
    job: dict[str, Any] = {
        "version": 2,
        "limits": {"wall_seconds": 120, "cpu_seconds": 120},
        "nodes": [
            group(
                "file://python3:python",
                reads(account.path("large.tar"), "image"),
                {"name": "python3"},
                STDOUT,
                args=["-c", READ],
                count=VMS,
                # One storage node: others have caches of their own.
                location="here",
            )
        ],
    }
    with posted(account, job) as answer:
        found: list[dict[str, int]] = []

        def shared() -> bool:
            found[:] = [memory(pid) for pid in guests(account.cluster)]
            return [is_shared(each) for each in found] == [True] * VMS

        # Pages that one VM has read and the others have not yet are its own
        # for a moment; pages that it has copied stay so.
        try:
            # Python may have to be compiled first.
            assert wait_until(shared, 90), found
        finally:
            for pid in guests(account.cluster):
                kill(pid)
    assert answer.result().status_code == 200
