"""A folder becomes a tar layer: the same tree always gives the same bytes.

Names are sorted and relative, owners and times are 0, modes are 0644 (0755 for
directories), and the format is plain ustar; a name too long for that is
refused rather than put into an extension that a reader must know.
"""

import io
import os
import tarfile
from pathlib import Path


def write_layer(root: Path, target: Path) -> int:
    """Write a folder's content as a tar file; return its size in bytes."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with tarfile.open(fresh, "w", format=tarfile.USTAR_FORMAT) as layer:
            for name in names:
                add(layer, root / name, name)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    return target.stat().st_size


def write_with_member(
    source: Path, target: Path, name: str, content: bytes
) -> None:
    """Write a layer that `write_layer` made with one file more."""
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    entry.size = len(content)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    folders = [
        str(parent)
        for parent in reversed(Path(name).parents)
        if parent != Path()
    ]
    try:
        with (
            tarfile.open(source) as old,
            tarfile.open(fresh, "w", format=tarfile.USTAR_FORMAT) as new,
        ):
            entries = {member.name: member for member in old}
            for folder in folders:
                entries.setdefault(folder, _folder(folder))
            for key in sorted({*entries, name}):
                if key == name:
                    new.addfile(entry, io.BytesIO(content))
                elif entries[key].isfile():
                    new.addfile(entries[key], old.extractfile(key))
                else:
                    new.addfile(entries[key])
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


def _folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    return entry


def add(layer: tarfile.TarFile, path: Path, name: str) -> None:
    """Add one file or directory; anything else is an error."""
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        raise ValueError(f"{path} is neither a file nor a directory")
    if path.is_dir():
        layer.addfile(_folder(name))
        return
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    entry.size = path.stat().st_size
    with path.open("rb") as content:
        layer.addfile(entry, content)
