"""The folder of an embedded cluster: what is kept, who may use it, where.

    DIR/lock          held while a cluster runs on the folder
    DIR/cluster.json  layout number and lasting settings; written last, so a
                      folder without it was never finished and is made anew
    DIR/key           the cluster's key (0600): signs tasks, roots encryption
    DIR/ports.json    one port per server, for good: the rings hold them
    DIR/swift/        swift.conf and the rings
    DIR/etc/          one conf per server, written at each start (0600)
    DIR/node<N>/      disks, and the executor's state
    DIR/log/          one log per process
    DIR/pids.json     server name to process id, while it runs
    DIR/env           shell exports (0600); there while the cluster serves

Every file appears by rename: a reader sees all of it or none.  Never removes
anything but env, pids.json and the cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import shlex
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerocloud.cluster.settings import ClusterSettings, StartError, lasting

LAYOUT = 1
KINDS = ("account", "container", "object")

# Below the kernel's default range for outgoing connections (32768 upwards),
# so that a restart finds its ports free.
PORT_RANGE = range(10_240, 32_768)

_WRITTEN = ("env", "pids.json", "key", "ports.json", "cluster.json")
_OURS = {"lock", "key", "ports.json", "swift", "etc", "log", "run"}


@dataclass(frozen=True)
class Server:
    """One Swift server: `object-2` is the object server of node 2."""

    name: str
    kind: str
    number: int
    ip: str
    port: int


class Folder:
    """DIR, opened; see the module's docstring."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.swift = self.root / "swift"
        self.etc = self.root / "etc"
        self.log = self.root / "log"
        self.run = self.root / "run"
        self.env = self.root / "env"
        self.pids = self.root / "pids.json"
        self._lock = -1

    def node(self, number: int) -> Path:
        """What storage node `number` keeps."""
        return self.root / f"node{number}"

    def disks(self, number: int) -> Path:
        """The folder that holds the disks of storage node `number`."""
        return self.node(number) / "disks"

    def daemon(self, number: int) -> Path:
        """The socket of the runner's daemon of storage node `number`."""
        return self.run / f"zvm-{number}.sock"

    def conf(self, server: Server) -> Path:
        """The server's conf file."""
        return self.etc / f"{server.name}.conf"

    def acquire(self) -> str:
        """Make the folder and lock it; raises StartError when it is in use.

        The lock lives as long as this process and those forked from it, so
        nothing of an earlier cluster runs here any more.  What one that was
        killed has left is removed; then the text says so.
        """
        if any(c.isspace() or c in "%,;#" for c in str(self.root)):
            # Swift's conf format has no way to quote these.
            raise StartError(
                f"the folder's path {str(self.root)!r} holds a blank or one "
                "of % , ; # which conf files cannot express; choose another"
            )
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(
                self.root / "lock",
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            raise StartError(
                f"the folder {self.root} cannot be used: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"a cluster already runs on {self.root}{self._owner()}"
            ) from error
        cleaned = self._clean()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        return cleaned

    def _clean(self) -> str:
        """Remove what only a running cluster has; what it was, as a text."""
        if not self._owner() and not (self.root / "cluster.json").exists():
            return ""  # never a cluster's: whatever is there is somebody's
        drafts = (p for n in _WRITTEN for p in self.root.glob(f".{n}.[0-9]*"))
        stale = [p for p in (self.env, self.pids, *drafts) if p.exists()]
        for path in stale:
            path.unlink()
        if not stale:
            return ""
        return (
            f"the last cluster on {self.root}{self._owner()} was killed; "
            "removed what it left: "
            + ", ".join(sorted(path.name for path in stale))
        )

    def _owner(self) -> str:
        owner = os.pread(self._lock, 20, 0).decode("ascii", "replace")
        return f" (process {owner})" if owner.isdigit() else ""

    def stored(self) -> dict[str, Any] | None:
        """The lasting settings of a finished folder; None for a new one."""
        path = self.root / "cluster.json"
        try:
            document: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            foreign = {p.name for p in self.root.iterdir()} - _OURS
            if any(not name.startswith("node") for name in foreign):
                raise StartError(
                    f"{self.root} holds other files ({min(foreign)}); choose "
                    "an empty folder, or one that a cluster was made in"
                ) from None
            return None
        except ValueError as error:
            raise StartError(f"{path} is damaged: {error}") from error
        if document.get("layout") != LAYOUT:
            raise StartError(
                f"{self.root} has layout {document.get('layout')!r}; this "
                f"version of ZeroCloud uses layout {LAYOUT}; choose another "
                "folder"
            )
        return document

    def finish(self, settings: ClusterSettings) -> None:
        """Mark the folder as made: rings and swift.conf are complete."""
        self.write("cluster.json", {"layout": LAYOUT, **lasting(settings)})

    def key(self) -> str:
        """The cluster's key, made at first use; 64 hex digits."""
        path = self.root / "key"
        if not path.exists():
            self.write_text(path, secrets.token_hex(32) + "\n")
        return path.read_text("ascii").strip()

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON file into the folder, by rename."""
        self.write_text(self.root / name, json.dumps(document, indent=1))

    def write_text(self, path: Path, text: str) -> None:
        """Write a file of mode 0600, by rename."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        draft.replace(path)

    def servers(self, settings: ClusterSettings) -> tuple[Server, ...]:
        """Every server with its port, storage nodes first, proxies last.

        Ports come from ports.json; missing ones are chosen by binding and
        added to it.
        """
        path = self.root / "ports.json"
        known: dict[str, int] = {}
        if path.exists():
            known = json.loads(path.read_bytes())
        servers = []
        for name, kind, number, ip in _names(settings):
            port = known.get(name)
            if name == "proxy-1" and settings.port is not None:
                port = settings.port
            if port is None:
                port = free_port(ip, set(known.values()))
            known[name] = port
            servers.append(Server(name, kind, number, ip, port))
        self.write("ports.json", known)
        return tuple(servers)

    def write_env(self, exports: Mapping[str, str]) -> None:
        """Let DIR/env appear: the cluster serves."""
        lines = [f"export {k}={shlex.quote(v)}\n" for k, v in exports.items()]
        self.write_text(self.env, "".join(lines))


def _names(settings: ClusterSettings) -> Iterator[tuple[str, str, int, str]]:
    for number in range(1, settings.nodes + 1):
        for kind in KINDS:
            yield f"{kind}-{number}", kind, number, f"127.0.0.{number}"
    for number in range(1, settings.proxies + 1):
        yield f"proxy-{number}", "proxy", number, "127.0.0.1"


def free_port(ip: str, taken: set[int]) -> int:
    """A port of PORT_RANGE that can be bound on `ip` now."""
    candidates = random.sample(PORT_RANGE, 200)
    for port in candidates:
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ip, port))
            except OSError:
                continue  # somebody's: try the next
        return port
    raise StartError(f"no free port on {ip}")


def read_env(path: Path) -> dict[str, str]:
    """The exports of DIR/env; empty when the file is not there."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    exports = {}
    for line in text.splitlines():
        _, assignment = shlex.split(line)
        name, _, value = assignment.partition("=")
        exports[name] = value
    return exports
