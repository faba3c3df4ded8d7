"""Progress: on a terminal a line, elsewhere next to nothing."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
import threading
from pathlib import Path

import pytest

from unittests.client.endpoint import Endpoint
from zerocloud.cli import exit as status
from zerocloud.cli import waiting as module
from zerocloud.cli.main import main
from zerocloud.cli.waiting import WIPE, waiting


class Terminal(io.StringIO):
    """A stream that says it is one, and tells when a text was written."""

    def __init__(self, text: str, *, tty: bool = True) -> None:
        super().__init__()
        self.text = text
        self.tty = tty
        self.seen = threading.Event()

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        done = super().write(text)
        if self.text in self.getvalue():
            self.seen.set()
        return done


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(module, "WAIT_LOG_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_waiting_on_a_terminal_rewrites_a_line_and_wipes_it() -> None:
    stream = Terminal("running x, 5 MiB sent… 0 s")
    with waiting("running x", stream, quiet=False) as wait:
        wait.what = "running x, 5 MiB sent"
        assert stream.seen.wait(10)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith(WIPE)


@pytest.mark.usefixtures("quick")
def test_waiting_is_wiped_after_an_error_too() -> None:
    stream = Terminal("running x… 0 s")
    with (
        pytest.raises(KeyboardInterrupt),
        waiting("running x", stream, quiet=False),
    ):
        assert stream.seen.wait(10)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith(WIPE)


@pytest.mark.usefixtures("quick")
def test_waiting_in_a_log_says_whole_lines() -> None:
    stream = Terminal("running x, 0 s so far\n", tty=False)
    with waiting("running x", stream, quiet=False):
        assert stream.seen.wait(10)
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_waiting_in_a_log_is_silent_for_the_first_minute() -> None:
    assert module.WAIT_LOG_SECONDS == 60
    stream = io.StringIO()
    with waiting("running x", stream, quiet=False):
        pass
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("quick")
def test_waiting_goes_on_when_nobody_reads_it() -> None:
    tried = threading.Event()

    class Gone(Terminal):
        def write(self, text: str) -> int:
            tried.set()
            raise BrokenPipeError

    with waiting("running x", Gone("never"), quiet=False):
        assert tried.wait(10)


@pytest.mark.usefixtures("quick")
def test_waiting_line_is_cut_to_the_terminals_width() -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 20, 0, 0))
    with (
        open(slave, "w") as stream,
        waiting("running " + "x" * 100, stream, quiet=False),
    ):
        seen = b""
        while seen.count(WIPE.encode()) < 3:
            seen += os.read(master, 4096)
    os.close(master)
    line = seen.split(WIPE.encode())[1]
    assert line == b"running " + b"x" * 11


@pytest.mark.usefixtures("quick")
def test_run_on_a_terminal_tells_what_is_sent_and_keeps_stdout_clean(
    endpoint: Endpoint,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = b'[{"name": "c", "exec": {"path": "file://fake:cat"}}]'
    endpoint.objects["swift://AUTH_test/jobs/j"] = ("application/json", job)
    Path("data").write_bytes(bytes(1024 * 1024))
    said = "running swift://~/jobs/j, 1.0 MiB of 1.0 MiB sent… "
    terminal = Terminal(said)
    # Here, since pytest sets the stream anew before each test's body.
    monkeypatch.setattr("sys.stderr", terminal)
    answer = endpoint.run

    def slow(*args: object) -> object:
        assert terminal.seen.wait(10)
        return answer(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(endpoint, "run", slow)
    line = ["run", "--source", "swift://~/jobs/j", "--payload", "data"]
    assert main(line) == status.SUCCESS
    assert capfdbinary.readouterr().out == bytes(1024 * 1024)
    assert terminal.seen.is_set()
