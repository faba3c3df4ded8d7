"""Tars that are no image, and what must be said of each.

Each is laid over `/` by a job, and POSTed by itself; `POSTED` tells those of
which the proxy itself sees the fault, as it looks for a job in them.
"""

from __future__ import annotations

import bz2
import gzip
import json
import tarfile
from dataclasses import dataclass

from unittests.fakes.tars import block, entry, pax_records, tar_of

END = bytes(1024)
GOOD = entry(b"x", b"1") + END
MAX_MEMBERS = 100_000


@dataclass(frozen=True)
class Image:
    """The bytes, what is said, and whether the proxy finds it out."""

    data: bytes
    words: tuple[str, ...]
    posted: bool = False


def pax(*records: tuple[bytes, bytes]) -> bytes:
    """An extended header for the entry that follows."""
    return entry(b"pax", pax_records(*records), kind=b"x")


def described(text: bytes) -> bytes:
    """An image whose description is that."""
    return entry(b".zerocloud/image.json", text) + END


def env(text: bytes) -> bytes:
    """An image whose environment is that."""
    return described(b'{"version": 1, "name": "i", "env": %s}' % text)


NO_TARS = {
    "empty": Image(b"", ("empty file",), posted=True),
    "one byte": Image(b"x", ("ends inside a header at byte 0",), posted=True),
    "text": Image(b"no tar at all" * 99, ("wrong checksum",), posted=True),
    "an ELF": Image(
        b"\x7fELF" + bytes(2000), ("byte 0 has a wrong checksum",), posted=True
    ),
    "a zip": Image(
        b"PK\x03\x04" + bytes(2000), ("wrong checksum",), posted=True
    ),
    "bzip2": Image(
        bz2.compress(GOOD * 50) + bytes(512), ("checksum",), posted=True
    ),
    "a checksum that is wrong": Image(
        b"X" + GOOD[1:], ("byte 0 has a wrong checksum",), posted=True
    ),
    "a second header that is wrong": Image(
        entry(b"x", b"1") + b"y" * 512, ("byte 1024",), posted=True
    ),
    "cut in a header": Image(
        GOOD[:300], ("ends inside a header",), posted=True
    ),
    "cut in a member": Image(
        entry(b"x", bytes(5000))[:2000], ("5000 bytes, which passes",), True
    ),
    "gzip cut off": Image(
        gzip.compress(GOOD)[:-9], ("gzip data is cut off",), posted=True
    ),
    "gzip of two bytes": Image(b"\x1f\x8b", ("cut off",), posted=True),
    "gzip with a wrong sum": Image(
        gzip.compress(GOOD)[:-8] + b"12345678", ("is broken",), posted=True
    ),
    "gzip of garbage": Image(
        b"\x1f\x8b" + b"\xff" * 90, ("is broken",), posted=True
    ),
    "gzip with a tail": Image(
        gzip.compress(GOOD) + b"tail", ("no gzip data",), posted=True
    ),
    "gzip of too many members": Image(
        gzip.compress(b"") * 100_001, ("more than 100000 members",), True
    ),
}

LIES = {
    "size beyond the end": Image(
        block(b"x", size=b"00077777777\0") + END,
        ("16777215 bytes, which passes the end",),
        posted=True,
    ),
    "size of 2^63": Image(
        block(b"x", size=b"\x80\0\0\0\x80" + b"\0" * 7),
        ("byte 0 has a size that is none",),
        posted=True,
    ),
    "size of 2^88": Image(
        block(b"x", size=b"\x80" + b"\xff" * 11), ("that is none",), True
    ),
    "size negative": Image(
        block(b"x", size=b"\xff" * 12), ("that is none",), posted=True
    ),
    "size that leads back to itself": Image(
        block(b"x", size=b"\xff" * 10 + b"\xfe\0"), ("that is none",), True
    ),
    "size with a sign": Image(
        block(b"x", size=b"-0000000001\0"), ("that is none",), posted=True
    ),
    "pax size negative": Image(
        pax((b"size", b"-512")) + GOOD, ("size that is none",), posted=True
    ),
    "pax size of 5000 digits": Image(
        pax((b"size", b"9" * 5000)) + GOOD, ("size that is none",), True
    ),
    "pax records that lie": Image(
        entry(b"p", b"99 path=a\n", kind=b"x") + GOOD, ("is broken",), True
    ),
    # Python's tarfile takes ten minutes for this one.
    "pax of 900 kB of digits": Image(
        entry(b"p", b"1" * 900_000, kind=b"x") + GOOD, ("is broken",), True
    ),
    "pax of more than a megabyte": Image(
        entry(b"p", b" " * 1_100_000, kind=b"x") + GOOD,
        ("is too large: 1100000 bytes", "1048576"),
        posted=True,
    ),
    "long name of more than a megabyte": Image(
        entry(b"L", b"n" * 1_100_000, kind=b"L") + GOOD,
        ("is too large: 1100000 bytes",),
        posted=True,
    ),
}

