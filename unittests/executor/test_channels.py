"""Devices → channels."""

from __future__ import annotations

import json

from unittests.executor.harness import document, source
from zerocloud.executor import channels
from zerocloud.protocol.task import parse_task


def task_of(**changes):
    return parse_task(json.dumps(document(**changes)).encode())


def test_channels_are_inputs_then_outputs_with_positions():
    inputs = [source("stdin", "local", 3), source("script", "stream", 9)]
    outputs = [
        {"device": name, "access": "random", "limit_bytes": 7}
        for name in ("stdout", "stderr")
    ]
    built = channels.build(task_of(inputs=inputs, outputs=outputs), 2)
    assert [(c.path, c.direction, c.descriptor) for c in built] == [
        ("/dev/stdin", "read", 2),
        ("/dev/script", "read", 3),
        ("/dev/stdout", "write", 4),
        ("/dev/stderr", "write", 5),
    ]
    assert built[2].limit_bytes == 7


def test_identity_is_the_same_for_local_and_streamed():
    # Else the receipt would tell where the bytes came from.
    one = task_of(inputs=[source("stdin", "local", 3)])
    two = task_of(inputs=[source("stdin", "stream", 3)])
    texts = [channels.identity(t.inputs[0]) for t in (one, two)]
    assert texts == ["1700000000.00000 3 /a/c/o"] * 2


def test_identity_of_an_empty_input_is_empty():
    empty = {"device": "stdin", "access": "random", "source": "empty"}
    assert channels.identity(task_of(inputs=[empty]).inputs[0]) == ""
