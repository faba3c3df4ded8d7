"""Work that several tasks need at once is done once, and remembered.

A compile, the digest of a system image, a look into a tar.  Who comes while
the work runs waits for it; when all who wait are cancelled, the work is too.
Failures are given to all who wait, and forgotten: the next one tries again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from zerocloud.executor.duplex import Background

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Running(Generic[V]):
    def __init__(self, make: Callable[[], V]) -> None:
        self.work = Background(make)
        self.waiters = 0


class OnceMap(Generic[K, V]):
    """Remembers the last `size` results by their keys."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._done: OrderedDict[K, V] = OrderedDict()
        self._running: dict[K, _Running[V]] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The result for the key; blocks while `make()` makes it."""
        try:
            self._done.move_to_end(key)
            return self._done[key]
        except KeyError:
            # Not made yet, or forgotten.
            return self._join(key, make)

    def peek(self, key: K) -> V | None:
        """The result if it is there already."""
        return self._done.get(key)

    def forget(self, key: K) -> None:
        """Make it again next time."""
        self._done.pop(key, None)

    def _join(self, key: K, make: Callable[[], V]) -> V:
        running = self._running.get(key)
        if running is None:
            running = _Running(make)
            self._running[key] = running
        running.waiters += 1
        try:
            result = running.work.wait()
            self._remember(key, result)
            return result
        finally:
            running.waiters -= 1
            if not running.waiters:
                if self._running.get(key) is running:
                    del self._running[key]
                if not running.work.done:
                    running.work.cancel()

    def _remember(self, key: K, result: V) -> None:
        self._done[key] = result
        self._done.move_to_end(key)
        while len(self._done) > self._size:
            self._done.popitem(last=False)
