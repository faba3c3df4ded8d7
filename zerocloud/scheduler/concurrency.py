"""The green threads, locks and sockets that the scheduler uses.

Swift keeps every eventlet name in `swift.common.concurrency`; the scheduler
keeps every name that it takes from there in this file, so that a move to
another engine is one file's work.  Nothing here knows about jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from swift.common.concurrency import (
    Event,
    GreenletExit,
    Queue,
    Semaphore,
    Timeout,
    patcher,
    sleep,
    socket,
    spawn,
)

__all__ = [
    "Event",
    "GreenletExit",
    "Queue",
    "Semaphore",
    "Timeout",
    "gather",
    "peer_closed",
    "peer_reset",
    "sleep",
    "socket",
    "spawn",
]

# A patched `select` has no poll, as it could block; ours never waits.
_select = patcher.original("select")
_RESET = _select.POLLHUP | _select.POLLERR
_GONE = _RESET | _select.POLLRDHUP | _select.POLLNVAL

Item = TypeVar("Item")
Result = TypeVar("Result")


def gather(
    work: Callable[[Item], Result], items: Iterable[Item], width: int
) -> list[Result]:
    """`work` of every item, at most `width` at once, results in order.

    After the first exception nothing more is begun, what is under way is
    ended, and the exception is raised.
    """
    todo = list(items)
    if len(todo) <= 1:
        return [work(item) for item in todo]
    results: list[Result | None] = [None] * len(todo)
    queue = iter(enumerate(todo))
    failures: Queue = Queue()

    def worker() -> None:
        try:
            for index, item in queue:
                results[index] = work(item)
            failures.put(None)
        except (Exception, Timeout) as error:  # noqa: BLE001 - raised below
            failures.put(error)

    threads = [spawn(worker) for _ in range(min(width, len(todo)))]
    try:
        for _ in threads:
            failure = failures.get()
            if failure is not None:
                raise failure
    finally:
        for thread in threads:
            thread.kill()
    return cast(list[Result], results)


def peer_closed(descriptor: int) -> bool:
    """Whether a socket's other side has closed it, as the kernel knows now.

    Reads nothing, so that bytes that came before the end stay where they are.
    """
    return descriptor < 0 or bool(_events(descriptor) & _GONE)


def peer_reset(descriptor: int) -> bool:
    """Whether a socket can carry nothing any more, in either direction."""
    return descriptor >= 0 and bool(_events(descriptor) & _RESET)


def _events(descriptor: int) -> int:
    poll = _select.poll()
    poll.register(descriptor, _select.POLLRDHUP)
    return sum(events for _, events in poll.poll(0))
