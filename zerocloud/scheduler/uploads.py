"""One upload of each blob per server: who sends it, who waits.

Nodes of a job usually share program and image, and a storage server keeps a
blob once it has it.  So the first task of a job to a server that is not known
to have its blobs goes alone, until the server has stored them; the others
wait, then find that nothing is needed.

What servers have is remembered for the process, within bounds, and is only a
guess: the server itself says what it needs (frame `A`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from zerocloud.scheduler.concurrency import Semaphore

MOST_KNOWN = 100_000


class KnownBlobs:
    """Which server was seen to have which blob, oldest out first."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def has(self, server: str, digests: Iterable[str]) -> bool:
        """Whether the server was seen to have all of them."""
        return all((server, digest) in self._known for digest in digests)

    def add(self, server: str, digests: Iterable[str]) -> None:
        """The server has them."""
        for digest in digests:
            self._known[server, digest] = None
            self._known.move_to_end((server, digest))
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def drop(self, server: str, digests: Iterable[str]) -> None:
        """The server has them no more."""
        for digest in digests:
            self._known.pop((server, digest), None)


class Uploads:
    """The turns of one job's tasks at each server."""

    def __init__(self, known: KnownBlobs) -> None:
        self._known = known
        self._turns: dict[str, Any] = {}

    @contextmanager
    def turn(self, server: str, digests: tuple[str, ...]) -> Iterator[None]:
        """Wait until the server has the blobs, or it is up to the caller.

        The caller holds the turn until the block ends, and calls `stored`
        within it when the server has them.
        """
        lock = None
        if not self._known.has(server, digests):
            lock = self._turns.setdefault(server, Semaphore(1))
            lock.acquire()
        try:
            if lock is not None and self._known.has(server, digests):
                lock.release()
                lock = None
            yield
        finally:
            if lock is not None:
                lock.release()

    def stored(self, server: str, digests: Iterable[str]) -> None:
        """The server has stored them."""
        self._known.add(server, digests)

    def missing(self, server: str, digests: Iterable[str]) -> None:
        """The server asked for them."""
        self._known.drop(server, digests)
