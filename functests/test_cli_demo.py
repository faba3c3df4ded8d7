"""`zerocloud demo`, small: the whole story, and nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def demo(tmp_path: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "zerocloud.cli.main", "demo", *options],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_demo_runs_three_jobs_and_leaves_nothing(tmp_path: Path) -> None:
    running = demo(tmp_path, "--objects", "20")
    out, err = running.communicate(timeout=200)
    text = out.decode()
    assert running.returncode == 0, text + err.decode()
    assert text.count("curl -X POST") == 3
    assert text.count("20 VMs, per storage server (hashed names): ") == 2
    assert "20 objects in container demo-counts, one for each" in text
    assert re.search(r"together \d+ lines, .* natively: equal", text)
    assert "the host's /etc/passwd: " in text
    assert "over the network 0 B in" in text
    assert "all done in" in text
    assert list(tmp_path.iterdir()) == []


def test_demo_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    running = demo(tmp_path, "--objects", "5", "--keep")
    assert running.stdout is not None
    for line in running.stdout:
        if b"the cluster stays until Ctrl-C" in line:
            break
    running.terminate()
    running.communicate(timeout=20)
    assert running.returncode == 0
    assert list(tmp_path.iterdir()) == []
