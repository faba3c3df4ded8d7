"""Pinned source archives: a name and a digest become a local file.

Looked for in this order: the file that an environment variable names; the
cache; the mirrors that this machine's apt is configured with; the project's
own archive.  Whatever comes is used only if its SHA-256 is the pinned one.

apt is asked without root: a private list of deb-src entries is derived from
the machine's own lists, with private state and cache folders, so nothing of
the machine's package management is read by name or written at all.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache import cache_folder, file_sha256
from .zig import BuildError

TIMEOUT_SECONDS = 60
Say = Callable[[str], None]


@dataclass(frozen=True)
class Archive:
    """One form in which a source is published."""

    file: str
    sha256: str
    url: str


@dataclass(frozen=True)
class Source:
    """A source and the archives, any of which will do."""

    name: str
    package: str
    environment: str
    archives: tuple[Archive, ...]


def parse_sources(entries: list[dict[str, Any]]) -> list[Source]:
    """Read the `sources` of a recipe."""
    return [
        Source(
            entry["name"],
            entry["package"],
            entry["environment"],
            tuple(
                Archive(a["file"], a["sha256"], a.get("url", ""))
                for a in entry["archives"]
            ),
        )
        for entry in entries
    ]


def fetch(source: Source, say: Say) -> Path:
    """Return a local archive of the source, its digest checked."""
    named = os.environ.get(source.environment)
    if named:
        return check_named(source, Path(named))
    folder = cache_folder("sources")
    for archive in source.archives:
        kept = folder / archive.file
        if kept.exists() and file_sha256(kept) == archive.sha256:
            return kept
    tried = []
    for way in (fetch_by_apt, fetch_by_url):
        for archive in source.archives:
            say(f"fetching {archive.file} {way.__doc__}")
            try:
                found = way(source, archive, folder)
            except (OSError, subprocess.SubprocessError) as error:
                tried.append(f"  {archive.file} {way.__doc__}: {error}")
                continue
            if found:
                return found
    raise BuildError(
        f"no source of {source.name} could be fetched; set "
        f"{source.environment} to a local copy of "
        f"{source.archives[0].file}. Tried:\n" + "\n".join(tried)
    )


def check_named(source: Source, path: Path) -> Path:
    """Return the user's own copy; BuildError unless it is a pinned one."""
    if not path.is_file():
        raise BuildError(f"{source.environment}: {path} is not a file")
    digest = file_sha256(path)
    if digest not in [archive.sha256 for archive in source.archives]:
        raise BuildError(
            f"{source.environment}: {path} has SHA-256 {digest}; pinned is "
            + " or ".join(archive.sha256 for archive in source.archives)
        )
    return path


def keep(found: Path, archive: Archive, folder: Path) -> Path:
    """Move a fetched file into the cache; OSError if it is another file."""
    digest = file_sha256(found)
    if digest != archive.sha256:
        raise OSError(f"SHA-256 is {digest}, pinned is {archive.sha256}")
    target = folder / archive.file
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(found, fresh)
    os.replace(fresh, target)
    return target


def fetch_by_url(
    _source: Source, archive: Archive, folder: Path
) -> Path | None:
    """from its project's site"""
    if not archive.url:
        return None
    digest = hashlib.sha256(archive.url.encode()).hexdigest()[:8]
    with tempfile.TemporaryDirectory(prefix=f"zerocloud-{digest}-") as scratch:
        fresh = Path(scratch) / "archive"
        answer = urllib.request.urlopen(  # noqa: S310  only https, from the recipe
            archive.url, timeout=TIMEOUT_SECONDS
        )
        with answer, fresh.open("wb") as target:
            shutil.copyfileobj(answer, target)
        return keep(fresh, archive, folder)


def fetch_by_apt(
    source: Source, archive: Archive, folder: Path
) -> Path | None:
    """from this machine's apt mirrors"""
    if not shutil.which("apt-get"):
        raise OSError("there is no apt-get here")
    with tempfile.TemporaryDirectory(prefix="zerocloud-apt-") as scratch:
        place = Path(scratch)
        command = private_apt(place)
        apt(place, [*command, "update"])
        listed = apt(
            place, [*command, "source", "--print-uris", source.package]
        )
        if archive.sha256 not in listed:
            raise OSError("the mirrors have another version")
        # Exit status aside: the packaging files are of no interest, and are
        # often gone when the archive still is there.
        apt(
            place,
            [*command, "source", "--tar-only", "--download-only",
             source.package],
        )  # fmt: skip
        return keep(place / archive.file, archive, folder)


def apt(place: Path, command: list[str]) -> str:
    """Run apt-get in a folder; return what it printed, whatever its status."""
    return subprocess.run(
        command,
        cwd=place,
        env=os.environ | {"LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=5 * TIMEOUT_SECONDS,
    ).stdout


def private_apt(place: Path) -> list[str]:
    """Return an apt-get command that keeps everything in one folder."""
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        (place / name).mkdir(parents=True)
    lines, stanzas = source_entries()
    (place / "sources.list").write_text("\n".join(lines) + "\n")
    (place / "parts" / "all.sources").write_text("\n\n".join(stanzas) + "\n")
    options = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": place / "parts",
        "Dir::State::lists": place / "lists",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Acquire::Languages": "none",
    }
    flags = [f"-o{name}={value}" for name, value in options.items()]
    return ["apt-get", "-q", *flags]


def source_entries() -> tuple[list[str], list[str]]:
    """Derive deb-src lines and stanzas of the machine's distribution.

    Entries of other suites (vendors' own repositories) are passed over: they
    do not have what is looked for, and may be slow to say so.
    """
    suites = re.compile(rf"\b(?:{'|'.join(own_suites())})(?:[-/][\w/-]+)?\b")
    lines, stanzas = [], []
    for path in list_files():
        text = path.read_text(errors="replace")
        if path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = re.sub(r"(?m)^#.*\n?", "", stanza).strip()
                named = re.search(r"(?mi)^Suites:(.*)$", fields)
                words = named[1].split() if named else []
                if any(suites.fullmatch(word) for word in words):
                    stanzas.append(
                        re.sub(r"(?mi)^Types:.*$", "Types: deb-src", fields)
                    )
            continue
        for line in text.splitlines():
            entry = re.match(
                r"\s*deb(?:-src)?\s+(\[[^]]*\]\s+)?\S+\s+(\S+)", line
            )
            if entry and suites.fullmatch(entry[2]):
                lines.append(re.sub(r"^\s*deb(-src)?\s", "deb-src ", line))
    return list(dict.fromkeys(lines)), stanzas


def own_suites() -> list[str]:
    """Return the names by which apt's lists may call this distribution."""
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        text = ""
    codename = re.findall(r"(?m)^(?:VERSION|UBUNTU)_CODENAME=(\w+)", text)
    return [*codename, "stable", "oldstable", "testing", "unstable", "sid"]


def list_files() -> Iterator[Path]:
    """Yield the files where this machine's apt says its entries are."""
    asked = subprocess.run(
        ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f",
         "PARTS", "Dir::Etc::sourceparts/d"],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    places = dict(re.findall(r"(\w+)='([^']*)'", asked))
    single = Path(places.get("LIST", "/etc/apt/sources.list"))
    if single.is_file():
        yield single
    parts = Path(places.get("PARTS", "/etc/apt/sources.list.d"))
    for pattern in ("*.list", "*.sources"):
        yield from sorted(parts.glob(pattern))
