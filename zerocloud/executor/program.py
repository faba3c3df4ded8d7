"""Programs: from what a task names to an artefact's descriptor.

A program is a blob by its digest, or a member of an image.  Each is compiled
once per process (the runner's own cache makes that once per installation);
what is remembered is where the artefact is.  A member is copied out of its
image into a derived file first, by image and name.

An artefact may be evicted until it is open: opening it is the only proof that
it is there, and a task holds it open from then on, which keeps it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from zerocloud.errors import TaskRefused
from zerocloud.executor import tarscan
from zerocloud.executor.blobs import BlobStore, copy_part
from zerocloud.executor.duplex import in_thread
from zerocloud.executor.images import Layer
from zerocloud.executor.once import OnceMap
from zerocloud.executor.templates import chosen
from zerocloud.job.limits import Determinism
from zerocloud.protocol.task import TaskProgram
from zerocloud.sandbox import Artefact, Sandbox

# How often an artefact may be evicted between its making and its opening.
OPENINGS = 4


class _Key(NamedTuple):
    """An artefact: what it was made of, and for which mode."""

    module: str
    determinism: Determinism


@dataclass(frozen=True)
class OpenProgram:
    """A program that can run; whoever opened it closes `fd`.

    `template_of` is the digest of the program that was named, if this is its
    template.
    """

    fd: int
    sha256: str
    compile_seconds: float
    template_of: str = ""


class Programs:
    """The programs that this node has compiled or can compile."""

    def __init__(
        self,
        sandbox: Sandbox,
        blobs: BlobStore,
        limit_bytes: int,
        *,
        use_templates: bool = True,
    ) -> None:
        self._use_templates = use_templates
        self._sandbox = sandbox
        self._blobs = blobs
        self._limit_bytes = limit_bytes
        self._artefacts: OnceMap[_Key, Artefact] = OnceMap(1024)
        self._members: OnceMap[tuple[str, str], tarscan.Place | None] = (
            OnceMap(1024)
        )
        self._digests: OnceMap[tuple[str, str], str] = OnceMap(1024)

    def open_known(
        self, sha256: str, determinism: Determinism
    ) -> OpenProgram | None:
        """The program of that digest if this process compiled it before."""
        key = _Key(sha256, determinism)
        artefact = self._artefacts.peek(key)
        if artefact is None:
            return None
        return self._open(key, artefact, 0.0)

    def open_blob(
        self, program: TaskProgram, sha256: str, determinism: Determinism
    ) -> OpenProgram:
        """The program of a blob that is in the store, compiled if need be."""
        return self._compiled(
            _Key(sha256, determinism),
            program.name,
            partial(self._blobs.kept, self._blobs.path(sha256)),
        )

    def open_member(
        self,
        program: TaskProgram,
        layers: list[Layer],
        args: tuple[str, ...],
        env: Mapping[str, str],
        determinism: Determinism,
    ) -> OpenProgram:
        """The program in the first of the layers that has the member.

        Its template, where the image has one that can stand for it.
        `args` and `env` are the whole ones of the VM.  Raises TaskRefused
        `program_not_found`.
        """
        member = program.member or ""
        searched = [
            layer
            for layer in layers
            if program.image in (None, layer.image.device)
        ]
        for layer in searched:
            if self._find(layer, member) is None:
                continue
            module = self._started(layer, member, args, env)
            key = self._find(layer, module)
            if key is not None:
                opened = self._compiled(
                    _Key(key, determinism),
                    program.name,
                    partial(self._copied, layer, module, key),
                )
                if module == member:
                    return opened
                named = self._digest(layer, member)
                return replace(opened, template_of=named)
        raise _not_found(member, searched)

    def _started(
        self,
        layer: Layer,
        member: str,
        args: tuple[str, ...],
        env: Mapping[str, str],
    ) -> str:
        """The member to run: the program's template, or the program."""
        normal = tarscan.normal(member)
        for template in layer.templates if self._use_templates else ():
            if (
                tarscan.normal(template.program) == normal
                and chosen(template, args, env, dict(layer.env))
                and self._find(layer, template.module) is not None
            ):
                return template.module
        return member

    def _compiled(
        self,
        key: _Key,
        name: str,
        source: Callable[[], AbstractContextManager[str]],
    ) -> OpenProgram:
        """The artefact of that key; `source()` holds the module's path."""
        seconds = 0.0

        def compile_now() -> Artefact:
            with source() as path:
                artefact = self._sandbox.compile(path, name, key.determinism)
            # zvm has just looked at its MAC.
            self._blobs.seal(artefact.path)
            return artefact

        known = self._artefacts.peek(key) is not None
        for _ in range(OPENINGS):
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
        self, key: _Key, artefact: Artefact, seconds: float
    ) -> OpenProgram | None:
        fd = self._blobs.open_sealed(artefact.path)
        if fd is None:
            self._artefacts.forget(key)
            return None
        return OpenProgram(fd, artefact.sha256, seconds)

    def _find(self, layer: Layer, member: str) -> str | None:
        """The key of the member's file, None when the image lacks it."""
        name = (layer.image.sha256, member)
        if self._members.get(name, lambda: _place(layer, member)) is None:
            return None
        label = hashlib.sha256(tarscan.normal(member).encode()).hexdigest()
        return f"{layer.image.sha256}-{label[:32]}"

    def _digest(self, layer: Layer, member: str) -> str:
        """Hex SHA-256 of a member's file; taken once."""
        name = (layer.image.sha256, member)
        place = self._members.get(name, lambda: _place(layer, member))
        if place is None:
            raise _not_found(member, [layer])
        return self._digests.get(
            name, lambda: in_thread(tarscan.digest, layer.fd, place)
        )

    @contextmanager
    def _copied(self, layer: Layer, member: str, key: str) -> Iterator[str]:
        """The path of the member's file, copied out unless it is there.

        It stays there meanwhile.
        """
        fd = self._blobs.open_derived(key)
        if fd is None:
            fd = self._copy(layer, member, key)
        try:
            yield self._blobs.derived_path(key)
        finally:
            os.close(fd)

    def _copy(self, layer: Layer, member: str, key: str) -> int:
        place = self._members.get(
            (layer.image.sha256, member), lambda: _place(layer, member)
        )
        if place is None:
            raise _not_found(member, [layer])
        writer = self._blobs.write_derived(key, self._limit_bytes)
        try:
            copy_part(layer.fd, place.offset, place.size, writer)
            return writer.finish()
        finally:
            writer.close()


def _place(layer: Layer, member: str) -> tarscan.Place | None:
    found = in_thread(tarscan.find, layer.fd, layer.image.device, (member,))
    return found.get(member)


def _not_found(member: str, searched: list[Layer]) -> TaskRefused:
    images = ", ".join(layer.image.device for layer in searched)
    return TaskRefused(
        "program_not_found",
        f"program {member} is not in the images: searched were "
        f"{images or 'none'}",
        status=404,
        may_retry=False,
    )
