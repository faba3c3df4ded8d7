"""Slots, memory and queue: in order of arrival, and nobody forgotten."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

import pytest

from unittests.executor.harness import wait_until
from zerocloud.errors import TaskRefused
from zerocloud.executor.admission import (
    OVERHEAD_BYTES,
    Admission,
    Caps,
    Need,
    grant,
)
from zerocloud.executor.slottable import Entry, Stage

MIB = 1 << 20
PLENTY = 1 << 50


@pytest.fixture
def make(tmp_path):
    """Admissions of one storage node, each as a process of its own has it."""
    made = []

    def admission(slots, queue=9, memory_bytes=PLENTY, staging_bytes=PLENTY):
        caps = Caps(slots, memory_bytes, staging_bytes, queue)
        made.append(Admission(tmp_path, caps))
        return made[-1]

    yield admission
    for one in made:
        one._table.close()


def slots_of(*tickets) -> list[bool]:
    return [ticket.has_slot for ticket in tickets]


def test_free_slot_is_given_at_once(make):
    ticket = make(1, 0).enter(Need())
    ticket.wait(0)
    assert ticket.has_slot


def test_slots_are_given_in_order_of_arrival(make):
    admission = make(1)
    first, second, third = (admission.enter(Need()) for _ in range(3))
    assert (admission.busy, admission.waiting) == (1, 2)
    first.release()
    assert slots_of(second, third) == [True, False]
    second.release()
    assert third.has_slot
    assert (admission.busy, admission.waiting) == (1, 0)


def test_full_queue_refuses_with_its_figures(make):
    admission = make(1, 1)
    admission.enter(Need())
    admission.enter(Need())
    with pytest.raises(TaskRefused) as caught:
        admission.enter(Need())
    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert caught.value.message == "all 1 slots are taken and 1 tasks wait"
    assert caught.value.may_retry


def test_queue_full_for_memory_says_so(make):
    room = 10 * MIB + OVERHEAD_BYTES
    admission = make(4, 0, room)
    admission.enter(Need(10 * MIB))
    with pytest.raises(TaskRefused) as caught:
        admission.enter(Need())
    assert caught.value.message == (
        f"{room} of {room} bytes of memory and 0 of {PLENTY} bytes of staging "
        "are taken and 0 tasks wait"
    )


def test_ticket_released_twice_frees_one_slot(make):
    admission = make(2, 0)
    first = admission.enter(Need())
    admission.enter(Need())
    first.release()
    first.release()
    assert admission.busy == 1


def test_ticket_released_in_the_queue_is_passed_over(make):
    admission = make(1, 2)
    first, second, third = (admission.enter(Need()) for _ in range(3))
    second.release()
    assert admission.waiting == 1
    fourth = admission.enter(Need())
    first.release()
    assert slots_of(second, third, fourth) == [False, True, False]


def test_ticket_that_waits_too_long_leaves_the_queue(make):
    admission = make(1, 1)
    first = admission.enter(Need())
    second = admission.enter(Need())
    with pytest.raises(TaskRefused, match=r"no slot within 0\.01 seconds"):
        second.wait(0.01)
    assert admission.waiting == 0
    first.release()
    assert admission.busy == 0


def test_memory_is_given_to_the_byte_and_not_beyond(make):
    admission = make(9, 9, 30 * MIB + 2 * OVERHEAD_BYTES)
    first = admission.enter(Need(10 * MIB))
    second = admission.enter(Need(20 * MIB))
    third = admission.enter(Need())
    assert slots_of(first, second, third) == [True, True, False]
    second.release()
    assert third.has_slot


def test_task_that_can_never_fit_is_told_both_numbers(make):
    has = 5 * MIB + OVERHEAD_BYTES
    admission = make(1, 9, has)
    admission.enter(Need(5 * MIB)).release()
    with pytest.raises(TaskRefused) as caught:
        admission.enter(Need(5 * MIB + 1))
    assert (caught.value.code, caught.value.status) == ("job_limit", 400)
    # Another node may have more.
    assert caught.value.may_retry
    assert caught.value.message == (
        f"the task needs {has + 1} bytes of memory (its limit of "
        f"{5 * MIB + 1} and {OVERHEAD_BYTES} for the VM); the storage node "
        f"has {has} for all tasks (memory_bytes)"
    )


# The rule, on the bare table.


STAGES = {"W": Stage.WAITS, "R": Stage.RUNS, "H": Stage.HOLDS}


def entries(*wants: tuple[str, int]) -> list[Entry]:
    """Tasks in order of arrival: what each does, and its memory."""
    return [
        Entry(number, memory, 0, stage=STAGES[state])
        for number, (state, memory) in enumerate(wants, 1)
    ]


def granted(table, slots, memory_bytes) -> list[int]:
    caps = Caps(slots, memory_bytes, 100, 0)
    return [entry.arrival for entry in grant(table, caps)]


def test_small_task_passes_a_large_one_that_does_not_fit():
    table = entries(("R", 6), ("W", 10), ("W", 3))
    assert granted(table, 4, 10) == [3]
    assert [entry.passed for entry in table] == [0, 1, 0]


def test_large_task_passed_often_enough_is_passed_no_more():
    """However many small ones come, it waits for `slots` of them at most."""
    table = entries(("R", 3), ("W", 10))
    large, went = table[1], 0
    for arrival in range(3, 100):
        table.append(Entry(arrival, 1, 0))
        went += len(granted(table, 4, 10))
        # Whoever runs ends; the next small one comes.
        table[:] = [e for e in table if e.memory_bytes != 1]
        if large.passed == 4:
            break
    assert (went, large.stage) == (4, Stage.WAITS)
    table += [Entry(200 + n, 1, 0) for n in range(9)]
    assert granted(table, 4, 10) == []
    table.remove(table[0])
    assert granted(table, 4, 10)[0] == large.arrival


def test_two_large_tasks_keep_their_order():
    table = entries(("R", 8), ("W", 10), ("W", 9), ("W", 1))
    assert granted(table, 4, 10) == [4]
    table[:] = table[1:3]
    assert granted(table, 4, 10) == [2]


def test_no_slot_grants_nothing_whatever_the_memory():
    assert granted(entries(("R", 1), ("W", 1)), 1, 100) == []


def test_staging_is_held_until_the_outputs_are_gone():
    """Slot and memory go to the next when the VM ends, the room does not."""
    table = entries(("H", 10), ("W", 10), ("W", 10))
    table[0].staged_bytes = 60
    table[1].staged_bytes = 41
    table[2].staged_bytes = 40
    assert granted(table, 4, 20) == [3]
    del table[0]
    assert granted(table, 4, 20) == [2]


def test_ticket_settled_keeps_only_what_was_written(make):
    admission = make(1, staging_bytes=100)
    first = admission.enter(Need(staged_bytes=100))
    second = admission.enter(Need(staged_bytes=91))
    assert not second.has_slot
    first.settle(10)
    assert (admission.busy, second.has_slot) == (0, False)
    first.release()
    assert second.has_slot


def test_task_that_could_never_be_staged_is_told_both_numbers(make):
    admission = make(1, staging_bytes=100)
    admission.enter(Need(staged_bytes=100))
    with pytest.raises(TaskRefused) as caught:
        admission.enter(Need(staged_bytes=101))
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)
    assert caught.value.message == (
        "the task's inputs and outputs may have 101 bytes; the storage node "
        "stages at most 100 of all tasks (staging_bytes)"
    )


# Several worker processes of one machine.


def test_workers_share_the_slots_and_wake_each_other(make):
    one, two = make(1), make(1)
    first = one.enter(Need())
    second = two.enter(Need())
    assert slots_of(first, second) == [True, False]
    # It sleeps on its pipe before the word comes.
    assert wait_until(lambda: _sleeps(two))
    before = time.monotonic()
    first.release()
    second.wait(5)
    # By the word of the other, not by its own look every half second.
    assert time.monotonic() - before < 0.4


def _sleeps(admission: Admission) -> bool:
    path = admission._table._wake_path(admission._table.owner)
    return any(
        os.path.realpath(f"/proc/self/fd/{fd}") == path
        for fd in os.listdir("/proc/self/fd")
    )


def test_workers_share_one_order_of_arrival(make):
    one, two = make(1), make(1)
    first = one.enter(Need())
    second, third, fourth = (
        two.enter(Need()),
        one.enter(Need()),
        two.enter(Need()),
    )
    order = []
    for ticket in (first, second, third, fourth):
        assert wait_until(lambda ticket=ticket: ticket.has_slot)
        order.append(slots_of(first, second, third, fourth))
        ticket.release()
    assert [row.count(True) for row in order] == [1, 1, 1, 1]


def test_workers_share_the_memory(make):
    room = 10 * MIB + OVERHEAD_BYTES
    one, two = make(4, 9, room), make(4, 9, room)
    first, second = one.enter(Need(10 * MIB)), two.enter(Need())
    assert slots_of(first, second) == [True, False]
    first.release()
    second.wait(5)


def test_workers_share_the_queue(make):
    one, two = make(1, 1), make(1, 1)
    one.enter(Need())
    one.enter(Need())
    with pytest.raises(TaskRefused, match="1 tasks wait"):
        two.enter(Need())


def test_worker_killed_gives_back_what_it_had(make, tmp_path):
    """kill -9 at any moment: the kernel frees its byte in the table."""
    code = (
        "import pathlib, sys\n"
        "from zerocloud.executor.admission import Admission, Caps, Need\n"
        "caps = Caps(2, 1 << 50, 1 << 50, 9)\n"
        f"one = Admission(pathlib.Path({str(tmp_path)!r}), caps)\n"
        "held = [one.enter(Need()) for _ in range(3)]\n"
        "print(one.busy, one.waiting, flush=True)\n"
        "sys.stdin.read()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"2 1\n"
    living = make(2)
    ticket = living.enter(Need())
    assert not ticket.has_slot
    worker.kill()
    worker.communicate()
    ticket.wait(5)
    assert living.enter(Need()).has_slot


def test_table_held_by_a_stopped_process_is_busy_and_mends_itself(
    make, monkeypatch
):
    monkeypatch.setattr("zerocloud.executor.slottable._STUCK_SECONDS", 0.01)
    admission = make(1)
    first = admission.enter(Need())
    other = os.open(admission._table._folder / "table", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(TaskRefused, match="slots cannot be counted") as caught:
        admission.enter(Need())
    assert (caught.value.code, caught.value.may_retry) == ("busy", True)
    # What is given up meanwhile is not lost.
    first.release()
    os.close(other)
    assert wait_until(lambda: not admission._changed)
    assert admission.enter(Need()).has_slot


def test_table_torn_by_a_power_cut_is_begun_anew(make, tmp_path):
    admission = make(1)
    admission.enter(Need())
    with (tmp_path / "table").open("r+b") as table:
        for offset in (4096, 4096 + (16 << 20)):
            os.pwrite(table.fileno(), b"garbage!", offset)
    assert make(1).enter(Need()).has_slot


def test_ticket_costs_little(make):
    """The promise: less than 0.2 ms a task, beside others that run."""
    admission = make(16)
    held = [admission.enter(Need()) for _ in range(8)]
    samples = []
    for _ in range(200):
        began = time.perf_counter()
        admission.enter(Need()).release()
        samples.append(time.perf_counter() - began)
    assert sorted(samples)[len(samples) // 2] < 0.0002
    assert len(held) == admission.busy
