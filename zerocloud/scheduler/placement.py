"""Which server a node's task goes to next: pure, no ring, no clock.

Turns the servers that a node may run on (its object's primaries, or all of
them) and what the job knows of them (tasks under way there, servers that
failed) into an order of tries.

* Servers that failed go last, never away: they may be the only ones.
* Then the fewest tasks of this job under way; ties fall by a hash of job, node
  and server, so that equal jobs spread over the cluster and a repeated try of
  the same job goes the same way.
* Nodes with the same `location` share a server: the one that holds most of
  their objects.

Order never changes results (docs/guarantees.md): a task is the same anywhere.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Target:
    """A disk on a storage server; `partition` is the object's, or 0."""

    ip: str
    port: int
    device: str
    partition: int
    policy_index: int

    @property
    def server(self) -> str:
        """The server's name within this process; never shown to a user."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port}"


class HasServer(Protocol):
    """All that an order of places looks at."""

    @property
    def server(self) -> str:
        """Name of the storage server, the same for each of its disks."""


Place = TypeVar("Place", bound=HasServer)


@dataclass(frozen=True)
class Conditions:
    """What is known of the servers when a task is placed."""

    load: Mapping[str, int]
    suspects: Collection[str] = ()
    preferred: str | None = None


def spread(salt: str, server: str) -> bytes:
    """A number that is fixed for (salt, server) and even over servers."""
    return hashlib.blake2b(
        f"{salt}\0{server}".encode(), digest_size=8
    ).digest()


def order(
    places: Iterable[Place], conditions: Conditions, salt: str
) -> list[Place]:
    """The places in the order in which they should be tried."""

    def rank(place: Place) -> tuple[bool, bool, int, bytes]:
        server = place.server
        return (
            server in conditions.suspects,
            server != conditions.preferred,
            conditions.load.get(server, 0),
            spread(salt, server),
        )

    return sorted(places, key=rank)


@dataclass(frozen=True)
class Server:
    """A storage server and its disks."""

    server: str
    disks: tuple[Target, ...]

    def disk(self, salt: str) -> Target:
        """One of the disks, fixed for `salt`, even over many salts."""
        number = int.from_bytes(spread(salt, self.server), "big")
        return self.disks[number % len(self.disks)]


def by_server(disks: Iterable[Target]) -> tuple[Server, ...]:
    """The disks grouped by their server."""
    groups: dict[str, list[Target]] = {}
    for disk in disks:
        groups.setdefault(disk.server, []).append(disk)
    return tuple(Server(name, tuple(group)) for name, group in groups.items())


def shared_server(
    holders: Sequence[Collection[str]], servers: Collection[str], salt: str
) -> str | None:
    """The server for a group of nodes that want to be together.

    `holders` has, per node, the servers that hold its object (none when it
    may run anywhere); the server that most of them name wins.
    """
    votes = Counter(server for names in holders for server in set(names))
    for server in servers:
        votes.setdefault(server, 0)
    if not votes:
        return None
    return min(votes, key=lambda name: (-votes[name], spread(salt, name)))
