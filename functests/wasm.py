"""Small WebAssembly modules by hand, for what no compiler would make."""

from __future__ import annotations

from typing import Any

MAGIC = b"\0asm\x01\0\0\0"
EMPTY_FUNCTION = b"\x02\x00\x0b"
PAGE_BYTES = 65536
SECTIONS = {
    1: "types",
    2: "imports",
    3: "functions",
    4: "tables",
    5: "memories",
    6: "globals",
    7: "exports",
    9: "elements",
    10: "codes",
    11: "data",
}


def number(value: int) -> bytes:
    """An unsigned LEB128."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def name(text: str) -> bytes:
    """A name: its length, its UTF-8."""
    data = text.encode()
    return number(len(data)) + data


def section(kind: int, *entries: bytes) -> bytes:
    """A section that is a list of entries."""
    body = number(len(entries)) + b"".join(entries)
    return bytes([kind]) + number(len(body)) + body


def body(code: bytes, locals_: bytes = b"\x00") -> bytes:
    """A function's body, with its length and its end."""
    data = locals_ + code + b"\x0b"
    return number(len(data)) + data


def custom(title: str, data: bytes) -> bytes:
    """A section of the author's own."""
    content = name(title) + data
    return b"\x00" + number(len(content)) + content


START = name("_start") + b"\x00\x00"
MEMORY = name("memory") + b"\x02\x00"


def module(**parts: tuple[bytes, ...] | int | bytes) -> bytes:
    """A command, but for what is given: entries of sections, by their names.

    `types functions tables memories globals exports elements codes data` are
    tuples of entries, `start` is a function's number, `rest` is appended.
    """
    given: dict[str, Any] = {
        "types": (b"\x60\x00\x00",),
        "functions": (b"\x00",),
        "memories": (b"\x00\x01",),
        "exports": (START, MEMORY),
        "codes": (EMPTY_FUNCTION,),
        **parts,
    }
    start = given.pop("start", None)
    rest = given.pop("rest", b"")
    made = [
        section(kind, *given.pop(title))
        for kind, title in SECTIONS.items()
        if title in given
    ]
    if given:
        raise ValueError(f"no such sections: {', '.join(given)}")
    if start is not None:
        index = number(start)
        at = sum(title in parts for title in ("tables", "globals")) + 4
        made.insert(at, b"\x08" + number(len(index)) + index)
    return MAGIC + b"".join(made) + rest


def command(
    *,
    imports: tuple[tuple[str, str], ...] = (),
    start: str = "_start",
    pages: int = 1,
    code: bytes = EMPTY_FUNCTION,
) -> bytes:
    """A module with one function `start`, and functions it imports.

    `code` is the function's body with its length; the memory begins with
    `pages` pages.
    """
    index = len(imports)
    return MAGIC + b"".join(
        (
            section(1, b"\x60\x00\x00"),
            section(2, *(name(m) + name(n) + b"\0\0" for m, n in imports)),
            section(3, b"\x00"),
            section(5, b"\x00" + number(pages)),
            section(
                7,
                name(start) + b"\x00" + number(index),
                name("memory") + b"\x02\x00",
            ),
            section(10, code),
        )
    )
