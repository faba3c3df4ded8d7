"""Tar layers: which there are, what they say about themselves, descriptors.

A *system image* is a file of this node, named in the conf and known by its
digest; a *blob* image came from the proxy.  One that is gzipped is inflated
once, into a derived file.  The runner reads layers as they are; here only the
small file `.zerocloud/image.json` is read, for the defaults of `env` and for
the templates of a system image.

Digests of system images are taken once per file (path, inode, size, time of
change) and process, in a thread: the proxy must not run a job on a node whose
`python3` is another than the one it promised.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from zerocloud.errors import ProtocolError, TaskRefused
from zerocloud.executor import tarscan
from zerocloud.executor.blobs import BlobStore
from zerocloud.executor.duplex import breathe, in_thread
from zerocloud.executor.once import OnceMap
from zerocloud.executor.templates import MOST, Template, parse_template
from zerocloud.protocol.strict import Fields, parse_object
from zerocloud.protocol.task import TaskImage

DESCRIPTION = ".zerocloud/image.json"
_FileKey = tuple[str, int, int, int]

# By file, not by filter: one process may serve several storage nodes.
_file_digests: OnceMap[_FileKey, str] = OnceMap(256)


@dataclass(frozen=True)
class ImageFacts:
    """What was found out about an image, by its digest."""

    gzipped: bool
    env: tuple[tuple[str, str], ...] = ()
    templates: tuple[Template, ...] = ()


@dataclass(frozen=True)
class Layer:
    """An image that is open; whoever opened it closes it."""

    image: TaskImage
    fd: int
    env: tuple[tuple[str, str], ...] = ()
    templates: tuple[Template, ...] = ()


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file; blocks its green thread only, and once."""
    state = os.stat(path)
    key = (str(path), state.st_ino, state.st_size, state.st_mtime_ns)
    return _file_digests.get(key, lambda: in_thread(_digest, path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Images:
    """The images that this node has or can get."""

    def __init__(
        self,
        system: tuple[tuple[str, Path], ...],
        blobs: BlobStore,
        limit_bytes: int,
    ) -> None:
        # A name may stand for several files, of which the digest that the
        # proxy promised picks one: so images are changed node by node.
        self._system: dict[str, list[Path]] = {}
        for name, path in system:
            self._system.setdefault(name, []).append(path)
        self._blobs = blobs
        self._limit_bytes = limit_bytes
        self._facts: OnceMap[str, ImageFacts] = OnceMap(256)

    def check(self, images: tuple[TaskImage, ...]) -> None:
        """TaskRefused `unknown_image` unless the system images are right."""
        for image in images:
            if image.kind == "system":
                self._check_system(image)

    def _check_system(self, image: TaskImage) -> Path:
        paths = self._system.get(image.device)
        if paths is None:
            raise _unknown(image, "is not known on this storage node")
        found = []
        for path in paths:
            try:
                digest = file_digest(path)
            except OSError:
                continue  # said below, unless another file is the right one
            if digest == image.sha256:
                return path
            found.append(digest)
        if not found:
            raise _unknown(image, "cannot be read on this storage node")
        raise _unknown(
            image,
            f"has digest {' and '.join(found)} on this storage node; the job "
            f"wants {image.sha256}",
        )

    def open_system(self, image: TaskImage) -> int:
        """A descriptor of a system image that `check` has passed.

        TaskRefused when it went away, or was replaced, since then.
        """
        path = self._check_system(image)
        flags = os.O_RDONLY | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except OSError:
            raise _unknown(
                image, "cannot be read on this storage node"
            ) from None

    def open_layer(self, image: TaskImage, raw: int) -> Layer:
        """The image as a tar; `raw` is taken over, and closed on errors.

        Raises TaskRefused `image_invalid`.
        """
        try:
            facts = self._facts.get(
                image.sha256, lambda: self._look(image, raw)
            )
            if not facts.gzipped:
                return Layer(image, raw, facts.env, _usable(image, facts))
            fd = self._blobs.open_derived(_inflated(image))
            if fd is None:
                fd = self._inflate(image, raw)
        except BaseException:
            os.close(raw)
            raise
        os.close(raw)
        return Layer(image, fd, facts.env, _usable(image, facts))

    def _look(self, image: TaskImage, raw: int) -> ImageFacts:
        # Its own descriptor: the task that asked first may end before.
        fd = os.open(f"/proc/self/fd/{raw}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            gzipped = tarscan.is_gzip(fd)
            if gzipped:
                tar = self._blobs.open_derived(_inflated(image))
                if tar is None:
                    tar = self._inflate(image, fd)
                os.close(fd)
                fd = tar
            return in_thread(_describe, fd, image.device, gzipped)
        finally:
            os.close(fd)

    def _inflate(self, image: TaskImage, raw: int) -> int:
        key = _inflated(image)
        writer = self._blobs.write_derived(key, self._limit_bytes)
        try:
            for data in tarscan.inflate(raw, image.device):
                writer.write(data)
                breathe()
            return writer.finish()
        finally:
            writer.close()


def _unknown(image: TaskImage, why: str) -> TaskRefused:
    return TaskRefused(
        "unknown_image",
        f"system image {image.device} {why}",
        status=422,
        may_retry=True,
    )


def _inflated(image: TaskImage) -> str:
    return f"{image.sha256}.tar"


def _usable(image: TaskImage, facts: ImageFacts) -> tuple[Template, ...]:
    """Templates are the operator's: of no image that a user sent."""
    return facts.templates if image.kind == "system" else ()


def _describe(fd: int, name: str, gzipped: bool) -> ImageFacts:
    """What the image's description says.  Blocks; for a thread."""
    place = tarscan.find(fd, name, (DESCRIPTION,)).get(DESCRIPTION)
    if place is None:
        return ImageFacts(gzipped)
    data = tarscan.read_small(fd, place, name)
    try:
        fields = Fields(parse_object(data, DESCRIPTION, len(data)), name)
        fields.version(1)
        fields.text("name", 255)
        table = fields.take("env")
        templates: tuple[Template, ...] = ()
        if fields.has("templates"):
            templates = fields.items("templates", parse_template, MOST)
        fields.done()
        env = Fields(table, "env")
        pairs = tuple((_env_name(key), env.text(key)) for key in table)
        return ImageFacts(gzipped, pairs, templates)
    except ProtocolError as error:
        raise tarscan.bad_image(name, str(error)) from None


def _env_name(name: str) -> str:
    if not name or "=" in name or "\0" in name or not name.isprintable():
        raise ProtocolError(
            f"env has a variable {name!r:.80}; allowed is a name without = "
            "and control characters"
        )
    return name


def merge_env(
    layers: list[Layer], env: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """The task's environment over the defaults of its images.

    `layers` are topmost first; a higher one goes before a lower one.
    """
    merged: dict[str, str] = {}
    for layer in reversed(layers):
        merged.update(layer.env)
    merged.update(env)
    return tuple(merged.items())
