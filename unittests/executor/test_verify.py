"""Rot: no word of a VM that has read a damaged file."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from swift.common.concurrency import sleep

from unittests.executor.harness import Conversation, Node, document, source
from zerocloud.errors import TaskRefused
from zerocloud.executor import verify
from zerocloud.executor.localobject import LocalObject
from zerocloud.protocol import frames
from zerocloud.sandbox import ProcessVm

PROGRAM = b"fake cat"
SMALL = b"object"
LARGE = bytes(range(256)) * 1024
BOTH = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Store:
    """A file, opened as the object that it is or should be."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "o"
        self.reread = 0
        self.now = 1000.0
        self.hashed: list[int] = []
        self.fds: list[int] = []

    def open(self, data: bytes, etag: str) -> LocalObject:
        if not self.path.exists() or self.path.read_bytes() != data:
            self.path.write_bytes(data)
        self.fds.append(os.open(self.path, os.O_RDONLY))
        return LocalObject(self.fds[-1], len(data), etag, self._reread)

    def _reread(self) -> None:
        self.reread += 1

    def clock(self) -> float:
        return self.now

    def verifier(self, seconds: float = 60, **more: bool) -> verify.Verifier:
        return verify.Verifier(seconds, clock=self.clock, **more)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store(tmp_path)
    real = verify._hash_slice

    def counted(digest, fd, at):
        made.hashed.append(at)
        return real(digest, fd, at)

    monkeypatch.setattr(verify, "_hash_slice", counted)
    yield made
    for fd in made.fds:
        os.close(fd)


@BOTH
def test_file_that_is_sound_passes(store, data):
    store.verifier().begin(store.open(data, md5(data))).wait()
    assert store.reread == 0


@BOTH
def test_file_with_a_changed_byte_is_refused_for_another_replica(store, data):
    local = store.open(data[:-1] + b"?", md5(data))
    with pytest.raises(TaskRefused, match="not what was stored") as caught:
        store.verifier().begin(local).wait()
    assert (caught.value.code, caught.value.may_retry) == (
        "object_damaged",
        True,
    )
    assert store.reread == 1


def test_file_that_got_shorter_is_refused(store):
    local = store.open(LARGE, md5(LARGE))
    os.truncate(store.path, 100_000)
    with pytest.raises(TaskRefused):
        store.verifier().begin(local).wait()


@BOTH
def test_file_that_cannot_be_read_is_refused(store, data, monkeypatch):
    def broken(*_: int) -> bytes:
        raise OSError(5, "input/output error")

    local = store.open(data, md5(data))
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(TaskRefused):
        store.verifier().begin(local).wait()


def test_sound_file_is_hashed_once(store):
    verifier = store.verifier()
    for _ in range(3):
        verifier.begin(store.open(LARGE, md5(LARGE))).wait()
    assert store.hashed == [0]


def test_sound_file_is_hashed_again_after_verified_seconds(store):
    verifier = store.verifier(seconds=60)
    verifier.begin(store.open(LARGE, md5(LARGE))).wait()
    store.now += 59
    verifier.begin(store.open(LARGE, md5(LARGE))).wait()
    assert store.hashed == [0]
    store.now += 2
    verifier.begin(store.open(LARGE, md5(LARGE))).wait()
    assert store.hashed == [0, 0]


def test_file_that_changed_after_it_was_sound_is_hashed_again(store):
    verifier = store.verifier()
    verifier.begin(store.open(LARGE, md5(LARGE))).wait()
    with store.path.open("r+b") as file:
        file.write(b"rot")
    fd = os.open(store.path, os.O_RDONLY)
    store.fds.append(fd)
    local = LocalObject(fd, len(LARGE), md5(LARGE), store._reread)
    with pytest.raises(TaskRefused):
        verifier.begin(local).wait()


def test_damaged_file_is_hashed_each_time(store):
    verifier = store.verifier()
    for _ in range(2):
        with pytest.raises(TaskRefused):
            verifier.begin(store.open(LARGE, md5(b"other"))).wait()
    assert store.hashed == [0, 0]


def test_tasks_that_read_one_file_share_its_hashing(store):
    verifier = store.verifier()
    proofs = [verifier.begin(store.open(LARGE, md5(LARGE))) for _ in range(4)]
    for proof in proofs:
        proof.wait()
    assert store.hashed == [0]


