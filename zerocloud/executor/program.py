"""Programs: from what a task names to an artefact's descriptor.

A program is a blob by its digest, or a member of an image.  Each is compiled
once per process (the runner's own cache makes that once per installation);
what is remembered is where the artefact is.  A member is copied out of its
image into a derived file first, by image and name.

An artefact may be evicted at any time: opening it is the only proof that it is
there, and a task holds it open from then on.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from zerocloud.errors import TaskRefused
from zerocloud.executor import tarscan
from zerocloud.executor.blobs import BlobStore, copy_part
from zerocloud.executor.duplex import in_thread
from zerocloud.executor.images import Layer
from zerocloud.executor.once import OnceMap
from zerocloud.protocol.task import TaskProgram
from zerocloud.sandbox import Artefact, Sandbox


@dataclass(frozen=True)
class OpenProgram:
    """A program that can run; whoever opened it closes `fd`."""

    fd: int
    sha256: str
    compile_seconds: float


class Programs:
    """The programs that this node has compiled or can compile."""

    def __init__(
        self, sandbox: Sandbox, blobs: BlobStore, limit_bytes: int
    ) -> None:
        self._sandbox = sandbox
        self._blobs = blobs
        self._limit_bytes = limit_bytes
        self._artefacts: OnceMap[str, Artefact] = OnceMap(1024)
        self._members: OnceMap[tuple[str, str], str | None] = OnceMap(1024)

    def open_known(self, sha256: str) -> OpenProgram | None:
        """The program of that digest if this process compiled it before."""
        artefact = self._artefacts.peek(sha256)
        if artefact is None:
            return None
        return self._open(sha256, artefact, 0.0)

    def open_blob(self, program: TaskProgram, sha256: str) -> OpenProgram:
        """The program of a blob that is in the store, compiled if need be."""
        return self._compiled(sha256, self._blobs.path(sha256), program.name)

    def open_member(
        self, program: TaskProgram, layers: list[Layer]
    ) -> OpenProgram:
        """The program in the first of the layers that has the member.

        Raises TaskRefused `program_not_found`.
        """
        member = program.member or ""
        searched = [
            layer
            for layer in layers
            if program.image in (None, layer.image.device)
        ]
        for layer in searched:
            key = self._find(layer, member)
            if key is not None:
                path = self._blobs.derived_path(key)
                return self._compiled(key, path, program.name)
        raise _not_found(member, searched)

    def _compiled(self, key: str, path: str, name: str) -> OpenProgram:
        seconds = 0.0

        def compile_now() -> Artefact:
            return self._sandbox.compile(path, name)

        known = self._artefacts.peek(key) is not None
        for _ in range(2):
            artefact = self._artefacts.get(key, compile_now)
            if not known and not artefact.cached:
                seconds = artefact.seconds
            opened = self._open(key, artefact, seconds)
            if opened is not None:
                return opened
        raise TaskRefused(
            "internal",
            f"program {name} was evicted while it was opened",
            status=503,
            may_retry=True,
        )

    def _open(
        self, key: str, artefact: Artefact, seconds: float
    ) -> OpenProgram | None:
        fd = self._blobs.open_artefact(artefact.path)
        if fd is None:
            self._artefacts.forget(key)
            return None
        return OpenProgram(fd, artefact.sha256, seconds)

    def _find(self, layer: Layer, member: str) -> str | None:
        """The key of the member's file, None when the image lacks it."""
        name = (layer.image.sha256, member)
        key = self._members.get(name, lambda: self._extract(layer, member))
        if key is not None and self._artefacts.peek(key) is None:
            path = self._blobs.derived_path(key)
            if not os.path.exists(path):
                self._members.forget(name)
                return self._find(layer, member)
        return key

    def _extract(self, layer: Layer, member: str) -> str | None:
        """The key of the derived file, None when it is not in the image."""
        name = layer.image.device
        places = in_thread(tarscan.find, layer.fd, name, (member,))
        place = places.get(member)
        if place is None:
            return None
        label = hashlib.sha256(tarscan.normal(member).encode()).hexdigest()
        key = f"{layer.image.sha256}-{label[:32]}"
        writer = self._blobs.write_derived(key, self._limit_bytes)
        try:
            copy_part(layer.fd, place.offset, place.size, writer)
            writer.finish()
        finally:
            writer.close()
        return key


def _not_found(member: str, searched: list[Layer]) -> TaskRefused:
    images = ", ".join(layer.image.device for layer in searched)
    return TaskRefused(
        "program_not_found",
        f"program {member} is not in the images: searched were "
        f"{images or 'none'}",
        status=404,
        may_retry=False,
    )
