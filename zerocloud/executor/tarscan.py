"""A bounded look into a tar: one member's place, or one small member's bytes.

Images come from users, so that a header may claim anything.  Scanning reads
headers only (job/tarheaders.py), and at most `MAX_MEMBERS` of them;
whatever the tar says, no more memory than that is taken and no path of this
host is touched.  Nothing is unpacked here: the runner maps layers as they are.

Everything in this file blocks and is for a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from zerocloud.errors import TaskRefused
from zerocloud.job import tarheaders
from zerocloud.job.gunzip import MAGIC, PIECE_BYTES, GzipError, gunzipped

MAX_MEMBERS = 100_000
MAX_SMALL_BYTES = 1024 * 1024
WINDOW_BYTES = 64 * 1024


@dataclass(frozen=True)
class Place:
    """Where a regular member's bytes are in the tar."""

    offset: int
    size: int


class _Window:
    """A file, read ahead: headers lie close together in most tars."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begin = 0
        self._data = b""

    def read_at(self, offset: int, size: int) -> bytes:
        at = offset - self._begin
        if not 0 <= at <= len(self._data) - size:
            self._begin, at = offset, 0
            self._data = os.pread(self._fd, max(size, WINDOW_BYTES), offset)
        return self._data[at : at + size]


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
    for member in _members(fd, name):
        path = normal(member.name)
        if path not in wanted:
            continue
        found.pop(path, None)
        links.pop(path, None)
        if member.kind == tarheaders.FILE:
            found[path] = Place(member.offset, member.size)
        elif member.kind in (tarheaders.SYMLINK, tarheaders.HARDLINK):
            links[path] = _target(path, member)
    if links:
        found.update(_follow(fd, name, links))
    return {m: found[normal(m)] for m in members if normal(m) in found}


def _follow(fd: int, name: str, links: dict[str, str]) -> dict[str, Place]:
    # One step: a link to a link is not worth a scan per step.
    targets = set(links.values())
    places: dict[str, Place] = {}
    for member in _members(fd, name):
        path = normal(member.name)
        if path in targets and member.kind == tarheaders.FILE:
            places[path] = Place(member.offset, member.size)
    return {p: places[t] for p, t in links.items() if t in places}


def _target(path: str, member: tarheaders.Member) -> str:
    if member.kind == tarheaders.HARDLINK or member.target.startswith("/"):
        return normal(member.target)
    return normal(os.path.join(os.path.dirname(path), member.target))


def _members(fd: int, name: str) -> Iterator[tarheaders.Member]:
    window, length = _Window(fd), os.fstat(fd).st_size
    members = tarheaders.members(window.read_at, length)
    try:
        for count, member in enumerate(members):
            if count >= MAX_MEMBERS:
                raise bad_image(name, f"more than {MAX_MEMBERS} members")
            yield member
    except tarheaders.TarError as error:
        raise bad_image(name, f"not a usable tar: {error}") from None


def normal(member: str) -> str:
    """A member's name without `./`, leading slashes and `..`."""
    return os.path.normpath("/" + member).lstrip("/")


def read_small(fd: int, place: Place, name: str) -> bytes:
    """The bytes of a small member; TaskRefused when it is not small."""
    if place.size > MAX_SMALL_BYTES:
        raise bad_image(name, f"a member has {place.size} bytes")
    return os.pread(fd, place.size, place.offset)


def digest(fd: int, place: Place) -> str:
    """Hex SHA-256 of a member's bytes.  Blocks; for a thread."""
    hasher = hashlib.sha256()
    at, end = place.offset, place.offset + place.size
    while at < end:
        piece = os.pread(fd, min(end - at, PIECE_BYTES), at)
        if not piece:
            raise OSError(errno.EIO, "the image has become shorter")
        hasher.update(piece)
        at += len(piece)
    return hasher.hexdigest()


def is_gzip(fd: int) -> bool:
    """Whether a file begins as gzip does."""
    return os.pread(fd, len(MAGIC), 0) == MAGIC


def inflate(fd: int, name: str) -> Iterator[bytes]:
    """The bytes of a gzip file, in pieces of at most gunzip.PIECE_BYTES."""
    try:
        yield from gunzipped(_chunks(fd))
    except GzipError as error:
        raise bad_image(name, str(error)) from None


def _chunks(fd: int) -> Iterator[bytes]:
    offset = 0
    while data := os.pread(fd, PIECE_BYTES, offset):
        offset += len(data)
        yield data
