"""A line on the terminal while an answer is awaited: who, and since when.

Only on a terminal; a log gets nothing.  The line is rewritten in place and
wiped at the end, whatever ended the wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

PERIOD_SECONDS = 0.5


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
        stream.write("\r\x1b[K")
        stream.flush()
