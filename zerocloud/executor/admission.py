"""Which tasks run now: slots, memory and staging of a storage node; its queue.

A task runs when a slot is free and what it may use at most fits beside what
the others were promised: of memory its limit and `OVERHEAD_BYTES`, until its
VM has ended; of staging its streamed inputs and its outputs' limits, then what
it wrote, until the proxy has fetched that.  All worker processes of the node
share slots, caps and queue (slottable.py); a full queue refuses at once
(`busy`), so that the scheduler can try another node while it still knows whom
to ask.

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
from dataclasses import dataclass
from pathlib import Path

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import Background, Gate
from zerocloud.executor.slottable import Entry, SlotTable, Stage
from zerocloud.job.limits import MIB
from zerocloud.protocol.manifest import ManifestLimits
from zerocloud.protocol.task import TaskDocument

_DEFAULTS = ManifestLimits(0, 0, 0, 0)
# What a VM may take beside its memory: `/tmp`, the stack, and what the two
# processes of a session need for themselves.
OVERHEAD_BYTES = _DEFAULTS.tmp_bytes + _DEFAULTS.stack_bytes + 8 * MIB
# Nobody tells of a process that was killed.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Caps:
    """What all tasks of a node may have at once."""

    slots: int
    memory_bytes: int
    staging_bytes: int
    queue: int


@dataclass(frozen=True)
class Need:
    """What a task may use at most."""

    memory_bytes: int = 0
    staged_bytes: int = 0


def need_of(task: TaskDocument) -> Need:
    """What a task is promised when it starts."""
    return Need(
        task.limits.memory_bytes,
        sum(item.bytes or 0 for item in task.inputs)
        + sum(output.limit_bytes for output in task.outputs),
    )


def grant(entries: list[Entry], caps: Caps) -> list[Entry]:
    """Let those run whose turn it is; they are returned.

    `entries` are all tasks of the node, in order of arrival.
    """
    running = [entry for entry in entries if entry.stage is Stage.RUNS]
    slots = caps.slots - len(running)
    memory = caps.memory_bytes - sum(entry.memory_bytes for entry in running)
    staging = caps.staging_bytes - sum(
        entry.staged_bytes
        for entry in entries
        if entry.stage is not Stage.WAITS
    )
    passed: list[Entry] = []
    granted: list[Entry] = []
    for entry in entries:
        if entry.stage is not Stage.WAITS:
            continue
        if slots <= 0 or any(other.passed >= caps.slots for other in passed):
            break
        if entry.memory_bytes > memory or entry.staged_bytes > staging:
            passed.append(entry)
            continue
        entry.stage = Stage.RUNS
        slots -= 1
        memory -= entry.memory_bytes
        staging -= entry.staged_bytes
        granted.append(entry)
        for other in passed:
            other.passed += 1
    return granted


class Ticket:
    """A place in the queue, then a slot, then outputs, then nothing."""

    def __init__(self, admission: Admission, staged_bytes: int) -> None:
        self._admission = admission
        self.staged_bytes = staged_bytes
        self.gate = Gate()
        self.arrival = 0
        self.has_slot = False
        self.settled = False
        self.released = False
        self.since = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until it may run; TaskRefused `busy` after so many seconds."""
        if self.gate.wait(seconds):
            return
        self.release()
        raise _busy(f"no slot within {seconds:g} seconds (queue_seconds)")

    def settle(self, staged_bytes: int) -> None:
        """Give up slot and memory; keep the room of what was written."""
        if not self.settled and not self.released:
            self.settled = True
            self.has_slot = False
            self.staged_bytes = staged_bytes
            self._admission.changed(self)

    def release(self) -> None:
        """Give up whatever it is; as often as one likes."""
        if not self.released:
            self.released = True
            self.has_slot = False
            self._admission.changed(self)


