"""A task on a real object server: what runs there, and what it reads."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from functests.executor_client import (
    anywhere,
    begun,
    places,
    run,
    streamed,
    task,
)
from functests.jobs import guest
from functests.support import Account
from zerocloud.cluster import Cluster
from zerocloud.protocol.task import TaskLimits, TaskOutput

CAT, COUNT, EXIT = guest("cat"), guest("count_bytes"), guest("exit_code")
pytestmark = pytest.mark.usefixtures("nothing_left")


def test_object_is_read_in_place_on_each_node(
    cluster: Cluster, account: Account
) -> None:
    account.put("ein Name/ünïcode", b"replicated bytes")
    found = places(cluster, account, "ein Name/ünïcode")
    assert len(found) == 3
    receipts = set()
    for place in found:
        answer = run(
            cluster, place, task(CAT, inputs=(place.input(),)), (CAT,)
        )
        assert answer.outputs == {0: b"replicated bytes"}
        assert answer.report is not None
        assert answer.report.executor is not None
        assert answer.report.executor.local_bytes == 16
        receipts.add(answer.report.receipt)
    assert receipts != {None}
    # Job and attempt differ; what the receipt covers does not.
    assert len(receipts) == 1


def test_streamed_input_gives_the_bytes_and_the_receipt_of_a_local_one(
    cluster: Cluster, account: Account
) -> None:
    data = bytes(range(256)) * 20_000
    account.put("o", data)
    [place, *_] = places(cluster, account, "o")
    local = run(cluster, place, task(CAT, inputs=(place.input(),)), (CAT,))
    source = streamed("stdin", data, place.input().identity)
    node = anywhere(cluster)
    sent = run(cluster, node, task(CAT, inputs=(source,)), (CAT,), (data,))
    assert local.outputs == sent.outputs == {0: data}
    assert local.heads == sent.heads
    assert local.heads[0]["md5"] == hashlib.md5(data).hexdigest()
    assert local.report is not None
    assert sent.report is not None
    assert local.report.receipt == sent.report.receipt
    assert sent.report.executor is not None
    assert sent.report.executor.streamed_bytes == len(data)


def test_program_is_sent_once_per_node(cluster: Cluster) -> None:
    # A custom section of random bytes: no cache has seen this module.
    program = CAT + b"\x00\x0d\x04uniq" + os.urandom(8)
    node = anywhere(cluster)
    first = run(cluster, node, task(program), (program,))
    second = run(cluster, node, task(program))
    assert (len(first.need), len(second.need)) == (1, 0)
    assert first.outputs == second.outputs == {0: b""}


def test_program_that_is_no_wasm_is_named(cluster: Cluster) -> None:
    answer = run(
        cluster, anywhere(cluster), task(b"#!/bin/sh"), (b"#!/bin/sh",)
    )
    assert answer.kinds.endswith("AF")
    assert answer.error["code"] == "program_invalid"
    assert "program prog cannot run here" in answer.error["message"]
    assert str(cluster.folder.root) not in answer.error["message"]


def test_exit_code_is_data_and_its_output_is_kept(cluster: Cluster) -> None:
    document = task(EXIT, args=("x", "42"))
    answer = run(cluster, anywhere(cluster), document, (EXIT,))
    assert answer.report is not None
    assert (answer.report.outcome.kind, answer.report.outcome.code) == (
        "exit",
        42,
    )
    assert answer.kinds.replace("H", "") == "AROEZ"


def test_endless_loop_ends_at_its_limit(cluster: Cluster) -> None:
    program = guest("spin")
    limits = TaskLimits(64 << 20, 0.3, 20.0, 0)
    answer = run(
        cluster, anywhere(cluster), task(program, limits=limits), (program,)
    )
    assert answer.report is not None
    assert answer.report.outcome.code == "wall_seconds"
    assert answer.report.receipt is None


def test_endless_output_ends_at_its_limit(cluster: Cluster) -> None:
    program = guest("endless_output")
    outputs = (TaskOutput("stdout", "sequential", 1_000_000),)
    answer = run(
        cluster, anywhere(cluster), task(program, outputs=outputs), (program,)
    )
    assert answer.report is not None
    assert answer.report.outcome.code == "output_bytes"


def test_trap_is_data(cluster: Cluster) -> None:
    program = guest("trap")
    answer = run(cluster, anywhere(cluster), task(program), (program,))
    assert answer.report is not None
    assert answer.report.outcome.kind == "trap"


def test_large_output_comes_whole_after_go(cluster: Cluster) -> None:
    data = hashlib.sha512(b"seed").digest() * 400_000
    source = streamed("stdin", data)
    answer = run(
        cluster,
        anywhere(cluster),
        task(CAT, inputs=(source,)),
        (CAT,),
        (data,),
    )
    assert answer.outputs == {0: data}
    assert answer.heads[0]["bytes"] == len(data) == 25_600_000


def test_many_tasks_at_once_all_run(cluster: Cluster) -> None:
    nodes = [anywhere(cluster, number) for number in (1, 2, 3, 4)]

    def one(number: int) -> bytes:
        data = b"%d" % number
        document = task(CAT, inputs=(streamed("stdin", data),))
        node = nodes[number % 4]
        return run(cluster, node, document, (CAT,), (data,)).outputs[0]

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(one, range(96)))
    assert found == [b"%d" % number for number in range(96)]


def test_connection_is_kept_after_a_task(cluster: Cluster) -> None:
    # What was read and written in both directions was exactly one exchange.
    exchange = begun(cluster, CAT)
    exchange.until(b"")
    exchange.socket.sendall(b"0\r\n\r\n")
    assert exchange.response.read() == b""
    exchange.connection.request("GET", "/healthcheck")
    assert exchange.connection.getresponse().read() == b"OK"
    exchange.close()
