"""The task document: what one storage node is asked to run (frame `T`).

Written by the proxy filter from a plan's node, read by the executor filter.
`TaskDocument.to_json` and `parse_task` are inverses; `parse_task` refuses
whatever docs/protocol.md section 4 does not name, and bounds every list, text
and number before anything is opened or allocated for it.

It holds no secrets and no host paths: programs and images are named by
digest, inputs by position in the frames that follow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, cast

from zerocloud.errors import ProtocolError
from zerocloud.job.limits import Determinism
from zerocloud.job.plan import Access
from zerocloud.protocol.frames import MAX_PAYLOAD
from zerocloud.protocol.strict import (
    MAX_WHOLE,
    Fields,
    pair_item,
    parse_object,
    text_item,
    to_json,
)

TASK_VERSION = 1
# Of a strict task; the header says it too, so that a server that does not
# know it is passed over.
STRICT_TASK_VERSION = 2
MAX_CHANNELS = 1024
MAX_IMAGES = 64
MAX_NAME = 4096

ImageKind = Literal["blob", "system"]
Source = Literal["local", "stream", "empty"]


@dataclass(frozen=True)
class TaskProgram:
    """What to run: a blob (`sha256`), or `member` of the images.

    `image` names a system image's device; None searches all in order.
    """

    name: str
    sha256: str | None = None
    member: str | None = None
    image: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        if self.sha256 is not None:
            return {"name": self.name, "sha256": self.sha256}
        return {"name": self.name, "member": self.member, "image": self.image}


@dataclass(frozen=True)
class TaskImage:
    """A read-only tar layer, topmost first in the document."""

    device: str
    kind: ImageKind
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        return {
            "device": self.device,
            "kind": self.kind,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Identity:
    """Which bytes an input is; enters the receipt."""

    path: str
    bytes: int
    version: str

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        return {
            "path": self.path,
            "bytes": self.bytes,
            "version": self.version,
        }


@dataclass(frozen=True)
class TaskInput:
    """A readable channel.

    `source` `local` reads the object in the request's path, `stream` the
    frames `D` of this input's position (`bytes` in all), `empty` nothing.
    """

    device: str
    access: Access
    source: Source
    bytes: int | None = None
    identity: Identity | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        table: dict[str, Any] = {
            "device": self.device,
            "access": self.access,
            "source": self.source,
        }
        if self.bytes is not None:
            table["bytes"] = self.bytes
        if self.identity is not None:
            table["identity"] = self.identity.as_dict()
        return table


@dataclass(frozen=True)
class TaskOutput:
    """A writable channel, staged on the node until it is fetched."""

    device: str
    access: Access
    limit_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        return {
            "device": self.device,
            "access": self.access,
            "limit_bytes": self.limit_bytes,
        }


@dataclass(frozen=True)
class TaskLimits:
    """The guest's limits that are not per channel; `fuel` if strict."""

    memory_bytes: int
    wall_seconds: float
    cpu_seconds: float
    stderr_bytes: int
    fuel: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        table = dict(vars(self))
        if self.fuel is None:
            del table["fuel"]
        return table


@dataclass(frozen=True)
class TaskDocument:
    """One node on one server, one try."""

    job: str
    node: str
    attempt: int
    program: TaskProgram
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    images: tuple[TaskImage, ...]
    inputs: tuple[TaskInput, ...]
    outputs: tuple[TaskOutput, ...]
    limits: TaskLimits
    ok_exit: tuple[int, ...]
    clock_nanoseconds: int
    seed: str
    inline_bytes: int
    determinism: Determinism = "default"

    @property
    def version(self) -> int:
        """The least version of the protocol that can say this task."""
        strict = self.determinism == "strict"
        return STRICT_TASK_VERSION if strict else TASK_VERSION

    @property
    def reads_local(self) -> bool:
        """Whether the object in the request's path is read."""
        return any(i.source == "local" for i in self.inputs)

    def as_dict(self) -> dict[str, Any]:
        """The document."""
        table = {
            "version": self.version,
            "job": self.job,
            "node": self.node,
            "attempt": self.attempt,
            "program": self.program.as_dict(),
            "args": list(self.args),
            "env": [list(pair) for pair in self.env],
            "images": [i.as_dict() for i in self.images],
            "inputs": [i.as_dict() for i in self.inputs],
            "outputs": [o.as_dict() for o in self.outputs],
            "limits": self.limits.as_dict(),
            "ok_exit": list(self.ok_exit),
            "clock_nanoseconds": self.clock_nanoseconds,
            "seed": self.seed,
            "inline_bytes": self.inline_bytes,
        }
        if self.version == STRICT_TASK_VERSION:
            table["determinism"] = self.determinism
        return table

    def to_json(self) -> bytes:
        """The payload of frame `T`; ProtocolError when it does not fit."""
        return to_json(self.as_dict(), MAX_PAYLOAD)