class Admission:
    """The caps and the queue of a node, as one filter sees them."""

    def __init__(
        self,
        folder: Path,
        caps: Caps,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._caps = caps
        self._log = log
        self._table = SlotTable(folder)
        self._mine: dict[int, Ticket] = {}
        self._changed: dict[int, Ticket] = {}
        self._arrival = 0
        self._watcher: Background[None] | None = None

    @property
    def busy(self) -> int:
        """How many slots this process has taken."""
        return sum(ticket.has_slot for ticket in self._mine.values())

    @property
    def waiting(self) -> int:
        """How many tickets of this process wait."""
        return sum(
            not ticket.has_slot and not ticket.settled
            for ticket in self._mine.values()
        )

    def check(self, need: Need) -> None:
        """TaskRefused unless so much could ever be had here."""
        memory_bytes = need.memory_bytes + OVERHEAD_BYTES
        if memory_bytes > self._caps.memory_bytes:
            raise TaskRefused(
                "job_limit",
                f"the task needs {memory_bytes} bytes of memory (its limit of "
                f"{need.memory_bytes} and {OVERHEAD_BYTES} for the VM); the "
                f"storage node has {self._caps.memory_bytes} for all tasks "
                "(memory_bytes)",
                status=400,
                may_retry=True,
            )
        if need.staged_bytes > self._caps.staging_bytes:
            raise TaskRefused(
                "disk_full",
                f"the task's inputs and outputs may have {need.staged_bytes} "
                "bytes; the storage node stages at most "
                f"{self._caps.staging_bytes} of all tasks (staging_bytes)",
                status=507,
                may_retry=True,
            )

    def enter(self, need: Need) -> Ticket:
        """A ticket, which may run at once or waits; TaskRefused when full."""
        self.check(need)
        ticket = Ticket(self, need.staged_bytes)
        try:
            with self._table.change() as entries:
                self._bring_up_to_date(entries)
                own = Entry(
                    arrival=self._next_arrival(entries),
                    memory_bytes=need.memory_bytes + OVERHEAD_BYTES,
                    staged_bytes=need.staged_bytes,
                    owner=self._table.owner,
                )
                entries.append(own)
                granted = grant(entries, self._caps)
                if own.stage is Stage.WAITS:
                    self._check_queue(entries)
        except OSError as error:
            self._log(f"the table of slots cannot be changed: {error}")
            raise _busy("its slots cannot be counted at the moment") from None
        ticket.arrival = own.arrival
        self._mine[ticket.arrival] = ticket
        self._changed.clear()
        self._tell(granted)
        if not ticket.has_slot:
            self._watch()
        return ticket

    def _next_arrival(self, entries: list[Entry]) -> int:
        # Never one that this process had before: it might still be known.
        newest = entries[-1].arrival if entries else 0
        self._arrival = max(newest, self._arrival) + 1
        return self._arrival

    def _check_queue(self, entries: list[Entry]) -> None:
        running = [entry for entry in entries if entry.stage is Stage.RUNS]
        # The one that asks is not counted.
        waiting = sum(entry.stage is Stage.WAITS for entry in entries) - 1
        if waiting < self._caps.queue:
            return
        if len(running) >= self._caps.slots:
            what = f"all {self._caps.slots} slots are taken"
        else:
            used = sum(entry.memory_bytes for entry in running)
            staged = sum(
                entry.staged_bytes
                for entry in entries
                if entry.stage is not Stage.WAITS
            )
            what = (
                f"{used} of {self._caps.memory_bytes} bytes of memory and "
                f"{staged} of {self._caps.staging_bytes} bytes of staging are "
                "taken"
            )
        raise _busy(f"{what} and {waiting} tasks wait")

    def changed(self, ticket: Ticket) -> None:
        """Called by a ticket that gives up something."""
        if ticket.released:
            self._mine.pop(ticket.arrival, None)
        self._changed[ticket.arrival] = ticket
        self._look()
        if self._changed:
            self._watch()

    def _look(self) -> None:
        """Say what has changed here, and let in whose turn it is."""
        try:
            with self._table.change() as entries:
                self._bring_up_to_date(entries)
                granted = grant(entries, self._caps)
                if self.waiting:
                    # Other processes give slots to ours, too.
                    granted += self._own_running(entries)
        except OSError as error:
            # Tried again by the watcher.
            self._log(f"the table of slots cannot be changed: {error}")
            return
        self._changed.clear()
        self._tell(granted)

    def _own_running(self, entries: list[Entry]) -> list[Entry]:
        return [
            entry
            for entry in entries
            if entry.stage is Stage.RUNS and entry.owner == self._table.owner
        ]

    def _bring_up_to_date(self, entries: list[Entry]) -> None:
        """Write what our tickets have given up; drop what others left."""
        owner = self._table.owner
        if any(entry.owner != owner for entry in entries):
            self._table.drop_dead(entries)
        if not self._changed:
            return
        kept = []
        for entry in entries:
            ticket = self._changed.get(entry.arrival)
            if ticket is not None and entry.owner == owner:
                if ticket.released:
                    continue
                entry.stage = Stage.HOLDS
                entry.staged_bytes = ticket.staged_bytes
            kept.append(entry)
        entries[:] = kept

    def _tell(self, granted: list[Entry]) -> None:
        for entry in granted:
            if entry.owner == self._table.owner:
                ticket = self._mine.get(entry.arrival)
                if ticket is not None:
                    ticket.has_slot = True
                    ticket.gate.open()
        self._table.wake({entry.owner for entry in granted})

    # The watcher: a green thread for as long as anything waits.

    def _watch(self) -> None:
        if self._watcher is None or self._watcher.done:
            self._watcher = Background(self._wait_for_turns)

    def _wait_for_turns(self) -> None:
        with self._table.waking() as wait:
            # What was said before this could be heard.
            self._look()
            while self.waiting or self._changed:
                wait(LOOK_SECONDS)
                self._look()


def _busy(message: str) -> TaskRefused:
    return TaskRefused("busy", message, status=503, may_retry=True)
