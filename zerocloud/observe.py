"""What operators see: log fields and counters.

Logs: `key=value`, transaction and job first, one info line per job and one per
task.  Never bodies, tokens or guest output; a user's mistake is logged by its
code and place, as its text quotes what the user wrote.

Counters go through Swift's own statsd (`log_statsd_host` in the conf).  Every
name stands in a table here, with `*` for a word that comes from the job; a
name that is in no table raises, and docs/operations.md lists both tables (a
test holds the page to them).  Without a statsd host nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


def fields(**values: object) -> str:
    """`a=1 b="two words"`: None is left out, blanks and quotes are quoted."""
    return " ".join(
        f"{name}={_value(value)}"
        for name, value in values.items()
        if value is not None
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    plain = text.isprintable() and not set(text) & set(' "=\\')
    if plain and text:
        return text
    escaped = text.encode("unicode_escape").decode("ascii")
    return '"' + escaped.replace('"', '\\"') + '"'


# Counters, their names after the prefix.  `.timing` is in milliseconds, as
# Swift's are; all others are counts.
PROXY_PREFIX = "zerocloud"
PROXY_COUNTERS = {
    "jobs": "requests that start a job",
    "jobs.succeeded": "jobs whose nodes all succeeded",
    "jobs.failed": "jobs with a node that failed; its outcome is data",
    "jobs.refused.*": "jobs refused with a 4xx or 501, by code",
    "jobs.error.*": "jobs that the service failed, by code",
    "jobs.abandoned": "jobs whose client went away before the answer",
    "jobs.total.timing": "a job, from its request to its answer",
    "jobs.receive.timing": "to receive and parse a job",
    "jobs.plan.timing": "to plan a job: listings, versions, programs",
    "jobs.authorize.timing": "to check a job's rights",
    "jobs.run.timing": "from the first task's start to the last one's end",
    "jobs.commit.timing": "to store a job's outputs",
    "nodes": "nodes of jobs that were answered",
    "nodes.failed": "those that failed",
    "tasks.failed.*": "tries of a node that failed on a server, by code",
    "bytes.in_place": "input bytes read where they lie",
    "bytes.streamed": "input bytes sent to storage servers",
    "bytes.output": "bytes of outputs",
    "cpu_milliseconds": "processor time of programs",
}

EXECUTOR_PREFIX = "zerocloud-executor"
EXECUTOR_COUNTERS = {
    "tasks": "tasks taken",
    "tasks.refused.*": "requests refused before a task was taken, by code",
    "tasks.outcome.*": "programs that ended, by kind: exit trap limit killed",
    "tasks.nonzero": "programs that ended with an exit code but 0",
    "tasks.limit.*": "programs ended by a limit, by its name",
    "tasks.failed.*": "tasks taken that this server failed, by code",
    "tasks.cancelled": "tasks given up because the proxy said so or went",
    "tasks.total.timing": "a task, from its request to its end",
    "tasks.queue.timing": "to wait for a slot",
    "tasks.prepare.timing": "to receive, open and compile what a task needs",
    "tasks.run.timing": "the VM, from its start until it is gone",
    "programs.cached": "tasks whose program was compiled before",
    "programs.compiled": "tasks that compiled their program",
    "programs.compile.timing": "to compile a program",
    "blobs.cached": "programs and images of tasks that were here",
    "blobs.needed": "those that the proxy had to send",
    "bytes.in_place": "input bytes read where they lie",
    "bytes.streamed": "input bytes received",
    "bytes.staged": "bytes of outputs that were staged",
}


class Statsd(Protocol):
    """The part of Swift's logger that counts."""

    def update_stats(self, metric: str, value: int) -> object:
        """Add to a counter."""

    def timing(self, metric: str, timing_ms: float) -> object:
        """Tell how long something took."""


class Counters:
    """The counters of one filter; without a statsd nothing is sent."""

    def __init__(
        self, table: Mapping[str, str], statsd: Statsd | None
    ) -> None:
        self._table = table
        self._statsd = statsd

    def add(self, name: str, amount: int = 1) -> None:
        """Count; 0 is not sent.  KeyError when the name is in no table."""
        self._check(name)
        if self._statsd is not None and amount:
            self._statsd.update_stats(name, amount)

    def add_word(self, name: str, word: str) -> None:
        """Count under `name.word`: what the table has as `name.*`."""
        self._table[f"{name}.*"]
        self.add(f"{name}.{_plain(word)}")

    def took(self, name: str, seconds: float) -> None:
        """Tell seconds as `name.timing`, which is in milliseconds."""
        metric = f"{name}.timing"
        self._check(metric)
        if self._statsd is not None:
            self._statsd.timing(metric, round(seconds * 1000, 3))

    def _check(self, name: str) -> None:
        if name not in self._table and not _starred(name, self._table):
            raise KeyError(f"counter {name!r} is in no table")


def _starred(name: str, table: Iterable[str]) -> bool:
    return f"{name.rpartition('.')[0]}.*" in table


def _plain(word: str) -> str:
    """A word that statsd's line format cannot mistake for something else."""
    kept = "".join(c if c.isascii() and c.isalnum() else "_" for c in word)
    return kept[:64] or "_"


NO_PROXY_COUNTERS = Counters(PROXY_COUNTERS, None)
NO_EXECUTOR_COUNTERS = Counters(EXECUTOR_COUNTERS, None)
