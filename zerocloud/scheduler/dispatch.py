"""Runs all nodes of a job, at most `concurrency` at once, and keeps the pace.

    nodes ▶ workers (one green thread per node under way) ▶ Finished
                                     pinger ▶ held outputs stay alive

`run` returns when every node has a report and, if it keeps outputs on its
server, still has them: a server lost before that costs a rerun, not the job.
The first error ends the job.  `cancel` ends it from outside (the client has
gone).  However it ends, `close` leaves no task running: green threads are
killed, and each tells its storage node to give up on its way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zerocloud.errors import ZeroCloudError
from zerocloud.job.plan import Node
from zerocloud.scheduler.concurrency import Queue, Timeout, sleep, spawn
from zerocloud.scheduler.exchange import Finished
from zerocloud.scheduler.noderun import NodeRun, Setting
from zerocloud.scheduler.transport import ConnectionLost

# The storage node waits 15 s for a sign of life before it drops outputs.
PING_SECONDS = 5.0


class Dispatch:
    """All tasks of one job."""

    def __init__(
        self, setting: Setting, nodes: Sequence[Node], concurrency: int
    ) -> None:
        self._runs = {node.index: NodeRun(setting, node) for node in nodes}
        self._finished: dict[int, Finished] = {}
        self._todo: Any = Queue()
        self._events: Any = Queue()
        self._threads: list[Any] = []
        self._width = min(concurrency, len(self._runs))
        for run in self._runs.values():
            self._todo.put(run)

    def run(self) -> list[Finished]:
        """Run every node to its end; results in node order.

        Raises the first JobError or ClusterError, or what `cancel` was given.
        """
        self._threads = [spawn(self._work) for _ in range(self._width)]
        self._threads.append(spawn(self._ping))
        missing = set(self._runs)
        while missing:
            event = self._events.get()
            if isinstance(event, BaseException):
                raise event
            index = event.node.index
            self._finished[index] = event
            missing.discard(index)
            if not missing:
                missing = self._rerun_lost()
        return [self._finished[index] for index in sorted(self._finished)]

    def cancel(self, error: ZeroCloudError) -> None:
        """Make `run` raise `error`; may be called from any green thread."""
        self._events.put(error)

    def close(self) -> None:
        """End every task and drop every held output."""
        for thread in self._threads:
            thread.kill()
        self._threads = []
        # A result may have come in after `run` had failed.
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, Finished):
                event.release()
        for finished in self._finished.values():
            finished.release()

    def _work(self) -> None:
        while True:
            run = self._todo.get()
            try:
                self._events.put(run.finish())
            except (Exception, Timeout) as error:  # noqa: BLE001
                # Raised again by `run`: a thread that ended without a word
                # would leave it waiting for ever.
                self._events.put(error)

    def _rerun_lost(self) -> set[int]:
        """Run again the nodes whose outputs went away with their server."""
        lost = [
            finished
            for finished in self._finished.values()
            if finished.held is not None and not finished.held.alive()
        ]
        for finished in lost:
            index = finished.node.index
            finished.release()
            del self._finished[index]
            self._runs[index].outputs_lost(finished)
            self._todo.put(self._runs[index])
        return {finished.node.index for finished in lost}

    def _ping(self) -> None:
        while True:
            sleep(PING_SECONDS)
            for finished in list(self._finished.values()):
                if finished.held is not None:
                    try:
                        finished.held.ping()
                    except ConnectionLost:
                        # Found out by `alive` when all nodes have ended, or
                        # by the fetch.
                        continue
