"""Slots and queue: first come, first served, and nobody forgotten."""

from __future__ import annotations

import pytest

from zerocloud.errors import TaskRefused
from zerocloud.executor.admission import Admission


def test_free_slot_is_given_at_once():
    ticket = Admission(1, 0).enter()
    ticket.wait(0)
    assert ticket.has_slot


def test_slots_are_given_in_order_of_arrival():
    admission = Admission(1, 9)
    first, second, third = (admission.enter() for _ in range(3))
    assert (admission.busy, admission.waiting) == (1, 2)
    first.release()
    assert (second.has_slot, third.has_slot) == (True, False)
    second.release()
    assert third.has_slot
    assert (admission.busy, admission.waiting) == (1, 0)


def test_full_queue_refuses_with_its_figures():
    admission = Admission(1, 1)
    admission.enter()
    admission.enter()
    with pytest.raises(TaskRefused) as caught:
        admission.enter()
    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert caught.value.message == "all 1 slots are taken and 1 tasks wait"
    assert caught.value.may_retry


def test_ticket_released_twice_frees_one_slot():
    admission = Admission(2, 0)
    first = admission.enter()
    admission.enter()
    first.release()
    first.release()
    assert admission.busy == 1


def test_ticket_released_in_the_queue_is_passed_over():
    admission = Admission(1, 2)
    first, second, third = (admission.enter() for _ in range(3))
    second.release()
    assert admission.waiting == 1
    fourth = admission.enter()
    first.release()
    assert (second.has_slot, third.has_slot, fourth.has_slot) == (
        False,
        True,
        False,
    )


def test_ticket_that_waits_too_long_leaves_the_queue():
    admission = Admission(1, 1)
    first = admission.enter()
    second = admission.enter()
    with pytest.raises(TaskRefused, match=r"no slot within 0\.01 seconds"):
        second.wait(0.01)
    assert admission.waiting == 0
    first.release()
    assert admission.busy == 0
