"""Every code that a user can meet is in the table, and in the manual.

The codes in use are read from the source: the first argument of each
`JobError(…)`, `ClusterError(…)` and of the helpers that make one.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from zerocloud.errors import CODES, JobError

ROOT = Path(__file__).resolve().parent.parent
MAKERS = {"JobError", "ClusterError", "ZeroCloudError"}
_ROW = re.compile(
    r"^\| `(?P<code>\w+)` \| (?P<status>\d{3}) \| (?P<retry>yes|no) \| .+ \|$",
    re.MULTILINE,
)


def _documented() -> dict[str, tuple[int, bool]]:
    text = (ROOT / "docs" / "error-codes.md").read_text(encoding="utf-8")
    rows = list(_ROW.finditer(text))
    table = {
        row["code"]: (int(row["status"]), row["retry"] == "yes")
        for row in rows
    }
    assert len(table) == len(rows), "a code has two rows"
    return table


def codes_in(source: str) -> set[str]:
    """The literal codes with which errors are made in a module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        maker = node.func
        name = getattr(maker, "id", getattr(maker, "attr", ""))
        first = node.args[0]
        if name in MAKERS and isinstance(first, ast.Constant):
            found.add(str(first.value))
    return found


def _used() -> set[str]:
    return {
        code
        for path in (ROOT / "zerocloud").rglob("*.py")
        for code in codes_in(path.read_text(encoding="utf-8"))
    }


def test_codes_in_the_manual_are_those_of_the_table() -> None:
    table = {k: (c.status, c.may_retry) for k, c in CODES.items()}
    assert _documented() == table


def test_codes_in_the_source_are_in_the_table() -> None:
    used = _used()
    assert len(used) > 10
    assert used <= set(CODES)


def test_codes_are_found_where_errors_are_made() -> None:
    source = "raise errors.JobError('a', 'x')\nClusterError('b', f'{c}')"
    assert codes_in(source) == {"a", "b"}


def test_error_with_a_code_of_nobody_cannot_be_made() -> None:
    with pytest.raises(KeyError, match="'nope' is not in the table"):
        JobError("nope", "text")


def test_error_as_json_has_code_text_and_place() -> None:
    error = JobError("job_rule", "text", where="/0")
    assert error.as_dict() == {
        "code": "job_rule",
        "message": "text",
        "may_retry": False,
        "where": "/0",
    }
    assert "where" not in JobError("job_rule", "text").as_dict()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("object a b/é☃\xa0%41 is missing", "object a b/é☃\xa0%41 is missing"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x9b", r"\x1b[31mred\x9b"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_text_of_an_error_is_one_harmless_line(text: str, shown: str) -> None:
    error = JobError("not_found", text)

    assert error.message == str(error) == shown
    assert error.as_dict()["message"] == shown
