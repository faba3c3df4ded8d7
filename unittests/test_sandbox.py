"""The sandbox against a runner with rules (unittests/fakes/fake_zvm.py)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from unittests.fakes.processes import FAKE_ZVM, census, settings
from zerocloud.errors import ClusterError, TaskRefused
from zerocloud.protocol.manifest import (
    Manifest,
    ManifestChannel,
    ManifestFile,
    ManifestLimits,
)
from zerocloud.sandbox import Sandbox


class Bench:
    """A sandbox, its log, and files for one VM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logged: list[str] = []
        self.sandbox = Sandbox(settings(folder), self.logged.append)

    def module(self, text: str) -> str:
        path = self.folder / "module"
        path.write_text(text)
        return str(path)

    def start(self, steps: str, stdin: bytes = b""):
        (self.folder / "in").write_bytes(stdin)
        program = os.open(self.module(f"fake {steps}"), os.O_RDONLY)
        source = os.open(self.folder / "in", os.O_RDONLY)
        self.out = os.open(self.folder / "out", os.O_RDWR | os.O_CREAT)
        try:
            return self.sandbox.start(_manifest(), [program, source, self.out])
        finally:
            for fd in (program, source, self.out):
                os.close(fd)

    def run(self, steps: str, stdin: bytes = b"", seconds: float = 10.0):
        vm = self.start(steps, stdin)
        try:
            return vm.wait(seconds)
        finally:
            vm.kill()

    def output(self) -> bytes:
        return (self.folder / "out").read_bytes()


def _manifest() -> Manifest:
    limits = (1 << 30, 1 << 20)
    return Manifest(
        job="j1",
        node="wc-1",
        program=ManifestFile(0, "1" * 64, "wc"),
        args=("wc",),
        env=(),
        layers=(),
        channels=(
            ManifestChannel("/dev/stdin", "read", "random", 1, "i", *limits),
            ManifestChannel("/dev/stdout", "write", "random", 2, "", *limits),
        ),
        limits=ManifestLimits(65536, 1.0, 1.0, 100),
        clock_nanoseconds=0,
        seed="2" * 64,
    )


@pytest.fixture
def bench(tmp_path):
    before = census(tmp_path)
    yield Bench(tmp_path)
    assert census(tmp_path) == before, "children or descriptors are left"


def test_session_reads_its_input_and_reports(bench):
    report = bench.run("cat", b"some bytes")
    assert report.outcome.succeeded((0,))
    assert report.channels[1].size == 10
    assert bench.output() == b"some bytes"
    assert bench.logged == []


def test_session_outcomes_are_data(bench):
    assert bench.run("exit:42").outcome.code == 42
    assert bench.run("trap").outcome.code == "unreachable"


def test_session_is_named_in_the_process_table(bench):
    vm = bench.start("sleep:5")
    try:
        # An interpreter of scripts replaces argv[0]; the session's own
        # process group shows that it is a session of its own.
        assert os.getpgid(vm.pid) == vm.pid == os.getsid(vm.pid)
    finally:
        vm.kill()


@pytest.mark.parametrize(
    ("step", "text", "logged"),
    [
        ("crash", "ended with status -11", "ended with status -11"),
        ("garbage", "wrote no report", "is not JSON"),
        ("silence", "wrote no report", "is not JSON"),
    ],
)
def test_session_without_a_report_is_a_lost_node(bench, step, text, logged):
    with pytest.raises(ClusterError, match=text) as caught:
        bench.run(step)
    assert caught.value.code == "node_lost"
    assert caught.value.may_retry
    assert logged in bench.logged[0]


def test_session_past_its_deadline_is_killed(bench):
    began = time.monotonic()
    with pytest.raises(ClusterError, match="did not end in time"):
        bench.run("hang", seconds=0.3)
    assert time.monotonic() - began < 2
    assert bench.logged == ["zvm:j1:wc-1 passed its deadline and was killed"]


def test_session_that_leaves_a_child_takes_it_along(bench):
    # The census afterwards sees a child that outlived its session.
    assert bench.run("fork").outcome.code == 0


def test_session_with_a_long_report_is_read_whole(bench):
    report = bench.run("long:3000000")
    assert len(report.stderr_tail) == 3_000_000


def test_session_whose_child_keeps_the_pipe_is_noticed(bench):
    with pytest.raises(ClusterError, match="ended with status -11"):
        bench.run("fork crash", seconds=20)


