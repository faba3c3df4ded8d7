"""Reports → results (zerocloud/client/result.py)."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.client.endpoint import node
from zerocloud.client import (
    AnswerError,
    JobFailedError,
    StoredOutput,
    UsageError,
)
from zerocloud.client.result import parse_result


def report(*nodes: Any) -> dict[str, Any]:
    return {"job": "j-1", "status": "succeeded", "nodes": list(nodes)}


def test_result_keeps_nodes_and_outputs_in_order() -> None:
    result = parse_result(report(node("b", b"1", 0), node("a", b"2", 0)))
    assert [n.name for n in result.nodes] == ["b", "a"]
    assert [o.data for o in result.outputs] == [b"1", b"2"]


def test_result_output_as_text_becomes_utf_8_bytes() -> None:
    item = node("a", b"", 0)
    item["outputs"] = [{"device": "stdout", "text": "grün\n"}]
    assert parse_result(report(item)).outputs[0].data == "grün\n".encode()


def test_result_output_too_long_to_report_has_only_its_size() -> None:
    item = node("a", b"", 0)
    item["outputs"] = [{"device": "stdout", "bytes": 1 << 30, "omitted": True}]
    output = parse_result(report(item)).outputs[0]
    assert (output.data, output.size) == (None, 1 << 30)


def test_result_stored_outputs_stand_apart_from_immediate_ones() -> None:
    item = node("a", b"now", 0)
    stored = {"device": "output", "path": "swift://A/c/o", "bytes": 5}
    item["outputs"].append({**stored, "etag": "e" * 32})
    result = parse_result(report(item))
    assert [o.data for o in result.outputs] == [b"now"]
    assert result.stored == (
        StoredOutput("a", "output", "swift://A/c/o", "e" * 32, 5),
    )


def test_result_output_with_broken_base64_is_an_answer_error() -> None:
    item = node("a", b"", 0)
    item["outputs"] = [{"device": "stdout", "base64": "@@@"}]
    with pytest.raises(AnswerError, match="output stdout of a is no base64"):
        parse_result(report(item))


def test_result_keys_of_a_newer_cluster_are_left_in_the_report() -> None:
    document = {**report(node("a", b"", 0)), "carbon": 1}
    assert parse_result(document).report["carbon"] == 1


@pytest.mark.parametrize("key", ["job", "status", "nodes"])
def test_result_without_a_key_it_needs_names_it(key: str) -> None:
    document = report()
    del document[key]
    with pytest.raises(AnswerError, match=f"no usable '{key}'"):
        parse_result(document)


def test_result_node_that_is_no_object_is_an_answer_error() -> None:
    with pytest.raises(AnswerError, match="no usable 'name'"):
        parse_result(report("node-1"))


def test_result_number_that_is_none_is_an_answer_error() -> None:
    item = {**node("a", b"", 0), "wall_seconds": "long"}
    with pytest.raises(AnswerError, match="wall_seconds is no number"):
        parse_result(report(item))


def test_result_raise_for_failure_names_nodes_and_what_they_said() -> None:
    nodes = [node("ok", b"", 0), *(node(f"n-{i}", b"", 3) for i in range(5))]
    failed = parse_result({**report(*nodes), "status": "failed"})
    with pytest.raises(JobFailedError) as caught:
        failed.raise_for_failure()
    assert str(caught.value) == (
        "job j-1 failed, 5 of 6 nodes: n-0: exit 3; n-1: exit 3; n-2: exit 3; "
        "2 more (it broke)"
    )
    assert [n.name for n in failed.failed_nodes][:2] == ["n-0", "n-1"]


def test_result_that_succeeded_raises_nothing() -> None:
    result = parse_result(report(node("a", b"", 0)))
    assert result.raise_for_failure() is result


def test_result_output_text_is_the_bytes_as_utf_8() -> None:
    item = node("a", "grün\xff".encode("latin-1"), 0)
    assert parse_result(report(item)).outputs[0].text == "gr\ufffdn\ufffd"
    item["outputs"] = [{"device": "stdout", "bytes": 9, "omitted": True}]
    with pytest.raises(UsageError, match="stdout of a has 9 bytes, too many"):
        parse_result(report(item)).outputs[0].text  # noqa: B018


def test_result_says_what_was_read_where_the_cluster_says_it() -> None:
    read = {
        "device": "stdin",
        "source": "local",
        "identity": {"path": "swift://a/c/o", "version": "17.5", "bytes": 3},
    }
    bare = {"device": "stdout", "source": "", "identity": None}
    one = node("n", b"", 0)
    one["io"] = [read, bare, {"device": "input"}]
    result = parse_result({"job": "j", "status": "succeeded", "nodes": [one]})
    said = [(use.path, use.version) for use in result.nodes[0].channels]
    assert said == [("swift://a/c/o", "17.5"), ("", ""), ("", "")]