def digest(document: bytes) -> str:
    """The value of X-Zerocloud-Digest."""
    return hashlib.sha256(document).hexdigest()


def _program(item: Any, what: str) -> TaskProgram:
    fields = Fields(item, what)
    name = fields.text("name", MAX_NAME)
    if fields.has("sha256"):
        program = TaskProgram(name, sha256=fields.hexadecimal("sha256", 64))
    else:
        program = TaskProgram(
            name,
            member=fields.text("member", MAX_NAME),
            image=fields.optional_text("image", MAX_NAME),
        )
    fields.done()
    return program


def _image(item: Any, what: str) -> TaskImage:
    fields = Fields(item, what)
    image = TaskImage(
        device=fields.text("device", MAX_NAME),
        kind=cast(ImageKind, fields.choice("kind", ("blob", "system"))),
        sha256=fields.hexadecimal("sha256", 64),
    )
    fields.done()
    return image


def _identity(item: Any, what: str) -> Identity:
    fields = Fields(item, what)
    identity = Identity(
        path=fields.text("path", MAX_NAME),
        bytes=fields.whole("bytes"),
        version=fields.text("version", MAX_NAME),
    )
    fields.done()
    return identity


def _access(fields: Fields) -> Access:
    return cast(Access, fields.choice("access", ("sequential", "random")))


def _input(item: Any, what: str) -> TaskInput:
    fields = Fields(item, what)
    device = fields.text("device", MAX_NAME)
    access = _access(fields)
    source = fields.choice("source", ("local", "stream", "empty"))
    length = fields.whole("bytes") if source == "stream" else None
    identity = None
    if source != "empty" or fields.has("identity"):
        identity = _identity(fields.take("identity"), f"{what}.identity")
    fields.done()
    return TaskInput(device, access, cast(Source, source), length, identity)


def _output(item: Any, what: str) -> TaskOutput:
    fields = Fields(item, what)
    output = TaskOutput(
        device=fields.text("device", MAX_NAME),
        access=_access(fields),
        limit_bytes=fields.whole("limit_bytes"),
    )
    fields.done()
    return output


def _limits(item: Any, what: str, *, strict: bool) -> TaskLimits:
    fields = Fields(item, what)
    limits = TaskLimits(
        memory_bytes=fields.whole("memory_bytes", 1),
        wall_seconds=fields.number("wall_seconds", 0.001, MAX_WHOLE),
        cpu_seconds=fields.number("cpu_seconds", 0.001, MAX_WHOLE),
        stderr_bytes=fields.whole("stderr_bytes"),
        fuel=fields.whole("fuel") if strict else None,
    )
    fields.done()
    return limits


def _exit_code(item: Any, what: str) -> int:
    if type(item) is not int or not 0 <= item <= 2**32 - 1:
        raise ProtocolError(f"{what} is {item!r:.80}; allowed is a status")
    return item


def parse_task(data: bytes) -> TaskDocument:
    """The document in frame `T`; raises ProtocolError that says where."""
    fields = Fields(parse_object(data, "task", MAX_PAYLOAD), "task")
    version = fields.version(TASK_VERSION, STRICT_TASK_VERSION)
    strict = version == STRICT_TASK_VERSION
    if strict:
        fields.choice("determinism", ("strict",))
    task = TaskDocument(
        job=fields.text("job", MAX_NAME),
        node=fields.text("node", MAX_NAME),
        attempt=fields.whole("attempt", 0, 10**6),
        program=_program(fields.take("program"), "task.program"),
        args=fields.items("args", text_item),
        env=fields.items("env", pair_item),
        images=fields.items("images", _image, MAX_IMAGES),
        inputs=fields.items("inputs", _input, MAX_CHANNELS),
        outputs=fields.items("outputs", _output, MAX_CHANNELS),
        limits=_limits(fields.take("limits"), "task.limits", strict=strict),
        ok_exit=fields.items("ok_exit", _exit_code, 256),
        clock_nanoseconds=fields.whole("clock_nanoseconds"),
        seed=fields.hexadecimal("seed", 64),
        inline_bytes=fields.whole("inline_bytes"),
        determinism="strict" if strict else "default",
    )
    fields.done()
    _check_devices(task)
    return task


def _check_devices(task: TaskDocument) -> None:
    seen: set[str] = set()
    names = [i.device for i in task.inputs] + [o.device for o in task.outputs]
    for name in names:
        if name in seen:
            raise ProtocolError(f"task has device {name!r} twice")
        seen.add(name)
