"""Work for many is done once."""

from __future__ import annotations

import pytest
from swift.common.concurrency import sleep

from zerocloud.executor.duplex import Background
from zerocloud.executor.once import OnceMap


class Work:
    """Counts its runs; slow enough to be waited for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.ended = False
        self.error = error

    def __call__(self) -> int:
        self.runs += 1
        try:
            sleep(0.02)
        finally:
            self.ended = True
        if self.error is not None:
            raise self.error
        return self.runs


def test_result_is_remembered():
    once, work = OnceMap[str, int](9), Work()
    assert [once.get("k", work), once.get("k", work)] == [1, 1]
    assert once.peek("k") == 1


def test_result_forgotten_is_made_again():
    once, work = OnceMap[str, int](9), Work()
    once.get("k", work)
    once.forget("k")
    assert once.peek("k") is None
    assert once.get("k", work) == 2


def test_many_at_once_share_one_run():
    once, work = OnceMap[str, int](9), Work()
    waiting = [Background(once.get, "k", work) for _ in range(5)]
    assert [w.wait() for w in waiting] == [1] * 5
    assert work.runs == 1


def test_failure_is_given_to_all_and_forgotten():
    once, work = OnceMap[str, int](9), Work(ValueError("no"))
    waiting = [Background(once.get, "k", work) for _ in range(3)]
    for one in waiting:
        with pytest.raises(ValueError, match="no"):
            one.wait()
    assert work.runs == 1
    assert once.get("k", Work()) == 1


def test_cancelled_waiter_leaves_the_work_to_the_others():
    once, work = OnceMap[str, int](9), Work()
    first = Background(once.get, "k", work)
    second = Background(once.get, "k", work)
    sleep(0)
    first.cancel()
    assert second.wait() == 1


def test_last_cancelled_waiter_ends_the_work():
    once, work = OnceMap[str, int](9), Work()
    waiting = [Background(once.get, "k", work) for _ in range(2)]
    sleep(0)
    for one in waiting:
        one.cancel()
    assert work.ended
    assert once.peek("k") is None


def test_oldest_result_goes_first():
    once = OnceMap[int, int](2)
    for key in (1, 2):
        once.get(key, lambda key=key: key)
    once.get(1, lambda: 0)
    once.get(3, lambda: 3)
    assert [once.peek(k) for k in (1, 2, 3)] == [1, None, 3]
