"""Patterns: which names match, and what each star stands for."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerocloud.job.paths import ObjectPath
from zerocloud.job.wildcards import Pattern, match_name

_TEXTS = st.text(alphabet="ab/*.\n", max_size=12)


def _by_regex(pattern: str, name: str) -> tuple[str, ...] | None:
    """The reference: lazy stars over the whole name."""
    body = "(.*?)".join(map(re.escape, pattern.split("*")))
    found = re.fullmatch(body, name, re.DOTALL)
    return None if found is None else found.groups()


@pytest.mark.parametrize(
    ("pattern", "name", "captures"),
    [
        ("*", "", ("",)),
        ("*", "a/b", ("a/b",)),
        ("a*", "a", ("",)),
        ("*.txt", "x.txt", ("x",)),
        ("*.txt", "x.txt.bak", None),
        ("*.txt", "X.TXT", None),
        ("a*", "ba", None),
        ("*-*", "a-b-c", ("a", "b-c")),
        ("**", "ab", ("", "ab")),
        ("a*a", "a", None),
        ("a*a", "aa", ("",)),
        ("a*b*c", "a-c-b-c", ("-c-", "-")),
        ("a.*", "ab", None),
        ("[a]*", "[a]b", ("b",)),
        ("abc", "abc", ()),
        ("abc", "abcd", None),
        ("*ö*", "größe", ("gr", "ße")),
        ("*", "a*b", ("a*b",)),
    ],
)
def test_name_against_pattern_gives_what_the_stars_are(
    pattern: str, name: str, captures: tuple[str, ...] | None
) -> None:
    assert match_name(pattern, name) == captures


@given(_TEXTS, _TEXTS)
def test_name_matches_as_lazy_stars_of_the_reference(
    pattern: str, name: str
) -> None:
    assert match_name(pattern, name) == _by_regex(pattern, name)


@given(st.lists(st.text(max_size=4), min_size=1), st.data())
def test_name_made_from_a_pattern_matches_it(
    parts: list[str], data: st.DataObject
) -> None:
    pattern = "*".join(parts)
    stars = pattern.count("*")
    filling = data.draw(
        st.lists(st.text(max_size=4), min_size=stars, max_size=stars)
    )
    form = Pattern("a", "c", pattern)
    name = form.fill(filling).object
    captures = match_name(pattern, name)
    assert captures is not None
    assert form.fill(captures).object == name


def test_matching_is_quick_where_a_regex_would_not_end() -> None:
    began = time.process_time()
    assert match_name("a*" * 500 + "b", "a" * 1023 + "c") is None
    assert match_name("*a" * 300 + "*b*", "a" * 1024) is None
    assert time.process_time() - began < 0.1


def test_pattern_over_both_names_joins_the_captures() -> None:
    pattern = Pattern("a", "logs-*", "*/x-*.gz")
    assert pattern.match("logs-1", "2/3/x-4.gz") == ("1", "2/3", "4")
    assert pattern.match("log-1", "2/x-4.gz") is None
    assert pattern.match("logs-1", "2/4.gz") is None


def test_object_that_ends_with_a_slash_is_skipped() -> None:
    assert Pattern("a", "c", "*").match("c", "folder/") is None
    assert Pattern("a", "c", "*").match("c", "folder/x") == ("folder/x",)


def test_pattern_tells_what_to_list() -> None:
    inner = Pattern("a", "c", "logs/2*/x*")
    assert inner.container_is_literal
    assert (inner.container_prefix, inner.object_prefix) == ("c", "logs/2")
    outer = Pattern("a", "c*d", "x")
    assert not outer.container_is_literal
    assert (outer.container_prefix, outer.object_prefix) == ("c", "x")
    assert (inner.stars, outer.stars) == (2, 1)
    assert str(outer) == "swift://a/c*d/x"


def test_fill_replaces_stars_in_order_and_leaves_the_rest_over() -> None:
    form = Pattern("a", "out-*", "*/y")
    assert form.fill(("1", "2", "3")) == ObjectPath("a", "out-1", "2/y")
    assert form.fill(("*", "*")) == ObjectPath("a", "out-*", "*/y")
