"""The headers of a tar from a stranger: names, kinds, sizes, places.

What the runner reads (runner/src/guest/tree), read here for two questions:
where is the job in a POSTed tar, and where is a program or a description in
an image.  Understood are ustar, its GNU variant and pax; a header that cannot
be right ends the reading with TarError, which says what is wrong and at which
byte.  Kinds that an image may not hold are told apart and not judged.

Not `tarfile`: it follows one extended header into the next by recursion, and
its expressions for pax records take minutes of a server's time for a megabyte
of digits (CVE-2024-6232, in Python 3.11 up to 3.11.9).  Here time is linear
in the bytes that are read, no number is believed before it is compared with
what is there, and nothing but headers is read or kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

BLOCK_BYTES = 512
MAX_EXTENSION_BYTES = 1024 * 1024
# Of all extended headers together: 100 000 names of 300 bytes.
MAX_EXTENSIONS_BYTES = 32 * 1024 * 1024

FILE, DIRECTORY, SYMLINK, HARDLINK, OTHER = "file", "dir", "sym", "hard", "-"
_KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"5": DIRECTORY,
}
_NO_SPARSE = b"GNU.sparse."

# `read_at(offset, size)`: at most `size` bytes, fewer only at the end.
ReadAt = Callable[[int, int], bytes]


class TarError(Exception):
    """These bytes are no tar that can be read."""


@dataclass(frozen=True)
class Member:
    """One entry: of a file where its bytes are, of a link where it leads."""

    name: str
    kind: str
    offset: int
    size: int
    target: str = ""


@dataclass
class _Extensions:
    """What the headers before an entry's own say about it."""

    name: bytes = b""
    target: bytes = b""
    size: int | None = None
    sparse: bool = False


def members(
    read_at: ReadAt, length: int, *, may_be_cut: bool = False
) -> Iterator[Member]:
    """Every entry of a tar of that length, in order.

    `may_be_cut`: these are the first bytes of a longer tar, and ending within
    a member is no fault.  Raises TarError, also after entries were given.
    """
    if not length:
        raise TarError("it is an empty file")
    offset, extensions_bytes, ahead = 0, 0, _Extensions()
    while offset < length:
        block = read_at(offset, BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            if may_be_cut:
                return
            raise TarError(f"it ends inside a header at byte {offset}")
        if not any(block):
            return
        _check(block, offset)
        kind, begin = block[156:157], offset + BLOCK_BYTES
        size = _size(block, offset)
        if kind in b"xgLK":
            extensions_bytes += size
            _check_extension(offset, size, extensions_bytes)
            data = read_at(begin, size)
            if len(data) == size:
                _extend(ahead, kind, data, offset)
            elif not may_be_cut:
                raise _passes_the_end(offset, size)
        elif kind == b"V":
            # A volume's label, without data.
            size = 0
        else:
            member = _member(block, begin, ahead)
            if not may_be_cut and begin + member.size > length:
                raise _passes_the_end(offset, member.size)
            yield member
            # What links, folders and devices call a size is no data.
            size, ahead = member.size, _Extensions()
        offset = begin + -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _check_extension(offset: int, size: int, together: int) -> None:
    if size > MAX_EXTENSION_BYTES:
        raise TarError(
            f"a header at byte {offset} is too large: {size} bytes; allowed "
            f"are {MAX_EXTENSION_BYTES}"
        )
    if together > MAX_EXTENSIONS_BYTES:
        raise TarError(
            f"its long names have more than {MAX_EXTENSIONS_BYTES} bytes "
            "together"
        )


def _passes_the_end(offset: int, size: int) -> TarError:
    return TarError(
        f"the entry at byte {offset} has {size} bytes, which passes the end"
    )


def _check(block: bytes, offset: int) -> None:
    """TarError unless the block's checksum is right."""
    field = block[148:156]
    # The checksum counts its own field as blanks.
    expected = sum(block) - sum(field) + 8 * 0x20
    stored = _octal(field)
    if stored == expected:
        return
    # Some historic writers summed bytes as signed.
    if stored != expected - 256 * _negative(block, field):
        raise TarError(f"the header at byte {offset} has a wrong checksum")


def _negative(block: bytes, field: bytes) -> int:
    """How many bytes outside of the checksum's field are above 127."""
    return sum(byte > 0x7F for byte in block) - sum(b > 0x7F for b in field)


def _size(block: bytes, offset: int) -> int:
    field = block[124:136]
    if field[0] == 0x80:
        size: int | None = int.from_bytes(field[1:], "big")
    elif field[0] > 0x80:
        # Base 256, and negative or beyond what any disk holds.
        size = None
    else:
        size = _octal(field)
    if size is None or size >= 1 << 63:
        raise TarError(f"the entry at byte {offset} has a size that is none")
    return size


def _octal(field: bytes) -> int | None:
    """Octal digits after blanks, before blanks and NULs; empty is 0."""
    digits = field.lstrip(b" ").rstrip(b" \0")
    if digits.strip(b"01234567"):
        return None
    return int(digits or b"0", 8)


def _member(block: bytes, begin: int, ahead: _Extensions) -> Member:
    name = ahead.name or _until_nul(block[:100])
    if not ahead.name and block[257:263] == b"ustar\0" and block[345]:
        name = _until_nul(block[345:500]) + b"/" + name
    kind = _KINDS.get(block[156:157], OTHER)
    if kind == FILE and name.endswith(b"/"):
        kind = DIRECTORY
    size = 0
    if kind == FILE:
        size = _size(block, begin) if ahead.size is None else ahead.size
    if kind == FILE and ahead.sparse:
        kind = OTHER
    return Member(
        name=name.decode("utf-8", "replace"),
        kind=kind,
        offset=begin,
        size=size,
        target=(ahead.target or _until_nul(block[157:257])).decode(
            "utf-8", "replace"
        ),
    )


def _extend(ahead: _Extensions, kind: bytes, data: bytes, at: int) -> None:
    """Take what an extended header says of the entry that follows."""
    if kind == b"L":
        ahead.name = _until_nul(data)
    elif kind == b"K":
        ahead.target = _until_nul(data)
    elif kind == b"x":
        for key, value in _records(data, at):
            if key == b"path":
                ahead.name = value
            elif key == b"linkpath":
                ahead.target = value
            elif key == b"size" and value:
                if len(value) > 19 or value.strip(b"0123456789"):
                    raise TarError(
                        f"the pax header at byte {at} has a size that is none"
                    )
                ahead.size = int(value)
            elif key.startswith(_NO_SPARSE):
                ahead.sparse = True


def _records(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header."""
    begin = 0
    while begin < len(data):
        blank = data.find(b" ", begin, begin + 20)
        digits = data[begin : max(blank, begin)]
        if not digits.isdigit():
            raise TarError(f"the pax header at byte {at} is broken")
        end = begin + int(digits)
        equals = data.find(b"=", blank, end)
        if equals < 0 or end > len(data) or data[end - 1 : end] != b"\n":
            raise TarError(f"the pax header at byte {at} is broken")
        yield data[blank + 1 : equals], data[equals + 1 : end - 1]
        begin = end


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
