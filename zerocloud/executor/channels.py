"""Devices of a task → channels of a manifest, over open descriptors.

A device's name is where the guest finds it; `image` and system images are
layers, not channels.  The identity of an input (path, length, version) enters
the receipt; where its bytes came from, the disk or the proxy, does not, so
that both ways give the same receipt.
"""

from __future__ import annotations

from zerocloud.errors import TaskRefused
from zerocloud.job.limits import GIB
from zerocloud.protocol.manifest import ManifestChannel
from zerocloud.protocol.task import TaskDocument, TaskInput

PATHS = {
    "stdin": "/dev/stdin",
    "stdout": "/dev/stdout",
    "stderr": "/dev/stderr",
    "input": "/dev/input",
    "output": "/dev/output",
    "script": "/dev/script",
}
DEVICES = {path: device for device, path in PATHS.items()}
# Reading is bounded by what there is, and by time; this bounds the counters.
READ_LIMIT_BYTES = 1024 * GIB


def check_devices(task: TaskDocument) -> None:
    """TaskRefused when a device has no place in the guest."""
    names = [i.device for i in task.inputs] + [o.device for o in task.outputs]
    for name in names:
        if name not in PATHS:
            raise TaskRefused(
                "bad_request",
                f"device {name} is not known here; known are "
                + ", ".join(PATHS),
                status=400,
                may_retry=True,
            )


def identity(source: TaskInput) -> str:
    """What an input is, as it enters the receipt."""
    if source.identity is None:
        return ""
    known = source.identity
    return f"{known.version} {known.bytes} {known.path}"


def build(task: TaskDocument, first: int) -> tuple[ManifestChannel, ...]:
    """The channels: inputs, then outputs, in the task's order.

    Positions of descriptors count from `first` in the same order.
    """
    inputs = (
        ManifestChannel(
            path=PATHS[source.device],
            direction="read",
            access=source.access,
            descriptor=first + index,
            identity=identity(source),
            limit_bytes=READ_LIMIT_BYTES,
        )
        for index, source in enumerate(task.inputs)
    )
    outputs = (
        ManifestChannel(
            path=PATHS[output.device],
            direction="write",
            access=output.access,
            descriptor=first + len(task.inputs) + index,
            identity="",
            limit_bytes=output.limit_bytes,
        )
        for index, output in enumerate(task.outputs)
    )
    return (*inputs, *outputs)
