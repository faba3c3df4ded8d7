"""The samples in etc/ and the tables in zerocloud.config say the same.

Every option is listed once, commented, at its default; the range that the
comment states is the range that the reader accepts, tried from both sides.
"""

from __future__ import annotations

import configparser
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from zerocloud.config import (
    check_names,
    option_tables,
    options_of,
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


@KINDS
def test_sample_states_the_range_of_the_tables(kind: str) -> None:
    listed = {option.name: option.bounds for option in options(kind)}
    for known in options_of()[kind]:
        bounds = listed[known.name]
        found = None if bounds is None else tuple(map(float, bounds))
        wanted = None if known.low is None else (known.low, known.high)
        assert found == wanted, known.name


@KINDS
def test_sample_states_what_an_option_without_a_range_may_be(
    kind: str,
) -> None:
    words = {
        "flag": "true or false",
        "path": "absolute path",
        "key": "least 16 characters",
        "words": "blanks between",
        "text": "type",
        "mode": "default or strict",
        "ids": "first-last",
    }
    listed = {option.name: option.comment for option in options(kind)}
    for known in options_of()[kind]:
        if known.low is None:
            said = " ".join(listed[known.name].split()).lower()
            assert words[known.kind] in said, known.name


@KINDS
@pytest.mark.parametrize(
    ("bad", "options"),
    [
        ("not a word", "flag"),
        ("many", "whole"),
        ("1.5", "whole"),
        ("", "whole"),
        ("soon", "seconds"),
        ("nan", "seconds"),
        ("inf", "seconds"),
        ("relative/path", "path"),
        ("tooshort", "key"),
        ("nothing=", "words"),
        ("text", "text"),
        ("lax", "mode"),
        ("", "mode"),
        ("0", "ids"),
        ("0-9", "ids"),
        ("9-8", "ids"),
        ("-1", "ids"),
        ("+5", "ids"),
        ("root", "ids"),
        ("65535", "ids"),
        ("65000-66000", "ids"),
        ("4294967295", "ids"),
        ("1-2-3", "ids"),
    ],
)
def test_bad_value_of_any_option_is_an_error_that_names_it(
    kind: str, bad: str, options: str
) -> None:
    for option in options_of()[kind]:
        # Policies are checked against swift.conf, when the server starts.
        if option.kind == options and option.name != "standalone_policies":
            with pytest.raises(ConfigError, match=f"^{option.name} "):
                READERS[kind](KEY | {option.name: bad})


@KINDS
def test_name_that_is_no_option_is_an_error_that_names_the_nearest(
    kind: str,
) -> None:
    check_names(kind, [option.name for option in options_of()[kind]])
    swifts = ["__name__", "log_level", "log_statsd_host", "statsd_emit_legacy"]
    check_names(kind, swifts)
    wrong = "max_memory_byte is not an option of this filter; did you mean "
    with pytest.raises(ConfigError, match=f"^{wrong}max_memory_bytes"):
        check_names(kind, ["max_memory_byte"])
    with pytest.raises(ConfigError, match=r"^zzz is not .* none like it"):
        check_names(kind, ["zzz"])


def test_options_of_the_other_filter_are_not_known() -> None:
    with pytest.raises(ConfigError, match=r"^slots is not an option"):
        check_names("proxy", ["slots"])
    with pytest.raises(ConfigError, match=r"^max_nodes is not an option"):
        check_names("executor", ["max_nodes"])


def test_image_named_twice_with_different_contents_is_an_error() -> None:
    one, two = "a" * 64, "b" * 64
    same = f"py={one} python={one} py={one}"
    assert (
        len(read_proxy_settings(KEY | {"system_images": same}).system_images)
        == 3
    )
    with pytest.raises(ConfigError, match=r"^system_images has 'py' twice"):
        read_proxy_settings(KEY | {"system_images": f"py={one} py={two}"})
    # A storage server may have several files for a name, of which the digest
    # picks one.
    words = KEY | {"system_images": "py=/a.tar py=/b.tar"}
    assert len(read_executor_settings(words).system_images) == 2


@pytest.mark.parametrize(
    "ids",
    ["", "same", "1", "100000-165535", "65536-4294967294", "1-65534"],
)
def test_ids_that_zvm_takes_are_taken(ids: str) -> None:
    settings = read_executor_settings(KEY | {"vm_uid": ids})
    assert settings.vm_uid == ids
    words = ["--vm-uid", ids] if ids else []
    assert settings.lockdown_words == words
    asked = read_executor_settings(
        KEY | {"vm_uid": ids, "require_landlock": "yes"}
    )
    assert asked.lockdown_words == [*words, "--require-landlock"]


def test_configuration_page_is_made_of_the_tables_and_samples() -> None:
    done = subprocess.run(
        [sys.executable, ETC.parent / "tools" / "build_docs", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_page_names_every_option() -> None:
    text = (ETC.parent / "docs" / "configuration.md").read_text("utf-8")
    proxy, _, executor = text.partition("\n## Storage servers")
    for kind, part in (("proxy", proxy), ("executor", executor)):
        for option in options_of()[kind]:
            assert f"\n| `{option.name}` | " in part


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
