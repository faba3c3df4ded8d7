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
        fault = _unusable(path, digests)
        if fault is not None:
            yield fail("images", f"{name} {path}", *fault)
    for name, path in settings.system_images:
        if path in digests:
            of_name = {
                digests[other]
                for same, other in settings.system_images
                if same == name and other in digests
            }
            yield _compared(name, path, digests[path], promised, by, of_name)
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


def _unusable(path: Path, digests: dict[Path, str]) -> tuple[str, str] | None:
    """What is wrong with the file, and the mending; notes its digest."""
    if path in digests:
        return None
    try:
        digest = _digest(path)
    except OSError as error:
        return (
            f"cannot be read: {error.strerror or error}",
            "copy the image there, readable for Swift's user",
        )
    if not tarfile.is_tarfile(path):
        return "is no tar", "copy the image there again"
    digests[path] = digest
    return None


def _compared(  # noqa: PLR0913, PLR0917 - one image, one promise
    name: str,
    path: Path,
    digest: str,
    promised: Mapping[str, str] | None,
    by: str,
    of_name: set[str],
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
    if promised[name] != digest and promised[name] in of_name:
        return note(
            "images",
            subject,
            f"is not the one that {by} promises, which is here as well",
            "once no proxy promises it any more, take it out",
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
