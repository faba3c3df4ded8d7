"""The frozen plan of a job: nodes and what each reads, writes and runs.

`build_plan` (zerocloud/job/expand.py) makes it from a parsed job and the names
that its wildcards matched; everything after it (authorize, place, dispatch,
commit, answer) only reads it.  A plan holds literal names, never patterns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from zerocloud.job.limits import Determinism, Limits
from zerocloud.job.paths import ObjectPath

Access = Literal["sequential", "random"]


@dataclass(frozen=True)
class Program:
    """What a node executes.

    Either `path` (an object), or `member` of the images: of the system image
    `image`, or, when that is None, of the first image that has it.
    """

    path: ObjectPath | None = None
    member: str = ""
    image: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"file://{self.image + ':' if self.image else ''}{self.member}"


@dataclass(frozen=True)
class Input:
    """A readable channel.

    `path` is the object to read; without one it is the request's payload
    (`payload` true) or empty.
    """

    device: str
    access: Access
    path: ObjectPath | None = None
    payload: bool = False


@dataclass(frozen=True)
class Output:
    """A writable channel: stored at `path`, or immediate without one."""

    device: str
    access: Access
    path: ObjectPath | None
    content_type: str
    meta: tuple[tuple[str, str], ...] = ()
    min_size: int = 0


@dataclass(frozen=True)
class Image:
    """A tar layer: an object, the POSTed tar, or a system image by name."""

    device: str
    path: ObjectPath | None = None
    posted: bool = False
    system: str | None = None


@dataclass(frozen=True)
class Node:
    """One numbered instance of a group: one VM."""

    index: int
    name: str
    group: str
    program: Program
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    images: tuple[Image, ...]
    limits: Limits
    attach: ObjectPath | None = None
    location: str | None = None
    ok_exit: tuple[int, ...] = (0,)

    @property
    def stored_outputs(self) -> tuple[Output, ...]:
        """The outputs that become objects."""
        return tuple(o for o in self.outputs if o.path is not None)

    @property
    def immediate_outputs(self) -> tuple[Output, ...]:
        """The outputs that go into the answer, in the job's order."""
        return tuple(o for o in self.outputs if o.path is None)


@dataclass(frozen=True)
class Plan:
    """All nodes of a job, in node order."""

    nodes: tuple[Node, ...]
    clock_nanoseconds: int = 946_684_800_000_000_000
    seed: str = ""
    determinism: Determinism = "default"
    options: dict[str, object] = field(default_factory=dict)

    def node_seed(self, node: Node) -> str:
        """The seed of a node's random numbers: 64 hex digits.

        A function of the job's seed and the node's name, so that nodes of a
        group draw different numbers, and each the same ones every time.
        """
        text = f"zerocloud node {self.seed} {node.name}"
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def reads(self) -> Iterator[ObjectPath]:
        """Every object that is read, once: inputs, programs, images."""
        seen: dict[ObjectPath, None] = {}
        for node in self.nodes:
            paths = [
                node.program.path,
                *(i.path for i in node.inputs),
                *(i.path for i in node.images),
            ]
            seen.update((p, None) for p in paths if p is not None)
        return iter(seen)

    def writes(self) -> Iterator[ObjectPath]:
        """Every object that is written (a plan has no two alike)."""
        for node in self.nodes:
            for output in node.stored_outputs:
                if output.path is not None:
                    yield output.path
