"""Wildcards → matches, by listing containers with the user's own rights.

Pages through listings (of the account too, when the container has a `*`),
narrowed by the literal text before the first star, and keeps each match's
entry as the version of that input: 600 objects cost one listing, not 600
HEADs.  The order is the listing's: containers by name, objects by name.

It stops listing as soon as there are more matches than a job may have nodes;
build_plan then says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import SCHEME, ObjectPath
from zerocloud.job.wildcards import Match, Pattern, match_name
from zerocloud.scheduler.authorize import refusal
from zerocloud.scheduler.inputs import Inputs
from zerocloud.scheduler.subrequest import Reply

Entry = dict[str, Any]


class Lister(Protocol):
    """What of the pipeline is needed here."""

    def listing(
        self, account: str, container: str | None, **query: str | int
    ) -> tuple[Reply, list[Entry]]:
        """One page of a listing as the user."""


class Planner:
    """Finds what the wildcards of one job match."""

    def __init__(
        self,
        lister: Lister,
        inputs: Inputs,
        *,
        page: int,
        most: int,
        check: Callable[[], None],
    ) -> None:
        """`check` is called between pages; it may raise to stop."""
        self._lister = lister
        self._inputs = inputs
        self._page = page
        self._most = most
        self._check = check

    def matches(
        self, patterns: Iterable[Pattern]
    ) -> dict[Pattern, tuple[Match, ...]]:
        """The matches of each pattern, in the listings' order."""
        return {pattern: tuple(self._of(pattern)) for pattern in patterns}

    def _of(self, pattern: Pattern) -> list[Match]:
        found: list[Match] = []
        for container in self._containers(pattern):
            names = self._pages(
                pattern.account, container, pattern.object_prefix
            )
            for entry in names:
                match = self._match(pattern, container, entry)
                if match is not None:
                    found.append(match)
                if len(found) > self._most:
                    return found
        return found

    def _match(
        self, pattern: Pattern, container: str, entry: Entry
    ) -> Match | None:
        name = str(entry["name"])
        captures = pattern.match(container, name)
        if captures is None:
            return None
        path = ObjectPath(pattern.account, container, name)
        self._inputs.add_entry(path, entry)
        return Match(path, captures)

    def _containers(self, pattern: Pattern) -> Iterator[str]:
        if pattern.container_is_literal:
            yield pattern.container
            return
        for entry in self._pages(
            pattern.account, None, pattern.container_prefix
        ):
            name = str(entry["name"])
            if match_name(pattern.container, name) is not None:
                yield name

    def _pages(
        self, account: str, container: str | None, prefix: str
    ) -> Iterator[Entry]:
        marker = ""
        while True:
            self._check()
            reply, entries = self._lister.listing(
                account,
                container,
                prefix=prefix,
                marker=marker,
                limit=self._page,
            )
            if not reply.ok:
                raise failed_listing(account, container, reply.status)
            # A delimiter would make entries without a name; none is asked.
            yield from (entry for entry in entries if "name" in entry)
            if len(entries) < self._page:
                return
            marker = _last_name(entries[-1])


def _last_name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry.get("subdir"))


def failed_listing(
    account: str, container: str | None, status: int
) -> JobError | ClusterError:
    """The error for a listing that was not answered with 200."""
    what = f"account {account}"
    if container is not None:
        what = f"container {SCHEME}{account}/{container}"
    if status in (401, 403):
        return refusal(status, f"listing {what}")
    if status == 404:
        return JobError("not_found", f"{what} does not exist")
    return ClusterError(
        "input_failed", f"{what} could not be listed (status {status})"
    )
