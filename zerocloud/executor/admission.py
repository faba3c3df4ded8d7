"""Slots for VMs, and a bounded queue before them: first come, first served.

Per process of the object server and per filter.  A ticket is a place in the
queue, then a slot; `release` gives up whichever it is, as often as it is
called.  A full queue refuses at once (`busy`), so that the scheduler can try
another node while it still knows whom to ask.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import Gate


class Ticket:
    """A place in the queue, then a slot, then nothing."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.gate = Gate()
        self.has_slot = False
        self.released = False
        self.since = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until there is a slot; TaskRefused `busy` after so many seconds."""
        if self.gate.wait(seconds):
            return
        self.release()
        raise TaskRefused(
            "busy",
            f"no slot within {seconds:g} seconds (queue_seconds)",
            status=503,
            may_retry=True,
        )

    def release(self) -> None:
        """Give up the slot or the place."""
        if not self.released:
            self.released = True
            self._admission.left(self)


class Admission:
    """The slots and the queue of one filter."""

    def __init__(
        self,
        slots: int,
        queue: int,
        make_ticket: Callable[[Admission], Ticket] = Ticket,
    ) -> None:
        self._free = slots
        self._slots = slots
        self._queue_limit = queue
        self._queue: deque[Ticket] = deque()
        self._waiting = 0
        self._make_ticket = make_ticket

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self._slots - self._free

    @property
    def waiting(self) -> int:
        """How many tickets wait for a slot."""
        return self._waiting

    def enter(self) -> Ticket:
        """A ticket, with a slot if one is free; TaskRefused when full."""
        if not self._free and self._waiting >= self._queue_limit:
            raise TaskRefused(
                "busy",
                f"all {self._slots} slots are taken and {self._waiting} tasks "
                "wait",
                status=503,
                may_retry=True,
            )
        ticket = self._make_ticket(self)
        if self._free:
            self._grant(ticket)
        else:
            self._waiting += 1
            self._queue.append(ticket)
        return ticket

    def _grant(self, ticket: Ticket) -> None:
        self._free -= 1
        ticket.has_slot = True
        ticket.gate.open()

    def left(self, ticket: Ticket) -> None:
        """Called by a ticket that is released."""
        if not ticket.has_slot:
            # It stays in the deque, marked: taking it out of the middle would
            # cost as much as the queue is long.
            self._waiting -= 1
            return
        self._free += 1
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.released:
                self._waiting -= 1
                self._grant(waiting)
                return
