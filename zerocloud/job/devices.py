"""Devices: the entries of a group's `devices`, JSON → typed.

The table `KINDS` is the closed set of devices of the service; any other name
is that of a system image, which only the operator's settings know, so those
are checked when the plan is made (job/expand.py).  No device names anything of
a host: a path is an object in Swift, or there is none.

What a device may have depends on its kind: only writable ones take
`content_type`, `meta` and `min_size`, and what reads at random needs a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from zerocloud.errors import JobError
from zerocloud.job.document import Value, has_controls, plain, shown
from zerocloud.job.paths import FORM, SCHEME, ObjectPath, parse_object_path
from zerocloud.job.plan import Access
from zerocloud.job.wildcards import STAR, Pattern

MAX_NAME_BYTES = 128
MAX_META_NAME_BYTES = 128
MAX_META_VALUE_BYTES = 256
MAX_META_ITEMS = 90
MAX_META_BYTES = 4096
MAX_CONTENT_TYPE_BYTES = 256
MAX_SIZE = 2**63 - 1

DEVICE_KEYS = (
    "content_type",
    "device",
    "meta",
    "min_size",
    "mode",
    "name",
    "path",
)
MODES = ("file", "char", "pipe", "block")

# Names stand in comma lists of headers, in /dev/in/NAME, in zvm://NAME:DEVICE
# and in the process table.
_NAME_BARRED = ',;:/*"\\'
_NAME_ALLOWED = (
    f"1 to {MAX_NAME_BYTES} bytes of printable characters, but "
    'none of , ; : / * " \\, no blank at an end, and not . or ..'
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's "token"
_META_NAME = re.compile(_TOKEN)
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}( *;[ -~]*)?")
_PARSED_TYPES = ("message/http", "message/cgi")


@dataclass(frozen=True)
class Kind:
    """What a device of the service is."""

    reads: bool
    access: Access
    needs_path: bool = False
    is_image: bool = False


KINDS: dict[str, Kind] = {
    "stdin": Kind(True, "sequential"),
    "stdout": Kind(False, "sequential"),
    "stderr": Kind(False, "sequential"),
    "input": Kind(True, "random", needs_path=True),
    "output": Kind(False, "random"),
    "image": Kind(True, "random", is_image=True),
    "script": Kind(True, "random", needs_path=True),
}


@dataclass(frozen=True)
class Device:
    """One device of a group; `kind` is None for a system image's name.

    `keys` are the keys that were written and mean something for a device of
    the service.
    """

    name: str
    where: str
    kind: Kind | None
    path: ObjectPath | Pattern | None = None
    content_type: str | None = None
    meta: tuple[tuple[str, str], ...] = ()
    min_size: int = 0
    keys: tuple[str, ...] = ()

    @property
    def wildcard(self) -> Pattern | None:
        """The pattern that it reads, if it does."""
        reads = self.kind is not None and self.kind.reads
        return self.path if reads and isinstance(self.path, Pattern) else None


def parse_name(value: Value) -> str:
    """A name of a group or device (docs/job-format.md, Names)."""
    name = value.text(_NAME_ALLOWED)
    if (
        not name.isprintable()
        or set(name) & set(_NAME_BARRED)
        or name != name.strip()
        or name in (".", "..")
        or len(name.encode("utf-8")) > MAX_NAME_BYTES
    ):
        raise value.wrong(_NAME_ALLOWED)
    return name


def parse_devices(
    value: Value, *, group: str, account: str
) -> tuple[Device, ...]:
    """Parse a group's devices; `group` names it in error texts."""
    found: dict[str, Device] = {}
    for item in value.members("devices"):
        device = _parse_device(item, group, account)
        if device.name in found:
            raise JobError(
                "job_rule",
                f"{group}: device {plain(device.name)} is there twice; "
                "allowed is once",
                where=item.where,
            )
        found[device.name] = device
    return tuple(found.values())


def _parse_device(item: Value, group: str, account: str) -> Device:
    subject = f"{group}: {_called(item)}"
    got: dict[str, Value] = {}
    fields: dict[str, Any] = {}
    for spelling, value in item.fields(DEVICE_KEYS, subject):
        key = "name" if spelling == "device" else spelling
        if key in got:
            raise JobError(
                "job_schema",
                f"{subject} has name and device; allowed is one (device is "
                "the old spelling of name)",
                where=item.where,
            )
        got[key] = value
        fields[key] = _parse_key(key, value, account)
    if "name" not in fields:
        raise JobError(
            "job_schema", f"{subject} has no name", where=item.where
        )
    fields.pop("mode", None)
    kind = KINDS.get(fields["name"])
    _check_keys(kind, got, subject, item)
    keys = tuple(sorted(fields.keys() - {"name"}))
    return Device(where=item.where, kind=kind, keys=keys, **fields)


