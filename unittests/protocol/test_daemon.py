"""Packets of the daemon's socket: to bytes and back, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zerocloud.errors import ProtocolError
from zerocloud.protocol import daemon
from zerocloud.protocol.report import Report

FIXTURE = (
    Path(__file__).resolve().parents[2]
    / "runner"
    / "tests"
    / "fixtures"
    / "report-exit.json"
)
PROCESS = {
    "pid": 7,
    "cpu_seconds": 0.001,
    "memory_peak_bytes": 4096,
    "status": 0,
    "signal": None,
    "queue_seconds": 0.0,
    "began_nanoseconds": 5,
}


def test_hello_is_the_version_behind_an_empty_header() -> None:
    packet = daemon.hello()
    assert packet.data == b'H\0\0\0\0\0\0\0{"version":1}'
    assert packet.descriptors == ()


def test_small_request_is_one_packet() -> None:
    [packet] = daemon.request(258, b"{}", [7, 9], 1.5)
    head = b"B\0\0\0" + b"\0\0\1\2" + b"\0\0\0\2" + b"\0\0\0\2" + b"\0\0\5\xdc"
    assert packet.data == head + b"{}"
    assert packet.descriptors == (7, 9)


def test_large_request_is_cut_by_bytes_and_by_descriptors() -> None:
    manifest = bytes(range(256)) * 800
    numbers = list(range(3, 603))
    packets = daemon.request(1, manifest, numbers, 0)
    assert all(len(p.data) <= 65536 for p in packets)
    assert all(len(p.descriptors) <= 253 for p in packets)
    assert [n for p in packets for n in p.descriptors] == numbers
    assert packets[0].data[:1] == b"B"
    assert {p.data[:1] for p in packets[1:]} == {b"M"}
    bodies = [packets[0].data[20:], *(p.data[8:] for p in packets[1:])]
    assert b"".join(bodies) == manifest


def test_descriptors_beyond_the_manifest_go_in_packets_of_their_own() -> None:
    packets = daemon.request(1, b"{}", list(range(300)), 0)
    assert [len(p.descriptors) for p in packets] == [253, 47]
    assert packets[1].data == b"M\0\0\0\0\0\0\1"


def test_cancel_is_a_bare_header() -> None:
    assert daemon.cancel(9).data == b"C\0\0\0\0\0\0\x09"


def test_pieces_tell_kind_request_and_whether_more_comes() -> None:
    piece = daemon.parse_piece(b"R\1\0\0\0\0\0\2{")
    assert piece == daemon.Piece(b"R", more=True, request=2, body=b"{")
    assert not daemon.parse_piece(b"E\0\0\0\0\0\0\0").more


@pytest.mark.parametrize(
    "packet", [b"", b"R\0\0\0", b"Q\0\0\0\0\0\0\0", b"R\2\0\0\0\0\0\0"]
)
def test_other_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolError, match="a packet of the daemon"):
        daemon.parse_piece(packet)


def test_answer_holds_the_report_that_a_session_writes() -> None:
    report = json.loads(FIXTURE.read_text())
    document = json.dumps({"report": report, "process": PROCESS})
    answer = daemon.parse_answer(document.encode())
    assert isinstance(answer, Report)
    assert answer.outcome.kind == "exit"


def test_answer_may_be_an_error() -> None:
    document = b'{"error": {"code": "busy", "message": "full"}}'
    assert daemon.parse_answer(document) == daemon.Refused("busy", "full")


@pytest.mark.parametrize("missing", [*PROCESS, "process", "report"])
def test_answer_that_lacks_something_is_refused(missing: str) -> None:
    report = json.loads(FIXTURE.read_text())
    process = {k: v for k, v in PROCESS.items() if k != missing}
    document = {"report": report, "process": process}
    document.pop(missing, None)
    with pytest.raises(ProtocolError, match=missing):
        daemon.parse_answer(json.dumps(document).encode())


def test_welcome_says_how_vms_are_held_and_may_say_more() -> None:
    text = b'{"version": 1, "user_ids": "7-9", "landlock": true, "x": []}'
    assert daemon.parse_welcome(text) == daemon.Welcome("7-9", landlock=True)
    # An older daemon says nothing of it, and is taken to have nothing.
    silent = daemon.parse_welcome(b'{"version": 1}')
    assert silent == daemon.Welcome(None, landlock=False)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"user_ids": 7}', b'{"landlock": 1}']
)
def test_welcome_of_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        daemon.parse_welcome(text)


@pytest.mark.parametrize(
    ("ids", "landlock", "lacks"),
    [
        ("", False, ""),
        ("7-9", True, ""),
        ("07-9", True, ""),
        ("7", False, "its VMs run with user ids 7-9, not 7"),
        ("same", False, "its VMs run with user ids 7-9, not same"),
    ],
)
def test_lock_down_is_compared_with_what_is_asked_for(
    ids: str, landlock: bool, lacks: str
) -> None:
    welcome = daemon.Welcome("7-9", landlock=True)
    assert daemon.lacks_lockdown(welcome, ids, landlock=landlock) == lacks
    bare = daemon.Welcome("same", landlock=False)
    assert daemon.lacks_lockdown(bare, "", landlock=False) == ""
    assert daemon.lacks_lockdown(bare, "same", landlock=True) == (
        "its VMs run without Landlock"
    )
