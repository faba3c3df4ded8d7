"""Swift's conf files, read as Paste reads them, and our filter found in them.

A conf is a file, or a folder of `*.conf` files read in order.  An option that
also stands in `[DEFAULT]` is taken from there, whatever the section says,
unless the section says `set NAME = VALUE`: Paste's rule, which surprises.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class ConfUnreadable(Exception):  # noqa: N818 - the command's line is at fault
    """A conf file that cannot be looked at; the text says why."""


@dataclass(frozen=True)
class Conf:
    """A conf: the values of [DEFAULT], and of each section by itself."""

    path: Path
    defaults: Mapping[str, str]
    sections: Mapping[str, Mapping[str, str]]

    @property
    def pipeline(self) -> list[str]:
        """The names in the pipeline, the application last."""
        return (
            self.sections.get("pipeline:main", {}).get("pipeline", "").split()
        )

    def factory(self, name: str) -> str:
        """What a filter or application of the pipeline is: `swift#copy`."""
        for kind in ("filter", "app"):
            section = self.sections.get(f"{kind}:{name}")
            if section is not None:
                return _factory(section)
        return ""

    def find(self, factories: tuple[str, ...]) -> str | None:
        """The name of the filter's section that has one of the factories."""
        for section, options in self.sections.items():
            kind, _, name = section.partition(":")
            if kind == "filter" and _factory(options) in factories:
                return name
        return None

    def own(self, name: str) -> dict[str, str]:
        """What the filter's section says itself, `set` and `use` aside."""
        return {
            key.removeprefix("set ").strip(): value
            for key, value in self.sections[f"filter:{name}"].items()
            if key not in _PASTES
        }

    def effective(self, name: str) -> dict[str, str]:
        """What the filter is given: [DEFAULT], then its section."""
        given = dict(self.defaults)
        for key, value in self.sections[f"filter:{name}"].items():
            if key.startswith("set "):
                given[key.removeprefix("set ").strip()] = value
            elif key not in _PASTES and key not in self.defaults:
                given[key] = value
        return given

    def shadowed(self, name: str) -> list[str]:
        """Options of the filter's section that [DEFAULT] overrules."""
        options = self.sections[f"filter:{name}"]
        return [key for key in options if key in self.defaults]


_PASTES = ("use", "paste.filter_factory", "paste.app_factory")


def _factory(options: Mapping[str, str]) -> str:
    for key in _PASTES:
        if key in options:
            return options[key].strip().removeprefix("egg:")
    return ""


def _files(path: Path) -> list[Path]:
    if not os.path.isdir(path):
        return [path]
    names = sorted(os.listdir(path))
    return [path / name for name in names if name.endswith(".conf")]


def read_conf(path: Path) -> Conf:
    """The conf at that path; raises ConfUnreadable."""
    parser = configparser.RawConfigParser(
        strict=False, default_section="\0none", interpolation=None
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign] # its documented use
    try:
        for file in _files(path):
            parser.read_string(file.read_text("utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfUnreadable(f"{path} cannot be read: {why}") from error
    except configparser.Error as error:
        # Its text may quote a line, and lines hold keys.
        line = getattr(error, "lineno", None)
        at = f" (line {line})" if line else ""
        raise ConfUnreadable(f"{path} is no conf file{at}") from error
    sections = {name: dict(parser[name]) for name in parser.sections()}
    if not sections:
        raise ConfUnreadable(f"{path} holds no section")
    defaults = sections.pop("DEFAULT", {})
    return Conf(path, defaults, sections)
