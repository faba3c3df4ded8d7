"""Tars with chosen members."""

from __future__ import annotations

import io
import json
import tarfile


def tar_of(*entries: tuple[str, object], **options: object) -> bytes:
    """A tar; an entry's value is bytes, or `->target`, or `=>target`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:  # type: ignore[call-overload]
        for name, value in entries:
            info = tarfile.TarInfo(name)
            data = b""
            if isinstance(value, bytes):
                data = value
                info.size = len(data)
            elif value is None:
                info.type = tarfile.DIRTYPE
            else:
                kinds = {"->": tarfile.SYMTYPE, "=>": tarfile.LNKTYPE}
                info.type = kinds[str(value)[:2]]
                info.linkname = str(value)[2:]
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def description(**env: str) -> tuple[str, bytes]:
    """The member `.zerocloud/image.json`."""
    document = {"version": 1, "name": "image", "env": env}
    return ".zerocloud/image.json", json.dumps(document).encode()


def block(
    name: bytes, *, size: bytes = b"00000000000\0", kind: bytes = b"0"
) -> bytes:
    """A header with a right checksum, and a size that may be none."""
    header = bytearray(512)
    for at, field in (
        (0, name),
        (100, b"0000644\0"),
        (124, size),
        (136, b"00000000000\0"),
        (148, b" " * 8),
        (156, kind),
        (257, b"ustar\x0000"),
    ):
        header[at : at + len(field)] = field
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def entry(name: bytes, data: bytes, *, kind: bytes = b"0") -> bytes:
    """A header, and its data up to a whole block."""
    padded = data + bytes(-len(data) % 512)
    return block(name, size=b"%011o\0" % len(data), kind=kind) + padded


def pax_records(*records: tuple[bytes, bytes]) -> bytes:
    """Records of a pax header, each with its length before it."""
    made = b""
    for key, value in records:
        rest = b" %s=%s\n" % (key, value)
        length = len(rest)
        while length != len(rest) + len(str(length)):
            length = len(rest) + len(str(length))
        made += b"%d%s" % (length, rest)
    return made
