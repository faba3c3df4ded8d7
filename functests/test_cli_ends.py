"""How `zerocloud run` ends when somebody else wants it to.

The job of a client that is gone ends as well, and `nothing_left` says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from functests.commands import Command
from functests.jobs import put_guest
from functests.running import vms, wait_for_vm
from functests.support import Account, wait_until
from zerocloud.cli import exit as status
from zerocloud.cluster import Cluster

# The promise for the VMs of a client that has gone.
GONE_SECONDS = 2.0
PATIENCE_SECONDS = 30.0

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def zerocloud(cluster: Cluster, tmp_path: Path) -> Command:
    return Command(cluster, tmp_path)


@pytest.fixture
def endless(account: Account) -> Iterator[list[str]]:
    """The words of a job that would run for a minute."""
    program = put_guest(account, "spin")
    account.session.close()
    yield [
        "run",
        *("--program", program, "--name", "endless"),
        *("--to", account.path("never"), "--limit", "wall_seconds=60"),
    ]
    account.session.close()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGINT, status.INTERRUPTED),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGHUP, -signal.SIGHUP),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_run_that_is_stopped_ends_its_job(  # noqa: PLR0917 - fixtures
    zerocloud: Command,
    cluster: Cluster,
    account: Account,
    endless: list[str],
    number: int,
    expected: int,
) -> None:
    running = zerocloud.start(*endless)
    wait_for_vm(cluster, "endless")
    running.send_signal(number)
    began = time.monotonic()
    out, err = running.communicate(timeout=PATIENCE_SECONDS)
    assert wait_until(lambda: not vms(cluster), GONE_SECONDS)
    assert time.monotonic() - began < GONE_SECONDS + 1
    assert (running.returncode, out) == (expected, b"")
    if number == signal.SIGINT:
        assert err == b"zerocloud: interrupted; the job is ended\n"
    assert "never" not in account.listing()


def test_run_interrupted_while_it_sends_a_payload_runs_nothing(
    zerocloud: Command, cluster: Cluster, account: Account
) -> None:
    script = zerocloud.save("c.py", "import sys\nprint(sys.stdin.read())\n")
    stored = account.path("jobs/c")
    done = zerocloud("run", script, "--store-as", stored, stdin=b"x")
    assert done.returncode == 0, done.stderr
    account.session.close()
    reading, writing = os.pipe()
    running = zerocloud.start("run", "--source", stored, stdin=reading)
    os.close(reading)
    os.write(writing, bytes(60_000))
    # It has read what there is, and waits for more.
    assert wait_until(lambda: _is_empty(writing), PATIENCE_SECONDS)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=PATIENCE_SECONDS)
    os.close(writing)
    assert running.returncode == status.INTERRUPTED
    assert b"Traceback" not in err
    assert not vms(cluster)


def _is_empty(pipe: int) -> bool:
    import fcntl  # noqa: PLC0415 - one use
    import struct  # noqa: PLC0415
    import termios  # noqa: PLC0415

    left = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return bool(struct.unpack("i", left)[0] == 0)


@pytest.mark.parametrize("option", ["--raw", "--json", "--quiet"])
def test_run_whose_reader_goes_ends_quietly(
    zerocloud: Command, option: str
) -> None:
    """`zerocloud run … | head -1`"""
    script = "for i in range(300000):\n    print(i)\n"
    line = ["run", option, zerocloud.save("many.py", script)]
    running = zerocloud.start(*line)
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() in (b"0\n", b"{\n")
    running.stdout.close()
    err = running.stderr.read()
    assert running.wait(PATIENCE_SECONDS) == status.OUTPUT_CLOSED
    assert b"Traceback" not in err
    assert b"Broken" not in err
    running.stderr.close()


def test_run_into_a_pipe_writes_its_output_alone(zerocloud: Command) -> None:
    script = zerocloud.save("s.py", "print('out')\n")
    running = zerocloud.start("run", script, stderr=subprocess.STDOUT)
    out, _ = running.communicate(timeout=PATIENCE_SECONDS)
    lines = out.decode().splitlines()
    assert lines[0] == "out"
    assert "\r" not in out.decode()
    assert "\x1b" not in out.decode()
    assert len(lines) == 4
