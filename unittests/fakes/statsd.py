"""What Swift's logger does with counters, remembered instead of sent."""

from __future__ import annotations

from collections import Counter


class FakeStatsd:
    """Adds up counts; keeps each timing in milliseconds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.timings: dict[str, list[float]] = {}

    def update_stats(self, metric: str, value: int) -> None:
        self.counts[metric] += value

    def timing(self, metric: str, timing_ms: float) -> None:
        self.timings.setdefault(metric, []).append(timing_ms)
