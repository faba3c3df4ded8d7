"""`exec` of a group: the program, its arguments and its environment.

A program is an object (`swift://…`), a member of a named image
(`file://IMAGE:MEMBER`), or a member of whichever image has it
(`file://MEMBER`).  There is no way to name a file of a host: `/etc/passwd` is
refused, and `file:///etc/passwd` is the member `etc/passwd` of the images.

`args` as one string is split as a POSIX shell splits words, with quotes and
backslashes and with nothing expanded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from zerocloud.errors import JobError
from zerocloud.job.document import Value, has_controls, shown
from zerocloud.job.paths import FORM, SCHEME, parse_object_path
from zerocloud.job.plan import Program

FILE_SCHEME = "file://"
USER_IMAGE = "image"
PROGRAM_FORMS = f"{FORM}, file://IMAGE:MEMBER and file://MEMBER"
EXEC_KEYS = ("args", "env", "name", "path")

# A word is a run of these; blanks are the only separator, because a string
# with tabs or line ends is refused before.
_PIECE = re.compile(
    r"""
      (?P<plain>[^ '"\\]+)
    | '(?P<single>[^']*)'
    | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
    | \\(?P<escaped>.)
    | (?P<blank>[ ]+)
    """,
    re.VERBOSE,
)
_ESCAPED_IN_DOUBLE = re.compile(r'\\([$`"\\])')


@dataclass(frozen=True)
class Exec:
    """What a group executes; `name` is argv[0], None for the node's name."""

    program: Program
    where: str
    name: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


def parse_exec(value: Value, *, group: str, account: str) -> Exec:
    """Parse `exec`; `group` names the group in error texts."""
    parsers: dict[str, Callable[[Value], object]] = {
        "path": lambda item: parse_program(item, account=account),
        "name": _parse_argv0,
        "args": parse_args,
        "env": _parse_env,
    }
    subject = f"{group}: exec"
    fields: dict[str, object] = {}
    for key, item in value.named(subject).fields(EXEC_KEYS):
        fields["program" if key == "path" else key] = parsers[key](item)
    if "program" not in fields:
        raise JobError(
            "job_schema",
            f"{subject} has no path; allowed is {PROGRAM_FORMS}",
            where=value.where,
        )
    return Exec(where=value.where, **fields)  # type: ignore[arg-type] # each key was parsed to its type


def parse_program(value: Value, *, account: str) -> Program:
    """Parse the path of a program.  Raises JobError."""
    text = value.text(PROGRAM_FORMS)
    if has_controls(text):
        raise value.wrong(f"{PROGRAM_FORMS} without control characters")
    if text.startswith("zvm://"):
        raise value.error(
            "not_implemented",
            f"{shown(text)} is not offered yet; allowed are {PROGRAM_FORMS}",
        )
    if text.startswith(SCHEME):
        if "*" in text:
            raise value.error(
                "job_schema",
                f"{shown(text)} has a wildcard; a program is one object",
            )
        return Program(path=parse_object_path(value, account=account))
    if not text.startswith(FILE_SCHEME):
        raise value.wrong(f"{PROGRAM_FORMS}; no file of a host can be named")
    return _parse_member(value, text[len(FILE_SCHEME) :])


def split_words(text: str) -> list[str] | None:
    """Split as a POSIX shell does; None when a quote is left open."""
    words: list[str] = []
    word: list[str] | None = None
    position = 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            return None
        position = piece.end()
        if piece["blank"] is not None:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        kind = str(piece.lastgroup)
        literal = piece[kind]
        if kind == "double":
            literal = _ESCAPED_IN_DOUBLE.sub(r"\1", literal)
        word = [] if word is None else word
        word.append(literal)
    if word is not None:
        words.append("".join(word))
    return words


def parse_args(value: Value) -> tuple[str, ...]:
    """Parse `args`: one string to split, or a list of strings."""
    if isinstance(value.raw, str):
        _check_plain(value)
        words = split_words(value.raw)
        if words is None:
            raise value.wrong(
                "words as in a POSIX shell, every quote closed and no "
                "backslash at the end"
            )
        return tuple(words)
    if not isinstance(value.raw, list):
        raise value.wrong("a string, or a list of strings")
    found = []
    for item in value.members("strings"):
        if not isinstance(item.raw, str):
            raise item.wrong("a string")
        _check_plain(item)
        found.append(item.raw)
    return tuple(found)


def _parse_member(value: Value, text: str) -> Program:
    image, colon, member = text.partition(":")
    if not colon or "/" in image:
        # A colon behind a slash belongs to the member's name.
        image, member = "", text
    elif not image:
        raise value.wrong(PROGRAM_FORMS)
    parts = [p for p in member.split("/") if p not in ("", ".")]
    if not parts or ".." in parts or member.endswith("/"):
        raise value.error(
            "job_schema",
            f"{shown(value.raw)} names no file of an image; allowed is "
            f"{PROGRAM_FORMS}, without ..",
        )
    return Program(member="/".join(parts), image=image or None)


def _parse_argv0(value: Value) -> str:
    name = value.text()
    _check_plain(value)
    return name


def _check_plain(value: Value) -> None:
    if has_controls(value.raw):
        raise value.wrong("text without control characters")


def _parse_env(value: Value) -> tuple[tuple[str, str], ...]:
    found = []
    for name, item in value.pairs("strings and numbers"):
        if not name or "=" in name or has_controls(name):
            raise value.error(
                "job_schema",
                f"name {shown(name)} is not allowed; allowed is at least one "
                "character, none of them = or a control character",
            )
        found.append((name, _env_text(item)))
    return tuple(found)


def _env_text(item: Value) -> str:
    if type(item.raw) in (int, float):
        # What Python prints is the shortest text that reads back as the same
        # number, on every machine.
        return str(item.raw)
    if not isinstance(item.raw, str):
        raise item.wrong('a string or a number (a flag as "true" or "1")')
    if "\0" in item.raw:
        raise item.wrong("text without NUL")
    return item.raw
