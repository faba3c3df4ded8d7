"""Each signed request runs once: a file per signature until it expires.

`state_dir/replay/<minute of expiry>/<HMAC>`, created exclusively, so that all
processes of a storage node share one memory that outlives a restart.  The
bucket follows from the request itself; whole buckets are removed once nothing
in them could pass the check of the expiry any more.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from zerocloud.executor.duplex import Background, in_thread
from zerocloud.protocol.signing import SKEW_SECONDS, refused

_BUCKET_SECONDS = 60


class ReplayGuard:
    """The memory of one storage node."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "replay"

    def claim(self, signature: str, expires: int, now: float) -> None:
        """Note a verified signature; TaskRefused `replayed` the second time.

        `expires` and `now` are in Unix seconds.
        """
        bucket = self._folder / str(expires // _BUCKET_SECONDS)
        path = str(bucket / signature.partition(" ")[2])
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            try:
                fd = os.open(path, flags, 0o600)
            except FileNotFoundError:
                bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
                Background(in_thread, self.sweep, now)
                fd = os.open(path, flags, 0o600)
        except FileExistsError:
            raise refused(
                "replayed", "this request was received before"
            ) from None
        os.close(fd)

    def sweep(self, now: float) -> None:
        """Remove the buckets that are out of date."""
        oldest = int(now - SKEW_SECONDS) // _BUCKET_SECONDS
        for name in os.listdir(self._folder):
            if name.isdigit() and int(name) < oldest:
                shutil.rmtree(self._folder / name, ignore_errors=True)
