"""Signatures: what is covered, and which refusal says what."""

from __future__ import annotations

import dataclasses

import pytest

from unittests.protocol.samples import KEY, NOW, OTHER_KEY, request
from zerocloud import headers
from zerocloud.errors import ProtocolError, TaskRefused
from zerocloud.protocol.signing import (
    TaskId,
    key_id,
    parse_request,
    parse_task_id,
    sign,
    verify,
)


def refusal(keys, asked, signature, now=NOW):
    with pytest.raises(TaskRefused) as caught:
        verify(keys, asked, signature, now)
    assert caught.value.status == 403
    return caught.value


def test_verify_own_signature_returns_the_key():
    assert verify([KEY], request(), sign(KEY, request()), NOW) == KEY


def test_verify_with_the_previous_key_returns_that_key():
    signature = sign(OTHER_KEY, request())
    assert verify([KEY, OTHER_KEY], request(), signature, NOW) == OTHER_KEY


def test_verify_with_an_unknown_key_names_ids_only():
    error = refusal([KEY, b""], request(), sign(OTHER_KEY, request()))
    assert error.code == "unknown_key"
    assert error.may_retry
    assert error.message == (
        f"key {key_id(OTHER_KEY)} is not known here; known are {key_id(KEY)}"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/sda/7/AUTH_a/c/p"},
        {"policy_index": 1},
        {"task": TaskId("job1", "map-1", 2)},
        {"digest": "ac" * 32},
        {"expires": NOW + 101},
        {"pin": ""},
    ],
)
def test_verify_with_anything_changed_is_refused(change):
    changed = dataclasses.replace(request(), **change)
    error = refusal([KEY], changed, sign(KEY, request()))
    assert error.code == "bad_signature"
    assert not error.may_retry
    assert "is wrong" in error.message


@pytest.mark.parametrize("text", ["", "x", "0" * 8 + " " + "G" * 64])
def test_verify_malformed_signature_is_refused(text):
    error = refusal([KEY], request(), text)
    assert error.code == "bad_signature"
    assert "missing or malformed" in error.message


def test_verify_within_the_skew_passes_beyond_it_is_expired():
    signature = sign(KEY, request())
    expires = request().expires
    assert verify([KEY], request(), signature, expires + 60)
    error = refusal([KEY], request(), signature, expires + 61)
    assert error.code == "expired"
    assert error.message == "the request expired 61 seconds ago"


def test_verify_expiry_too_far_ahead_is_refused():
    far = request(expires=NOW + 361)
    near = request(expires=NOW + 360)
    assert verify([KEY], near, sign(KEY, near), NOW)
    error = refusal([KEY], far, sign(KEY, far))
    assert error.code == "expired"
    assert "361 seconds ahead; allowed are 300" in error.message


def test_newline_in_a_path_does_not_move_fields():
    # "/sda/7/a\n0" with policy 0 must not sign as "/sda/7/a", policy "0\n…".
    one = request(path="/sda/7/a/c/o\n0").signed_bytes()
    two = request(path="/sda/7/a/c/o").signed_bytes()
    assert one != two


def test_newline_in_a_header_is_refused():
    with pytest.raises(ProtocolError, match="newline"):
        request(pin="1\n2").signed_bytes()


def test_task_id_with_odd_names_survives():
    task = TaskId("j/1", "nö de-1%2F", 3)
    assert str(task) == "j%2F1/n%C3%B6%20de-1%252F/3"
    assert parse_task_id(str(task)) == task


@pytest.mark.parametrize("text", ["", "a/b", "a/b/c", "a/b/-1", "a/b/1/2"])
def test_task_id_malformed_is_refused(text):
    with pytest.raises(ProtocolError, match="X-Zerocloud-Task is"):
        parse_task_id(text)


def test_request_headers_are_parsed_back():
    table = request().headers("sig")
    index = table[headers.POLICY_INDEX]
    assert parse_request(request().path, index, table) == request()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (headers.TASK_DIGEST, "AB" * 32),
        (headers.TASK_EXPIRES, "1e9"),
        (headers.TASK_ID, "x"),
    ],
)
def test_request_header_malformed_is_named(name, value):
    table = {**request().headers("sig"), name: value}
    with pytest.raises(ProtocolError, match=name):
        parse_request(request().path, "0", table)


def test_request_policy_malformed_is_named():
    with pytest.raises(ProtocolError, match=headers.POLICY_INDEX):
        parse_request("/d/1", "x", request().headers("sig"))
