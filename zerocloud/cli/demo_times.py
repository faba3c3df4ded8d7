"""How long the demo's steps take: from earlier runs on this machine.

A guess at first, then what the last run took per object, kept in the user's
cache.  Only ever shown to people: a file that is missing, damaged or cannot
be written costs nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

# Seconds on two cores, before anything is known of this machine: in all for
# the steps that do not depend on it, else for each object.
GUESS = {"start": 3.0, "upload": 0.015, "count": 0.03, "wc": 0.005}
_PER_OBJECT = {"upload", "count", "wc"}
_LEAST_SECONDS = 1.0


class StepTimes:
    """Seconds of each step, in the order in which they are done."""

    def __init__(self, path: Path, objects: int) -> None:
        self._path = path
        self._objects = objects
        self._seconds = dict(GUESS)
        try:
            known = json.loads(path.read_bytes())
            self._seconds.update(
                {
                    name: float(known[name])
                    for name in GUESS
                    if 0 < float(known[name]) < 3600
                }
            )
        except (OSError, ValueError, TypeError, KeyError):
            pass  # the guess is as good

    def seconds(self, step: str) -> float:
        """About what a step takes."""
        return self._seconds[step] * self._times(step)

    def left(self, step: str) -> float:
        """About what this step and those after it take."""
        names = list(GUESS)
        rest = names[names.index(step) :]
        return sum(self.seconds(name) for name in rest)

    def record(self, step: str, seconds: float) -> None:
        """Remember what a step took."""
        if seconds >= _LEAST_SECONDS:
            self._seconds[step] = seconds / self._times(step)

    def save(self) -> None:
        """Keep it for the next run."""
        spare = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            spare.write_text(json.dumps(self._seconds))
            spare.replace(self._path)
        except OSError:
            return  # a cache that cannot be written: the next run guesses

    def _times(self, step: str) -> int:
        return self._objects if step in _PER_OBJECT else 1