ENTRIES = {
    "absolute": Image(
        entry(b"/etc/x", b"1") + END, ("/etc/x", "absolute path")
    ),
    "that climbs": Image(entry(b"../x", b"1") + END, ("../x", "'..'")),
    "that climbs within": Image(
        entry(b"a/../../x", b"1") + END, ("a/../../x", "'..'")
    ),
    "that climbs by a long name": Image(
        pax((b"path", b"../" * 100 + b"x")) + GOOD, ("'..' in its path",)
    ),
    "that climbs by its prefix": Image(
        entry(b"../" + b"d/" * 60 + b"x", b"1") + END, ("'..'",)
    ),
    "without a name": Image(entry(b"", b"1") + END, ("has no name",)),
    "with a NUL": Image(pax((b"path", b"a\0b")) + GOOD, ("has a NUL",)),
    "with a name of 300 bytes": Image(
        pax((b"path", b"n" * 300)) + GOOD, ("longer than 255 bytes",)
    ),
    "with a path of 5000 bytes": Image(
        pax((b"path", b"d/" * 2500 + b"x")) + GOOD,
        ("longer than 4096 bytes",),
    ),
    "that colours logs": Image(
        entry(b"/\x1b[31mred\n", b"1") + END, (r"/\u{1b}[31mred\n",)
    ),
    "a hard link out": Image(
        tar_of(("h", "=>/etc/passwd")), ("hard link to /etc/passwd",)
    ),
    "a hard link up": Image(
        tar_of(("h", "=>../../etc/passwd")), ("'..' in its path",)
    ),
    "a hard link to nothing": Image(
        tar_of(("h", "=>missing")), ("missing", "no earlier file")
    ),
    "a symbolic link to nothing": Image(
        block(b"s", kind=b"2") + END, ("a symbolic link to nothing",)
    ),
    "a file below a link": Image(
        tar_of(("etc", "->/etc"), ("etc/passwd", b"1")),
        ("etc/passwd", "not a directory"),
    ),
    "a disk": Image(block(b"sda", kind=b"4") + END, ("sda", "a device")),
    "a terminal": Image(block(b"tty", kind=b"3") + END, ("tty", "a device")),
    "a pipe": Image(block(b"p", kind=b"6") + END, ("p is a FIFO",)),
    "a socket or worse": Image(
        block(b"s", kind=b"9") + END, ("unknown type '9'",)
    ),
    "a sparse file": Image(block(b"s", kind=b"S") + END, ("sparse",)),
    "a sparse file by pax": Image(
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")) + GOOD,
        ("sparse",),
    ),
    "one path for all": Image(
        entry(b"g", pax_records((b"path", b"y")), kind=b"g") + GOOD,
        ("global header that sets a path",),
    ),
    "in the VM's /dev": Image(
        entry(b"dev/stdin", b"1") + END, ("dev/stdin", "belong to the VM")
    ),
    "in the VM's /tmp": Image(
        entry(b"tmp/x", b"1") + END, ("tmp/x", "belong to the VM")
    ),
    "a file that is a folder": Image(
        tar_of(("a/b", b"1"), ("a", b"2")), ("a is a directory",)
    ),
    "too many of them": Image(
        gzip.compress(entry(b"f", b"") * (MAX_MEMBERS + 1), 1),
        (f"more than {MAX_MEMBERS} members",),
    ),
}

DESCRIPTIONS = {
    "broken": Image(described(b"{"), ("image.json is not JSON",)),
    "no object": Image(described(b"[]"), ("image.json is not a JSON object",)),
    "nested deep": Image(described(b"[" * 9999), ("nested too deeply",)),
    "of two megabytes": Image(described(b" " * 2_000_000), ("2000000 bytes",)),
    "of another version": Image(
        described(b'{"version": 9, "name": "i", "env": {}}'),
        ("version is 9",),
    ),
    "with a key twice": Image(
        described(b'{"name": "a", "name": "b"}'), ("twice",)
    ),
    "with a number of 5000 digits": Image(
        described(b'{"version": %s}' % (b"1" * 5000)), ("not JSON",)
    ),
    "env of a number": Image(env(b'{"A": 1}'), ("env.A is 1",)),
    "env of a name with =": Image(env(b'{"A=B": ""}'), ("A=B", "without =")),
    "env without a name": Image(env(b'{"": "x"}'), ("without =",)),
    "env with a NUL": Image(env(b'{"A": "\\u0000"}'), ("without NUL",)),
    "env of half a surrogate": Image(env(b'{"A": "\\ud800"}'), ("env.A",)),
}

TABLES = {
    "no tar": NO_TARS,
    "a lie": LIES,
    "an entry": ENTRIES,
    "a description": DESCRIPTIONS,
}

# What looks hostile and is none: the job runs.
HARMLESS = {
    "names twice: the last one counts": tar_of(("x", b"1"), ("x", b"2")),
    "a link out, which nobody follows": tar_of(("x", "->/etc/passwd")),
    "links in a circle": tar_of(("a", "->b"), ("b", "->a")),
    "names that are no UTF-8": entry(b"\xff\xfe", b"1") + END,
    "names with control characters": entry(b"a\x1b[31m\nb", b"1") + END,
    "3000 long names in a row": entry(b"L", b"n\0", kind=b"L") * 3000 + GOOD,
    "3000 pax headers in a row": pax((b"path", b"n")) * 3000 + GOOD,
    "nothing but its end": bytes(1024),
    "no end": entry(b"x", b"1"),
    "garbage behind its end": GOOD + b"garbage" * 1000,
    "gzip in two members": gzip.compress(GOOD[:700])
    + gzip.compress(GOOD[700:]),
    "gzip with zeros behind it": gzip.compress(GOOD) + bytes(512),
    "of GNU's form": tar_of(
        ("d/" * 90 + "x", b"1"), format=tarfile.GNU_FORMAT
    ),
    "1000 folders deep": tar_of(("d/" * 1000 + "x", b"1")),
}


def with_job(program: str) -> bytes:
    """A tar with a job in it, whose reading ends in the middle of a member."""
    job = json.dumps([{"name": "n", "exec": {"path": program}}]).encode()
    return tar_of(("boot/cluster.map", job), ("large", bytes(1_500_000)))
