"""Tests that docs/guarantees.md names exist, and its numbers are true."""

from __future__ import annotations

import re
from pathlib import Path

from zerocloud.config import options_of
from zerocloud.executor.channels import READ_LIMIT_BYTES
from zerocloud.job.limits import JobCaps
from zerocloud.protocol.manifest import DEFAULT_LIMIT_CALLS, ManifestLimits

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`((?:unittests|functests|runner)/[\w/.]+)(?:::(\w+))?`")


def test_guarantees_name_tests_that_exist() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = NAMED.findall(text)
    assert len(named) > 40
    missing = [
        f"{path}::{test}" for path, test in named if not _exists(path, test)
    ]
    assert missing == []


def rows(first: str) -> dict[str, list[str]]:
    """Cells of the table whose first heading that is, by their first."""
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    _, _, after = text.partition(f"| {first} |")
    table = after.partition("\n\n")[0].splitlines()[2:]
    cells = [re.split(r" ?\| ?", line)[1:-1] for line in table]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_limits_of_a_vm_have_the_defaults_and_caps_of_the_code() -> None:
    table, jobs = rows("limit of a VM"), JobCaps()
    fixed = vars(ManifestLimits(0, 0, 0, 0)) | {
        "input_bytes": READ_LIMIT_BYTES,
        "channel_calls": DEFAULT_LIMIT_CALLS,
        "table_elements": 1 << 20,
    }
    source = (ROOT / "runner" / "src" / "guest" / "limiter.rs").read_text()
    assert "TABLE_ELEMENTS: usize = 1 << 20;" in source
    for name, cells in table.items():
        default = getattr(jobs.defaults, name, fixed.get(name))
        cap = getattr(jobs.caps, name, fixed.get(name))
        assert cells[:2] == [f"{default:.0f}", f"{cap:.0f}"], name
    assert set(vars(jobs.defaults)) <= set(table)


def test_limits_of_a_vm_are_those_that_a_report_can_name() -> None:
    source = (ROOT / "runner" / "src" / "outcome.rs").read_text()
    named = set(re.findall(r'Limit::\w+ => "(\w+)"', source))
    # A stack that overflows is a trap.
    assert set(rows("limit of a VM")) == named | {"stack_bytes"}


def test_limits_of_a_server_have_the_defaults_of_the_options() -> None:
    table = rows("limit of a storage server")
    options = {o.name: o.default for o in options_of()["executor"]}
    for name, cells in table.items():
        if name in options:
            assert cells[0] == options[name], name
    assert {"slots", "queue", "compile_seconds"} <= set(table) & set(options)
    source = (ROOT / "runner" / "src" / "compile" / "mod.rs").read_text()
    for name, shift in (
        ("program", "256 << 20"),
        ("compiled program", "1 << 30"),
    ):
        low, high = map(int, shift.split(" << "))
        assert table[name][0] == str(low << high)
        assert f": u64 = {shift};" in source


def test_each_limit_names_a_test_of_each_kind() -> None:
    both = {**rows("limit of a VM"), **rows("limit of a storage server")}
    assert len(both) >= 18
    for name, cells in both.items():
        assert NAMED.findall(cells[-1]), name


def _exists(path: str, test: str) -> bool:
    file = ROOT / path
    if not file.is_file():
        return False
    text = file.read_text(encoding="utf-8")
    return not test or bool(re.search(rf"\b(def|fn) {test}\b", text))