def _parse_key(key: str, value: Value, account: str) -> object:
    if key == "name":
        return parse_name(value)
    if key == "path":
        return _parse_path(value, account)
    if key == "content_type":
        return _parse_content_type(value)
    if key == "meta":
        return _parse_meta(value)
    if key == "min_size":
        return value.whole(0, MAX_SIZE)
    # `mode` was what stat() showed in the ancestor's sandbox.  It changes
    # nothing here; what is not a mode is refused all the same.
    if value.raw not in MODES:
        raise value.wrong(f"one of {', '.join(MODES)}")
    return None


def _called(item: Value) -> str:
    """`device NAME` for error texts, or where it stands if it has no name."""
    if isinstance(item.raw, dict):
        name = item.raw.get("name", item.raw.get("device"))
        if isinstance(name, str) and name:
            return f"device {plain(name)}"
    return f"device {item.where.rpartition('/')[2]}"


def _check_keys(
    kind: Kind | None, got: dict[str, Value], subject: str, item: Value
) -> None:
    """Check what the kind of a device needs and takes.

    A system image's keys are checked where the names of the images are
    known, so that a misspelled device is called unknown first.
    """
    if kind is None:
        return
    if kind.reads:
        for key in ("content_type", "meta", "min_size"):
            if key in got:
                raise JobError(
                    "job_rule",
                    f"{subject} has {key}; allowed for the writable devices "
                    "stdout, stderr and output only",
                    where=got[key].where,
                )
    if kind.needs_path and "path" not in got:
        name = subject.rpartition(" ")[2]
        raise JobError(
            "job_rule",
            f"{subject} has no path; {name} needs one",
            where=item.where,
        )


def _parse_path(value: Value, account: str) -> ObjectPath | Pattern:
    text = value.text(FORM)
    if text.startswith("zvm://"):
        raise value.error(
            "not_implemented",
            f"{shown(text)} connects nodes, which is not offered yet; "
            f"allowed is {FORM}",
        )
    if not text.startswith(SCHEME):
        raise value.wrong(f"{FORM}; a device reads and writes objects only")
    path = parse_object_path(value, account=account)
    if STAR in path.container or STAR in path.object:
        return Pattern(path.account, path.container, path.object)
    return path


def _parse_content_type(value: Value) -> str:
    allowed = (
        "TYPE/SUBTYPE with optional parameters, at most "
        f"{MAX_CONTENT_TYPE_BYTES} ASCII characters"
    )
    text = value.text(allowed)
    if len(text) > MAX_CONTENT_TYPE_BYTES or not _CONTENT_TYPE.fullmatch(text):
        raise value.wrong(allowed)
    if text.partition(";")[0].strip().lower() in _PARSED_TYPES:
        raise value.error(
            "not_implemented",
            f"{shown(text)} lets the program write headers, which is not "
            "offered yet; allowed is any other type",
        )
    return text


def _parse_meta(value: Value) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    # Swift keeps the names as headers, where a and A, a_b and a-b are one.
    seen: set[str] = set()
    total = 0
    for name, item in value.pairs("strings"):
        if not _META_NAME.fullmatch(name) or len(name) > MAX_META_NAME_BYTES:
            raise value.error(
                "job_schema",
                f"name {shown(name)} is no header name; allowed are 1 to "
                f"{MAX_META_NAME_BYTES} letters, digits and -._!#$%&'*+^`|~",
            )
        folded = name.lower().replace("_", "-")
        if folded in seen:
            raise item.error(
                "job_schema",
                "the name is there twice (as headers, case does not count, "
                "and _ is -); allowed is once",
            )
        seen.add(folded)
        text = _parse_meta_value(item)
        total += len(name) + len(text.encode("utf-8"))
        found.append((name, text))
    if len(found) > MAX_META_ITEMS or total > MAX_META_BYTES:
        raise value.error(
            "job_schema",
            f"{len(found)} items of {total} bytes; Swift allows "
            f"{MAX_META_ITEMS} items of {MAX_META_BYTES} bytes together",
        )
    return tuple(found)


def _parse_meta_value(item: Value) -> str:
    text = item.raw
    if (
        not isinstance(text, str)
        or has_controls(text)
        or len(text.encode("utf-8")) > MAX_META_VALUE_BYTES
    ):
        raise item.wrong(
            f"a string of at most {MAX_META_VALUE_BYTES} bytes without "
            "control characters"
        )
    return text
