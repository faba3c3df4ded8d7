"""A task's whole way: what it gives, and what it leaves when it breaks."""

from __future__ import annotations

import json
import socket
import time

import pytest

from unittests.executor.harness import (
    Conversation,
    document,
    run,
    source,
    wait_until,
)
from zerocloud.protocol import frames

STDOUT = {"device": "stdout", "access": "sequential", "limit_bytes": 1 << 20}
OUTPUT = {**STDOUT, "device": "output"}


def started(node, steps, blob=True, **changes) -> Conversation:
    """Accepted, the program sent."""
    program = f"fake {steps}".encode()
    talk = Conversation(node, document(program, **changes))
    assert talk.begin() == 200, talk.error
    talk.until(frames.ACCEPTED)
    if blob and talk.need:
        talk.send_stream(frames.BLOB, 0, program)
    return talk


def test_streamed_input_reaches_the_guest(node):
    inputs = [source("stdin", "stream", 5)]
    talk = run(node, b"fake cat", (b"bytes",), inputs=inputs).finish()
    assert talk.outputs == {0: b"bytes"}
    assert talk.report.executor.streamed_bytes == 5
    assert [c.device for c in talk.report.channels] == ["stdin", "stdout"]


def test_empty_inputs_are_empty(node):
    inputs = [{"device": "stdin", "access": "random", "source": "empty"}]
    assert run(node, b"fake cat", inputs=inputs).finish().outputs == {0: b""}


def test_streamed_input_of_nothing_is_empty(node):
    inputs = [source("stdin", "stream", 0)]
    talk = run(node, b"fake cat", (b"",), inputs=inputs).finish()
    assert talk.outputs == {0: b""}


def test_second_task_needs_the_program_no_more(node):
    assert run(node, b"fake print:x").need != []
    talk = run(node, b"fake print:x").finish()
    assert talk.need == []
    assert talk.report.executor.compile_seconds == 0


def test_args_and_environment_reach_the_guest(node):
    talk = run(
        node, b"fake args env", args=["a", "ö"], env=[["K", "v"]]
    ).finish()
    assert talk.outputs[0] == b'["a", "\\u00f6"][["K", "v"]]'


def test_exit_code_not_allowed_waits_for_the_proxy(node):
    talk = run(node, b"fake print:x exit:3")
    assert talk.report.outcome.code == 3
    assert talk.kinds == "AR"
    talk.send(frames.GO)
    assert talk.finish().outputs == {0: b"x"}


def test_exit_code_allowed_is_a_success(node):
    talk = run(node, b"fake exit:3", ok_exit=[0, 3]).finish()
    assert talk.kinds == "AROEZ"


def test_outputs_beyond_inline_wait_for_the_proxy(node):
    talk = run(node, b"fake zeros:600000", inline_bytes=599999)
    assert talk.kinds == "AR"
    talk.send(frames.PING)
    talk.send(frames.GO)
    talk.finish()
    assert talk.kinds == "ARODDDEZ"
    assert talk.outputs == {0: bytes(600000)}


def test_outputs_named_are_sent_the_others_dropped(node):
    both = [OUTPUT, STDOUT]
    talk = run(node, b"fake print:x", outputs=both, inline_bytes=0)
    talk.send(frames.GO, 0, b'{"outputs": [1]}')
    assert talk.finish().outputs == {1: b"x"}


def test_proxy_that_gives_up_is_told_done(node):
    talk = run(node, b"fake print:x", inline_bytes=0)
    talk.send(frames.GIVE_UP)
    assert talk.finish().kinds == "ARZ"


def test_slot_is_free_while_the_proxy_decides(make_node):
    # Else a job of more nodes than slots could never publish.
    node = make_node(slots="1")
    first = run(node, b"fake print:1", inline_bytes=0)
    second = run(node, b"fake print:2").finish()
    assert second.outputs == {0: b"2"}
    first.send(frames.GO)
    assert first.finish().outputs == {0: b"1"}


def test_queued_task_waits_its_turn_under_heartbeats(make_node, monkeypatch):
    monkeypatch.setattr("zerocloud.executor.duplex.HEARTBEAT_SECONDS", 0.05)
    node = make_node(slots="1")
    first = started(node, "hang")
    second = Conversation(node, document(b"fake print:2"))
    assert second.begin() == 200
    assert second.read(7) == frames.encode_frame(frames.HEARTBEAT)
    first.vanish()
    second.until(frames.ACCEPTED)
    second.send_stream(frames.BLOB, 0, b"fake print:2")
    assert second.finish().outputs == {0: b"2"}


