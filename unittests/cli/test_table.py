"""The table of nodes (zerocloud/cli/table.py)."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.client.endpoint import node
from zerocloud.cli.table import (
    MAX_ROWS,
    printable,
    result_lines,
    seconds_text,
    size_text,
)
from zerocloud.client.result import parse_result


def lines(*nodes: dict[str, Any], status: str = "succeeded") -> list[str]:
    document = {"job": "j-1", "status": status, "nodes": list(nodes)}
    return list(result_lines(parse_result(document)))


def test_table_row_says_where_how_and_how_much() -> None:
    item = node("map-1", b"", 0)
    item["in_place_bytes"], item["streamed_bytes"] = 2048, 10
    item["attempts"] = 2
    heading, row, summary = lines(item)
    assert " ".join(heading.split()) == (
        "node server outcome wall memory in place streamed note"
    )
    assert " ".join(row.split()) == (
        "map-1 a1b2 exit 0 250.0 ms 64.0 KiB 2.0 KiB 10 B 2 attempts"
    )
    assert summary == (
        "job j-1 succeeded: 1 node, 1 server, 2.0 KiB read in place, "
        "10 B streamed"
    )


def test_table_of_many_nodes_shows_the_failed_ones_first() -> None:
    nodes = [node(f"n-{i}", b"", 0) for i in range(MAX_ROWS + 10)]
    nodes[-1] = node("n-last", b"", 7)
    text = lines(*nodes, status="failed")
    assert text[1].split()[0] == "n-last"
    assert "… 10 more nodes (--json lists all)" in text
    assert "1 failed, nothing was stored" in text[-1]


def test_table_guest_text_cannot_steer_the_terminal() -> None:
    item = node("a", b"", 1)
    item["stderr_tail"] = "ok\x1b[2J\x07gone\n"
    item["outcome"]["message"] = "said \x1b]0;title\x07"
    text = "\n".join(lines(item, status="failed"))
    assert "\x1b" not in text
    assert "ok\\x1b[2J\\x07gone" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")],
)
def test_size_text_takes_the_unit_that_fits(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0031, "3.1 ms"), (12.344, "12.34 s")]
)
def test_seconds_text_takes_the_unit_that_fits(
    seconds: float, text: str
) -> None:
    assert seconds_text(seconds) == text


def test_printable_keeps_letters_of_all_scripts() -> None:
    assert printable("größe 文") == "größe 文"
