"""Strict reading of JSON documents from other processes.

Bytes → a dict (`parse_object`) → typed values (`Fields`).  Everything that
docs/protocol.md does not name is refused with ProtocolError: unknown and
duplicate keys, wrong types, numbers out of range, NaN, texts that are too
long.  A misspelled limit must be an error, never a limit that is ignored.

`bool` is not a number here, although Python says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from zerocloud.errors import ProtocolError

T = TypeVar("T")

MAX_TEXT = 1024 * 1024
MAX_ITEMS = 100_000
MAX_WHOLE = 2**63 - 1
_HEX = re.compile(r"[0-9a-f]+")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ProtocolError(f"key {key!r} is there twice")
            seen.add(key)
    return table


def _no_constant(word: str) -> float:
    raise ProtocolError(f"{word} is not allowed as a number")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant
)


def parse_object(data: bytes, what: str, limit: int) -> dict[str, Any]:
    """`data` as a JSON object of at most `limit` bytes, or ProtocolError."""
    if len(data) > limit:
        raise ProtocolError(
            f"{what} has {len(data)} bytes; allowed are {limit}"
        )
    try:
        document = _decoder.decode(data.decode("utf-8"))
    except RecursionError:
        # Nesting is the sender's choice; a deep one must not be our crash.
        raise ProtocolError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"{what} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ProtocolError(f"{what} is not a JSON object")
    return document


def to_json(document: Any, limit: int = MAX_TEXT) -> bytes:
    """Compact UTF-8 JSON; ProtocolError when it is longer than `limit`."""
    try:
        data = json.dumps(
            document,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode("utf-8")
    except ValueError as error:
        raise ProtocolError(f"not expressible as JSON: {error}") from None
    if len(data) > limit:
        raise ProtocolError(
            f"document has {len(data)} bytes; allowed are {limit}"
        )
    return data


class Fields:
    """The keys of one JSON object, taken one by one; `done` checks the rest.

    `what` names the object in errors, like `task.inputs[0]`.
    """

    def __init__(self, table: Any, what: str) -> None:
        if not isinstance(table, dict):
            raise ProtocolError(f"{what} is not an object")
        self._table = dict(table)
        self.what = what

    def take(self, name: str) -> Any:
        """The raw value of a key that must be there."""
        try:
            return self._table.pop(name)
        except KeyError:
            raise ProtocolError(f"{self.what} has no {name}") from None

    def has(self, name: str) -> bool:
        """Whether an optional key is there (and not taken yet)."""
        return name in self._table

    def bad(self, name: str, value: object, allowed: str) -> ProtocolError:
        """The error for a value that is not allowed."""
        return ProtocolError(
            f"{self.what}.{name} is {value!r:.80}; allowed is {allowed}"
        )

    def text(self, name: str, limit: int = MAX_TEXT) -> str:
        """A string of at most `limit` characters, without NUL."""
        value = self.take(name)
        if not _is_text(value, limit) or "\0" in value:
            raise self.bad(
                name, value, f"text of at most {limit} characters without NUL"
            )
        return str(value)

    def raw_text(self, name: str, limit: int = 32 * MAX_TEXT) -> str:
        """A string that a guest made: any characters."""
        value = self.take(name)
        if not _is_text(value, limit):
            raise self.bad(name, value, f"text of at most {limit} characters")
        return str(value)

    def optional_text(self, name: str, limit: int = MAX_TEXT) -> str | None:
        """A string or null; the key must be there."""
        return None if self._is_null(name) else self.text(name, limit)

    def hexadecimal(self, name: str, digits: int) -> str:
        """Lower-case hex digits, exactly so many."""
        value = self.take(name)
        if (
            not isinstance(value, str)
            or len(value) != digits
            or not _HEX.fullmatch(value)
        ):
            raise self.bad(name, value, f"{digits} lower-case hex digits")
        return value

    def optional_hexadecimal(self, name: str, digits: int) -> str | None:
        """Hex digits or null; the key must be there."""
        return None if self._is_null(name) else self.hexadecimal(name, digits)

    def whole(self, name: str, low: int = 0, high: int = MAX_WHOLE) -> int:
        """A whole number from `low` to `high`."""
        value = self.take(name)
        if type(value) is not int or not low <= value <= high:
            raise self.bad(name, value, f"a whole number, {low} to {high}")
        return value

    def optional_whole(self, name: str) -> int | None:
        """A whole number from 0 or null; the key must be there."""
        return None if self._is_null(name) else self.whole(name)

    def number(self, name: str, low: float, high: float) -> float:
        """A finite number from `low` to `high`, as a float."""
        value = self.take(name)
        if (
            type(value) not in (int, float)
            or not low <= value <= high
            or not math.isfinite(value)
        ):
            raise self.bad(name, value, f"a number, {low:g} to {high:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.bad(name, value, "true or false")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of the words."""
        value = self.take(name)
        if not isinstance(value, str) or value not in allowed:
            raise self.bad(name, value, " or ".join(allowed))
        return value

    def items(
        self,
        name: str,
        parse: Callable[[Any, str], T],
        limit: int = MAX_ITEMS,
    ) -> tuple[T, ...]:
        """At most `limit` items, each through `parse(item, what)`."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self.bad(name, value, f"a list of at most {limit}")
        what = f"{self.what}.{name}"
        return tuple(
            parse(item, f"{what}[{index}]") for index, item in enumerate(value)
        )

    def version(self, *known: int) -> int:
        """The key `version`, one of those that are known."""
        value = self.take("version")
        if type(value) is not int or value not in known:
            raise self.bad("version", value, " or ".join(map(str, known)))
        return value

    def done(self) -> None:
        """Refuse the keys that nothing took."""
        if self._table:
            names = ", ".join(sorted(self._table))
            raise ProtocolError(f"{self.what} has unknown keys: {names:.200}")

    def _is_null(self, name: str) -> bool:
        if self._table.get(name, "") is not None:
            return False
        del self._table[name]
        return True


def text_item(item: Any, what: str) -> str:
    """A list's item that is text without NUL."""
    if not _is_text(item, MAX_TEXT) or "\0" in item:
        raise ProtocolError(f"{what} is {item!r:.80}; allowed is text")
    return str(item)


def _is_text(value: Any, limit: int) -> bool:
    """Whether it is a string that UTF-8 can hold: no half of a surrogate."""
    if not isinstance(value, str) or len(value) > limit:
        return False
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def pair_item(item: Any, what: str) -> tuple[str, str]:
    """A list's item that is a pair of texts."""
    if not isinstance(item, list) or len(item) != 2:
        raise ProtocolError(f"{what} is {item!r:.80}; allowed is [name, text]")
    return text_item(item[0], what), text_item(item[1], what)
