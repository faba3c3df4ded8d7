"""Where this installation keeps its runner, its images and its cache.

A wheel carries `zvm` in `zerocloud/bin/` and images in `zerocloud/images/`;
a clone builds both into `build/`.  Reads the file system, writes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerocloud.cluster.settings import StartError

PACKAGE = Path(__file__).resolve().parent.parent
CLONE = PACKAGE.parent


@dataclass(frozen=True)
class InstalledImage:
    """A system image: the tar and the names it goes by."""

    name: str
    aliases: tuple[str, ...]
    sha256: str
    tar: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)


def find_zvm(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The runner: $ZEROCLOUD_ZVM, the package's, the clone's, PATH's."""
    chosen = environ.get("ZEROCLOUD_ZVM")
    if chosen:
        return Path(chosen).resolve()
    for place in (PACKAGE / "bin" / "zvm", CLONE / "build" / "bin" / "zvm"):
        if os.access(place, os.X_OK):
            return place
    found = shutil.which("zvm", path=environ.get("PATH"))
    return Path(found).resolve() if found else None


def find_images(
    places: tuple[Path, ...] = (
        PACKAGE / "images",
        CLONE / "build" / "images",
    ),
) -> tuple[InstalledImage, ...]:
    """Every image that is built, sorted by name; none is no error."""
    for place in places:
        described = sorted(place.glob("*.json"))
        if described:
            return tuple(_read_image(path) for path in described)
    return ()


def _read_image(path: Path) -> InstalledImage:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        image = InstalledImage(
            name=str(document["name"]),
            aliases=tuple(str(a) for a in document.get("aliases", ())),
            sha256=str(document["sha256"]),
            tar=path.with_suffix(".tar"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(
            f"image description {path} is unusable ({error!r}); `make build` "
            "makes it anew"
        ) from error
    if not image.tar.is_file():
        raise StartError(f"image {image.name} has no {image.tar}")
    return image


def user_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for what is dear to make and safe to lose."""
    chosen = environ.get("ZEROCLOUD_CACHE")
    if chosen:
        return Path(chosen).resolve()
    home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).resolve() / "zerocloud"
