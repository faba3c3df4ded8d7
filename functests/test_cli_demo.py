"""`zerocloud demo`, small: the whole story, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from functests.support import Account, tree, wait_until
from zerocloud.cluster import Cluster

END_SECONDS = 20
OBJECTS = 20


def demo(tmp_path: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "zerocloud.cli.main", "demo", *options],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a demo prints that nobody interrupts."""
    folder = tmp_path_factory.mktemp("demo")
    running = demo(folder, "--objects", str(OBJECTS))
    out, err = running.communicate(timeout=200)
    text = out.decode()
    assert running.returncode == 0, text + err.decode()
    assert list(folder.iterdir()) == []
    assert b"arning" not in err
    return text


def test_demo_runs_three_jobs_and_says_what_ran_where(told: str) -> None:
    assert told.count("curl -X POST") == 3
    ran = re.findall(r" s for 20 VMs: (.*)$", told, re.M)
    assert len(ran) == 2
    for line in ran:
        found = re.findall(r"(\d+) on 127\.0\.0\.[1-4](?:, |$)", line)
        assert sum(map(int, found)) == OBJECTS
    assert "20 objects in container demo-counts, one for each" in told
    assert re.search(r"\d+ lines, .* natively: equal", told)
    assert re.search(r"[\d.]+ KiB read in place; over the network 0 B", told)
    assert "the host's /etc/passwd: " in told
    assert "nothing runs or is left behind" in told


def commands(told: str) -> Iterator[str]:
    """Every curl command of the demo, as printed."""
    lines = iter(told.splitlines())
    for line in lines:
        if line.strip().startswith("curl "):
            command = [line]
            while command[-1].endswith("\\"):
                command.append(next(lines))
            yield "\n".join(command)


def test_demo_curl_commands_work_on_a_cluster_started_by_hand(
    told: str, cluster: Cluster
) -> None:
    login, *others = commands(told)
    assert "/auth/v1.0" in login
    account = Account(cluster).log_in()
    answers = []
    for command in others:
        done = subprocess.run(
            ["bash", "-c", command.replace("curl ", "curl -sS --fail ", 1)],
            env={**os.environ, "URL": account.url, "TOKEN": account.token},
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, command + done.stderr.decode()
        answers.append(done.stdout.decode())
    (source,) = account.listing("demo-source")
    assert account.listing("demo-programs") == ["count.py", "wc.wasm"]
    assert account.listing("demo-counts") == [f"{source}.json"]
    size = len(account.get(source, "demo-source"))
    assert answers[-2].split()[2] == str(size)
    assert answers[-1].startswith("Python 3.")
    for container in ("demo-source", "demo-programs", "demo-counts"):
        for name in account.listing(container):
            account.delete(name, container)
        account.request("DELETE", container)


@pytest.mark.parametrize("moment", ["[1/5]", "[2/5]", "[3/5]"])
def test_demo_interrupted_leaves_no_process_and_no_folder(
    tmp_path: Path, moment: str
) -> None:
    running = demo(tmp_path, "--objects", "200")
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(moment.encode()):
            break
    started = tree(running.pid)
    os.killpg(running.pid, signal.SIGINT)
    os.killpg(running.pid, signal.SIGINT)  # impatient
    _, err = running.communicate(timeout=END_SECONDS)
    assert running.returncode == 130
    assert err.decode().endswith("zerocloud: interrupted\n")
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    assert wait_until(lambda: not any(map(is_alive, started)))


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # One that nobody has waited for yet has ended all the same.
    return stat.rpartition(b")")[2].split()[0] != b"Z"


def test_demo_that_is_kept_stops_when_told(tmp_path: Path) -> None:
    running = demo(tmp_path, "--objects", "5", "--keep")
    assert running.stdout is not None
    for line in running.stdout:
        if b"the cluster stays until Ctrl-C" in line:
            break
    running.terminate()
    running.communicate(timeout=END_SECONDS)
    assert running.returncode == 0
    assert list(tmp_path.iterdir()) == []