def test_few_files_are_hashed_at_once(store, monkeypatch):
    """Swift needs the same threads for its own disks."""
    busy, most, real = [], [], verify.in_thread

    def in_thread(*args):
        busy.append(1)
        most.append(len(busy))
        try:
            return real(*args)
        finally:
            busy.pop()

    monkeypatch.setattr(verify, "in_thread", in_thread)
    verifier = store.verifier()
    proofs = []
    for number in range(12):
        store.path = store.path.with_name(f"o{number}")
        data = LARGE + bytes([number])
        proofs.append(verifier.begin(store.open(data, md5(data))))
    for proof in proofs:
        proof.wait()
    assert max(most) == verify.SLICES_AT_ONCE
    assert len(most) == 12


def test_first_of_several_tasks_may_go_away(store):
    verifier = store.verifier()
    local = store.open(LARGE, md5(LARGE))
    first, second = verifier.begin(local), verifier.begin(local)
    first.cancel()
    os.close(store.fds.pop())
    second.wait()
    assert store.hashed == [0]


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("tasks", [1, 2])
def test_cancelled_proofs_leave_no_descriptor(
    store, monkeypatch, steps, tasks
):
    """Whenever that comes, and without the garbage collector's help."""
    monkeypatch.setattr(verify, "SLICE_BYTES", 4096)
    monkeypatch.setattr(verify, "MIB", 4096)
    local = store.open(LARGE, md5(LARGE))
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        verifier = store.verifier()
        proofs = [verifier.begin(local) for _ in range(tasks)]
        for _ in range(steps):
            sleep(0)
        for proof in proofs:
            proof.cancel()
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
    # And nobody joins what was given up.
    verifier.begin(local).wait()


def test_damaged_file_for_two_tasks_leaves_no_descriptor(store):
    local = store.open(LARGE, md5(b"other"))
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        verifier = store.verifier()
        for proof in [verifier.begin(local), verifier.begin(local)]:
            with pytest.raises(TaskRefused):
                proof.wait()
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
    assert store.reread == 1


@BOTH
def test_nothing_is_hashed_with_verify_local_reads_off(store, data):
    local = store.open(data, md5(b"other"))
    store.verifier(enabled=False).begin(local).wait()


def begin(
    node: Node,
    data: bytes,
    stored: bytes,
    kind: type[Conversation] = Conversation,
) -> Conversation:
    (node.folder / "o").write_bytes(stored)
    node.server.metadata = {"ETag": md5(data)}
    inputs = [source("stdin", "local", len(stored))]
    sent = document(PROGRAM, inputs=inputs, inline_bytes=1 << 20)
    talk = kind(node, sent, path="/sda/0/a/c/o")
    assert talk.begin() == 200
    if talk.until(frames.ACCEPTED).kind == frames.ACCEPTED:
        talk.send_stream(frames.BLOB, 0, PROGRAM)
    return talk.finish()


@BOTH
def test_task_over_a_sound_file_reports(node, data):
    assert begin(node, data, data).outputs == {0: data}


def test_vm_does_not_wait_for_the_hash_and_its_report_does(node, monkeypatch):
    """The first read costs the longer of the two, and not their sum."""
    events, vm_ended = [], threading.Event()
    wait, hash_slice = ProcessVm.wait, verify._hash_slice

    def waited(self, seconds):
        report = wait(self, seconds)
        events.append("the VM has ended")
        vm_ended.set()
        return report

    def hashed(digest, fd, at):
        seen = vm_ended.wait(10)
        # Long enough for a report that would not wait.
        time.sleep(0.1)
        events.append("hashed" if seen else "nothing ran meanwhile")
        return hash_slice(digest, fd, at)

    class Talk(Conversation):
        def _note(self, frame):
            if frame.kind == frames.REPORT:
                events.append("reported")
            super()._note(frame)

    monkeypatch.setattr(ProcessVm, "wait", waited)
    monkeypatch.setattr(verify, "_hash_slice", hashed)
    assert begin(node, LARGE, LARGE, Talk).outputs == {0: LARGE}
    assert events == ["the VM has ended", "hashed", "reported"]


@BOTH
def test_task_over_a_damaged_file_reports_nothing(node, data):
    talk = begin(node, data, data[:-1] + b"?")
    assert talk.kinds[-1] == "F"
    assert "R" not in talk.kinds
    assert talk.error["code"] == "object_damaged"
    assert talk.error["may_retry"]
    # What Swift's reader does with it.
    assert (node.folder / "quarantined").exists()
    assert not (node.folder / "o").exists()
    assert node.staged_files() == []
    assert node.faults == []


def test_task_over_a_damaged_file_reports_with_verify_local_reads_off(
    make_node,
):
    node = make_node(verify_local_reads="no")
    assert begin(node, SMALL, b"objec?").outputs == {0: b"objec?"}
