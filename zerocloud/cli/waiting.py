"""Telling a person that something goes on: what, since when, how much is left.

All of it goes to stderr, never into an output.  On a terminal one line is
rewritten in place and wiped at the end, whatever ended the wait.  Elsewhere (a
log, a pipe) `waiting` is silent for its first minute and says a line a minute
after that; `Progress` says a line now and then.

A job has no page of its own to ask while it runs, so there is no percentage:
what is said is what is known here (seconds, bytes sent, nodes asked for).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

PERIOD_SECONDS = 0.5
LOG_PERIOD_SECONDS = 5.0
WAIT_LOG_SECONDS = 60.0
WIPE = "\r\x1b[K"


@dataclass
class Wait:
    """What is waited for; may be changed by whoever knows more."""

    what: str


@contextmanager
def waiting(what: str, stream: TextIO, *, quiet: bool) -> Iterator[Wait]:
    """Show `what` and the seconds so far on `stream` while inside."""
    wait = Wait(what)
    if quiet:
        yield wait
        return
    terminal = stream.isatty()
    done = threading.Event()
    begin = time.monotonic()

    def show() -> None:
        period = PERIOD_SECONDS if terminal else WAIT_LOG_SECONDS
        while not done.wait(period):
            seconds = time.monotonic() - begin
            if terminal:
                line = f"{wait.what}… {seconds:.0f} s"
                _write(stream, WIPE + line[: _columns(stream) - 1])
            else:
                _write(stream, f"{wait.what}, {seconds:.0f} s so far\n")

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield wait
    finally:
        done.set()
        thread.join()
        if terminal:
            _write(stream, WIPE)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        pass  # Whoever read it has gone; that is no reason to end a job.


def _columns(stream: TextIO) -> int:
    """The terminal's width: a longer line could not be rewritten."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


class Progress:
    """Counts steps towards a total and says how long the rest may take."""

    def __init__(self, what: str, total: int, stream: TextIO) -> None:
        self._what = what
        self._total = total
        self._stream = stream
        self._terminal = stream.isatty()
        self._done = 0
        self._begin = self._said = time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        period = PERIOD_SECONDS if self._terminal else LOG_PERIOD_SECONDS
        if now - self._said < period:
            return
        self._said = now
        text = progress_text(
            self._what, self._done, self._total, now - self._begin
        )
        end = "" if self._terminal else "\n"
        start = WIPE if self._terminal else "      "
        _write(self._stream, f"{start}{text}{end}")

    def close(self) -> None:
        """Wipe the line of a terminal."""
        if self._terminal:
            _write(self._stream, WIPE)


def progress_text(
    what: str, done: int, total: int, elapsed_seconds: float
) -> str:
    """`uploading 120 of 640, about 8 s left`."""
    text = f"{what} {done} of {total}"
    if done and done < total:
        left = elapsed_seconds / done * (total - done)
        text += f", about {left:.0f} s left"
    return text
