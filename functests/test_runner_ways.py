"""The two ways to a VM: the node's daemon, and a process per VM.

All other tests use the daemon, which is the embedded cluster's default; here a
few jobs run both ways and must come out the same, and the older way is held to
what it promised.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from functests.conftest import started, warm_up, with_container
from functests.executor_client import anywhere, begun, run, streamed, task
from functests.jobs import STDOUT, group, guest, put_guest, reads
from functests.running import parent, posted, vms, wait_for_vm
from functests.support import (
    Account,
    command_name,
    residue,
    tree,
    wait_until,
)
from zerocloud.cluster import Cluster, ClusterSettings

CAT, SPIN = guest("cat"), guest("spin")

# What only root can have, it asks for; other users for what everybody has.
IDS = "50000-59999" if os.geteuid() == 0 else "same"
LOCKED = {"vm_uid": IDS, "require_landlock": "true"}


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose executors start a process per VM, locked down."""
    settings = ClusterSettings(executor_options={"zvm_socket": "", **LOCKED})
    running = started(tmp_path_factory.mktemp("without"), settings)
    warm_up(running)
    yield running
    running.stop()


def test_both_ways_give_the_same_answers_and_receipts(
    cluster: Cluster, without: Cluster
) -> None:
    cases: list[tuple[str, bytes, tuple[str, ...]]] = [
        ("cat", b"some bytes" * 10_000, ("cat",)),
        ("trap", b"", ("trap",)),
        ("recurse", b"", ("recurse",)),
        ("exit_code", b"", ("exit_code", "3")),
        ("hash_all", bytes(100_000), ("hash_all",)),
    ]
    for name, data, args in cases:
        program = guest(name)
        reports = []
        for where in (cluster, without):
            document = task(
                program, args=args, inputs=(streamed("stdin", data),)
            )
            answer = run(where, anywhere(where), document, (program,), (data,))
            assert answer.report is not None
            report = answer.report
            reports.append(
                (
                    report.outcome,
                    report.channels,
                    report.stderr_tail,
                    report.memory_peak_bytes,
                    report.receipt,
                    answer.outputs,
                )
            )
        assert reports[0] == reports[1]
        assert reports[0][4]


def test_vms_are_the_daemons_and_without_one_the_object_servers(
    cluster: Cluster, without: Cluster
) -> None:
    for where, expected in ((cluster, "zvm-serve"), (without, "zvm:")):
        for account in with_container(Account(where)):
            job = [group(put_guest(account, "spin"), STDOUT, name="spin")]
            with posted(account, job) as answer:
                vm = wait_for_vm(where, "spin")[-1]
                assert command_name(parent(vm)).startswith(expected)
                os.kill(vm, signal.SIGKILL)
                report = answer.result().json()
            assert report["nodes"][0]["outcome"]["kind"] == "killed"
            account.session.close()
    names = [command_name(pid) for pid in tree(without.pid)]
    assert "zvm-serve" not in names


def uid_of(pid: int) -> int:
    """The user that a process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid


def check_user(vm: int) -> None:
    """A VM has one of the ids that were asked for."""
    ids = range(50000, 60000) if IDS != "same" else [os.geteuid()]
    # A new process has its server's until it has given that up.
    assert wait_until(lambda: uid_of(vm) in ids)


def test_vm_without_a_daemon_has_the_ids_that_the_conf_says(
    without: Cluster,
) -> None:
    exchange = begun(without, SPIN)
    check_user(wait_for_vm(without)[-1])
    exchange.close()
    assert wait_until(lambda: not vms(without))


def test_job_whose_daemon_is_killed_runs_on_another_server(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"x")
    job = [
        group(
            put_guest(account, "spin"),
            reads(account.path("o")),
            STDOUT,
            name="spin",
        )
    ]
    job = {"version": 2, "nodes": job, "limits": {"wall_seconds": 4}}
    with posted(account, job) as answer:
        [vm] = wait_for_vm(cluster, "spin")
        os.kill(parent(vm), signal.SIGKILL)
        node = answer.result().json()["nodes"][0]
    assert node["attempts"] == 2
    assert node["outcome"]["code"] == "wall_seconds"


def test_session_killed_is_a_lost_node(without: Cluster) -> None:
    exchange = begun(without, SPIN)
    session, vm = wait_for_vm(without)[:2]
    assert parent(vm) == session
    os.kill(session, signal.SIGKILL)
    exchange.until(b"")
    assert exchange.answer.error["code"] == "node_lost"
    assert exchange.answer.error["may_retry"]
    exchange.close()
    assert wait_until(lambda: not vms(without))
    assert residue(without).processes == 0


def test_garbage_on_a_nodes_socket_is_answered_and_costs_nothing(
    cluster: Cluster,
) -> None:
    for garbage in (b"\xff", b"GET / HTTP/1.1\r\n\r\n", bytes(60_000)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.settimeout(10)
            stranger.connect(str(cluster.folder.daemon(1)))
            stranger.send(garbage)
            said = stranger.recv(65536)
            assert said[:1] == b"E"
            assert json.loads(said[8:])["error"]["code"] == "bad_packet"
    document = task(CAT, inputs=(streamed("stdin", b"x"),))
    answer = run(cluster, anywhere(cluster), document, (CAT,), (b"x",))
    assert answer.outputs == {0: b"x"}


def test_socket_of_a_deep_folder_is_reached_and_its_vms_have_the_ids(
    tmp_path: Path,
) -> None:
    folder = tmp_path / ("deep" * 40) / "it"
    settings = ClusterSettings(nodes=1, replicas=1, executor_options=LOCKED)
    with started(folder, settings) as cluster:
        document = task(CAT, inputs=(streamed("stdin", b"x"),))
        answer = run(cluster, anywhere(cluster), document, (CAT,), (b"x",))
        assert answer.outputs == {0: b"x"}
        exchange = begun(cluster, SPIN)
        check_user(wait_for_vm(cluster)[-1])
        exchange.close()
