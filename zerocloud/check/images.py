"""System images: there, readable, and the ones that the proxies promise."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from zerocloud.check.finding import Finding, fail, note, ok
from zerocloud.config import ExecutorSettings

_CHUNK_BYTES = 1 << 20


def check_images(
    settings: ExecutorSettings, promised: Mapping[str, str] | None, by: str
) -> Iterator[Finding]:
    """Each image of this node, against what `by` promises.

    `promised` has digests by name; None when no proxy was asked.
    """
    digests: dict[Path, str] = {}
    for name, path in settings.system_images:
        try:
            if path not in digests:
                digests[path] = _digest(path)
        except OSError as error:
            yield fail(
                "images",
                f"{name} {path}",
                f"cannot be read: {error.strerror or error}",
                "copy the image there, readable for Swift's user",
            )
            continue
        if not tarfile.is_tarfile(path):
            yield fail(
                "images",
                f"{name} {path}",
                "is no tar",
                "copy the image there again",
            )
            continue
        yield _compared(name, path, digests[path], promised, by)
    for name in sorted(
        set(promised or ()) - dict(settings.system_images).keys()
    ):
        yield fail(
            "images",
            name,
            f"is promised by {by}, and is not in system_images here; its "
            "tasks go to other servers",
            f"copy the image here and add {name}=/PATH/OF.tar to "
            "system_images of the object server",
        )


def _compared(
    name: str,
    path: Path,
    digest: str,
    promised: Mapping[str, str] | None,
    by: str,
) -> Finding:
    subject = f"{name} {path}"
    if promised is None:
        return ok("images", subject, f"proxies must say {name}={digest}")
    if name not in promised:
        return note(
            "images",
            subject,
            f"is not in system_images of {by}; no job can use it",
            f"add {name}={digest} to system_images of every proxy",
        )
    if promised[name] != digest:
        return fail(
            "images",
            subject,
            f"has digest {digest}; {by} promises {promised[name]}",
            "copy the right image here, or, if this one is right, give every "
            f"proxy {name}={digest}",
        )
    return ok("images", subject, f"is what {by} promises")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()
