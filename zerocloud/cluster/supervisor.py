"""The process that `zerocloud cluster` is: forks, waits, stops.

Forks one process per group of servers (`single`: one group of all;
`process`: one group each) from a parent that has imported Swift, so that its
memory is shared, and then only waits.  A server that ends is reported and not
restarted: tests kill them on purpose.  A runner's daemon (`daemons`) is.

Nothing outlives this process.  Children end when the control pipe, whose only
writing end is here, is closed; the kernel kills them when this process is
killed; orphaned grandchildren are adopted and killed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from zerocloud.cluster import processes
from zerocloud.cluster.daemons import Daemons
from zerocloud.cluster.folder import Folder, Server
from zerocloud.cluster.serve import GRACE_SECONDS, Bound, prepare, serve
from zerocloud.cluster.settings import StartError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
START_SECONDS = 60.0
KILL_AFTER_SECONDS = GRACE_SECONDS + 0.7
_BACKLOG = 4096


@dataclass(frozen=True)
class Child:
    """A forked process: what it serves, and where it says that it does."""

    name: str
    servers: tuple[str, ...]
    pid: int
    ready: int


class Supervisor:
    """Runs one cluster; used once."""

    def __init__(
        self,
        folder: Folder,
        groups: Sequence[tuple[str, Sequence[Server]]],
        lifeline: int | None = None,
        daemons: Daemons | None = None,
    ) -> None:
        self._daemons = daemons or Daemons([])
        self._serving = False
        self._folder = folder
        self._groups = groups
        self._children: dict[int, Child] = {}
        self._control = os.pipe2(os.O_CLOEXEC)
        self._wakeup = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._lifeline = lifeline

    def run(
        self, exports: Mapping[str, str], announce: Callable[[], None]
    ) -> None:
        """Start, serve until a stop signal, stop.  Raises StartError.

        `announce` is called when DIR/env is there.
        """
        with self._signals():
            try:
                self._start()
                self._serve(exports, announce)
            finally:
                self._stop()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        reading, writing = self._wakeup
        reading.setblocking(False)
        writing.setblocking(False)
        before = {
            number: handler
            for number in (*STOP_SIGNALS, signal.SIGCHLD)
            # What our starter ignores (nohup, a shell's background job),
            # we ignore.
            if (handler := signal.getsignal(number)) != signal.SIG_IGN
        }
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in before:
            signal.signal(number, lambda *_: None)  # the wakeup fd tells
        self._selector.register(reading, selectors.EVENT_READ)
        if self._lifeline is not None:
            self._selector.register(self._lifeline, selectors.EVENT_READ)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self) -> None:
        processes.set_process_name("zc-supervisor")
        processes.raise_descriptor_limit()
        processes.adopt_orphans()
        prepare(self._folder.swift)
        self._daemons.start()
        bound = {
            server.name: _bind(server, self._folder)
            for _, servers in self._groups
            for server in servers
        }
        for name, servers in self._groups:
            mine = [bound[server.name] for server in servers]
            self._fork(name, mine, list(bound.values()))
        for entry in bound.values():
            entry.listener.close()
        self._await_ready()

    def _fork(self, name: str, mine: list[Bound], bound: list[Bound]) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.close(writing)
            names = tuple(entry.name for entry in mine)
            self._children[pid] = Child(name, names, pid, reading)
            return
        try:
            processes.die_with_parent(parent)
            self._become(name, mine, bound)
            serve(mine, self._control[0], writing)
        finally:
            os._exit(1)  # never back into the supervisor's frames

    def _become(
        self, name: str, mine: list[Bound], bound: list[Bound]
    ) -> None:
        """In the child: keep nothing of the supervisor's."""
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()  # Ctrl-C is for the supervisor alone
        processes.set_process_name(f"zc-{name}")
        self._selector.close()
        os.close(self._control[1])
        if self._lifeline is not None:
            os.close(self._lifeline)
        for child in self._children.values():
            os.close(child.ready)
        for entry in bound:
            if entry not in mine:
                entry.listener.close()
        log = os.open(
            self._folder.log / f"{name}.log",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND,
            0o600,
        )
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(null)
        os.close(log)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        waiting = {child.ready: child for child in self._children.values()}
        for descriptor in waiting:
            self._selector.register(descriptor, selectors.EVENT_READ)
        while waiting:
            left = deadline - time.monotonic()
            events = self._selector.select(max(0.0, left))
            if not events:
                names = ", ".join(c.name for c in waiting.values())
                raise StartError(
                    f"not ready after {START_SECONDS:g} s: {names}"
                )
            for key, _ in events:
                if key.fd in waiting:
                    self._selector.unregister(key.fd)
                    self._check_ready(waiting.pop(key.fd))
                elif self._stop_asked(key.fd):
                    raise StartError("stopped before it served")
        self._await_daemons(deadline)

    def _await_daemons(self, deadline: float) -> None:
        """They have had all the time that the servers took."""
        while missing := self._daemons.missing():
            self._reap()
            if self._daemons.pause() is not None:
                self._say_of_daemons("did not start", missing)
            if time.monotonic() > deadline:
                self._say_of_daemons("is not ready", missing)
            time.sleep(0.005)

    def _say_of_daemons(self, what: str, names: Sequence[str]) -> NoReturn:
        raise StartError(
            f"the runner's daemon {names[0]} {what} (see "
            f"{self._folder.log / names[0]}.log)"
        )

    def _check_ready(self, child: Child) -> None:
        said = os.read(child.ready, 4096).decode("utf-8", "replace")
        os.close(child.ready)
        if said != "ready":
            raise StartError(
                f"{child.name} did not start: {said or 'it ended'} (see "
                f"{self._folder.log / child.name}.log)"
            )

    def _serve(
        self, exports: Mapping[str, str], announce: Callable[[], None]
    ) -> None:
        pids = {
            server: child.pid
            for child in self._children.values()
            for server in child.servers
        }
        self._folder.write_text(self._folder.pids, json.dumps(pids))
        self._folder.write_env(exports)
        announce()
        self._serving = True
        while self._children:
            for key, _ in self._selector.select(self._daemons.pause()):
                if self._stop_asked(key.fd):
                    return
            self._daemons.restart()
            for child, status in self._reap():
                self._say(child.name, status)
        raise StartError("every server has ended")

    def _stop_asked(self, descriptor: int) -> bool:
        """Take what woke us up; says whether it asks to stop."""
        if descriptor == self._lifeline:
            return True
        numbers = self._wakeup[0].recv(4096)
        return any(number in STOP_SIGNALS for number in numbers)

    def _reap(self) -> list[tuple[Child, int]]:
        """Reap all that has ended; ours are returned, orphans forgotten."""
        ended = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break  # no child at all
            if pid == 0:
                break
            child = self._children.pop(pid, None)
            if child is not None:
                ended.append((child, status))
            elif (name := self._daemons.ended(pid)) and self._serving:
                self._say(name, status)
        return ended

    def _say(self, name: str, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        print(
            f"cluster: {name} ended ({_ending(code)})",
            file=sys.stderr,
            flush=True,
        )

    def _stop(self) -> None:
        self._serving = False
        self._folder.env.unlink(missing_ok=True)
        os.close(self._control[1])
        for pid in self._children:
            os.kill(pid, signal.SIGCONT)  # one that a test has stopped
        deadline = time.monotonic() + KILL_AFTER_SECONDS
        while self._reap_or_wait(deadline):
            pass
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        # Adopted grandchildren, and theirs: until none is left.
        while left := processes.children_of(os.getpid()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.005)
        self._reap()
        self._folder.pids.unlink(missing_ok=True)

    def _reap_or_wait(self, deadline: float) -> bool:
        """Reap; wait for the next end.  False when done or out of time."""
        self._reap()
        left = deadline - time.monotonic()
        if not self._children or left <= 0:
            return False
        for key, _ in self._selector.select(left):
            if key.fd != self._wakeup[0].fileno():
                self._selector.unregister(key.fd)
            else:
                self._wakeup[0].recv(4096)
        return True


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _bind(server: Server, folder: Folder) -> Bound:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((server.ip, server.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise StartError(
            f"{server.name} cannot listen on {server.ip}:{server.port}: "
            f"{error.strerror}"
        ) from error
    return Bound(server.name, Path(folder.conf(server)), listener)
