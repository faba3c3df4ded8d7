"""tools/setup on machines that lack something, and told to stop."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from _build import requirements
from _build.times import Times

ROOT = Path(__file__).resolve().parents[2]


def command(folder: Path, name: str, prints: str = "") -> None:
    """A command of that name that prints a line."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with everything that is needed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("gcc", "make", "python3.11"):
        command(tmp_path, name)
    command(tmp_path, "cargo", "cargo 1.95.0 (f2d3ce0bd 2026-03-21)")
    return tmp_path


def test_machine_with_everything_lacks_nothing(path: Path) -> None:
    assert requirements.missing_tools() == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gcc", "gcc: apt-get install gcc libc6-dev"),
        ("make", "make: apt-get install make"),
        (
            "cargo",
            "Rust 1.95 or newer (cargo is not on PATH): "
            "install rustup from https://rustup.rs",
        ),
    ],
)
def test_missing_tool_is_named_with_how_to_get_it(
    path: Path, name: str, line: str
) -> None:
    (path / name).unlink()
    assert requirements.missing_tools() == [line]


def test_everything_that_is_missing_is_told_at_once(path: Path) -> None:
    for name in ("gcc", "make", "cargo"):
        (path / name).unlink()
    assert len(requirements.missing_tools()) == 3


def test_old_rust_is_named_with_its_version(path: Path) -> None:
    command(path, "cargo", "cargo 1.94.1 (abc 2026-01-01)")
    (line,) = requirements.missing_tools()
    assert "found cargo 1.94.1" in line
    assert "https://rustup.rs" in line
    command(path, "rustup")
    (line,) = requirements.missing_tools()
    assert line.endswith("rustup update stable")


def test_newer_major_rust_is_new_enough(path: Path) -> None:
    command(path, "cargo", "cargo 2.0.0")
    assert requirements.missing_tools() == []


def test_old_python_is_named_with_its_version(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    monkeypatch.setattr(sys, "version", "3.10.1 (main)")
    (line,) = requirements.missing_tools()
    assert line.startswith("Python 3.11 or newer (this is 3.10.1): apt-get")


def test_newer_python_needs_the_one_that_builds_the_image(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert requirements.missing_tools() == []
    (path / "python3.11").unlink()
    (line,) = requirements.missing_tools()
    assert line.startswith("Python 3.11 beside")


@pytest.mark.parametrize(
    "name",
    ["setup", "_build/requirements.py", "_build/cache.py", "_build/times.py"],
)
def test_what_an_old_python_reads_it_can_parse(name: str) -> None:
    source = (ROOT / "tools" / name).read_text()
    ast.parse(source, feature_version=(3, 6))


def test_setup_without_tools_says_so_before_any_work(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "setup")],
        env={"PATH": str(tmp_path), "ZEROCLOUD_CACHE": str(tmp_path / "c")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("setup: these are missing:\n  gcc: ")
    assert not (tmp_path / "c").exists()


def test_make_without_python_says_so(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make is not None
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = subprocess.run(
        [make, "--no-print-directory", "demo"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Python is missing: apt-get install python3.11" in done.stderr


@pytest.fixture(scope="module")
def setup() -> dict[str, object]:
    """The names of tools/setup, which is no module."""
    path = ROOT / "tools" / "setup"
    names: dict[str, object] = {"__name__": "setup", "__file__": str(path)}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


def test_interrupted_setup_ends_whole_groups_of_processes(
    setup: dict[str, object],
) -> None:
    children = setup["Children"]()  # type: ignore[operator]
    # A shell and its child, in whose output nobody sees an end by itself.
    child = children.start(["sh", "-c", "sleep 100 & echo $!; wait"])
    grandchild = int(child.stdout.readline())
    stopper = threading.Thread(target=children.stop)
    stopper.start()
    assert child.stdout.read() == ""  # both have closed it
    with pytest.raises(setup["InterruptionError"]):  # type: ignore[call-overload]
        children.end(child)
    stopper.join()
    with pytest.raises(setup["InterruptionError"]):  # type: ignore[call-overload]
        children.start(["true"])
    state = Path(f"/proc/{grandchild}/stat")
    assert not state.exists() or b" Z " in state.read_bytes()


def test_time_left_is_said_as_roughly_as_it_is_known(
    setup: dict[str, object],
) -> None:
    length = setup["length"]
    assert length(3) == "10 s"  # type: ignore[operator]
    assert length(84) == "80 s"  # type: ignore[operator]
    assert length(250) == "4 min"  # type: ignore[operator]


def test_times_are_those_of_the_last_run(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "times.json"
    guess = {"venv": 30.0, "image": 300.0}
    times = Times(path, guess)
    times.record("image", 123.4)
    times.record("venv", 2)  # a step without work tells nothing
    again = Times(path, guess)
    assert again.seconds == {"venv": 30.0, "image": 123.0}


@pytest.mark.parametrize("text", ["", "[1]", '{"venv": []}', "{"])
def test_times_that_are_damaged_are_the_guess(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "t").write_text(text)
    assert Times(tmp_path / "t", {"venv": 3.0}).seconds == {"venv": 3.0}


def test_cache_is_where_the_environment_says(
    setup: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROCLOUD_CACHE", str(tmp_path / "c"))
    assert setup["cache_folder"]() == tmp_path / "c"  # type: ignore[operator]
    assert os.path.isdir(tmp_path / "c")
