"""What a check says: how bad it is, of what, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

# `ok` is well; `note` runs, and is worth knowing; `fail` is to be mended.
Level = Literal["ok", "note", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    subject: str
    said: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return asdict(self)


def ok(check: str, subject: str, said: str) -> Finding:
    """All is well with it."""
    return Finding(check, "ok", subject, said)


def note(check: str, subject: str, said: str, mend: str = "") -> Finding:
    """It runs; somebody may want to know."""
    return Finding(check, "note", subject, said, mend)


def fail(check: str, subject: str, said: str, mend: str) -> Finding:
    """To be mended, and how."""
    return Finding(check, "fail", subject, said, mend)
