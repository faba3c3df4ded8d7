"""etc/zvm.service: systemd takes it, and finds it tight."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "etc" / "zvm.service"
# systemd's own scale, 0 (nothing exposed) to 10.
MOST_EXPOSURE = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not on this machine",
)


def runnable(folder: Path) -> Path:
    """The unit with a program and a user that every machine has."""
    text = UNIT.read_text("utf-8")
    text = text.replace("/usr/bin/zvm", "/bin/true")
    text = re.sub("=swift$", "=root", text, flags=re.MULTILINE)
    unit = folder / "zvm.service"
    unit.write_text(text)
    return unit


def analyze(*words: object) -> str:
    """What systemd-analyze says; it must be content."""
    done = subprocess.run(
        ["systemd-analyze", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_systemd
def test_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    assert analyze("verify", "--man=no", runnable(tmp_path)) == ""


@needs_systemd
def test_unit_exposes_little(tmp_path: Path) -> None:
    said = analyze("security", "--offline=yes", runnable(tmp_path))
    found = re.search(r"Overall exposure level .*?: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= MOST_EXPOSURE


def test_unit_starts_the_daemon_with_options_that_it_has() -> None:
    text = UNIT.read_text("utf-8")
    start = re.search("^ExecStart=(.+)$", text, re.MULTILINE)
    assert start
    options = re.findall(r"--[\w-]+", start[1])
    manual = (ROOT / "runner" / "src" / "cli" / "help.txt").read_text("utf-8")
    assert options
    assert [o for o in options if o not in manual] == []
    # The socket that the comment tells to configure is the one it makes.
    socket = start[1].split("--socket ")[1].split()[0]
    assert f"zvm_socket = {socket}\n" in text