def test_queued_task_gives_up_after_queue_seconds(make_node):
    node = make_node(slots="1", queue_seconds="1")
    first = started(node, "hang")
    second = Conversation(node, document())
    assert second.begin() == 200
    second.finish()
    assert second.error["code"] == "busy"
    assert "no slot within 1 seconds" in second.error["message"]
    first.vanish()


@pytest.mark.parametrize(
    ("steps", "code", "retry"),
    [
        ("crash", "node_lost", True),
        ("garbage", "node_lost", True),
        ("badlayer", "image_invalid", False),
        ("badmanifest", "internal", True),
    ],
)
def test_runner_that_fails_is_told_in_the_last_frame(node, steps, code, retry):
    talk = started(node, steps).finish()
    assert talk.kinds == "AF"
    assert talk.error["code"] == code
    assert talk.error["may_retry"] is retry
    assert "secret" not in talk.error["message"]


def test_runner_that_hangs_is_killed_by_the_backstop(node, monkeypatch):
    monkeypatch.setattr("zerocloud.executor.controller.BACKSTOP_SECONDS", 0.2)
    limits = {**document()["limits"], "wall_seconds": 0.1}
    talk = started(node, "hang", limits=limits).finish()
    assert talk.error["code"] == "node_lost"


def test_program_that_is_none_names_itself(node):
    program = b"#!/bin/sh"
    talk = Conversation(node, document(program))
    talk.begin()
    talk.until(frames.ACCEPTED)
    talk.send_stream(frames.BLOB, 0, program)
    talk.finish()
    assert talk.error["code"] == "program_invalid"
    assert talk.error["message"].startswith("program prog cannot run here")


def test_blob_of_another_digest_is_refused_and_not_kept(node):
    talk = started(node, "cat", blob=False)
    talk.send_stream(frames.BLOB, 0, b"fake else")
    talk.finish()
    assert talk.error["code"] == "bad_request"
    again = started(node, "cat", blob=False)
    assert again.need != []
    again.vanish()


def test_blob_too_long_is_refused(make_node):
    node = make_node(max_blob_bytes="1024")
    talk = started(node, "cat", blob=False)
    talk.send(frames.BLOB, 0, bytes(1025))
    talk.finish()
    assert talk.error["code"] == "input_too_large"


@pytest.mark.parametrize(
    ("data", "count", "text"),
    [
        (b"123456", 6, "more than the 5 bytes announced"),
        (b"1234", 4, "has 4 bytes; announced were 5"),
        (b"12345", 4, "ends after 5 bytes; 4 were sent"),
    ],
)
def test_input_not_as_announced_is_refused(node, data, count, text):
    talk = started(node, "cat", inputs=[source("stdin", "stream", 5)])
    talk.send(frames.DATA, 0, data)
    talk.send(frames.END, 0, json.dumps({"bytes": count}).encode())
    talk.finish()
    assert talk.error["code"] == "bad_request"
    assert text in talk.error["message"]


def test_input_of_another_stream_is_refused(node):
    talk = started(node, "cat", inputs=[source("stdin", "stream", 5)])
    talk.send(frames.DATA, 1, b"12345")
    assert "stream 1 where b'D' of stream 0" in talk.finish().error["message"]


def test_data_when_none_is_due_ends_the_task(node):
    talk = started(node, "hang")
    wait_until(lambda: False, 0.1)
    talk.send(frames.DATA, 0, b"more")
    talk.finish()
    assert talk.kinds == "AF"
    assert "garbage: frame b'D' when none" in talk.error["message"]


def test_data_beyond_the_last_input_ends_the_task(node):
    talk = started(node, "hang")
    talk.send(frames.DATA, 0, b"more")
    talk.finish()
    assert talk.kinds == "AF"
    assert "frame b'D' when none was due" in talk.error["message"]


def test_frame_with_a_wrong_mac_ends_the_task(node):
    talk = started(node, "hang")
    talk.sign(b"another key, as long")
    talk.send(frames.PING)
    assert "wrong MAC" in talk.finish().error["message"]


def test_proxy_may_be_silent_while_a_vm_runs_but_not_dead(node):
    # Swift's client_timeout would end every task that is longer than it.
    talk = started(node, "hang")
    option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert talk.wire.timeout is None
    assert talk.wire.options == {option: 30_000}
    talk.vanish()


