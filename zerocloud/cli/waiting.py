"""Telling a person that something goes on: what, since when, how much is left.

On a terminal one line is rewritten in place and wiped at the end, whatever
ended the wait; a log gets a line now and then from `Progress`, and nothing
from `waiting`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

PERIOD_SECONDS = 0.5
LOG_PERIOD_SECONDS = 5.0
WIPE = "\r\x1b[K"


@contextmanager
def waiting(what: str, stream: TextIO, *, quiet: bool) -> Iterator[None]:
    """Show `what` and the seconds so far on `stream` while inside."""
    if quiet or not stream.isatty():
        yield
        return
    done = threading.Event()
    begin = time.monotonic()

    def show() -> None:
        while not done.wait(PERIOD_SECONDS):
            stream.write(f"\r{what}… {time.monotonic() - begin:.0f} s ")
            stream.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        stream.write(WIPE)
        stream.flush()


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
        self._stream.write(f"{start}{text}{end}")
        self._stream.flush()

    def close(self) -> None:
        """Wipe the line of a terminal."""
        if self._terminal:
            self._stream.write(WIPE)
            self._stream.flush()


def progress_text(
    what: str, done: int, total: int, elapsed_seconds: float
) -> str:
    """`uploading 120 of 640, about 8 s left`."""
    text = f"{what} {done} of {total}"
    if done and done < total:
        left = elapsed_seconds / done * (total - done)
        text += f", about {left:.0f} s left"
    return text
