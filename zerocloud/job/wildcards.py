"""Paths with `*`: patterns over names, and what each star matched.

`*` stands for any string, the empty one and those with slashes included, and
there is no other special character and no way to escape it.  A pattern always
covers the whole name.  Where several divisions are possible, each star from
the left takes as little as it can: `*-*` on `a-b-c` gives `a` and `b-c`.

A readable pattern selects objects of listings; a writable one is a form whose
stars are filled in (`fill`).  Objects whose names end with `/` are place
holders for folders, and are never matched.

Matching finds each literal part once, left to right, so that its time is
about linear in pattern and name: a regular expression would not do, because
the pattern comes from the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zerocloud.job.paths import SCHEME, ObjectPath

STAR = "*"


@dataclass(frozen=True, order=True)
class Pattern:
    """A path with at least one `*`, in its container or its object."""

    account: str
    container: str
    object: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.account}/{self.container}/{self.object}"

    @property
    def stars(self) -> int:
        """How many stars there are."""
        return self.container.count(STAR) + self.object.count(STAR)

    @property
    def container_is_literal(self) -> bool:
        """Whether only one container can match: then none is listed."""
        return STAR not in self.container

    @property
    def container_prefix(self) -> str:
        """The container's text before its first star."""
        return self.container.partition(STAR)[0]

    @property
    def object_prefix(self) -> str:
        """The object's text before its first star."""
        return self.object.partition(STAR)[0]

    def match(self, container: str, object: str) -> tuple[str, ...] | None:
        """What each star matched, container first, or None."""
        if object.endswith("/"):
            return None
        of_container = match_name(self.container, container)
        if of_container is None:
            return None
        of_object = match_name(self.object, object)
        if of_object is None:
            return None
        return of_container + of_object

    def fill(self, captures: Sequence[str]) -> ObjectPath:
        """This path with its i-th star replaced by the i-th capture.

        `captures` has at least as many members as there are stars.
        """
        inner = self.container.count(STAR)
        return ObjectPath(
            self.account,
            _fill(self.container, captures[:inner]),
            _fill(self.object, captures[inner:]),
        )


@dataclass(frozen=True)
class Match:
    """An object that a pattern matched, and what each star stood for."""

    path: ObjectPath
    captures: tuple[str, ...]


def match_name(pattern: str, name: str) -> tuple[str, ...] | None:
    """What each star of `pattern` matched in the whole of `name`, or None."""
    first, *parts = pattern.split(STAR)
    if not parts:
        return () if name == pattern else None
    last = parts.pop()
    end = len(name) - len(last)
    begin = len(first)
    if end < begin or not (name.startswith(first) and name.endswith(last)):
        return None
    captures = []
    for part in parts:
        # The leftmost place leaves the most for the parts that follow, so if
        # the rest does not fit after it, it fits nowhere.
        found = name.find(part, begin, end)
        if found < 0:
            return None
        captures.append(name[begin:found])
        begin = found + len(part)
    captures.append(name[begin:end])
    return tuple(captures)


def _fill(pattern: str, captures: Sequence[str]) -> str:
    first, *parts = pattern.split(STAR)
    pieces = [first]
    for capture, part in zip(captures, parts, strict=False):
        pieces += [capture, part]
    return "".join(pieces)