def test_session_is_asked_to_end_before_it_is_killed(bench):
    vm = bench.start("term:bye")
    while not bench.output():
        os.sched_yield()
    vm.kill()
    assert bench.output() == b"ready bye"


def test_session_log_goes_to_ours_only(bench):
    bench.run("log:/secret")
    assert bench.logged == ["zvm:j1:wc-1 says: /secret\n"]


def test_session_with_a_bad_layer_is_the_users_to_mend(bench):
    with pytest.raises(TaskRefused, match="layer image: not a tar") as caught:
        bench.run("badlayer")
    assert (caught.value.code, caught.value.status) == ("image_invalid", 422)


def test_session_with_a_bad_manifest_is_ours_and_tells_no_path(bench):
    with pytest.raises(ClusterError, match="bad_manifest") as caught:
        bench.run("badmanifest")
    assert caught.value.code == "internal"
    assert "secret" not in caught.value.message
    assert "/secret/path" in bench.logged[0]


def test_lock_down_that_is_asked_for_reaches_compiler_and_session(
    bench, tmp_path
):
    asked = settings(tmp_path, vm_uid="7-9", require_landlock="yes")
    for chosen, words in (
        (settings(tmp_path), ""),
        (asked, "--vm-uid 7-9 --require-landlock"),
    ):
        bench.logged.clear()
        bench.sandbox = Sandbox(chosen, bench.logged.append)
        bench.sandbox.compile(bench.module("fake lockdown"), "p")
        bench.run("lockdown")
        assert bench.logged == [
            f"zvm compile says: {words}\n",
            f"zvm:j1:wc-1 says: {words}\n",
        ]


def test_kill_twice_is_harmless(bench):
    vm = bench.start("hang")
    vm.kill()
    vm.kill()


def test_start_without_a_runner_is_our_fault(bench, tmp_path):
    missing = settings(tmp_path, zvm=str(tmp_path / "nowhere"))
    bench.sandbox = Sandbox(missing, bench.logged.append)
    with pytest.raises(ClusterError, match="cannot be started") as caught:
        bench.start("cat")
    assert str(tmp_path) not in caught.value.message
    assert "nowhere" in bench.logged[0]


def test_compile_gives_an_artefact_and_finds_it_again(bench):
    path = bench.module("fake cat")
    first = bench.sandbox.compile(path, "swift://a/c/cat")
    again = bench.sandbox.compile(path, "swift://a/c/cat")
    assert (first.cached, again.cached) == (False, True)
    assert first.path == again.path
    assert Path(first.path).read_text() == "fake cat"
    assert Path(first.path).parent.stat().st_mode & 0o777 == 0o700


def test_compile_of_something_else_names_the_program_not_the_file(bench):
    path = bench.module("#!/bin/sh")
    with pytest.raises(TaskRefused) as caught:
        bench.sandbox.compile(path, "swift://a/c/cat")
    assert (caught.value.code, caught.value.status) == ("program_invalid", 422)
    assert caught.value.message == (
        "program swift://a/c/cat cannot run here: swift://a/c/cat does not "
        "begin with the magic number (not_wasm)"
    )


def test_compile_without_room_for_the_artefact_may_be_tried_elsewhere(
    bench, tmp_path
):
    narrow = settings(tmp_path, artefact_bytes="1048576")
    bench.sandbox = Sandbox(narrow, bench.logged.append)
    with pytest.raises(TaskRefused) as caught:
        bench.sandbox.compile(bench.module("fake large"), "p")
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)
    assert caught.value.may_retry
    assert caught.value.message == (
        "program p cannot be kept: at most 1048576 bytes (artefact_bytes, "
        "reserve_bytes)"
    )


def test_compile_with_a_fault_of_the_compiler_tells_no_path(bench):
    path = bench.module("fake compilerbug")
    with pytest.raises(ClusterError, match="could not compile") as caught:
        bench.sandbox.compile(path, "p")
    assert "secret" not in caught.value.message
    assert "/secret/path" in bench.logged[0]


def test_compile_past_its_deadline_is_ended(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("zerocloud.sandbox.COMPILE_GRACE_SECONDS", -0.9)
    slow = settings(tmp_path, compile_seconds="1")
    bench.sandbox = Sandbox(slow, bench.logged.append)
    with pytest.raises(ClusterError, match="could not compile program p"):
        bench.sandbox.compile(bench.module("fake slow"), "p")


def test_fake_runner_is_executable():
    assert os.access(FAKE_ZVM, os.X_OK)
