"""The demo's data: the Python standard library's own source files.

Found on this machine, so the demo downloads nothing and its data is real;
uploaded as objects named like the files (`email/message.py`).  Also the same
computations done natively, which the demo compares with what the VMs say.
"""

from __future__ import annotations

import sysconfig
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerocloud.client import ConnectError, Login

UPLOAD_THREADS = 8
# Taken in this order, and only as far as needed: some systems ship a standard
# library without its tests, some without idlelib and lib2to3.
_LAST = ("test", "tests", "site-packages", "dist-packages")


@dataclass(frozen=True)
class SourceFile:
    """A file on this machine, and the object's name it gets."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True)
class Totals:
    """What `wc` counts."""

    lines: int
    words: int
    size: int


def find_sources(wanted: int, folder: Path | None = None) -> list[SourceFile]:
    """At most `wanted` files in the order of their names."""
    root = folder or Path(sysconfig.get_path("stdlib"))
    chosen: list[SourceFile] = []
    for rank in range(len(_LAST) + 1):
        missing = wanted - len(chosen)
        if missing <= 0:
            break
        chosen += sorted(_of_rank(root, rank), key=lambda f: f.name)[:missing]
    return sorted(chosen, key=lambda file: file.name)


def _of_rank(root: Path, rank: int) -> Iterator[SourceFile]:
    skipped = set(_LAST[rank:])
    needed = set(_LAST[rank - 1 : rank]) if rank else set()
    for path in root.rglob("*.py"):
        parts = set(path.relative_to(root).parts)
        if parts & skipped or not needed <= parts or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        yield SourceFile(path, name, path.stat().st_size)


def count_natively(files: list[SourceFile]) -> Totals:
    """Lines, words and bytes of all files, as `wc` counts them."""
    lines = words = size = 0
    for file in files:
        data = file.path.read_bytes()
        lines += data.count(b"\n")
        words += len(data.split())
        size += len(data)
    return Totals(lines, words, size)


class Store:
    """The few storage calls the demo needs, by python-swiftclient.

    Raises ConnectError when Swift refuses or cannot be reached.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._local = threading.local()

    def make_container(self, name: str) -> None:
        """PUT a container; no error when it is there."""
        self._call("put_container", name)

    def put(self, container: str, name: str, data: bytes) -> None:
        """PUT an object."""
        self._call("put_object", container, name, contents=data)

    def get(self, container: str, name: str) -> bytes:
        """GET an object, whole."""
        _headers, body = self._call("get_object", container, name)
        return bytes(body)

    def names(self, container: str) -> list[str]:
        """Every name in a container."""
        _headers, rows = self._call(
            "get_container", container, full_listing=True
        )
        return [str(row["name"]) for row in rows]

    def upload(
        self,
        container: str,
        files: list[SourceFile],
        done: Callable[[int], None],
    ) -> None:
        """PUT all files, several at once; `done` gets each one's bytes."""

        def put(file: SourceFile) -> int:
            self.put(container, file.name, file.path.read_bytes())
            return file.size

        with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            try:
                waiting = [pool.submit(put, file) for file in files]
                for future in as_completed(waiting):
                    done(future.result())
            finally:
                # After Ctrl-C or a failure, not the hundreds still queued.
                pool.shutdown(cancel_futures=True)

    def _call(self, name: str, *args: str, **more: object) -> Any:
        # A connection per thread: swiftclient's are not thread-safe.  Loaded
        # here, since only the demo needs it.
        from swiftclient import client as swift  # noqa: PLC0415
        from swiftclient.exceptions import ClientException  # noqa: PLC0415

        if not hasattr(self._local, "connection"):
            self._local.connection = swift.Connection(
                preauthurl=self._login.storage_url,
                preauthtoken=self._login.token,
                retries=2,
            )
        try:
            return getattr(self._local.connection, name)(*args, **more)
        except (ClientException, OSError) as error:
            said = " ".join(str(error).split())
            raise ConnectError(f"{name} {'/'.join(args)}: {said}") from error
