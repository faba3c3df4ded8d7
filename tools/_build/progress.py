"""What a long build says: its steps, and about how long it still takes.

Each step has a share of the whole, measured once on two cores; a step that
counts its parts also gives the rate of this machine, by which the rest is
estimated.  Lines come when a step begins and then every few seconds.
"""

import sys
import time

EVERY_SECONDS = 5.0


class Progress:
    """Progress of one build; one line of text per report."""

    def __init__(self, label: str, steps: dict[str, float]) -> None:
        """Take the steps in order, with the seconds each took elsewhere."""
        self._label = label
        self._steps = steps
        self._done = 0.0
        self._began = time.monotonic()
        self._spoken = 0.0
        self._step = ""

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"images: {self._label}: {text}", file=sys.stderr, flush=True)
        self._spoken = time.monotonic()

    def start(self, step: str) -> None:
        """Begin a step; the one before it is done."""
        self._done += self._steps.get(self._step, 0)
        self._step = step
        self.say(f"{step}, about {duration(self._left(0))} left")

    def part(self, number: int, total: int) -> None:
        """Say how far the step is, if the last line is some time ago."""
        if time.monotonic() - self._spoken >= EVERY_SECONDS and total:
            number = min(number, total)
            left = duration(self._left(number / total))
            self.say(f"{self._step} {number}/{total}, about {left} left")

    def _left(self, share: float) -> float:
        """Seconds left, when this share of the current step is done."""
        whole = sum(self._steps.values())
        done = self._done + share * self._steps.get(self._step, 0)
        spent = time.monotonic() - self._began
        # The first seconds say little about this machine's speed.
        pace = spent / done if done > 0.1 * whole else 1.0
        return (whole - done) * pace


def duration(seconds: float) -> str:
    """Say a length of time as a person would."""
    rounded = max(5, round(seconds / 5) * 5)
    minutes, rest = divmod(rounded, 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
