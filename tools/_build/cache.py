"""Build products that outlive a checkout: the user's cache folder.

Everything in it can be deleted at any time.  A file appears in it, or in a
build folder, by rename only: whoever sees it sees all of it, also when two
builds run at once.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """Return a folder below the project's cache, made if it is missing."""
    named = os.environ.get("ZEROCLOUD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(named) if named else Path(base) / "zerocloud"
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def same_file(left: Path, right: Path) -> bool:
    """Say whether both exist with the same size and content."""
    if not left.exists() or not right.exists():
        return False
    if left.stat().st_size != right.stat().st_size:
        return False
    return file_sha256(left) == file_sha256(right)


def place_copy(source: Path, target: Path) -> None:
    """Copy a file to its place by rename; nothing is touched if it is there.

    The content decides, not the times: an unchanged guest keeps its inode, and
    whatever was made from it stays valid.
    """
    if same_file(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    os.close(handle)
    try:
        shutil.copyfile(source, name)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def place_text(text: str, target: Path) -> None:
    """Write a small file by rename, unless it says that already."""
    if target.exists() and target.read_text() == text:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, target)
