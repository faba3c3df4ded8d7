"""The files in which a cluster keeps an object, and what befalls them.

Real files of a real Swift, looked up by the name in their metadata; a test
damages some of them behind the servers' backs, as disks do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from swift.common.ring import Ring
from swift.common.utils import set_swift_dir
from swift.obj.diskfile import read_metadata

from functests.support import Account, wait_until
from zerocloud.cluster import Cluster


def replicas(
    account: Account, name: str, container: str | None = None
) -> list[Path]:
    """The data files (or fragments) of an object, one per disk."""
    wanted = f"/{account.name}/{container or account.container}/{name}"
    return sorted(
        path
        for node in account.cluster.nodes
        for path in node.folder.glob("disks/*/objects*/**/*.data")
        if read_metadata(str(path))["name"] == wanted
    )


def spoil_two(
    account: Account,
    name: str,
    damage: Callable[[Path], None],
    container: str | None = None,
) -> None:
    """Damage two of three replicas.

    Swift answers a PUT when two are written: the third may follow.
    """
    assert wait_until(lambda: len(replicas(account, name, container)) >= 3)
    for path in replicas(account, name, container)[:2]:
        damage(path)


def quarantined(cluster: Cluster) -> list[Path]:
    """Every data file that Swift has put away."""
    return sorted(
        path
        for node in cluster.nodes
        for path in node.folder.glob("disks/*/quarantined/**/*.data")
    )


def rot(path: Path) -> None:
    """Flip a bit of the last byte; length and attributes stay."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def truncate(path: Path) -> None:
    """Lose the second half."""
    os.truncate(path, path.stat().st_size // 2)


def lose(path: Path) -> None:
    """Lose the object's folder."""
    shutil.rmtree(path.parent)


def lag(path: Path, older: Path) -> None:
    """Put an older version's folder in the place of this one's."""
    shutil.rmtree(path.parent)
    shutil.copytree(older, path.parent)


def keep_aside(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Copies of the objects' folders, for `lag`."""
    kept = []
    for number, path in enumerate(paths):
        shutil.copytree(path.parent, folder / str(number))
        kept.append(folder / str(number))
    return kept


def to_handoff(cluster: Cluster, paths: Sequence[Path]) -> Path:
    """Move an object to the first disk that is none of its own."""
    # disks/d1/objects/PART/SUFFIX/HASH/TIMESTAMP.data
    first = paths[0]
    inside = first.parent.relative_to(first.parents[4])
    part = int(inside.parts[1])
    set_swift_dir(str(cluster.folder.swift))
    ring = Ring(str(cluster.folder.swift), ring_name="object")
    device = next(ring.get_more_nodes(part))["device"]
    [disk] = [
        found
        for node in cluster.nodes
        for found in node.folder.glob(f"disks/{device}")
    ]
    target = disk / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(first.parent, target)
    for path in paths:
        lose(path)
    return target


Damage = Callable[[Path], None]
