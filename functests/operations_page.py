"""docs/operations.md as something to follow: its boxes, hosts to try them on.

A box is a fenced block whose first line says a language and a place:

    ```sh storage             commands, on every storage server
    ```sh proxy|once|user     … on every proxy, on one host, as a user
    ```ini FILE               options that the file holds afterwards
    ```diff FILE              options that it loses and gains
    ```text                   to look at

A `Host` stands for one machine: a folder with its conf file, which is the
embedded cluster's own, and a PATH where `systemctl` and `pip` note what they
are asked to do.  The page's words are followed as they are but for the
replacements of `Host.words`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
_FENCE = re.compile(r"^```(\w+)(?: ([\w.-]+))?\n(.*?)^```$", re.M | re.S)
_HEADING = re.compile(r"^## (.*)$", re.M)
_SHIM = '#!/bin/sh\necho "$(basename "$0") $*" >> {log}\n'
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Box:
    """One fenced block of the page."""

    section: str
    language: str
    place: str
    text: str


def boxes() -> list[Box]:
    """Every block of the page, in its order."""
    page = PAGE.read_text("utf-8")
    headings = [(m.start(), m[1]) for m in _HEADING.finditer(page)]
    found = []
    for match in _FENCE.finditer(page):
        above = [name for start, name in headings if start < match.start()]
        found.append(
            Box(above[-1] if above else "", match[1], match[2] or "", match[3])
        )
    return found


@dataclass
class Host:
    """One machine that the page is followed on."""

    folder: Path
    conf: Path
    words: dict[str, str]
    env: dict[str, str]
    printed: str = ""

    def __post_init__(self) -> None:
        tools = self.folder / "bin"
        tools.mkdir(parents=True)
        self._log = self.folder / "asked"
        self._log.touch()
        for name in ("systemctl", "pip"):
            shim = tools / name
            shim.write_text(_SHIM.format(log=self._log))
            shim.chmod(0o755)
        path = [str(tools), str(Path(sys.executable).parent), os.defpath]
        self.env = {
            **self.env,
            "PATH": os.pathsep.join(path),
            "HOME": str(self.folder),
        }

    def translated(self, text: str) -> str:
        """The page's words with this host's in their place."""
        for theirs, ours in self.words.items():
            text = text.replace(theirs, ours)
        return text

    def run(self, box: Box) -> str:
        """Run a box's commands as a shell does that stops at a failure."""
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", self.translated(box.text)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{box.text}\n{said}"
        self.printed = done.stdout or self.printed
        return done.stdout

    @property
    def asked(self) -> list[str]:
        """What `systemctl` and `pip` were asked for, in order."""
        return self._log.read_text().splitlines()

    @property
    def restarts(self) -> int:
        """How often `systemctl restart` was asked for."""
        return sum(line.startswith("systemctl restart") for line in self.asked)

    def edit(self, box: Box) -> None:
        """Do to the conf file what an ini or diff box says."""
        change = merge if box.language == "ini" else patch
        text = self._filled(self.translated(box.text))
        assert not re.search(r"= .*\b[A-Z]{3,}$", text, re.M), text
        self.conf.write_text(change(self.conf.read_text(), text))

    def _filled(self, text: str) -> str:
        """`AS PRINTED`: what the last command printed for that section."""
        section = ""
        lines = []
        for line in text.splitlines():
            if line.startswith("["):
                section = line
            if line.endswith(" = AS PRINTED"):
                name = line.partition(" ")[0]
                part = self.printed.partition(f"# {section} in ")[2]
                line = next(  # noqa: PLW2901 - filled in
                    x
                    for x in part.partition("\n# ")[0].splitlines()
                    if x.startswith(f"{name} = ")
                )
            lines.append(line)
        return "\n".join(lines) + "\n"


def merge(conf: str, fragment: str) -> str:
    """The conf with each option of the fragment; `# name =` takes one out."""
    section = ""
    for line in fragment.splitlines():
        name, _, value = line.partition(" = ")
        if line.startswith("["):
            section = line
            if f"\n{section}\n" not in f"\n{conf}":
                conf += f"\n{section}\n"
        elif line.startswith("# "):
            conf = _without(conf, section, line[2:].partition(" =")[0])
        elif name == "pipeline":
            conf = _in_pipeline(conf, value)
        elif line:
            conf = _without(conf, section, name)
            head, mark, tail = f"\n{conf}".partition(f"\n{section}\n")
            conf = (head + mark + line + "\n" + tail)[1:]
    return conf


def _in_pipeline(conf: str, shown: str) -> str:
    """Add the one name that is new; those beside it must be there."""
    words = [word for word in shown.split() if word != "…"]
    old = re.search(r"^pipeline = (.*)$", conf, re.M)
    assert old is not None
    have = old[1].split()
    [new] = [word for word in words if word not in have]
    after = have.index(words[words.index(new) + 1])
    before = words[: words.index(new)]
    assert have[after - len(before) : after] == before
    have.insert(after, new)
    return conf.replace(old[0], "pipeline = " + " ".join(have))


def _without(conf: str, section: str, name: str) -> str:
    lines = []
    inside = False
    for line in conf.splitlines(keepends=True):
        if line.startswith("["):
            inside = line.strip() == section
        if not (inside and line.startswith(f"{name} =")):
            lines.append(line)
    return "".join(lines)


def patch(conf: str, diff: str) -> str:
    """The conf after a diff: names in the pipeline, whole sections."""
    gone: list[str] = []
    for line in diff.splitlines():
        sign, text = line[:1], line[1:]
        if sign == "-" and text.startswith("["):
            assert f"\n{text}\n" in conf, text
            pattern = rf"^{re.escape(text)}\n(?:(?!\[).*\n?)*"
            conf = re.sub(pattern, "", conf, count=1, flags=re.M)
        elif sign == "-":
            gone = [w for w in text.partition(" = ")[2].split() if w != "…"]
        elif sign == "+":
            kept = [w for w in text.partition(" = ")[2].split() if w != "…"]
            before, after = " ".join(gone), " ".join(kept)
            assert f" {before}" in conf, before
            conf = conf.replace(f" {before}", f" {after}", 1)
    return conf
