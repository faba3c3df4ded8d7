"""What the built runner must not contain, and what it says of itself."""

import subprocess
from pathlib import Path

import pytest

BIN = Path(__file__).resolve().parent.parent / "build" / "bin"
# Of runner/src/sys/holes.rs; that a build with holes has them is tested by
# runner/tests/lockdown.rs.
MARKS = (b"ZVM_LAYERS", b"ZVM_HOLE_", b"zvm-planted-hole")


@pytest.mark.parametrize("name", ["zvm", "zvm-compile"])
def test_binary_that_is_shipped_has_no_planted_holes(name: str) -> None:
    binary = (BIN / name).read_bytes()
    assert b"landlock_restrict_self" in binary
    assert [mark for mark in MARKS if mark in binary] == []


def test_version_says_what_isolates_on_this_host() -> None:
    shown = subprocess.run(
        [BIN / "zvm", "version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert shown[0].startswith("zvm ")
    words = [line.split()[0] for line in shown[1:]]
    assert words == ["seccomp", "landlock", "user"]
