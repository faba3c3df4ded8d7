"""docs/cli.md: its commands and its Python, as a reader would type them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from functests.commands import TIMEOUT_SECONDS, Command
from functests.test_examples import blocks
from zerocloud.cluster import Cluster

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cli.md"


def test_cli_page_commands_and_python_do_what_they_say(
    cluster: Cluster, tmp_path: Path
) -> None:
    """In a folder with what a clone has; one shell, then one Python."""
    for name in ("docs", "build", "README.md", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    shell, python = blocks(PAGE, "sh"), blocks(PAGE, "python")
    assert len(shell) >= 6
    assert len(python) >= 6
    command = Command(cluster, tmp_path)
    environment = command._environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for line in (
        ["bash", "-euxo", "pipefail", "-c", "".join(shell)],
        [sys.executable, "-c", "\n".join(python)],
    ):
        done = subprocess.run(
            line,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    words = len((ROOT / "README.md").read_text("utf-8").split())
    counted = subprocess.run(
        [sys.executable, "count.py"],
        cwd=tmp_path,
        input=(ROOT / "README.md").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert int(counted.stdout) == words
    text = done.stdout.decode()
    texts = len(list((ROOT / "docs").glob("*.md")))
    assert text.count(" exit 0 ") == texts
    assert (tmp_path / "counts.txt").read_text().count("\n") == texts
    assert (tmp_path / "first.txt").stat().st_size > 0