def test_silent_proxy_is_given_up(make_node):
    node = make_node(idle_timeout="5")
    object.__setattr__(node.settings, "idle_timeout", 0.05)
    talk = run(node, b"fake print:x", inline_bytes=0)
    talk.finish()
    assert "no frame within 0.05 seconds" in talk.error["message"]


def test_proxy_that_pings_is_waited_for(make_node):
    node = make_node()
    object.__setattr__(node.settings, "idle_timeout", 0.1)
    talk = run(node, b"fake print:x", inline_bytes=0)
    for _ in range(4):
        wait_until(lambda: False, 0.05)
        talk.send(frames.PING)
    talk.send(frames.GO)
    assert talk.finish().outputs == {0: b"x"}


def test_full_disk_is_refused_with_the_figures(make_node):
    node = make_node(reserve_bytes=str(1 << 40))
    talk = started(node, "cat").finish()
    assert talk.error["code"] == "disk_full"
    assert talk.error["may_retry"]


def test_task_has_one_log_line_without_secrets(node):
    run(node, b"fake print:guest-output").finish()
    [line] = [x for x in node.logged if x.startswith("task ")]
    assert " outcome=exit:0 " in line
    assert "guest-output" not in line
    assert str(node.folder) not in line


def test_task_is_counted_with_its_times_and_bytes(node):
    run(node, b"fake print:four").finish()
    counts, timings = node.statsd.counts, node.statsd.timings
    assert counts["tasks"] == 1
    assert counts["tasks.outcome.exit"] == 1
    assert counts["blobs.needed"] == 1
    assert counts["programs.compiled"] + counts["programs.cached"] == 1
    assert counts["bytes.staged"] == 4
    assert not [name for name in counts if "failed" in name]
    assert {"tasks.queue.timing", "tasks.run.timing"} < set(timings)
    run(node, b"fake print:four", job="another").finish()
    assert counts["tasks"] == 2
    assert counts["programs.cached"] >= 1
    assert counts["bytes.staged"] == 8


def test_task_that_the_node_fails_is_counted_by_its_code(make_node):
    node = make_node(reserve_bytes=str(1 << 40))
    started(node, "cat").finish()
    assert node.statsd.counts["tasks.failed.disk_full"] == 1
    assert node.statsd.counts["tasks"] == 1


def _in_a_blob(node):
    talk = started(node, "cat", blob=False)
    talk.send(frames.BLOB, 0, b"fake")
    wait_until(lambda: False, 0.02)
    return talk


def _in_an_input(node):
    talk = started(node, "cat", inputs=[source("stdin", "stream", 5)])
    talk.send(frames.DATA, 0, b"123")
    wait_until(lambda: False, 0.02)
    return talk


def _compiling(node):
    talk = started(node, "slow hang")
    wait_until(lambda: False, 0.1)
    return talk


def _running(node):
    talk = started(node, "hang")
    wait_until(lambda: False, 0.1)
    return talk


def _sending(node):
    talk = run(node, b"fake zeros:900000", inline_bytes=0)
    talk.send(frames.GO)
    talk.until(frames.DATA)
    return talk


STAGES = {
    "accepted": lambda node: started(node, "cat", blob=False),
    "in a blob": _in_a_blob,
    "in an input": _in_an_input,
    "compiling": _compiling,
    "running": _running,
    "deciding": lambda node: run(node, b"fake print:x", inline_bytes=0),
    "sending": _sending,
}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_proxy_vanishing_leaves_nothing(node, stage):
    # The fixture counts descriptors, children, files and slots afterwards.
    talk = STAGES[stage](node)
    began = time.monotonic()
    talk.vanish()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"sending"}))
def test_proxy_ending_its_stream_early_leaves_nothing(node, stage):
    talk = STAGES[stage](node)
    talk.wire.end()
    rest = b"".join(talk._iterator)
    assert rest.replace(frames.encode_frame(frames.HEARTBEAT), b"") == b""
    talk.close()
    [line] = [x for x in node.logged if x.startswith("task ")]
    assert 'cancelled="the proxy ended its stream early"' in line
    assert node.statsd.counts["tasks.cancelled"] == 1
    assert not [n for n in node.statsd.counts if "tasks.failed" in n]


def test_proxy_vanishing_before_the_first_frame_leaves_nothing(node):
    talk = Conversation(node, document())
    assert talk.begin() == 200
    talk.close()
