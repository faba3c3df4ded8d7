"""The memcached of an embedded cluster: a filter over one SQLite file.

Swift keeps tempauth's tokens and the info of accounts and containers in
`env['swift.cache']`.  With several proxies these must be the same for all: a
token of one is good on the others, and a changed ACL is seen by all at once.
One file, no server, no network.  It is a cache: synced never, made anew at
each start of the cluster, and losing it loses nothing but log-ins.

Only the calls that Swift's own middleware makes are offered, with the meaning
of `swift.common.memcached.MemcacheRing` (values travel as JSON, so a tuple
comes back as a list).
"""

from __future__ import annotations

import json
import sqlite3
import time as clock
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value TEXT, "
    "expires REAL) WITHOUT ROWID"
)
_SET = "INSERT OR REPLACE INTO cache VALUES (?, ?, ?)"
_GET = "SELECT value FROM cache WHERE key = ? AND expires > ?"
_ADD = (
    "INSERT INTO cache VALUES (:key, :start, :expires) ON CONFLICT (key) "
    "DO UPDATE SET "
    "value = CASE WHEN expires > :now THEN max(0, value + :delta) "
    "ELSE :start END, "
    "expires = CASE WHEN expires > :now THEN expires ELSE :expires END "
    "RETURNING value"
)

BUSY_SECONDS = 5.0


class SharedCache:
    """A MemcacheRing's look-alike; usable from every proxy of a cluster."""

    def __init__(
        self, path: str, now: Callable[[], float] = clock.time
    ) -> None:
        self._path = path
        self._now = now
        self._opened: sqlite3.Connection | None = None

    @property
    def _database(self) -> sqlite3.Connection:
        # Lazily: SQLite forbids carrying a connection through a fork.
        if self._opened is None:
            self._opened = sqlite3.connect(
                self._path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # green threads: one at a time
            )
            self._opened.execute("PRAGMA journal_mode = WAL")
            self._opened.execute("PRAGMA synchronous = OFF")
            self._opened.execute(_SCHEMA)
        return self._opened

    def _expiry(self, seconds: float) -> float:
        return self._now() + seconds if seconds > 0 else float("inf")

    def set(  # noqa: PLR0913, PLR0917 - MemcacheRing's signature
        self,
        key: str,
        value: Any,
        serialize: bool = True,
        time: float = 0,
        min_compress_len: int = 0,
        raise_on_error: bool = False,
    ) -> None:
        """Keep `value` for `time` seconds; 0 keeps it for good."""
        self._database.execute(
            _SET, (key, _as_text(value, serialize), self._expiry(time))
        )

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        """The value, or None."""
        row = self._database.execute(_GET, (key, self._now())).fetchone()
        return None if row is None else json.loads(row[0])

    def delete(self, key: str, server_key: str | None = None) -> None:
        """Forget the key."""
        self._database.execute("DELETE FROM cache WHERE key = ?", (key,))

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """Add to a number, never below 0; a new one starts at `delta`."""
        values = {
            "key": key,
            "delta": int(delta),
            "start": max(0, int(delta)),
            "now": self._now(),
            "expires": self._expiry(time),
        }
        # All rows are fetched, or the statement would stay open and locked.
        ((value,),) = self._database.execute(_ADD, values).fetchall()
        return int(value)

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """Take from a number."""
        return self.incr(key, -delta, time)

    def set_multi(
        self,
        mapping: Mapping[str, Any],
        server_key: str,
        serialize: bool = True,
        time: float = 0,
        min_compress_len: int = 0,
    ) -> None:
        """Keep several values."""
        for key, value in mapping.items():
            self.set(key, value, serialize, time)

    def get_multi(self, keys: Iterable[str], server_key: str) -> list[Any]:
        """The values in the order of the keys; None for those missing."""
        return [self.get(key) for key in keys]


def _as_text(value: Any, serialize: bool) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    return json.dumps(value if serialize else str(value))


class CacheFilter:
    """Puts the cache where Swift looks for it."""

    def __init__(
        self, app: Callable[..., Iterable[bytes]], cache: SharedCache
    ) -> None:
        self.app = app
        self.cache = cache

    def __call__(
        self, env: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """WSGI."""
        env["swift.cache"] = self.cache
        return self.app(env, start_response)


def filter_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> Callable[[Callable[..., Iterable[bytes]]], CacheFilter]:
    """Paste's filter factory; option `path`, the SQLite file."""
    cache = SharedCache({**global_conf, **local_conf}["path"])
    return lambda app: CacheFilter(app, cache)
