"""Every test that docs/guarantees.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

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


def _exists(path: str, test: str) -> bool:
    file = ROOT / path
    if not file.is_file():
        return False
    text = file.read_text(encoding="utf-8")
    return not test or bool(re.search(rf"\b(def|fn) {test}\b", text))
