"""The filter's door: which requests come in, and what the others are told."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from unittests.executor.harness import (
    KEY,
    STAMP,
    Conversation,
    Node,
    document,
    run,
    source,
)
from unittests.fakes.processes import FAKE_ZVM
from zerocloud import headers
from zerocloud.errors import ConfigError
from zerocloud.executor.service import filter_factory
from zerocloud.protocol import frames
from zerocloud.protocol.signing import TaskId, key_id, sign


def refused(talk: Conversation, **options: bool) -> tuple[int, str, str]:
    talk.begin(**options)
    return talk.status, talk.error.get("code", ""), talk.error["message"]


def test_other_verbs_pass_untouched(node):
    environ = {"REQUEST_METHOD": "GET"}
    answer = node.filter(environ, lambda *_: None)
    assert answer == [b"GET"]
    assert environ == {"REQUEST_METHOD": "GET"}


def test_task_signed_is_run(node):
    talk = run(node, b"fake print:hello").finish()
    assert talk.kinds == "ARODEZ"
    assert talk.outputs == {0: b"hello"}


def test_task_of_an_unknown_version_is_refused_to_try_elsewhere(node):
    talk = Conversation(node, document())
    talk.changed[headers.TASK_VERSION] = "3"
    assert refused(talk) == (
        412,
        "version_unknown",
        "X-Zerocloud-Version is '3'; known here is 1 and 2",
    )
    assert talk.error["may_retry"]


def test_task_of_another_version_than_its_header_is_refused(node):
    talk = Conversation(node, document(), version="2")
    status, code, message = refused(talk)
    assert (status, code) == (400, "bad_request")
    assert "X-Zerocloud-Version" in message


def test_version_is_signed(node):
    talk = Conversation(node, document())
    talk.changed[headers.TASK_VERSION] = "2"
    assert refused(talk)[:2] == (403, "bad_signature")


def test_task_is_run_in_its_mode_whatever_was_compiled_before(node):
    code = b"fake print:hello"
    strict = {
        "version": 2,
        "determinism": "strict",
        "limits": {**document()["limits"], "fuel": 1000},
    }
    for _ in range(2):
        for changes in ({}, strict):
            talk = run(node, code, **changes).finish()
            assert talk.outputs == {0: b"hello"}
            mode = changes.get("determinism", "default")
            assert talk.report.determinism == mode
            assert talk.report.fuel_used == (7 if changes else None)


def test_fuel_beyond_the_nodes_cap_is_refused(make_node):
    node = make_node(max_fuel="999")
    strict = document()
    strict.update(version=2, determinism="strict")
    strict["limits"] = {**strict["limits"], "fuel": 1000}
    assert refused(Conversation(node, strict)) == (
        400,
        "job_limit",
        "limit fuel is 1000; the storage node's cap is 999",
    )


def test_task_with_a_wrong_key_is_refused_and_logged_without_it(node):
    talk = Conversation(node, document())
    talk.sign(b"another key, as long")
    status, code, _ = refused(talk)
    assert (status, code) == (403, "unknown_key")
    [line] = node.logged
    assert "127.0.0.9" in line
    assert key_id(KEY) in line
    assert KEY.decode() not in line
    assert node.statsd.counts == {"tasks.refused.unknown_key": 1}


def test_task_signed_with_the_previous_key_is_run(make_node):
    node = make_node(previous_cluster_key="the previous key of it")
    talk = Conversation(node, document(b"fake print:x"))
    talk.sign(b"the previous key of it")
    assert talk.begin() == 200
    talk.until(frames.ACCEPTED)
    talk.send_stream(frames.BLOB, 0, b"fake print:x")
    assert talk.finish().outputs == {0: b"x"}


def test_task_for_another_path_is_refused(node):
    talk = Conversation(node, document())
    talk.request = dataclasses.replace(talk.request, path="/sdb/0")
    assert refused(talk)[:2] == (403, "bad_signature")


def test_task_expired_is_refused(node):
    talk = Conversation(node, document(), expires=int(time.time()) - 100)
    assert refused(talk)[:2] == (403, "expired")


def test_task_twice_is_refused_the_second_time(node):
    first = Conversation(node, document(b"fake print:x"))
    assert first.begin() == 200
    second = Conversation(node, json.loads(first.data))
    second.request = first.request
    second.sign(KEY)
    assert refused(second)[:2] == (403, "replayed")
    first.vanish()


def test_task_without_headers_is_refused(node):
    talk = Conversation(node, document())
    talk.changed[headers.TASK_DIGEST] = ""
    status, code, text = refused(talk, send_task=False)
    assert (status, code) == (400, "bad_request")
    assert headers.TASK_DIGEST in text


def test_document_other_than_its_digest_is_refused(node):
    talk = Conversation(node, document())
    talk.data = json.dumps(document()).encode()
    assert refused(talk) == (
        400,
        "bad_request",
        "the task is not what X-Zerocloud-Digest says",
    )


def test_document_of_another_task_is_refused(node):
    talk = Conversation(node, document(), task=TaskId("j", "n", 1))
    talk.sign(KEY)
    assert refused(talk)[2] == "the task is not what X-Zerocloud-Task says"


def test_document_with_an_unknown_key_is_refused(node):
    talk = Conversation(node, document(extra=1))
    assert refused(talk)[2] == "task has unknown keys: extra"


def test_first_frame_of_another_kind_is_refused(node):
    talk = Conversation(node, document())
    talk.send(frames.GO)
    status, _, text = refused(talk, send_task=False)
    assert (status, text) == (400, "the first frame is b'G'")


def test_first_frame_with_a_wrong_mac_is_refused(node):
    talk = Conversation(node, document())
    talk.wire.feed(bytes(1000))
    assert refused(talk, send_task=False)[0] == 400


def test_body_that_ends_early_is_a_timeout_of_the_proxy(node):
    talk = Conversation(node, document())
    talk.wire.vanish()
    assert refused(talk, send_task=False)[:2] == (408, "upload_timeout")


def test_stranger_is_hung_up_on(node):
    talk = Conversation(node, document())
    talk.sign(b"another key, as long")
    talk.send(frames.TASK, 0, talk.data)
    response = node.filter(talk.environ(), lambda *_: None)
    assert b"unknown_key" in b"".join(response)
    response.close()
    assert talk.wire.shut_down
    assert talk.wire.closed


def test_limit_beyond_the_cap_is_refused_with_both(make_node):
    node = make_node(max_wall_seconds="4")
    status, code, text = refused(Conversation(node, document()))
    assert (status, code) == (400, "job_limit")
    assert text == "limit wall_seconds is 5; the storage node's cap is 4"


def test_output_limit_beyond_the_cap_is_refused(make_node):
    node = make_node(max_output_bytes="1000")
    status, _, text = refused(Conversation(node, document()))
    assert status == 400
    assert "output_bytes of stdout is 1.04858e+06" in text


def test_inputs_beyond_the_limit_are_refused(make_node):
    node = make_node(max_input_bytes="9")
    one = [source("stdin", "stream", 5), source("input", "stream", 5)]
    status, code, text = refused(Conversation(node, document(inputs=one)))
    assert (status, code) == (413, "input_too_large")
    assert "have 10 bytes; the storage node takes 9" in text


def test_unknown_device_is_refused_with_the_known(node):
    outputs = [{"device": "db", "access": "random", "limit_bytes": 1}]
    status, _, text = refused(Conversation(node, document(outputs=outputs)))
    assert status == 400
    assert text.startswith("device db is not known here; known are stdin,")


def test_full_queue_is_busy(make_node):
    node = make_node(slots="1", queue="0")
    first = Conversation(node, document())
    assert first.begin() == 200
    assert refused(Conversation(node, document()))[:2] == (503, "busy")
    first.vanish()
    third = Conversation(node, document())
    assert third.begin() == 200
    third.vanish()


def test_fault_of_ours_is_a_500_without_details(node):
    node.server.fault = RuntimeError("/secret/path")
    talk = Conversation(
        node,
        document(inputs=[source("stdin", "local", 1)]),
        path="/sda/0/a/c/o",
    )
    assert refused(talk) == (500, "internal", "the storage node failed")
    assert "/secret/path" in node.faults.pop()


def conf(tmp_path, **options: str) -> dict[str, str]:
    return {
        "cluster_key": "k" * 16,
        "zvm": str(FAKE_ZVM),
        "state_dir": str(tmp_path / "state"),
        **options,
    }


def test_factory_twice_touches_no_disk(tmp_path):
    for _ in range(2):
        filter_factory(conf(tmp_path))(object())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cluster_key": "short"}, "cluster_key has 5 characters"),
        ({"zvm": "/nowhere/zvm"}, "zvm is '/nowhere/zvm'"),
        ({"system_images": "py=/nowhere.tar"}, "py=/nowhere.tar; there is no"),
        ({"slots": "0"}, "slots is '0'"),
    ],
)
def test_factory_with_a_bad_option_stops_the_server(tmp_path, options, text):
    with pytest.raises(ConfigError, match=text):
        filter_factory(conf(tmp_path, **options))


def test_signature_covers_the_pin(node):
    talk = Conversation(node, document())
    talk.changed[headers.TASK_PIN] = "1800000000.00000"
    assert refused(talk)[:2] == (403, "bad_signature")
    assert talk.request.pin == STAMP
    assert sign(KEY, talk.request) == talk.signature


def test_node_keeps_nothing_of_a_refused_task(node: Node):
    talk = Conversation(node, document(extra=1))
    talk.begin()
    assert node.staged_files() == []
