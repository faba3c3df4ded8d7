"""The cache behaves like memcached for what Swift asks of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from zerocloud.cluster.cache import SharedCache, filter_factory


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> SharedCache:
    return SharedCache(str(tmp_path / "cache"), clock)


def test_value_set_is_got_as_json_carries_it(cache: SharedCache) -> None:
    cache.set("token", (12.5, "test,AUTH_test"), time=60)
    assert cache.get("token") == [12.5, "test,AUTH_test"]


def test_value_missing_is_none(cache: SharedCache) -> None:
    assert cache.get("nothing", raise_on_error=True) is None


def test_value_expires_when_its_time_is_over(
    cache: SharedCache, clock: Clock
) -> None:
    cache.set("k", "v", time=60)
    clock.now += 59.9
    assert cache.get("k") == "v"
    clock.now += 0.2
    assert cache.get("k") is None


def test_value_without_a_time_stays(cache: SharedCache, clock: Clock) -> None:
    cache.set("k", "v")
    clock.now += 1e9
    assert cache.get("k") == "v"


def test_value_deleted_is_gone(cache: SharedCache) -> None:
    cache.set("k", "v")
    cache.delete("k")
    cache.delete("never there")
    assert cache.get("k") is None


def test_value_of_bytes_is_text(cache: SharedCache) -> None:
    cache.set("k", b"bytes", serialize=False)
    assert cache.get("k") == "bytes"


def test_counter_starts_at_delta_and_never_goes_below_zero(
    cache: SharedCache,
) -> None:
    assert [cache.incr("n", 5), cache.incr("n"), cache.decr("n", 9)] == [
        5,
        6,
        0,
    ]
    assert cache.decr("new", 3) == 0
    assert cache.get("n") == 0


def test_counter_expired_starts_again(
    cache: SharedCache, clock: Clock
) -> None:
    cache.incr("n", 5, time=10)
    clock.now += 11
    assert cache.incr("n", 2, time=10) == 2


def test_several_values_come_in_the_order_asked(cache: SharedCache) -> None:
    cache.set_multi({"a": 1, "b": [2]}, "server", time=60)
    assert cache.get_multi(["b", "none", "a"], "server") == [[2], None, 1]


def test_value_of_one_proxy_is_seen_by_another(
    cache: SharedCache, tmp_path: Path, clock: Clock
) -> None:
    other = SharedCache(str(tmp_path / "cache"), clock)
    other.get("open it first")
    cache.set("k", "v")
    assert other.get("k") == "v"
    other.delete("k")
    assert cache.get("k") is None


def test_filter_puts_the_cache_where_swift_looks(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def app(env: dict[str, Any], _start: Any) -> Iterable[bytes]:
        seen.update(env)
        return [b"answer"]

    made = filter_factory({}, path=str(tmp_path / "cache"))(app)
    assert made({}, lambda *_: None) == [b"answer"]
    seen["swift.cache"].set("k", "v")
    assert seen["swift.cache"].get("k") == "v"
