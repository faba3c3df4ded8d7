"""A plan's node, one try → the signed request and its task document.

Pure: everything that it needs was resolved before.  An input says how it is
read (in place, streamed, empty) and which version it is; the identity is the
same for both ways, so that the receipt is too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Image, Input, Node, Plan
from zerocloud.protocol.task import (
    Identity,
    TaskDocument,
    TaskImage,
    TaskInput,
    TaskLimits,
    TaskOutput,
    TaskProgram,
)
from zerocloud.scheduler.content import Content
from zerocloud.scheduler.inputs import Version

PAYLOAD = "payload"


@dataclass(frozen=True)
class Payload:
    """The request's body as data for stdin."""

    content: Content
    sha256: str

    @property
    def identity(self) -> Identity:
        """The payload has no name; its digest is its version."""
        return Identity(PAYLOAD, self.content.length, self.sha256)


@dataclass(frozen=True)
class Materials:
    """What a job's tasks are made of, beside the plan."""

    job_id: str
    plan: Plan
    program_digest: Callable[[ObjectPath], str]
    image_digest: Callable[[ObjectPath], str]
    system_images: Mapping[str, str]
    posted_image: str | None
    payload: Payload | None
    inline_bytes: int


def identity_of(version: Version) -> Identity:
    """An object's identity: its name as the job has it, and the version."""
    path = version.path
    return Identity(
        f"/{path.account}/{path.container}/{path.object}",
        version.bytes,
        version.label,
    )


def task_document(
    materials: Materials,
    node: Node,
    attempt: int,
    version: Callable[[ObjectPath], Version],
    local: ObjectPath | None,
) -> TaskDocument:
    """The document of one try; inputs that are `local` are read in place."""
    limits = node.limits
    determinism = materials.plan.determinism
    return TaskDocument(
        job=materials.job_id,
        node=node.name,
        attempt=attempt,
        program=_program(materials, node),
        args=node.argv,
        env=node.env,
        images=tuple(_image(materials, image) for image in node.images),
        inputs=tuple(
            _input(materials, item, version, local) for item in node.inputs
        ),
        outputs=tuple(
            TaskOutput(o.device, o.access, limits.output_bytes)
            for o in node.outputs
        ),
        limits=TaskLimits(
            memory_bytes=limits.memory_bytes,
            wall_seconds=limits.wall_seconds,
            cpu_seconds=limits.cpu_seconds,
            stderr_bytes=limits.stderr_bytes,
            fuel=limits.fuel if determinism == "strict" else None,
        ),
        ok_exit=node.ok_exit,
        clock_nanoseconds=materials.plan.clock_nanoseconds,
        seed=materials.plan.node_seed(node),
        inline_bytes=materials.inline_bytes,
        determinism=determinism,
    )


def node_blobs(materials: Materials, node: Node) -> tuple[str, ...]:
    """The digests of what a storage server must have for the node."""
    digests = [
        image.sha256
        for image in (_image(materials, item) for item in node.images)
        if image.kind == "blob"
    ]
    program = _program(materials, node).sha256
    if program is not None:
        digests.append(program)
    return tuple(dict.fromkeys(digests))


def pin_of(document: TaskDocument) -> str:
    """The version of what the task reads in place; empty when nothing."""
    for item in document.inputs:
        if item.source == "local" and item.identity is not None:
            return item.identity.version
    return ""


def colocation(key: bytes, server: str) -> str:
    """An opaque name for a server, equal for equal servers of a cluster."""
    return hashlib.blake2b(
        server.encode(), digest_size=8, key=key[:64], person=b"zc-server"
    ).hexdigest()


def _program(materials: Materials, node: Node) -> TaskProgram:
    program = node.program
    if program.path is not None:
        return TaskProgram(
            str(program), sha256=materials.program_digest(program.path)
        )
    return TaskProgram(
        str(program), member=program.member, image=program.image
    )


def _image(materials: Materials, image: Image) -> TaskImage:
    if image.system is not None:
        digest = materials.system_images[image.system]
        return TaskImage(image.device, "system", digest)
    if image.path is not None:
        return TaskImage(
            image.device, "blob", materials.image_digest(image.path)
        )
    return TaskImage(image.device, "blob", materials.posted_image or "")


def _input(
    materials: Materials,
    item: Input,
    version: Callable[[ObjectPath], Version],
    local: ObjectPath | None,
) -> TaskInput:
    if item.path is not None:
        found = version(item.path)
        identity = identity_of(found)
        if item.path == local:
            return TaskInput(
                item.device, item.access, "local", identity=identity
            )
        return TaskInput(
            item.device, item.access, "stream", found.bytes, identity
        )
    payload = materials.payload
    if item.payload and payload is not None:
        return TaskInput(
            item.device,
            item.access,
            "stream",
            payload.content.length,
            payload.identity,
        )
    return TaskInput(item.device, item.access, "empty")
