"""docs/operations.md says what the code has: counters, codes, options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from functests.operations_page import boxes, merge, patch
from zerocloud.config import option_tables
from zerocloud.errors import CODES
from zerocloud.observe import EXECUTOR_COUNTERS, PROXY_COUNTERS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
TEXT = PAGE.read_text("utf-8")


def test_page_lists_every_counter_and_no_other() -> None:
    proxy, _, executor = (
        TEXT.partition("Of proxies, behind\n`zerocloud.`")[2]
        .partition("Worth an alarm")[0]
        .partition("`zerocloud-executor.`")
    )
    for part, table in (
        (proxy, PROXY_COUNTERS),
        (executor, EXECUTOR_COUNTERS),
    ):
        rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", part, re.M)
        assert dict(rows) == table


def test_page_sends_to_codes_that_there_are() -> None:
    part = TEXT.partition("## When something fails")[2].partition("\n## ")[0]
    named = re.findall(r"[45]\d\d `(\w+)`", part)
    assert len(named) >= 6
    for status, code in re.findall(r"([45]\d\d) `(\w+)`", part):
        assert CODES[code].status == int(status)


def test_page_names_options_that_there_are() -> None:
    known = {n for table in option_tables().values() for n, _ in table}
    swifts = {"use", "pipeline", "log_statsd_host", "log_statsd_port"}
    for box in boxes():
        if box.language in ("ini", "diff"):
            lines = re.findall(r"^[-+# ]*(\w+) =", box.text, re.M)
            assert set(lines) <= known | swifts, box.text


def test_page_boxes_are_all_of_a_known_kind() -> None:
    places = {
        "sh": {"storage", "proxy", "once", "user"},
        "ini": {"object-server.conf", "proxy-server.conf"},
        "diff": {"object-server.conf", "proxy-server.conf"},
        "text": {""},
    }
    found = boxes()
    assert len(found) == TEXT.count("\n```") // 2
    for box in found:
        assert box.place in places[box.language], box


CONF = """\
[pipeline:main]
pipeline = a b proxy-server

[app:proxy-server]
use = egg:swift#proxy

[filter:a]
use = egg:swift#a
"""


def test_fragment_is_merged_as_an_editor_would() -> None:
    fragment = "[pipeline:main]\npipeline = … x b …\n[filter:x]\nuse = y\n"
    conf = merge(CONF, fragment)
    assert "pipeline = a x b proxy-server\n" in conf
    assert conf.endswith("[filter:x]\nuse = y\n")
    conf = merge(conf, "[filter:x]\nuse = z\nnew = 1\n")
    assert conf.count("use = z") == 1
    assert "use = y" not in conf
    conf = merge(conf, "[filter:x]\n# new =\n")
    assert "new" not in conf
    assert "use = egg:swift#a" in conf


def test_fragment_whose_neighbours_are_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="too many values to unpack"):
        merge(CONF, "[pipeline:main]\npipeline = … x nobody\n")


def test_diff_takes_out_what_the_fragment_put_in() -> None:
    fragment = "[pipeline:main]\npipeline = … x b …\n[filter:x]\nuse = y\n"
    diff = " [pipeline:main]\n-pipeline = … x b …\n+pipeline = … b …\n"
    conf = patch(merge(CONF, fragment), diff + "-[filter:x]\n")
    assert conf.strip() == CONF.strip()
