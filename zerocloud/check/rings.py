"""Which object servers there are: the only reader of rings among the checks.

Reads the devices of each `object*.ring.gz` and nothing else of Swift, so that
no swift.conf has to be right for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from swift.common.ring import RingData


class RingsUnreadable(Exception):  # noqa: N818 - said as a finding
    """A ring that is missing or broken; the text says which."""


@dataclass(frozen=True)
class ObjectServer:
    """An object server by its address, with one of its disks."""

    ip: str
    port: int
    device: str

    @property
    def address(self) -> str:
        """As people write it."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port}"


def object_servers(swift_dir: Path) -> tuple[ObjectServer, ...]:
    """Every server of the object rings, once; raises RingsUnreadable."""
    try:
        names = sorted(os.listdir(swift_dir))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise RingsUnreadable(
            f"{swift_dir} cannot be read: {error.strerror}"
        ) from error
    paths = [swift_dir / n for n in names if fnmatch(n, "object*.ring.gz")]
    if not paths:
        raise RingsUnreadable(f"{swift_dir} holds no object*.ring.gz")
    found: dict[tuple[str, int], ObjectServer] = {}
    for path in paths:
        try:
            devices = RingData.load(str(path), metadata_only=True).devs
        except Exception as error:
            # Whatever the bytes make of Swift's reader: the ring is at fault.
            raise RingsUnreadable(
                f"{path} cannot be read: {type(error).__name__}"
            ) from error
        for device in devices:
            if device is not None and device.get("weight", 1) > 0:
                key = (str(device["ip"]), int(device["port"]))
                found.setdefault(key, ObjectServer(*key, device["device"]))
    return tuple(found[key] for key in sorted(found))
