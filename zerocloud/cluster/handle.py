"""A cluster as a child process: for tests, for `make demo`, for scripts.

Runs `zerocloud cluster` and waits until DIR/env says that it serves.  The
cluster stops when told to, and also when this process ends in any way: it
holds the reading end of a pipe whose writing end is here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from zerocloud.cluster.folder import Folder, Server, read_env
from zerocloud.cluster.settings import ClusterSettings, StartError

START_SECONDS = 60.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Node:
    """A storage node: its address, its servers and their processes."""

    number: int
    ip: str
    servers: tuple[Server, ...]
    pids: tuple[int, ...]
    folder: Path

    def server(self, kind: str) -> Server:
        """Its server of that kind: account, container or object."""
        return next(s for s in self.servers if s.kind == kind)


class Cluster:
    """One cluster on one folder; may be started again after a stop."""

    def __init__(
        self, folder: Path | str, settings: ClusterSettings | None = None
    ) -> None:
        self.folder = Folder(Path(folder))
        self.settings = settings or ClusterSettings()
        self.env: dict[str, str] = {}
        self._running: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        # What the command says on its standard error.
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - kept

    def __enter__(self) -> Cluster:
        return self if self._running else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, timeout_seconds: float = START_SECONDS) -> Cluster:
        """Start and wait until it serves; raises StartError with its text."""
        if self._running is not None:
            raise RuntimeError("the cluster runs already")
        reading, self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._said.truncate(0)
        try:
            self._running = subprocess.Popen(
                [*self._command(), "--lifeline", str(reading)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[reading],
            )
        finally:
            os.close(reading)
        try:
            self._wait_until_it_serves(timeout_seconds)
        except BaseException:
            # Also Ctrl-C: who has no cluster yet cannot stop it.
            self.stop()
            raise
        return self

    def _wait_until_it_serves(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not self._serves():
            if self._process.poll() is not None:
                raise StartError(
                    self.said() or "the cluster ended without a word"
                )
            if time.monotonic() > deadline:
                raise StartError(
                    f"the cluster did not serve in {timeout_seconds:g} s: "
                    f"{self.said()}"
                )
            time.sleep(_POLL_SECONDS)

    def _serves(self) -> bool:
        env = read_env(self.folder.env)
        # A stale file, of a cluster that was killed, has another pid.
        if env.get("ZEROCLOUD_CLUSTER_PID") != str(self._process.pid):
            return False
        self.env = env
        return True

    def _command(self) -> list[str]:
        asked = self.settings
        # -P: what lies in the caller's folder is nothing to import.
        command = [sys.executable, "-P", "-m", "zerocloud.cli.main", "cluster"]
        command += ["--dir", str(self.folder.root), "--mode", asked.mode]
        command += ["--nodes", str(asked.nodes)]
        command += ["--replicas", str(asked.replicas)]
        command += ["--proxies", str(asked.proxies)]
        if asked.port is not None:
            command += ["--port", str(asked.port)]
        command.append("--encrypt" if asked.encrypt else "--no-encrypt")
        command.append("--filters" if asked.filters else "--no-filters")
        if asked.keep_confs:
            command.append("--keep-confs")
        for kind, options in (
            ("proxy", asked.proxy_options),
            ("executor", asked.executor_options),
        ):
            for name, value in options.items():
                command += [f"--{kind}-option", f"{name}={value}"]
        for name, value in asked.swift_constraints.items():
            command += ["--swift-constraint", f"{name}={value}"]
        return command

    def said(self) -> str:
        """What the command has written to its standard error."""
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace").strip()

    def stop(self) -> None:
        """Stop it and wait for its end; no error when it does not run."""
        if self._running is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._release()

    def kill(self) -> None:
        """SIGKILL to the command itself: its servers die by the kernel."""
        if self._running is not None:
            self._process.kill()
            self._process.wait()
            self._release()

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
        self._lifeline = -1
        self._running = None
        self.env = {}

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._running is None:
            raise RuntimeError("the cluster does not run")
        return self._running

    @property
    def pid(self) -> int:
        """The process id of the command."""
        return self._process.pid

    @property
    def url(self) -> str:
        """The first proxy, without a path."""
        return self.env["ZEROCLOUD_URL"]

    @property
    def urls(self) -> list[str]:
        """Every proxy."""
        return self.env["ZEROCLOUD_URLS"].split()

    @property
    def storage_url(self) -> str:
        """The account of test:tester."""
        return self.env["STORAGE_URL"]

    @property
    def pids(self) -> dict[str, int]:
        """Server name to process id; all the same in mode `single`."""
        found: dict[str, int] = json.loads(self.folder.pids.read_bytes())
        return found

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The storage nodes, 1 upwards."""
        pids = self.pids
        servers = self.folder.servers(self.settings)
        return tuple(
            Node(
                number=number,
                ip=f"127.0.0.{number}",
                servers=tuple(mine),
                pids=tuple(pids[s.name] for s in mine),
                folder=self.folder.node(number),
            )
            for number in range(1, self.settings.nodes + 1)
            if (
                mine := [
                    s
                    for s in servers
                    if s.kind != "proxy" and s.number == number
                ]
            )
        )

    def kill_proxy(self, number: int) -> None:
        """SIGKILL to one of several proxies; for good."""
        if self.settings.mode != "process":
            raise ValueError("proxies have processes only in mode 'process'")
        os.kill(self.pids[f"proxy-{number}"], signal.SIGKILL)

    def kill_node(self, number: int) -> None:
        """SIGKILL to a storage node's servers; for good."""
        self._signal_node(number, signal.SIGKILL)

    def stop_node(self, number: int) -> None:
        """SIGSTOP: the node hangs, its ports still accept."""
        self._signal_node(number, signal.SIGSTOP)

    def continue_node(self, number: int) -> None:
        """SIGCONT: the node goes on."""
        self._signal_node(number, signal.SIGCONT)

    def _signal_node(self, number: int, what: signal.Signals) -> None:
        if self.settings.mode != "process":
            raise ValueError("nodes have processes only in mode 'process'")
        for pid in self.nodes[number - 1].pids:
            os.kill(pid, what)
