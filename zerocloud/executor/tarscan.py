"""A bounded look into a tar: one member's place, or one small member's bytes.

Images come from users, so that a header may claim anything.  Scanning reads
headers only, in pieces of at most a MiB and at most `MAX_MEMBERS` of them;
whatever the tar says, no more memory than that is taken and no path of this
host is touched.  Nothing is unpacked here: the runner maps layers as they are.

Everything in this file blocks and is for a thread.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from zerocloud.errors import TaskRefused

MAX_MEMBERS = 100_000
MAX_HEADER_BYTES = 1024 * 1024
MAX_SMALL_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Place:
    """Where a regular member's bytes are in the tar."""

    offset: int
    size: int


class _Headers:
    """A file that gives `tarfile` headers, and never much at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._offset = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too large")
        data = os.pread(self._fd, size, self._offset)
        self._offset += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < 0:
            raise tarfile.ReadError("an offset is out of range")
        self._offset = offset
        return offset

    def tell(self) -> int:
        return self._offset


def bad_image(name: str, why: str) -> TaskRefused:
    """The refusal of an image whose bytes are at fault."""
    return TaskRefused(
        "image_invalid", f"image {name}: {why}", status=422, may_retry=False
    )


def find(fd: int, name: str, members: tuple[str, ...]) -> dict[str, Place]:
    """Places of those of the members that are there as regular files.

    The last of several entries counts, links are followed; `name` is the
    image's, for errors.  Raises TaskRefused `image_invalid`.
    """
    wanted = {normal(member) for member in members}
    links: dict[str, str] = {}
    found: dict[str, Place] = {}
    try:
        for info in _members(fd, name):
            path = normal(info.name)
            if info.isreg() and not info.issparse():
                if path in wanted:
                    found[path] = Place(info.offset_data, info.size)
                    links.pop(path, None)
            elif path in wanted and (info.issym() or info.islnk()):
                links[path] = _target(path, info)
                found.pop(path, None)
    except (tarfile.TarError, ValueError, OverflowError, OSError) as error:
        raise bad_image(name, f"not a usable tar ({error})") from None
    if links:
        found.update(_follow(fd, name, links))
    return {m: found[normal(m)] for m in members if normal(m) in found}


def _follow(fd: int, name: str, links: dict[str, str]) -> dict[str, Place]:
    # One step: a link to a link is not worth a scan per step.
    targets = tuple(links.values())
    places: dict[str, Place] = {}
    for info in _members(fd, name):
        path = normal(info.name)
        if path in targets and info.isreg() and not info.issparse():
            places[path] = Place(info.offset_data, info.size)
    return {p: places[t] for p, t in links.items() if t in places}


def _target(path: str, info: tarfile.TarInfo) -> str:
    if info.islnk() or info.linkname.startswith("/"):
        return normal(info.linkname)
    return normal(os.path.join(os.path.dirname(path), info.linkname))


def _members(fd: int, name: str) -> Iterator[tarfile.TarInfo]:
    headers = cast(IO[bytes], _Headers(fd))
    with tarfile.open(fileobj=headers, mode="r:", errors="replace") as tar:
        count = 0
        while (info := tar.next()) is not None:
            count += 1
            if count > MAX_MEMBERS:
                raise bad_image(name, f"more than {MAX_MEMBERS} members")
            # tarfile remembers every member; nobody needs that here.
            tar.members.clear()  # type: ignore[attr-defined] # no stub
            yield info


def normal(member: str) -> str:
    """A member's name without `./`, leading slashes and `..`."""
    return os.path.normpath("/" + member).lstrip("/")


def read_small(fd: int, place: Place, name: str) -> bytes:
    """The bytes of a small member; TaskRefused when it is not small."""
    if place.size > MAX_SMALL_BYTES:
        raise bad_image(name, f"a member has {place.size} bytes")
    return os.pread(fd, place.size, place.offset)


def is_gzip(fd: int) -> bool:
    """Whether a file begins as gzip does."""
    return os.pread(fd, 2, 0) == _GZIP


def inflate(fd: int, name: str) -> Iterator[bytes]:
    """The bytes of a gzip file, in pieces of at most a MiB."""
    stream, offset = zlib.decompressobj(wbits=31), 0
    while not stream.eof:
        data = stream.unconsumed_tail or os.pread(fd, 256 * 1024, offset)
        if not stream.unconsumed_tail:
            offset += len(data)
        if not data:
            raise bad_image(name, "the gzip stream is cut off")
        try:
            yield stream.decompress(data, MAX_HEADER_BYTES)
        except zlib.error as error:
            raise bad_image(name, f"not a gzip stream ({error})") from None
