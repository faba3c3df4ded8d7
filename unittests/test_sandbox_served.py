"""The sandbox and the node's daemon (unittests/fakes/fake_daemon.py)."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from unittests.fakes.fake_daemon import FakeDaemon
from unittests.fakes.processes import census, settings
from unittests.test_sandbox import _manifest
from zerocloud.errors import ClusterError, TaskRefused
from zerocloud.sandbox import Sandbox, Vm


class Bench:
    """A sandbox, its log, and the daemon that it talks to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "zvm.sock"
        self.logged: list[str] = []
        self.sandbox = Sandbox(
            settings(folder, zvm_socket=str(self.path)), self.logged.append
        )
        self.daemon = FakeDaemon(self.path)

    def start(self, word: str, descriptors: int = 3) -> Vm:
        manifest = dataclasses.replace(_manifest(), args=(word,))
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            return self.sandbox.start(manifest, [null] * descriptors)
        finally:
            os.close(null)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    before = census(tmp_path)
    made = Bench(tmp_path)
    yield made
    made.daemon.close()
    assert census(tmp_path) == before, "children or descriptors are left"


def wait(bench: Bench, word: str, seconds: float = 10.0):
    vm = bench.start(word)
    try:
        return vm.wait(seconds)
    finally:
        vm.kill()


def test_served_vm_reports(bench: Bench) -> None:
    report = wait(bench, "exit")
    assert report.outcome.succeeded((0,))
    assert bench.daemon.seen == [("H", 0), ("B", 3)]
    assert bench.logged == []


def test_served_vm_with_a_long_report_is_read_whole(bench: Bench) -> None:
    assert len(wait(bench, "exit:3000000").stderr_tail) == 3_000_000


def test_served_vm_gets_all_of_its_descriptors(bench: Bench) -> None:
    vm = bench.start("exit", descriptors=600)
    vm.kill()
    bench.daemon.close()  # it reads what was sent, to the end
    kinds = [("H", 0), ("B", 253), ("M", 253), ("M", 94)]
    assert bench.daemon.seen[:4] == kinds


@pytest.mark.parametrize("code", ["busy", "draining"])
def test_served_vm_that_is_not_taken_may_be_tried_again(
    bench: Bench, code: str
) -> None:
    with pytest.raises(TaskRefused, match=code) as caught:
        wait(bench, f"refuse:{code}")
    assert (caught.value.code, caught.value.may_retry) == ("busy", True)


def test_served_vm_with_a_bad_layer_is_the_users_to_mend(
    bench: Bench,
) -> None:
    with pytest.raises(TaskRefused) as caught:
        wait(bench, "refuse:bad_layer")
    assert (caught.value.code, caught.value.status) == ("image_invalid", 422)


def test_served_vm_refused_for_our_fault_tells_no_path(bench: Bench) -> None:
    with pytest.raises(ClusterError, match="bad_manifest") as caught:
        wait(bench, "refuse:bad_manifest")
    assert caught.value.code == "internal"
    assert "secret" not in caught.value.message
    assert "/secret/path" in bench.logged[0]


@pytest.mark.parametrize(
    "word", ["vanish", "garbage", "last:bad_packet", "refuse:failure"]
)
def test_served_vm_without_a_report_is_a_lost_node(
    bench: Bench, word: str
) -> None:
    with pytest.raises(ClusterError) as caught:
        wait(bench, word)
    assert caught.value.code == "node_lost"
    assert caught.value.may_retry
    assert "secret" not in caught.value.message
    assert bench.logged


def test_served_vm_past_its_deadline_is_taken_back(bench: Bench) -> None:
    with pytest.raises(ClusterError, match="did not end in time"):
        wait(bench, "hang", 0.2)
    assert bench.daemon.seen[-1] == ("C", 0)


def test_served_vm_that_is_killed_is_gone_when_that_returns(
    bench: Bench,
) -> None:
    vm = bench.start("hang")
    vm.kill()
    vm.kill()
    assert bench.daemon.seen[-1] == ("C", 0)
    assert bench.logged == []


def test_served_vm_of_a_daemon_that_hangs_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zerocloud.sandbox.CANCEL_SECONDS", 0.2)
    vm = bench.start("deaf")
    vm.kill()
    assert bench.logged == ["zvm:j1:wc-1 was given up: no answer"]


LOCKED = {"vm_uid": "7-9", "require_landlock": "yes"}


def ask_for_lockdown(bench: Bench, **options: str) -> None:
    asked = settings(bench.path.parent, zvm_socket=str(bench.path), **options)
    bench.sandbox = Sandbox(asked, bench.logged.append)


def test_daemon_that_is_locked_down_as_asked_is_used(bench: Bench) -> None:
    ask_for_lockdown(bench, **LOCKED)
    bench.daemon.welcome = b'{"user_ids": "7-9", "landlock": true, "x": 1}'
    assert wait(bench, "exit").outcome.succeeded((0,))
    assert bench.daemon.seen == [("H", 0), ("B", 3)]
    assert bench.logged == []


@pytest.mark.parametrize(
    ("welcome", "options", "why"),
    [
        (b"{}", {"vm_uid": "same"}, "user ids None, not same"),
        (b'{"user_ids": "1-2"}', {"vm_uid": "7"}, "user ids 1-2, not 7"),
        (b"{}", {"require_landlock": "1"}, "without Landlock"),
        (b'{"landlock": false}', {"require_landlock": "1"}, "Landlock"),
        (b'{"landlock": 1}', {"require_landlock": "1"}, "true or false"),
        (b"nonsense", {"require_landlock": "1"}, "does not say what it is"),
        (None, {"require_landlock": "1"}, "does not say what it is"),
    ],
)
def test_daemon_that_is_locked_down_otherwise_gets_nothing_to_run(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    welcome: bytes | None,
    options: dict[str, str],
    why: str,
) -> None:
    monkeypatch.setattr("zerocloud.sandbox.CONNECT_SECONDS", 0.2)
    ask_for_lockdown(bench, **options)
    bench.daemon.welcome = welcome
    with pytest.raises(ClusterError) as caught:
        bench.start("exit")
    assert caught.value.code == "node_lost"
    bench.daemon.close()  # it reads what was sent, to the end
    assert bench.daemon.seen == [("H", 0)]
    assert why in bench.logged[0]


def test_daemon_that_is_being_restarted_is_waited_for(
    tmp_path: Path, bench: Bench
) -> None:
    bench.daemon.close()
    bench.path.unlink()

    def restart() -> None:
        bench.daemon = FakeDaemon(bench.path)

    timer = Timer(0.3, restart)
    timer.start()
    assert wait(bench, "exit").outcome.succeeded((0,))
    timer.join()


def test_daemon_that_is_not_there_is_a_lost_node(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zerocloud.sandbox.CONNECT_SECONDS", 0.2)
    bench.daemon.close()
    began = time.monotonic()
    with pytest.raises(ClusterError, match="is not there") as caught:
        bench.start("exit")
    assert caught.value.code == "node_lost"
    assert time.monotonic() - began < 2
    assert "zvm.sock" not in caught.value.message
    bench.path.unlink()
    bench.daemon = FakeDaemon(bench.path)
