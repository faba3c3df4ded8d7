"""A program of many files, whose pinned source is fetched when it is built.

`source/recipe.json` of an example says which source (in the words of
images/python3/recipe.json), which files of it are compiled, with which flags
and libraries; a header beside it is included before everything, for what WASI
has no word for.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

from .sources import Say, fetch, parse_sources

FILE = "recipe.json"


def _read(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text())
    return known


def name_of(path: Path) -> str:
    """Return the program's name; nothing unless this is a recipe."""
    return str(_read(path)["name"]) if path.name == FILE else ""


def files(path: Path) -> list[Path]:
    """Return the files of ours that decide the program."""
    return [path, path.parent / _read(path)["include"]]


def flags(path: Path) -> list[str]:
    """Return the flags for the compiler, with the libraries."""
    known = _read(path)
    # Warnings of somebody else's code are not ours to look at.
    return [
        "-w",
        *known["flags"],
        *(f"-l{name}" for name in known["libraries"]),
    ]


def unpack(path: Path, folder: Path, say: Say) -> list[str]:
    """Fetch and unpack the source; return what to compile in the folder.

    Raises BuildError if no way leads to the pinned archive.
    """
    known = _read(path)
    [source] = parse_sources(known["sources"])
    with tarfile.open(fetch(source, say)) as archive:
        for entry in archive:
            _, _, name = entry.name.partition("/")
            if entry.isfile() and Path(name).match(known["unpack"]):
                entry.name = Path(name).name
                archive.extract(entry, folder, set_attrs=False)
    own = path.parent / known["include"]
    (folder / own.name).write_bytes(own.read_bytes())
    return [
        "-include",
        own.name,
        *sorted(
            file.name
            for file in folder.glob("*.c")
            if file.name not in known["leave_out"]
        ),
    ]
