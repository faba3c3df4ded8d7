"""A node per test, and the count of what it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unittests.executor import harness
from unittests.fakes.processes import census
from zerocloud.executor.duplex import in_thread


@pytest.fixture(autouse=True)
def threads_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread pool's own sockets are there before anything is counted."""
    in_thread(int)
    monkeypatch.setattr("zerocloud.executor.duplex.LINGER_SECONDS", 0.05)


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., harness.Node]]:
    """Nodes; afterwards nothing is held, staged or running."""
    before = census(tmp_path)
    made: list[harness.Node] = []

    def make(**options: str) -> harness.Node:
        made.append(harness.Node(tmp_path, **options))
        return made[-1]

    yield make
    harness.wait_until(lambda: census(tmp_path) == before)
    assert census(tmp_path) == before, "children or descriptors are left"
    for node in made:
        assert node.staged_files() == []
        admission = node.filter._node.admission
        assert (admission.busy, admission.waiting) == (0, 0)
        assert node.faults == []


@pytest.fixture
def node(make_node: Callable[..., harness.Node]) -> harness.Node:
    """One node with default options."""
    return make_node()
