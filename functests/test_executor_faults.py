"""A proxy that vanishes, gives up or lies leaves nothing on a storage node.

`nothing_left` counts processes, open objects, staged files and unlinked open
files of the whole cluster after each test.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from functests.conftest import started
from functests.executor_client import (
    Exchange,
    anywhere,
    begun,
    places,
    run,
    streamed,
    task,
)
from functests.jobs import guest
from functests.running import parent, wait_for_vm
from functests.running import vms as processes_of_vms
from functests.support import Account, command_name, residue, wait_until
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.protocol import frames
from zerocloud.protocol.task import TaskLimits

CAT, SPIN = guest("cat"), guest("spin")
# The promise: a VM is killed and reaped so soon after the proxy is gone.
GONE_SECONDS = 2.0


def vms(cluster: Cluster) -> int:
    """Processes below the servers."""
    return residue(cluster).processes


def with_head(cluster: Cluster) -> Exchange:
    exchange = Exchange(cluster, anywhere(cluster), task(CAT))
    return exchange.open()


def with_half_a_task(cluster: Cluster) -> Exchange:
    exchange = with_head(cluster)
    sealed = exchange.signer.seal(frames.TASK, 0, exchange.data)
    exchange.send_raw(sealed[: len(sealed) // 2])
    return exchange


def accepted(cluster: Cluster) -> Exchange:
    program = CAT + os.urandom(8)
    exchange = Exchange(cluster, anywhere(cluster), task(program))
    exchange.begin()
    exchange.until(frames.ACCEPTED)
    return exchange


def in_a_blob(cluster: Cluster) -> Exchange:
    exchange = accepted(cluster)
    exchange.send(frames.BLOB, 0, CAT[:1000])
    return exchange


def in_an_input(cluster: Cluster) -> Exchange:
    source = streamed("stdin", bytes(3_000_000))
    exchange = begun(cluster, CAT, inputs=(source,))
    exchange.send(frames.DATA, 0, bytes(1_000_000))
    return exchange


def running(cluster: Cluster) -> Exchange:
    exchange = begun(cluster, SPIN)
    wait_for_vm(cluster)
    return exchange


def deciding(cluster: Cluster) -> Exchange:
    source = streamed("stdin", bytes(1000))
    exchange = begun(cluster, CAT, inputs=(source,), inline_bytes=10)
    exchange.send_stream(frames.DATA, 0, bytes(1000))
    exchange.until(frames.REPORT)
    return exchange


def sending(cluster: Cluster) -> Exchange:
    data = bytes(50_000_000)
    source = streamed("stdin", data)
    exchange = begun(cluster, CAT, inputs=(source,))
    exchange.send_stream(frames.DATA, 0, data)
    exchange.until(frames.REPORT)
    exchange.send(frames.GO)
    exchange.until(frames.DATA)
    return exchange


STAGES = [
    with_head,
    with_half_a_task,
    accepted,
    in_a_blob,
    in_an_input,
    running,
    deciding,
    sending,
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_proxy_vanishing_leaves_nothing(
    cluster: Cluster, stage: Callable[[Cluster], Exchange], how: str
) -> None:
    before = residue(cluster)
    run(cluster, anywhere(cluster), task(CAT), (CAT,))
    exchange = stage(cluster)
    if how == "reset":
        exchange.reset()
    else:
        exchange.close()
    assert wait_until(lambda: residue(cluster).within(before), GONE_SECONDS), (
        residue(cluster)
    )


def test_vm_is_gone_within_two_seconds_of_its_proxy(cluster: Cluster) -> None:
    exchange = running(cluster)
    exchange.close()
    began = time.monotonic()
    assert wait_until(lambda: vms(cluster) == 0, GONE_SECONDS)
    assert time.monotonic() - began < GONE_SECONDS


def test_proxy_giving_up_is_told_done_and_the_vm_ends(
    cluster: Cluster,
) -> None:
    exchange = running(cluster)
    exchange.send(frames.GIVE_UP)
    answer = exchange.finish()
    assert answer.kinds.replace("H", "") == "AZ"
    assert vms(cluster) == 0


def test_frame_with_a_wrong_mac_ends_the_vm(cluster: Cluster) -> None:
    exchange = running(cluster)
    sealed = exchange.signer.seal(frames.GO)
    exchange.send_raw(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert exchange.until(b"").kind == frames.FAILED
    assert "wrong MAC" in exchange.answer.error["message"]
    assert vms(cluster) == 0
    exchange.close()


@pytest.mark.usefixtures("nothing_left")
def test_heartbeats_tell_that_a_vm_runs(cluster: Cluster) -> None:
    exchange = running(cluster)
    for _ in range(2):
        frame = frames.read_frame(exchange.response.read)
        assert frame.kind == frames.HEARTBEAT
    exchange.close()


@pytest.mark.usefixtures("nothing_left")
def test_vm_killed_from_outside_is_data(cluster: Cluster) -> None:
    exchange = running(cluster)
    os.kill(max(processes_of_vms(cluster)), signal.SIGKILL)
    exchange.until(frames.REPORT)
    report = exchange.answer.report
    assert report is not None
    assert (report.outcome.kind, report.receipt) == ("killed", None)
    exchange.send(frames.GO)
    exchange.finish()


def test_daemon_killed_is_a_lost_node_and_is_started_again(
    cluster: Cluster,
) -> None:
    exchange = running(cluster)
    [vm] = processes_of_vms(cluster)
    daemon = parent(vm)
    assert command_name(daemon) == "zvm-serve"
    os.kill(daemon, signal.SIGKILL)
    exchange.until(b"")
    assert exchange.answer.error["code"] == "node_lost"
    assert exchange.answer.error["may_retry"]
    exchange.close()
    assert wait_until(lambda: not Path(f"/proc/{vm}").exists())
    # The node serves the next request: it waits for the new daemon.
    document = task(CAT, inputs=(streamed("stdin", b"x"),))
    answer = run(cluster, anywhere(cluster), document, (CAT,), (b"x",))
    assert answer.outputs == {0: b"x"}


@pytest.mark.usefixtures("nothing_left")
def test_stopped_vm_is_ended_at_its_wall_limit(cluster: Cluster) -> None:
    limits = TaskLimits(64 << 20, 2.0, 20.0, 65536)
    exchange = begun(cluster, SPIN, limits=limits)
    [vm] = wait_for_vm(cluster)
    os.kill(vm, signal.SIGSTOP)
    exchange.until(frames.REPORT)
    report = exchange.answer.report
    assert report is not None
    assert (report.outcome.kind, report.outcome.code) == (
        "limit",
        "wall_seconds",
    )
    exchange.send(frames.GO)
    exchange.finish()


@pytest.mark.usefixtures("nothing_left")
def test_stopped_daemon_is_given_up_at_the_tasks_deadline(
    cluster: Cluster,
) -> None:
    limits = TaskLimits(64 << 20, 1.0, 20.0, 65536)
    exchange = begun(cluster, SPIN, limits=limits)
    [vm] = wait_for_vm(cluster)
    daemon = parent(vm)
    os.kill(daemon, signal.SIGSTOP)
    try:
        exchange.until(b"")
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert exchange.answer.error["code"] == "node_lost"
    assert exchange.answer.error["may_retry"]
    exchange.close()
    # It learns that nobody waits for the VM any more, and ends it.
    assert wait_until(lambda: not Path(f"/proc/{vm}").exists(), GONE_SECONDS)
    document = task(CAT, inputs=(streamed("stdin", b"x"),))
    answer = run(cluster, anywhere(cluster), document, (CAT,), (b"x",))
    assert answer.outputs == {0: b"x"}
    assert Path(f"/proc/{daemon}").exists()


def test_object_server_killed_takes_its_vms_along(tmp_path: Path) -> None:
    settings = ClusterSettings(mode="process")
    with started(tmp_path / "killed", settings) as cluster:
        exchange = running(cluster)
        below = processes_of_vms(cluster)
        assert below
        os.kill(cluster.pids["object-1"], signal.SIGKILL)
        assert wait_until(
            lambda: not any(Path(f"/proc/{p}/exe").exists() for p in below),
            GONE_SECONDS,
        )
        exchange.close()


@pytest.mark.usefixtures("nothing_left")
def test_object_overwritten_during_a_task_is_read_as_it_was(
    cluster: Cluster, account: Account
) -> None:
    old = b"old" * 100_000
    account.put("o", old)
    [place, *_] = places(cluster, account, "o")
    program = CAT + b"\x00\x07\x04late\x00\x01"
    document = task(program, inputs=(place.input(),))
    exchange = Exchange(cluster, place, document)
    assert exchange.begin().status == 200
    exchange.until(frames.ACCEPTED)
    account.put("o", b"new")
    for stream, _ in enumerate(exchange.answer.need):
        exchange.send_stream(frames.BLOB, stream, program)
    exchange.until(frames.REPORT)
    exchange.send(frames.GO)
    assert exchange.finish().outputs == {0: old}
