"""What functional tests share: an account with helpers, and what is left.

`Account` talks HTTP like any client (requests), so that a test reads as what
a user does.  `residue` counts what jobs must not leave behind on a cluster.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from zerocloud import headers as names
from zerocloud.cluster import Cluster

TIMEOUT_SECONDS = 60


@dataclass
class Account:
    """A logged-in user with a container of the test's own."""

    cluster: Cluster
    user: str = "test:tester"
    key: str = "testing"
    container: str = ""
    url: str = ""
    token: str = ""
    session: requests.Session = field(default_factory=requests.Session)

    def log_in(self, proxy: str | None = None) -> Account:
        """Get a token from the first proxy, or from `proxy`."""
        answer = self.session.get(
            f"{proxy or self.cluster.url}/auth/v1.0",
            headers={"X-Auth-User": self.user, "X-Auth-Key": self.key},
            timeout=TIMEOUT_SECONDS,
        )
        answer.raise_for_status()
        self.url = answer.headers["X-Storage-Url"]
        self.token = answer.headers["X-Auth-Token"]
        return self

    @property
    def name(self) -> str:
        """The account's name in paths: AUTH_test."""
        return self.url.rpartition("/")[2]

    def path(self, name: str, container: str | None = None) -> str:
        """`swift://~/container/name`, as jobs write it."""
        return f"swift://~/{container or self.container}/{name}"

    def request(
        self,
        method: str,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> requests.Response:
        """Any request below the account; `path` is not quoted further."""
        return self.session.request(
            method,
            self.url + (f"/{path}" if path else ""),
            headers={"X-Auth-Token": self.token, **(headers or {})},
            timeout=TIMEOUT_SECONDS,
            **more,
        )

    def create(self, container: str, **headers: str) -> str:
        """Make a container; keywords are headers (X_Storage_Policy=…)."""
        answer = self.request("PUT", quote(container), _dashed(headers))
        answer.raise_for_status()
        return container

    def put(
        self,
        name: str,
        data: Any = b"",
        container: str | None = None,
        **headers: str,
    ) -> str:
        """Store an object; returns its ETag.  Keywords are headers."""
        answer = self.request(
            "PUT", self._object(name, container), _dashed(headers), data=data
        )
        answer.raise_for_status()
        return answer.headers["Etag"].strip('"')

    def get(self, name: str, container: str | None = None) -> bytes:
        """The bytes of an object."""
        answer = self.request("GET", self._object(name, container))
        answer.raise_for_status()
        return answer.content

    def head(
        self, name: str, container: str | None = None
    ) -> requests.Response:
        """The HEAD answer of an object, whatever its status."""
        return self.request("HEAD", self._object(name, container))

    def delete(self, name: str, container: str | None = None) -> int:
        """Delete an object; returns the status."""
        path = self._object(name, container)
        return self.request("DELETE", path).status_code

    def listing(self, container: str | None = None, **query: str) -> list[str]:
        """The names in a container, in order."""
        answer = self.request(
            "GET",
            quote(container or self.container),
            params={"format": "json", **query},
        )
        answer.raise_for_status()
        return [entry["name"] for entry in answer.json()]

    def post_job(
        self, job: Any, headers: Mapping[str, str] | None = None, **more: Any
    ) -> requests.Response:
        """POST a job: JSON from a list or dict; bytes or str as they are."""
        json_job = not isinstance(job, (bytes, str))
        sent = {
            names.EXECUTE: "1.0",
            "Content-Type": "application/json"
            if json_job
            else "application/octet-stream",
            **(headers or {}),
        }
        data = json.dumps(job) if json_job else job
        return self.request("POST", "", sent, data=data, **more)

    def run(self, job: Any, **more: Any) -> dict[str, Any]:
        """POST a job for its JSON report; it must have been accepted."""
        answer = self.post_job(job, {"Accept": names.JSON_TYPE}, **more)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        report: dict[str, Any] = answer.json()
        return report

    def _object(self, name: str, container: str | None) -> str:
        return f"{quote(container or self.container)}/{quote(name)}"

    def close(self) -> None:
        """Close the connections."""
        self.session.close()


def _dashed(keywords: Mapping[str, str]) -> dict[str, str]:
    return {k.replace("_", "-"): v for k, v in keywords.items()}


def tree(pid: int, *, zombies: bool = False) -> list[int]:
    """All living descendants of a process; with those not reaped, if asked."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_bytes()
        except OSError:
            continue  # it ended while we looked
        # "pid (name) state ppid": the name may hold blanks and brackets.
        state, parent = stat.rpartition(b")")[2].split()[:2]
        if zombies or state != b"Z":
            children.setdefault(int(parent), []).append(int(entry))
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def command_name(pid: int) -> str:
    """The process's name in the process table; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_runners_own(pid: int) -> bool:
    """A daemon, or what it keeps ready: there whether or not a job runs.

    Such a process comes and goes by itself: it may have ended since it was
    listed, or not have got its name yet.
    """
    name = command_name(pid)
    if name == "zvm":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return True  # it has ended
        return any(b"zygote" in word for word in words)
    return name in ("", "zvm-serve", "zvm-zygote", "zvm-idle")


def open_files(pid: int) -> Counter[str]:
    """What a process has open, as the kernel names it."""
    found: Counter[str] = Counter()
    for entry in _list(Path(f"/proc/{pid}/fd")):
        try:
            found[os.readlink(entry)] += 1
        except OSError:
            continue  # closed while we looked
    return found


def _list(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # the process has ended


@dataclass(frozen=True)
class Residue:
    """What jobs could leave behind on a cluster."""

    processes: int
    data_files: int
    deleted_files: int
    staged_files: int
    descriptors: int
    drafts: int

    def within(self, before: Residue) -> bool:
        """Nothing more than before; a connection may have ended since."""
        return all(getattr(self, k) <= v for k, v in vars(before).items())


def residue(cluster: Cluster) -> Residue:
    """Count processes, descriptors of the servers, staged and draft files.

    Close your own connections before: each is a descriptor of the proxy.
    """
    servers = set(cluster.pids.values())
    opened = [
        name
        for pid in servers
        for name in open_files(pid).elements()
        if not _is_lasting(name, cluster)
    ]
    staged = [
        path
        for node in cluster.nodes
        for path in (node.folder / "zerocloud" / "staging").rglob("*")
        if path.is_file()
    ]
    below = set(tree(cluster.pid, zombies=True)) - servers
    return Residue(
        processes=sum(not is_runners_own(pid) for pid in below),
        data_files=sum(name.endswith(".data") for name in opened),
        deleted_files=sum(name.endswith(" (deleted)") for name in opened),
        staged_files=len(staged),
        descriptors=len(opened),
        drafts=len(_drafts(cluster)),
    )


def _is_lasting(name: str, cluster: Cluster) -> bool:
    # One event loop per thread of the pool, the cluster's own cache and logs,
    # each node's table of slots: opened when first needed, and kept.
    mine = (str(cluster.folder.run), str(cluster.folder.log))
    return (
        name == "anon_inode:[eventpoll]"
        or name.startswith(mine)
        or name.endswith("/zerocloud/admission/table")
    )


def _drafts(cluster: Cluster) -> list[Path]:
    """Files that are still being written, or were never finished.

    Only of a cluster that shares its cache with nobody.
    """
    chosen = cluster.settings.executor_options.get("cache_dir")
    if chosen is None:
        return []
    cache = Path(chosen)
    return [*cache.rglob(".new-*"), *cache.rglob("*.draft")]


def wait_until(
    condition: Callable[[], bool], timeout_seconds: float = 5.0
) -> bool:
    """Poll a condition until it holds; False when it never did."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def assert_nothing_left(
    cluster: Cluster, before: Residue, timeout_seconds: float
) -> None:
    """Assert that soon nothing is left that was not there before."""
    seen = [residue(cluster)]

    def is_clean() -> bool:
        seen[0] = residue(cluster)
        return seen[0].within(before)

    clean = wait_until(is_clean, timeout_seconds)
    assert clean, f"before: {before}; left: {seen[0]}"
