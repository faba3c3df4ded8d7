"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unittests.client.endpoint import Endpoint, serving


@pytest.fixture
def endpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Endpoint]:
    """An endpoint that the environment names, in an empty folder."""
    for name in [n for n in os.environ if n.startswith(("OS_", "ST_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with serving() as running:
        for name, value in running.variables().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def empty_stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with open(os.devnull) as null:
        monkeypatch.setattr("sys.stdin", null)
        yield
