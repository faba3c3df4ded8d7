"""Small WebAssembly modules by hand, for what no compiler would make."""

from __future__ import annotations

MAGIC = b"\0asm\x01\0\0\0"
EMPTY_FUNCTION = b"\x02\x00\x0b"
PAGE_BYTES = 65536


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
