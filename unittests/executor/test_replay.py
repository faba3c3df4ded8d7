"""The memory of requests: once each, and not for ever."""

from __future__ import annotations

import pytest

from unittests.executor.harness import wait_until
from zerocloud.errors import TaskRefused
from zerocloud.executor.replay import ReplayGuard

ONE = "0123abcd " + "1" * 64
TWO = "0123abcd " + "2" * 64
NOW = 1_700_000_000


def test_signature_is_good_once(tmp_path):
    guard = ReplayGuard(tmp_path)
    guard.claim(ONE, NOW + 100, NOW)
    guard.claim(TWO, NOW + 100, NOW)
    with pytest.raises(TaskRefused, match="received before") as caught:
        guard.claim(ONE, NOW + 100, NOW)
    assert (caught.value.code, caught.value.status) == ("replayed", 403)


def test_signature_is_remembered_by_other_processes(tmp_path):
    ReplayGuard(tmp_path).claim(ONE, NOW + 100, NOW)
    with pytest.raises(TaskRefused, match="received before"):
        ReplayGuard(tmp_path).claim(ONE, NOW + 100, NOW)


def test_sweep_keeps_what_could_still_pass(tmp_path):
    guard = ReplayGuard(tmp_path)
    guard.claim(ONE, NOW, NOW)
    guard.sweep(NOW + 60)
    with pytest.raises(TaskRefused):
        guard.claim(ONE, NOW, NOW + 60)
    guard.sweep(NOW + 180)
    assert list((tmp_path / "replay").iterdir()) == []


def test_new_minute_sweeps_the_old_ones(tmp_path):
    guard = ReplayGuard(tmp_path)
    guard.claim(ONE, NOW, NOW)
    guard.claim(TWO, NOW + 600, NOW + 600)
    folder = tmp_path / "replay"
    assert wait_until(lambda: len(list(folder.iterdir())) == 1)
