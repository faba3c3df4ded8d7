"""The samples in etc/ and the tables in zerocloud.config say the same.

Every option is listed once, commented, at its default; the range that the
comment states is the range that the reader accepts, tried from both sides.
"""

from __future__ import annotations

import configparser
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from zerocloud.config import (
    option_tables,
    read_executor_settings,
    read_proxy_settings,
)
from zerocloud.errors import ConfigError

ETC = Path(__file__).parent.parent / "etc"
SAMPLES = {
    "proxy": ("proxy-server.conf.sample", "filter:zerocloud"),
    "executor": ("object-server.conf.sample", "filter:executor"),
}
READERS: dict[str, Callable[[dict[str, str]], object]] = {
    "proxy": read_proxy_settings,
    "executor": read_executor_settings,
}
KEY = {"cluster_key": "0123456789abcdef"}

_OPTION = re.compile(r"# (\w+) =(?: (.*))?")
_RANGE = re.compile(r"([\d.]+) to ([\d.]*\d)\.$")
_UNITS = (("_seconds", "Seconds"), ("_timeout", "Seconds"), ("_bytes", "Byte"))


@dataclass(frozen=True)
class Option:
    """One commented option: its default, and the text above it."""

    name: str
    default: str
    comment: str

    @property
    def bounds(self) -> tuple[str, str] | None:
        """The range that the comment ends with."""
        found = _RANGE.search(self.comment)
        return (found[1], found[2]) if found else None


def section(kind: str) -> str:
    """The text of our filter's section in the sample."""
    name, header = SAMPLES[kind]
    text = (ETC / name).read_text("ascii")
    _, _, after = text.partition(f"\n[{header}]\n")
    return after.partition("\n[")[0]


def options(kind: str) -> Iterator[Option]:
    comment: list[str] = []
    for line in section(kind).splitlines():
        found = _OPTION.fullmatch(line)
        if found:
            yield Option(found[1], found[2] or "", " ".join(comment))
        if found or not line.startswith("# "):
            comment = []
        else:
            comment.append(line[2:])


def settings_at(name: str, value: str) -> dict[str, str]:
    """The option at its bound; a default is held to its cap, so both."""
    if name.startswith("default_"):
        return {name: value, name.replace("default_", "max_"): value}
    return {name: value, name.replace("max_", "default_"): value}


KINDS = pytest.mark.parametrize("kind", sorted(SAMPLES))
RANGED = pytest.mark.parametrize(
    ("kind", "option"),
    [
        pytest.param(kind, option, id=f"{kind}-{option.name}")
        for kind in sorted(SAMPLES)
        for option in options(kind)
        if option.bounds
    ],
)


@KINDS
def test_sample_lists_every_option_once_at_its_default(kind: str) -> None:
    listed = [(option.name, option.default) for option in options(kind)]
    assert sorted(listed) == sorted(option_tables()[kind])


@KINDS
def test_sample_describes_every_option(kind: str) -> None:
    bare = [o.name for o in options(kind) if len(o.comment) < 15]
    assert bare == []


@KINDS
def test_sample_states_unit_and_range_of_every_number(kind: str) -> None:
    for option in options(kind):
        if not re.fullmatch(r"[\d.]+", option.default):
            continue
        assert option.bounds, option.name
        for suffix, unit in _UNITS:
            if option.name.endswith(suffix):
                assert unit in option.comment, option.name


@RANGED
def test_sample_range_is_what_the_filter_accepts(
    kind: str, option: Option
) -> None:
    assert option.bounds is not None
    for bound in option.bounds:
        READERS[kind](KEY | settings_at(option.name, bound))
    low, high = (float(bound) for bound in option.bounds)
    whole = option.name.rpartition("_")[2] not in {"seconds", "timeout"}
    below = low - 1 if whole else low - 0.001
    for beyond in (below, math.ceil(high) + 1):
        text = f"{beyond:.0f}" if whole else f"{beyond:.3f}"
        with pytest.raises(ConfigError, match=f"^{option.name} is "):
            READERS[kind](KEY | {option.name: text})


@KINDS
def test_sample_without_a_key_does_not_start(kind: str) -> None:
    with pytest.raises(ConfigError, match="cluster_key has 0 characters"):
        READERS[kind]({})


@KINDS
def test_sample_pipeline_names_only_sections_that_are_there(
    kind: str,
) -> None:
    parser = configparser.ConfigParser()
    parser.read(ETC / SAMPLES[kind][0])
    *filters, app = parser["pipeline:main"]["pipeline"].split()
    assert parser.has_section(f"app:{app}")
    assert [f for f in filters if f"filter:{f}" not in parser] == []


def test_proxy_sample_places_the_filter_right_of_auth_left_of_copy() -> None:
    parser = configparser.ConfigParser()
    parser.read(ETC / "proxy-server.conf.sample")
    order = parser["pipeline:main"]["pipeline"].split()
    place = order.index("zerocloud")
    assert order[place - 1] == "tempauth"
    assert order[place + 1] == "copy"
    assert {"slo", "dlo", "versioned_writes", "symlink"} < set(order[place:])


def test_object_sample_places_the_filter_before_the_server() -> None:
    parser = configparser.ConfigParser()
    parser.read(ETC / "object-server.conf.sample")
    order = parser["pipeline:main"]["pipeline"].split()
    assert order[-2:] == ["executor", "object-server"]
