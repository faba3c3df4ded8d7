"""The task document: whole ones survive, bent ones are refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from unittests.protocol import samples
from zerocloud.errors import ProtocolError
from zerocloud.protocol.task import digest, parse_task


def parse(document: Any):
    return parse_task(json.dumps(document).encode())


def bent(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(samples.task())
    target: Any = document
    *parents, last = path.split(".")
    for key in parents:
        target = target[int(key)] if key.isdigit() else target[key]
    target[last] = value
    return document


def test_task_written_is_parsed_back_alike():
    task = parse(samples.task())
    assert task.as_dict() == samples.task()
    assert parse_task(task.to_json()) == task


def strict() -> dict[str, Any]:
    document = bent("limits.fuel", 1000)
    return {**document, "version": 2, "determinism": "strict"}


def test_strict_task_is_of_version_2_and_parsed_back_alike():
    task = parse(strict())
    assert (task.determinism, task.limits.fuel) == ("strict", 1000)
    assert task.version == 2
    assert task.as_dict() == strict()
    assert parse(samples.task()).version == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 1}, "task.limits has unknown keys: fuel"),
        ({"determinism": "default"}, "allowed is strict"),
        ({"limits": samples.task()["limits"]}, "task.limits has no fuel"),
    ],
)
def test_task_that_is_half_strict_is_refused(change, text):
    with pytest.raises(ProtocolError, match=text):
        parse({**strict(), **change})


def test_task_keeps_names_beyond_ascii_as_utf8():
    assert "ö".encode() in parse(samples.task()).to_json()


def test_task_with_a_member_program_is_parsed_back():
    program = {"name": "python", "member": "python", "image": None}
    task = parse(bent("program", program))
    assert task.program.sha256 is None
    assert task.as_dict()["program"] == program


def test_task_empty_input_needs_no_identity():
    task = parse(
        bent(
            "inputs",
            [{"device": "stdin", "access": "random", "source": "empty"}],
        )
    )
    assert task.inputs[0].identity is None
    assert not task.reads_local


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("version", 3, "task.version is 3; allowed is 1 or 2"),
        ("version", True, "task.version is True"),
        ("extra", 1, "task has unknown keys: extra"),
        ("attempt", -1, "task.attempt is -1"),
        ("attempt", True, "task.attempt is True"),
        ("attempt", 1.0, "task.attempt is 1.0"),
        ("args", "wc", "task.args is 'wc'; allowed is a list"),
        ("args", ["a\0"], r"task.args\[0\]"),
        ("env", [["A"]], r"task.env\[0\] is \['A'\]"),
        ("program.sha256", "XY" * 32, "task.program.sha256 is"),
        ("program.path", "/etc/passwd", "task.program has unknown keys"),
        ("images.0.kind", "file", r"task.images\[0\].kind is 'file'"),
        ("inputs.0.source", "disk", "allowed is local or stream or empty"),
        ("inputs.0.identity", None, "identity is not an object"),
        ("inputs.1.bytes", -1, r"task.inputs\[1\].bytes is -1"),
        ("inputs.0.bytes", 1, "unknown keys: bytes"),
        ("outputs.0.access", "append", "allowed is sequential or random"),
        ("outputs.0.device", "stdin", "device 'stdin' twice"),
        ("outputs.0.limit_bytes", 2**63, "limit_bytes is"),
        ("limits.wall_seconds", "30", "wall_seconds is '30'"),
        ("limits.cpu_seconds", 0, "cpu_seconds is 0"),
        ("limits.wall_second", 30, "unknown keys: wall_second"),
        ("ok_exit", [-1], r"task.ok_exit\[0\]"),
        ("seed", "00", "task.seed is '00'; allowed is 64"),
    ],
)
def test_task_bent_is_refused_with_its_place(path, value, text):
    with pytest.raises(ProtocolError, match=text):
        parse(bent(path, value))


@pytest.mark.parametrize("key", sorted(samples.task()))
def test_task_without_a_key_is_refused(key):
    document = samples.task()
    del document[key]
    with pytest.raises(ProtocolError, match=f"task has no {key}"):
        parse(document)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a": NaN}', "NaN is not allowed"),
        (b'{"a": 1, "a": 2}', "key 'a' is there twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" * 100_000, "nested too deeply|is not JSON"),
        (b" " * (1024 * 1024 + 1), "allowed are 1048576"),
    ],
)
def test_task_that_is_not_json_is_refused(data, text):
    with pytest.raises(ProtocolError, match=text):
        parse_task(data)


def test_task_digest_is_sha256_of_the_document():
    assert digest(b"{}").startswith("44136fa355b3678a")
