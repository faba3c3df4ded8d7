"""Bytes of a job → JSON values that know where they stand.

`load_document` refuses everything that Python's JSON reader would let pass or
trip over: bytes that are not UTF-8, NaN, duplicate keys, lone surrogates,
numbers of more than 100 digits, nesting deeper than any job needs.  What it
gives is a `Value`: the raw value, its JSON pointer and the words that name it
in an error text.  The methods of `Value` are the only type checks of the job
language: each gives a typed value or raises JobError with all three of what is
wrong, the value, and what is allowed.

Nothing in here knows a key of the job language, and no input, however odd, may
raise anything but JobError.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zerocloud.errors import JobError

SHOWN_CHARACTERS = 100
MAX_DEPTH = 32
MAX_DIGITS = 100
MAX_KEY = 256
_CONTROLS = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that stands in it twice."""

    duplicate: str | None = None


@dataclass(frozen=True)
class Value:
    """A JSON value, its JSON pointer, and its name in error texts."""

    raw: Any
    where: str = ""
    subject: str = "job"

    def wrong(self, allowed: str) -> JobError:
        """The error that this value is not what is allowed."""
        return JobError(
            "job_schema",
            f"{self.subject} is {shown(self.raw)}; allowed is {allowed}",
            where=self.where,
        )

    def error(self, code: str, text: str) -> JobError:
        """An error about this value: `SUBJECT: text`."""
        return JobError(code, f"{self.subject}: {text}", where=self.where)

    def named(self, subject: str) -> Value:
        """The same value under another name."""
        return Value(self.raw, self.where, subject)

    def text(self, allowed: str = "a string that is not empty") -> str:
        """A string that is not empty."""
        if not isinstance(self.raw, str) or not self.raw:
            raise self.wrong(allowed)
        return self.raw

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high; true, 1.0 and "1" are not."""
        if type(self.raw) is not int or not low <= self.raw <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return self.raw

    def number(self, low: float, high: float) -> float:
        """A number from low to high."""
        if type(self.raw) not in (int, float) or not low <= self.raw <= high:
            raise self.wrong(f"a number from {low:.16g} to {high:.16g}")
        number: float = self.raw
        return number

    def members(self, of: str) -> Iterator[Value]:
        """The members of a list, in order."""
        if not isinstance(self.raw, list):
            raise self.wrong(f"a list of {of}")
        for index, raw in enumerate(self.raw):
            yield Value(
                raw, f"{self.where}/{index}", f"{self.subject}[{index}]"
            )

    def pairs(self, of: str) -> Iterator[tuple[str, Value]]:
        """The keys and values of an object with free keys, in order."""
        if not isinstance(self.raw, dict):
            raise self.wrong(f"an object of {of}")
        for key, raw in self.raw.items():
            yield (
                key,
                Value(
                    raw,
                    f"{self.where}/{pointer_token(key)}",
                    f"{self.subject}.{plain(key)}",
                ),
            )

    def fields(
        self, known: Sequence[str], subject: str | None = None
    ) -> Iterator[tuple[str, Value]]:
        """The keys and values of an object with fixed keys, in order.

        The values are named `SUBJECT: KEY`.  Raises at the first key that is
        not known, after the values before it have been given.
        """
        name = self.subject if subject is None else subject
        if not isinstance(self.raw, dict):
            raise self.wrong(f"an object with the keys {listed(known)}")
        for key, raw in self.raw.items():
            if key not in known:
                raise JobError(
                    "job_schema",
                    f"{name}: key {shown(key)} is not known; allowed are "
                    f"{listed(known)}",
                    where=self.where,
                )
            yield key, Value(raw, f"{self.where}/{key}", f"{name}: {key}")


def load_document(document: bytes) -> Any:
    """Parse a job's bytes into a JSON value that is safe to walk.

    Raises JobError `job_not_json` when it is not JSON in UTF-8, `job_schema`
    for a duplicate key, a lone surrogate, a number that is too long, or
    nesting deeper than 32.
    """
    try:
        text = document.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(
            "job_not_json",
            f"job is not UTF-8: {error.reason} at byte {error.start}",
        ) from None
    try:
        raw = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_whole,
        )
    except json.JSONDecodeError as error:
        raise JobError(
            "job_not_json",
            f"job is not JSON: {error.msg} (line {error.lineno}, column "
            f"{error.colno})",
        ) from None
    except RecursionError:
        # The reader recurses once per level; a few bytes can ask for more
        # levels than the interpreter has.
        raise JobError("job_schema", f"job: {_TOO_DEEP}") from None
    _check_values(raw)
    return raw


def pointer_token(key: str) -> str:
    """A key as a token of a JSON pointer (RFC 6901), always encodable."""
    token = key.replace("~", "~0").replace("/", "~1")
    return token.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(text: str) -> str:
    """A text without quotes for an error: escaped, at most 100 characters."""
    return shown(text)[1:-1]


def shown(raw: object) -> str:
    """A JSON value for an error text: escaped, at most 100 characters."""
    if isinstance(raw, str):
        cut = raw[: SHOWN_CHARACTERS + 1]
        escaped = "".join(map(_escaped, cut))
        if len(escaped) > SHOWN_CHARACTERS:
            escaped = escaped[: SHOWN_CHARACTERS - 1] + "…"
        return f'"{escaped}"'
    if isinstance(raw, dict):
        return "an object"
    if isinstance(raw, list):
        return "a list"
    return json.dumps(raw)


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def has_controls(text: str) -> bool:
    """Whether a text has control characters (Unicode category Cc)."""
    return _CONTROLS.search(text) is not None


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object()
    for key, value in pairs:
        if key in made and made.duplicate is None:
            made.duplicate = key
        made[key] = value
    return made


def _refuse_constant(word: str) -> None:
    raise JobError("job_not_json", f"job is not JSON: {word} is no number")


def _whole(digits: str) -> int | float:
    # int() takes quadratic time, and refuses 4301 digits and more with an
    # error of its own; _check_values refuses the infinity.
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _check_values(raw: Any) -> None:
    """Refuse what no job may hold anywhere.

    By a stack, never recursing; the way to a value is only put together for
    an error, because it can be long and there can be many values.
    """
    trail: list[str | int] = [""]
    levels: list[Iterator[tuple[str | int, Any]]] = [iter([("", raw)])]
    while levels:
        step = next(levels[-1], None)
        if step is None:
            levels.pop()
            trail.pop()
            continue
        trail[-1], value = step
        problem = _problem(value)
        nested = isinstance(value, dict | list)
        if problem is None and nested and len(levels) > MAX_DEPTH:
            problem = _TOO_DEEP
        if problem is not None:
            where = "".join(f"/{pointer_token(str(t))}" for t in trail[1:])
            place = f"job at {plain(where)}" if where else "job"
            raise JobError("job_schema", f"{place}: {problem}", where=where)
        if nested:
            levels.append(_children(value))
            trail.append("")


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value)


def _problem(value: Any) -> str | None:
    if isinstance(value, _Object):
        return _key_problem(value)
    if isinstance(value, str) and _is_broken(value):
        return f"{shown(value)} {_NO_UNICODE}"
    if isinstance(value, float) and not math.isfinite(value):
        return (
            f"a number is too large; allowed are {MAX_DIGITS} digits and at "
            "most 1.7e308"
        )
    return None


def _key_problem(value: _Object) -> str | None:
    if value.duplicate is not None:
        return f"key {shown(value.duplicate)} is there twice; allowed is once"
    for key in value:
        if _is_broken(key):
            return f"key {shown(key)} {_NO_UNICODE}"
        if len(key) > MAX_KEY:
            return (
                f"key {shown(key)} has {len(key)} characters; allowed are "
                f"{MAX_KEY}"
            )
    return None


_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_NO_UNICODE = "has half of a surrogate pair, which is no Unicode text"


def _is_broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # The only texts that UTF-8 cannot hold: JSON's \ud800 by itself.
        return True
    return False
