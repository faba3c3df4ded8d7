"""The runner's daemons of an embedded cluster: one `zvm serve` per node.

Started by the supervisor before the servers, and started again when one ends:
a node loses the VMs that ran and nothing else.  The kernel ends a daemon with
the supervisor, and a daemon's VMs with it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zerocloud.cluster import processes

# One that ends at once again is not started in a loop.
PAUSE_SECONDS = 0.5
SHORT_SECONDS = 2.0
# A node of the embedded cluster is one of several on this machine.
IDLE = 2


@dataclass(frozen=True)
class DaemonSpec:
    """What one daemon is: its runner, its socket, its log, more options."""

    name: str
    zvm: Path
    socket: Path
    log: Path
    options: tuple[str, ...] = ()


@dataclass
class _State:
    spec: DaemonSpec
    pid: int = 0
    started: float = 0.0
    due: float | None = None  # when to start it again


class Daemons:
    """The daemons of one cluster; made and used by its supervisor."""

    def __init__(self, specs: Sequence[DaemonSpec]) -> None:
        self._states = [_State(spec) for spec in specs]

    def start(self) -> None:
        """Start all of them."""
        for state in self._states:
            self._start(state)

    def missing(self) -> list[str]:
        """Those that do not serve yet."""
        return [
            state.spec.name
            for state in self._states
            if not state.spec.socket.exists()
        ]

    def ended(self, pid: int) -> str | None:
        """A child has ended: the name of the daemon that it was, if any."""
        for state in self._states:
            if state.pid == pid:
                now = time.monotonic()
                short = now - state.started < SHORT_SECONDS
                state.pid = 0
                state.due = now + PAUSE_SECONDS * short
                return state.spec.name
        return None

    def pause(self) -> float | None:
        """Seconds until the next has to be started; None when none has."""
        due = [state.due for state in self._states if state.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def restart(self) -> None:
        """Start those again whose time has come."""
        now = time.monotonic()
        for state in self._states:
            if state.due is not None and state.due <= now:
                self._start(state)

    def _start(self, state: _State) -> None:
        parent = os.getpid()
        state.due = None
        state.started = time.monotonic()
        state.pid = os.fork()
        if state.pid == 0:
            try:
                processes.die_with_parent(parent)
                _become(state.spec)
            finally:
                os._exit(70)  # never back into the supervisor's frames


def _become(spec: DaemonSpec) -> None:
    """In the child: nothing of the supervisor's but its log's folder."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    os.setsid()
    log = os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    words = ["zvm-serve", "serve", "--socket", str(spec.socket)]
    words += ["--idle", str(IDLE), *spec.options]
    os.execve(spec.zvm, words, {})  # noqa: S606 - the runner, no shell
