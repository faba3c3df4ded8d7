"""Imports go down only, and few files know Swift.

Read from the source of every module of `zerocloud`, without importing any.
The order is that of the layers in CONTRIBUTING.md: a part imports itself and
the parts below it, and never its neighbours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "zerocloud"

# From the bottom up.
LAYERS = (
    ("errors", "headers", "observe"),
    ("job",),
    ("protocol",),
    ("config",),
    ("children",),
    ("sandbox",),
    ("scheduler", "executor", "client", "cluster"),
    ("middleware", "cli", "check"),
)
LEVELS = {part: level for level, row in enumerate(LAYERS) for part in row}

# Who may import what of Swift; the embedded cluster may import all of it.
SWIFT_USERS = {
    "middleware.py",
    "check/rings.py",
    "executor/service.py",
    "executor/localobject.py",
    "scheduler/ring.py",
    "scheduler/subrequest.py",
}
CONCURRENCY = "swift.common.concurrency"
NOT_PURE = {"os", "socket", "subprocess", "pathlib", "time", "threading",
            "requests", "swiftclient", "swift", "eventlet"}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported module, and the file and line that import it."""

    file: str
    line: int
    module: str
    for_types: bool = False  # under `if TYPE_CHECKING:`, so never executed

    @property
    def part(self) -> str:
        """The part of zerocloud that the file belongs to."""
        return self.file.partition("/")[0].removesuffix(".py")

    @property
    def package(self) -> str:
        """The outermost package of the imported module."""
        return self.module.partition(".")[0]


def imports_of(source: str, file: str) -> Iterator[Import]:
    """Every import in a module, wherever it stands in it."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        only = id(node) in for_types
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, only)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield Import(file, node.lineno, module, only)
            for alias in node.names:
                # `from zerocloud import job` imports the part job.
                name = f"{module}.{alias.name}"
                yield Import(file, node.lineno, name, only)


def _all() -> list[Import]:
    return [
        found
        for path in sorted(ROOT.rglob("*.py"))
        for found in imports_of(
            path.read_text(encoding="utf-8"),
            path.relative_to(ROOT).as_posix(),
        )
    ]


ALL = _all()


def upward(found: Import) -> bool:
    """Whether an import of zerocloud goes to the side or up."""
    words = found.module.split(".")
    if words[0] != "zerocloud" or len(words) < 2 or words[1] == "__version__":
        return False
    if found.part == "__init__":
        # It tells type checkers what it loads when it is asked for.
        return not (found.for_types and words[1] == "client")
    if found.part == words[1]:
        return False
    return LEVELS[words[1]] >= LEVELS[found.part]


def test_every_part_has_a_layer() -> None:
    parts = {found.part for found in ALL} - {"__init__"}
    assert parts <= set(LEVELS)


def test_imports_are_absolute_so_that_parts_can_be_told() -> None:
    assert [i for i in ALL if i.module.startswith(".")] == []


def test_imports_go_down_only() -> None:
    assert [i for i in ALL if upward(i)] == []


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("job/x.py", "import zerocloud.protocol.task", True),
        ("job/x.py", "from zerocloud import scheduler", True),
        ("job/x.py", "def f():\n    from zerocloud.config import A", True),
        ("scheduler/x.py", "from zerocloud.executor import service", True),
        ("executor/x.py", "from zerocloud.client.login import A", True),
        ("errors.py", "import zerocloud.headers", True),
        ("__init__.py", "import zerocloud.errors", True),
        ("__init__.py", "from zerocloud.client import Client", True),
        (
            "__init__.py",
            "if TYPE_CHECKING:\n    from zerocloud.client import Client",
            False,
        ),
        (
            "__init__.py",
            "if TYPE_CHECKING:\n    from zerocloud.job import plan",
            True,
        ),
        (
            "job/x.py",
            "if TYPE_CHECKING:\n    import zerocloud.protocol.task",
            True,
        ),
        ("job/x.py", "from zerocloud.job.paths import ObjectPath", False),
        ("scheduler/x.py", "from zerocloud.job import plan", False),
        ("middleware.py", "from zerocloud.scheduler import intake", False),
        ("cli/x.py", "from zerocloud import __version__", False),
        ("job/x.py", "import json", False),
    ],
)
def test_import_upward_is_found(file: str, source: str, wrong: bool) -> None:
    assert any(map(upward, imports_of(source, file))) is wrong


def test_swift_is_imported_by_few_files_only() -> None:
    strangers = {
        found.file
        for found in ALL
        if found.package == "swift"
        and not found.module.startswith(CONCURRENCY)
        and found.module not in ("swift.common", "swift")
        and found.part != "cluster"
    }
    assert strangers <= SWIFT_USERS


def test_concurrency_is_imported_by_one_file_of_a_package() -> None:
    users: dict[str, set[str]] = {}
    for found in ALL:
        if found.module.startswith(CONCURRENCY) and found.part != "cluster":
            folder = found.file.rpartition("/")[0]
            users.setdefault(folder, set()).add(found.file)
    assert {k: v for k, v in users.items() if len(v) > 1} == {}


def test_eventlet_is_reached_through_swift_only() -> None:
    direct = [i for i in ALL if i.package in ("eventlet", "greenlet")]
    assert direct == []


@pytest.mark.parametrize("part", ["errors", "headers", "job"])
def test_pure_part_imports_nothing_that_does_io(part: str) -> None:
    found = [i for i in ALL if i.part == part and i.package in NOT_PURE]
    assert found == []
