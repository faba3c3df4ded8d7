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
