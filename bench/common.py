"""What the benchmarks share: a cluster of processes, a client, statistics."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from zerocloud.cluster import Cluster, ClusterSettings

ROOT = Path(__file__).resolve().parent.parent
GUESTS = ROOT / "build" / "guests"


def say(text: str) -> None:
    """Progress, for a person."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Account:
    """An account of the cluster, over one keep-alive connection."""

    def __init__(self, env: dict[str, str]) -> None:
        self.http = requests.Session()
        answer = self.http.get(
            env["ST_AUTH"],
            headers={
                "X-Auth-User": env["ST_USER"],
                "X-Auth-Key": env["ST_KEY"],
            },
            timeout=30,
        )
        answer.raise_for_status()
        self.url = answer.headers["X-Storage-Url"]
        self.http.headers["X-Auth-Token"] = answer.headers["X-Auth-Token"]

    def put(self, container: str, name: str = "", data: Any = b"") -> None:
        """PUT a container, or an object."""
        path = quote(f"/{container}/{name}".rstrip("/"))
        self.http.put(
            self.url + path, data=data, timeout=600
        ).raise_for_status()

    def get(self, container: str, name: str) -> bytes:
        """GET an object whole."""
        answer = self.http.get(
            self.url + quote(f"/{container}/{name}"), timeout=600
        )
        answer.raise_for_status()
        return answer.content

    def run(self, job: object) -> requests.Response:
        """POST a job; raise unless it succeeded."""
        answer = self.http.post(
            self.url,
            data=json.dumps(job),
            headers={
                "X-Zerovm-Execute": "1.0",
                "Content-Type": "application/json",
            },
            timeout=600,
        )
        status = answer.headers.get("X-Zerovm-Job-Status")
        if answer.status_code != 200 or status != "succeeded":
            raise RuntimeError(
                f"job: {answer.status_code} {status}: {answer.text[:500]} "
                f"{answer.headers.get('X-Nexe-Error', '')}"
            )
        return answer


@contextlib.contextmanager
def process_cluster() -> Iterator[tuple[Account, Cluster]]:
    """A cluster with one process per server, and an account on it."""
    with tempfile.TemporaryDirectory(prefix="zerocloud-bench-") as folder:
        cluster = Cluster(Path(folder), ClusterSettings(mode="process"))
        cluster.start()
        try:
            yield Account(cluster.env), cluster
        finally:
            cluster.stop()


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def interleave(
    actions: dict[str, Callable[[], object]],
    rounds: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Time the actions in turn, `rounds` times, after one round unheeded.

    `before` runs untimed before each action, to begin from the same state.
    """
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            before()
            took = seconds(action)
            if turn:
                samples[name].append(took)
    return samples


def median(samples: Sequence[float]) -> float:
    """The median, in the samples' unit."""
    return statistics.median(samples)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(samples)
    rank = round(percent / 100 * (len(ordered) - 1))
    return ordered[min(rank, len(ordered) - 1)]


def job(program: str, path: str, **device: object) -> list[dict[str, Any]]:
    """A one-group job: `program` over `path`, stdout into the answer."""
    return [
        {
            "name": "task",
            "exec": {"path": program},
            "devices": [
                {"name": "stdin", "path": path},
                {"name": "stdout", **device},
            ],
        }
    ]
