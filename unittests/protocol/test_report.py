"""The report: with and without the node's notes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from unittests.protocol import samples
from zerocloud.errors import ProtocolError
from zerocloud.protocol.report import ExecutorNotes, Outcome, parse_report

FIXTURES = Path(__file__).parents[2] / "runner" / "tests" / "fixtures"


def parse(document: Any):
    return parse_report(json.dumps(document).encode())


def test_report_of_the_session_is_parsed_back_alike():
    report = parse(samples.report())
    assert report.as_dict() == samples.report()
    assert parse_report(report.to_json()) == report


def test_strict_report_tells_the_fuel_that_was_used():
    for used in (0, 1234, None):
        more = {"version": 2, "determinism": "strict", "fuel_used": used}
        report = parse({**samples.report(), **more})
        assert (report.determinism, report.fuel_used) == ("strict", used)
        assert parse_report(report.to_json()) == report
    assert parse(samples.report()).determinism == "default"


def test_report_with_notes_and_devices_is_parsed_back_alike():
    report = parse(samples.report())
    channel = dataclasses.replace(report.channels[0], device="stdin")
    notes = ExecutorNotes(0.5, 0.1, 0.0, 0.2, 1024, 0)
    full = dataclasses.replace(report, channels=(channel,), executor=notes)
    assert parse_report(full.to_json()) == full


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome("exit", 0), True),
        (Outcome("exit", 1), True),
        (Outcome("exit", 2), False),
        (Outcome("trap", "unreachable"), False),
        (Outcome("killed", 1), False),
    ],
)
def test_outcome_success_is_an_exit_with_an_allowed_code(outcome, expected):
    assert outcome.succeeded((0, 1)) is expected


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ({"kind": "crash", "code": 1, "message": ""}, "outcome.kind"),
        ({"kind": "exit", "code": "0", "message": ""}, "outcome.code"),
        ({"kind": "trap", "code": 1, "message": ""}, "outcome.code"),
        ({"kind": "exit", "code": 0}, "outcome has no message"),
    ],
)
def test_report_with_a_bad_outcome_is_refused(outcome, text):
    with pytest.raises(ProtocolError, match=text):
        parse({**samples.report(), "outcome": outcome})


def test_report_with_an_unknown_key_is_refused():
    with pytest.raises(ProtocolError, match="unknown keys: path"):
        parse({**samples.report(), "path": "/srv/node"})


def test_report_keeps_a_guests_control_characters():
    report = parse({**samples.report(), "stderr_tail": "\0\x1b[0m\n"})
    assert report.stderr_tail == "\0\x1b[0m\n"


def test_report_too_long_keeps_the_end_of_stderr():
    long = {**samples.report(), "stderr_tail": "ä" * 5000 + "the end"}
    data = parse(long).to_json(2000)
    assert len(data) <= 2000
    assert parse_report(data).stderr_tail.endswith("äthe end")


def test_report_too_long_without_stderr_is_refused():
    with pytest.raises(ProtocolError, match="allowed are 100"):
        parse(samples.report()).to_json(100)


def test_report_fixtures_of_the_runner_are_parsed_back_alike():
    fixtures = sorted(FIXTURES.glob("report*.json"))
    assert fixtures, "runner/tests/fixtures has no report*.json"
    for path in fixtures:
        document = json.loads(path.read_bytes())
        assert parse(document).as_dict() == document, path.name


def test_report_fixtures_that_are_invalid_are_refused():
    fixtures = sorted((FIXTURES / "invalid").glob("report*.json"))
    assert fixtures, "runner/tests/fixtures/invalid has no report*.json"
    for path in fixtures:
        with pytest.raises(ProtocolError):
            parse_report(path.read_bytes())
