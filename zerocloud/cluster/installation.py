"""Where this installation keeps its runner, images, guests and cache.

The one place that decides it.  A clone builds them into `build/`.  A wheel
carries images in `zerocloud/images/`, the guests of the examples in
`zerocloud/guests/`, and puts `zvm` and `zvm-compile` among the commands of
the environment.  Reads the file system, writes nothing.
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
    """The runner: $ZEROCLOUD_ZVM, the clone's, the wheel's, PATH's."""
    chosen = environ.get("ZEROCLOUD_ZVM")
    if chosen:
        return Path(chosen).resolve()
    for place in (CLONE / "build" / "bin", *command_folders(PACKAGE)):
        if os.access(place / "zvm", os.X_OK):
            return place / "zvm"
    found = shutil.which("zvm", path=environ.get("PATH"))
    return Path(found).resolve() if found else None


def command_folders(package: Path) -> tuple[Path, ...]:
    """Where pip puts a wheel's commands, judged by where the package is.

    PREFIX/lib/pythonX.Y/site-packages/zerocloud has them in PREFIX/bin, be
    PREFIX a virtual environment, the user's or the system's; what was
    installed with `--target DIR` has them in DIR/bin.
    """
    site = package.parent
    prefix = site.parents[2] if len(site.parents) > 2 else site
    return (prefix / "bin", site / "bin")


def find_guest(
    name: str,
    places: tuple[Path, ...] = (
        PACKAGE / "guests",
        CLONE / "build" / "guests",
    ),
) -> Path | None:
    """The compiled program of an example: `wc`; None if not built."""
    for place in places:
        if (place / f"{name}.wasm").is_file():
            return place / f"{name}.wasm"
    return None


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
