"""Jobs under way: a client that can vanish, and the VMs it has started."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from functests.support import Account, tree, wait_until
from zerocloud.cluster import Cluster
from zerocloud.headers import EXECUTE, JSON_TYPE

START_SECONDS = 20.0

# Of so many runs of a job, not all choose the same of three servers.
MANY_RUNS = 60


class Client:
    """One POST of a job over a socket of its own."""

    def __init__(self, account: Account, job: Any, **headers: str) -> None:
        url = urlsplit(account.url)
        self.body = json.dumps(job).encode()
        table = {
            "Host": url.netloc,
            "X-Auth-Token": account.token,
            "Content-Type": JSON_TYPE,
            "Content-Length": str(len(self.body)),
            EXECUTE: "1.0",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        lines = [f"POST {url.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in table.items()]
        self.head = "\r\n".join([*lines, "", ""]).encode()
        self.socket = socket.create_connection(
            (url.hostname or "", url.port or 80), timeout=START_SECONDS
        )

    def send(self) -> Client:
        """Send all of the request."""
        self.socket.sendall(self.head + self.body)
        return self

    def vanish(self, how: str = "close") -> None:
        """Close the connection, or have the kernel `reset` it."""
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


def vms(cluster: Cluster, node: str = "") -> list[int]:
    """Processes of VMs, of that node of a job; sessions before their VM."""
    servers = set(cluster.pids.values())
    found = []
    for pid in sorted(set(tree(cluster.pid)) - servers):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        title = line.partition(b"\0")[0].decode("utf-8", "replace").strip()
        if title.startswith("zvm:") and title.endswith(
            f":{node}" * bool(node)
        ):
            found.append(pid)
    return found


def wait_for_vm(cluster: Cluster, node: str = "") -> list[int]:
    """The VM, as soon as it runs; without a daemon, its session before it."""
    daemons = cluster.settings.executor_options.get("zvm_socket") != ""
    wanted = 1 if daemons else 2
    assert wait_until(
        lambda: len(vms(cluster, node)) >= wanted, START_SECONDS
    ), "no VM was started"
    return vms(cluster, node)


def guests(cluster: Cluster) -> list[int]:
    """The VMs alone, each one process, whoever has started them."""
    found = vms(cluster)
    sessions = set()
    for pid in found:
        try:
            sessions.add(parent(pid))
        except OSError:
            continue  # it ended while we looked
    return [pid for pid in found if pid not in sessions]


def most_vms(cluster: Cluster, answer: Future[requests.Response]) -> int:
    """How many there were at once until the answer."""
    seen = [0]

    def over() -> bool:
        seen.append(len(guests(cluster)))
        return answer.done()

    assert wait_until(over, 60)
    return max(seen)


def parent(pid: int) -> int:
    """The process that started another one."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[1])


def kill(pid: int) -> None:
    """SIGKILL, from outside."""
    os.kill(pid, signal.SIGKILL)


@contextmanager
def posted(
    account: Account, job: Any, **more: Any
) -> Iterator[Future[requests.Response]]:
    """POST a job in a thread of its own, for its JSON answer."""
    with ThreadPoolExecutor(1) as pool:
        asked = {"Accept": JSON_TYPE}
        yield pool.submit(account.post_job, job, asked, **more)


def on_two_servers(run: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes of a job that has one, run until it was on two servers."""
    nodes: list[dict[str, Any]] = []
    while len({node["server"] for node in nodes}) < 2:
        assert len(nodes) < MANY_RUNS, "all of them went to one server"
        (node,) = run()["nodes"]
        nodes.append(node)
    return nodes
