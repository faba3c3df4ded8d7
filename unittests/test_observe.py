"""Log fields and counters: what stands in a line, what may be counted."""

from __future__ import annotations

import pytest

from unittests.fakes.statsd import FakeStatsd
from zerocloud.observe import (
    EXECUTOR_COUNTERS,
    NO_PROXY_COUNTERS,
    PROXY_COUNTERS,
    Counters,
    fields,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "a=plain"),
        ("two words", 'a="two words"'),
        ("", 'a=""'),
        ("a=b", 'a="a=b"'),
        ('say "so"', r'a="say \"so\""'),
        ("line\nb=forged", r'a="line\nb=forged"'),
        ("\x1b[2J", r'a="\x1b[2J"'),
        ("ä", "a=ä"),
        ("ä ö", r'a="\xe4 \xf6"'),
        (1.23456789, "a=1.2346"),
        (7, "a=7"),
    ],
)
def test_field_of_any_text_is_one_word_of_the_line(
    value: object, shown: str
) -> None:
    assert fields(a=value) == shown


def test_field_that_is_none_is_left_out() -> None:
    assert fields(a=1, b=None, c=3) == "a=1 c=3"


def test_counter_of_the_table_is_counted_and_others_raise() -> None:
    statsd = FakeStatsd()
    counters = Counters(PROXY_COUNTERS, statsd)
    counters.add("jobs")
    counters.add("nodes", 5)
    counters.add("nodes.failed", 0)
    assert statsd.counts == {"jobs": 1, "nodes": 5}
    for wrong in ("job", "nodes.lost", "tasks"):
        with pytest.raises(KeyError, match="is in no table"):
            counters.add(wrong)


def test_counter_of_a_word_takes_only_what_statsd_can_name() -> None:
    statsd = FakeStatsd()
    counters = Counters(EXECUTOR_COUNTERS, statsd)
    for word in ("busy", "a.b:1|c", "ä", "", "x" * 100):
        counters.add_word("tasks.failed", word)
    assert set(statsd.counts) == {
        "tasks.failed.busy",
        "tasks.failed.a_b_1_c",
        "tasks.failed._",
        f"tasks.failed.{'x' * 64}",
    }
    with pytest.raises(KeyError):
        counters.add_word("tasks", "busy")


def test_timing_is_in_milliseconds() -> None:
    statsd = FakeStatsd()
    Counters(EXECUTOR_COUNTERS, statsd).took("tasks.run", 0.0125)
    assert statsd.timings == {"tasks.run.timing": [12.5]}
    with pytest.raises(KeyError, match=r"'jobs\.run\.timing' is in no table"):
        Counters(EXECUTOR_COUNTERS, statsd).took("jobs.run", 1)


def test_counters_without_a_statsd_still_know_their_names() -> None:
    NO_PROXY_COUNTERS.add("jobs")
    with pytest.raises(KeyError):
        NO_PROXY_COUNTERS.add("misspelled")
