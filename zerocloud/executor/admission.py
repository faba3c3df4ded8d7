"""Which tasks run now: slots and memory of a storage node, and its queue.

A task runs when a slot is free and its memory fits beside what the running
ones were promised.  Promised is what it may use at most: its memory limit and
`OVERHEAD_BYTES`.  All worker processes of the node share slots, memory and
queue (slottable.py); a full queue refuses at once (`busy`), so that the
scheduler can try another node while it still knows whom to ask.

The rule, for all who wait, in order of arrival (`grant`):

* the oldest that fits goes first;
* a younger one may pass an older one that does not fit, so that memory does
  not lie idle;
* but whoever was passed `slots` times is passed no more: then nothing starts
  until it fits.  So a large task waits for those that ran before it and for
  `slots` others, however many small ones keep coming.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import Background, Gate
from zerocloud.executor.slottable import Entry, SlotTable
from zerocloud.job.limits import MIB
from zerocloud.protocol.manifest import ManifestLimits

_DEFAULTS = ManifestLimits(0, 0, 0, 0)
# What a VM may take beside its memory: `/tmp`, the stack, and what the two
# processes of a session need for themselves (measured: 3 MiB).
OVERHEAD_BYTES = _DEFAULTS.tmp_bytes + _DEFAULTS.stack_bytes + 8 * MIB
# Nobody tells of a process that was killed.
LOOK_SECONDS = 0.5


def grant(entries: list[Entry], slots: int, memory_bytes: int) -> list[Entry]:
    """Let those run whose turn it is; they are returned.

    `entries` are all tasks of the node, in order of arrival.
    """
    running = [entry for entry in entries if entry.runs]
    free = slots - len(running)
    room = memory_bytes - sum(entry.memory_bytes for entry in running)
    passed: list[Entry] = []
    granted: list[Entry] = []
    for entry in entries:
        if entry.runs:
            continue
        if free <= 0 or any(other.passed >= slots for other in passed):
            break
        if entry.memory_bytes > room:
            passed.append(entry)
            continue
        entry.runs = True
        free, room = free - 1, room - entry.memory_bytes
        granted.append(entry)
        for other in passed:
            other.passed += 1
    return granted


class Ticket:
    """A place in the queue, then a slot and memory, then nothing."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.gate = Gate()
        self.arrival = 0
        self.has_slot = False
        self.released = False
        self.since = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until it may run; TaskRefused `busy` after so many seconds."""
        if self.gate.wait(seconds):
            return
        self.release()
        raise _busy(f"no slot within {seconds:g} seconds (queue_seconds)")

    def release(self) -> None:
        """Give up the slot or the place; as often as one likes."""
        if not self.released:
            self.released = True
            self._admission.left(self)


class Admission:
    """The slots, memory and queue of a node, as one filter sees them."""

    def __init__(
        self,
        folder: Path,
        slots: int,
        memory_bytes: int,
        queue: int,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._slots = slots
        self._memory_bytes = memory_bytes
        self._queue = queue
        self._log = log
        self._table = SlotTable(folder)
        self._mine: dict[int, Ticket] = {}
        self._gone: set[int] = set()
        self._arrival = 0
        self._watcher: Background[None] | None = None

    @property
    def busy(self) -> int:
        """How many slots this process has taken."""
        return sum(ticket.has_slot for ticket in self._mine.values())

    @property
    def waiting(self) -> int:
        """How many tickets of this process wait."""
        return len(self._mine) - self.busy

    def check(self, memory_bytes: int) -> None:
        """TaskRefused unless so much memory could ever be had here."""
        need = memory_bytes + OVERHEAD_BYTES
        if need > self._memory_bytes:
            raise TaskRefused(
                "job_limit",
                f"the task needs {need} bytes of memory (its limit of "
                f"{memory_bytes} and {OVERHEAD_BYTES} for the VM); the "
                f"storage node has {self._memory_bytes} for all tasks "
                "(memory_bytes)",
                status=400,
                may_retry=True,
            )

    def enter(self, memory_bytes: int) -> Ticket:
        """A ticket, which may run at once or waits; TaskRefused when full."""
        self.check(memory_bytes)
        ticket = Ticket(self)
        need = memory_bytes + OVERHEAD_BYTES
        try:
            with self._table.change() as entries:
                self._clear(entries)
                ticket.arrival = self._next_arrival(entries)
                own = Entry(ticket.arrival, need, 0, self._table.owner, False)
                entries.append(own)
                granted = grant(entries, self._slots, self._memory_bytes)
                if not own.runs:
                    self._check_queue(entries)
        except OSError as error:
            self._log(f"the table of slots cannot be changed: {error}")
            raise _busy("its slots cannot be counted at the moment") from None
        self._mine[ticket.arrival] = ticket
        self._tell(granted)
        if not ticket.has_slot:
            self._watch()
        return ticket

    def _next_arrival(self, entries: list[Entry]) -> int:
        # Never one that this process had before: `_gone` may still name it.
        newest = entries[-1].arrival if entries else 0
        self._arrival = max(newest, self._arrival) + 1
        return self._arrival

    def _check_queue(self, entries: list[Entry]) -> None:
        running = [entry for entry in entries if entry.runs]
        # Itself not counted.
        waiting = len(entries) - len(running) - 1
        if waiting < self._queue:
            return
        if len(running) >= self._slots:
            what = f"all {self._slots} slots are taken"
        else:
            used = sum(entry.memory_bytes for entry in running)
            what = f"{used} of {self._memory_bytes} bytes of memory are taken"
        raise _busy(f"{what} and {waiting} tasks wait")

    def left(self, ticket: Ticket) -> None:
        """Called by a ticket that is released."""
        self._mine.pop(ticket.arrival, None)
        ticket.has_slot = False
        self._gone.add(ticket.arrival)
        self._look()
        if self._gone:
            self._watch()

    def _look(self) -> None:
        """Take out what is over, and let in whose turn it is."""
        try:
            with self._table.change() as entries:
                self._clear(entries)
                granted = grant(entries, self._slots, self._memory_bytes)
                if self.waiting:
                    # Other processes give slots to ours, too.
                    granted += self._own(entries)
        except OSError as error:
            # Tried again by the watcher.
            self._log(f"the table of slots cannot be changed: {error}")
            return
        self._gone.clear()
        self._tell(granted)

    def _own(self, entries: list[Entry]) -> list[Entry]:
        owner = self._table.owner
        return [e for e in entries if e.runs and e.owner == owner]

    def _clear(self, entries: list[Entry]) -> None:
        if any(entry.owner != self._table.owner for entry in entries):
            self._table.drop_dead(entries)
        if self._gone:
            entries[:] = [
                entry
                for entry in entries
                if entry.owner != self._table.owner
                or entry.arrival not in self._gone
            ]

    def _tell(self, granted: list[Entry]) -> None:
        for entry in granted:
            if entry.owner == self._table.owner:
                self._let_in(entry)
        self._table.wake({entry.owner for entry in granted})

    def _let_in(self, entry: Entry) -> None:
        ticket = self._mine.get(entry.arrival)
        if ticket is None:
            # Left in the same moment.
            self._gone.add(entry.arrival)
            return
        ticket.has_slot = True
        ticket.gate.open()

    # The watcher: a green thread for as long as anything waits.

    def _watch(self) -> None:
        if self._watcher is None or self._watcher.done:
            self._watcher = Background(self._wait_for_turns)

    def _wait_for_turns(self) -> None:
        with self._table.waking() as wait:
            # What was said before this could be heard.
            self._look()
            while self.waiting or self._gone:
                wait(LOOK_SECONDS)
                self._look()


def _busy(message: str) -> TaskRefused:
    return TaskRefused("busy", message, status=503, may_retry=True)
