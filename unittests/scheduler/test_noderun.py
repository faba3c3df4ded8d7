"""What a failure of a storage node costs: another try, or the job."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.scheduler.conftest import Cluster, group
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler import noderun
from zerocloud.scheduler.concurrency import sleep


def settle() -> None:
    """Let the fake nodes see what the proxy has sent."""
    for _ in range(10):
        sleep(0)


STDOUT = {"name": "stdout"}
RETRIED = [
    "busy",
    "disk",
    "no filter",
    "lost object",
    "job limit",
    "die before A",
    "die before R",
    "die after R",
    "refuse",
]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noderun, "BACKOFF_SECONDS", 0.0)


def one_object(cluster: Cluster, path: str = "in/a") -> ObjectPath:
    return cluster.swift.put(path, b"hello")


def job(path: str = "in/a") -> list[dict[str, Any]]:
    device = {"name": "stdin", "path": f"swift://~/{path}"}
    return [group(devices=[device, STDOUT])]


@pytest.mark.parametrize("kind", RETRIED)
def test_task_that_a_node_loses_goes_to_another_primary(
    cluster: Cluster, kind: str
) -> None:
    path = one_object(cluster)
    *broken, spare = [t.ip for t in cluster.nodes.primaries(0, path)]
    for ip in broken:
        cluster.nodes.mood(ip, kind)

    done = cluster.run(job(), report=True)

    [node] = done.report["nodes"]
    assert node["outcome"]["code"] == 0
    assert cluster.nodes.ran[-1].server == spare
    assert cluster.nodes.ran[-1].task.inputs[0].source == "local"
    assert 1 <= node["attempts"] <= 3


def test_object_is_streamed_anywhere_when_its_servers_are_down(
    cluster: Cluster,
) -> None:
    path = one_object(cluster)
    for target in cluster.nodes.primaries(0, path):
        cluster.nodes.mood(target.ip, "refuse")

    done = cluster.run(job(), report=True)

    [ran] = cluster.nodes.ran
    assert ran.task.inputs[0].source == "stream"
    assert ran.path.count("/") == 2
    assert done.report["nodes"][0]["attempts"] == 4


def test_task_is_given_up_after_task_attempts_failures(
    cluster: Cluster,
) -> None:
    one_object(cluster)
    cluster.nodes.every("die before R")
    cluster.options["task_attempts"] = "3"

    with pytest.raises(ClusterError, match="3 tries failed") as caught:
        cluster.run(job())

    assert caught.value.code == "node_lost"
    assert caught.value.status == 503
    assert "127.0.0" not in caught.value.message
    assert len(cluster.nodes.ran) == 3


@pytest.mark.parametrize(
    ("mood", "code", "status"),
    [("busy", "busy", 503), ("no filter", "no_node", 503)],
)
def test_job_that_no_node_takes_says_why(
    cluster: Cluster, mood: str, code: str, status: int
) -> None:
    cluster.nodes.every(mood)

    with pytest.raises(ClusterError) as caught:
        cluster.run([group("name")])

    assert (caught.value.code, caught.value.status) == (code, status)
    assert "node n could not be run" in caught.value.message


def test_task_larger_than_every_node_is_the_users_to_mend(
    cluster: Cluster,
) -> None:
    cluster.nodes.every("job limit")
    cluster.options["task_attempts"] = "9"

    with pytest.raises(JobError) as caught:
        cluster.run([group("name")])

    assert (caught.value.code, caught.value.status) == ("job_limit", 400)
    assert caught.value.message == "node n: it is job_limit"
    # Each of the four servers was asked once, and none a second time.
    failed = [line for line in cluster.log.lines if "failed=job_limit" in line]
    assert len(failed) == 4


def test_task_larger_than_some_nodes_is_not_the_users_fault(
    cluster: Cluster,
) -> None:
    cluster.nodes.first(2, "job limit")
    cluster.nodes.every("busy")

    with pytest.raises(ClusterError) as caught:
        cluster.run([group("name")])

    assert caught.value.code == "busy"


def test_every_failed_try_is_a_line_in_the_log(cluster: Cluster) -> None:
    cluster.nodes.first(2, "die before R")

    cluster.run([group("name")])

    failed = [line for line in cluster.log.lines if "failed=node_lost" in line]
    assert len(failed) == 2
    assert "attempt=1" in failed[0]
    assert "server=127.0.0" in failed[0]
    assert cluster.statsd.counts["tasks.failed.node_lost"] == 2


def test_silent_node_is_left_after_node_timeout(cluster: Cluster) -> None:
    one_object(cluster)
    cluster.service.settings.__dict__["node_timeout"] = 0.02
    cluster.nodes.first(1, "fall silent")

    done = cluster.run(job(), report=True)

    assert done.report["nodes"][0]["attempts"] == 2
    cluster.nodes.wait_for.send(True)


def test_guest_failure_is_never_retried(cluster: Cluster) -> None:
    cluster.run([group("fail")])
    cluster.run([group("trap")])

    assert len(cluster.nodes.ran) == 2


def test_node_failure_that_may_be_retried_is(cluster: Cluster) -> None:
    error = {"code": "internal", "message": "oops", "may_retry": True}
    cluster.nodes.first(3, "fail", detail={"error": error})

    done = cluster.run([group("name")])

    assert done.body == b"n"
    assert len(cluster.nodes.ran) == 4


def test_node_failure_of_the_users_making_ends_the_job(
    cluster: Cluster,
) -> None:
    error = {
        "code": "program_invalid",
        "message": "prog.wasm is not wasm",
        "may_retry": False,
    }
    cluster.nodes.every("fail", detail={"error": error})

    with pytest.raises(JobError, match=r"node n: prog\.wasm is") as caught:
        cluster.run([group("name")])

    assert (caught.value.code, caught.value.where) == ("program_invalid", "n")
    assert len(cluster.nodes.ran) == 1


def test_first_error_ends_all_other_nodes(cluster: Cluster) -> None:
    error = {
        "code": "program_invalid",
        "message": "prog.wasm is not wasm",
        "may_retry": False,
    }
    cluster.nodes.every("run for long")
    cluster.nodes.first(1, "fail", detail={"error": error})

    with pytest.raises(JobError):
        cluster.run([group("name", count=40)])

    settle()
    assert set(cluster.ended()) == {"failed", "given up"}


def test_unknown_refusal_is_ours(cluster: Cluster) -> None:
    error = {"code": "strange", "message": "?", "may_retry": False}
    cluster.nodes.every("fail", detail={"error": error})

    with pytest.raises(ClusterError, match="strange") as caught:
        cluster.run([group("name")])

    assert caught.value.code == "internal"


DAMAGED = {
    "error": {
        "code": "object_damaged",
        "message": "the object's file here is not what was stored",
        "may_retry": True,
    }
}


def test_damaged_replica_is_passed_over_for_the_next(cluster: Cluster) -> None:
    path = one_object(cluster)
    *broken, spare = [t.ip for t in cluster.nodes.primaries(0, path)]
    for ip in broken:
        cluster.nodes.mood(ip, "fail", detail=DAMAGED)

    done = cluster.run(job(), report=True)

    assert cluster.nodes.ran[-1].server == spare
    assert done.report["nodes"][0]["attempts"] <= 3
    assert done.report["nodes"][0]["io"][0]["source"] == "local"


@pytest.mark.parametrize("kind", ["fail", "lost object"])
def test_useless_replicas_are_no_failures_of_the_task(
    cluster: Cluster, kind: str
) -> None:
    """Streaming is tried after all of them, however few tries there are."""
    path = one_object(cluster)
    cluster.options["task_attempts"] = "1"
    for target in cluster.nodes.primaries(0, path):
        cluster.nodes.mood(target.ip, kind, times=1, detail=DAMAGED)

    done = cluster.run(job(), report=True)

    [node] = done.report["nodes"]
    assert (node["attempts"], node["io"][0]["source"]) == (4, "stream")
    lines = [line for line in cluster.log.lines if "failed=replica" in line]
    assert len(lines) == 3


def test_object_that_rot_has_taken_is_not_called_changed(
    cluster: Cluster,
) -> None:
    path = one_object(cluster)
    primaries = cluster.nodes.primaries(0, path)
    for target in primaries:
        cluster.nodes.mood(target.ip, "fail", detail=DAMAGED)
    connect = cluster.nodes.connect
    tries = iter(range(99))

    def quarantine(ip: str, port: int, timeout: float) -> Any:
        if next(tries) == len(primaries):
            del cluster.swift.containers["AUTH_a", "in"].objects["a"]
        return connect(ip, port, timeout)

    cluster.service.connect = quarantine

    with pytest.raises(ClusterError, match="damaged on every") as caught:
        cluster.run(job())

    assert (caught.value.code, caught.value.where) == ("input_failed", "n")
    assert "swift://AUTH_a/in/a" in caught.value.message


def test_streamed_bytes_that_are_damaged_are_fetched_again(
    cluster: Cluster,
) -> None:
    path = one_object(cluster)
    cluster.options["local_reads"] = "false"
    cluster.swift.damage[path.object] = 2

    done = cluster.run(job(), report=True)

    assert done.report["nodes"][0]["attempts"] == 3
    assert cluster.nodes.ran[-1].inputs == {"stdin": b"hello"}
    settle()
    # No VM has seen them.
    assert cluster.ended()[:2] == ["proxy gave up", "proxy gave up"]


def test_listing_that_lags_is_mended_by_one_head(cluster: Cluster) -> None:
    path = one_object(cluster)
    cluster.swift.touch(
        path, entry={"last_modified": "2023-11-14T22:00:00.000000"}
    )

    done = cluster.run(job("in/*"), report=True)

    [ran] = cluster.nodes.ran
    assert ran.task.inputs[0].identity is not None
    assert ran.task.inputs[0].identity.version == "1700000000.00000"
    assert done.report["nodes"][0]["outcome"]["code"] == 0
    heads = [e for e in cluster.swift.log if e.startswith("HEAD")]
    assert len(heads) == 1


def test_object_that_changed_after_the_plan_is_a_conflict(
    cluster: Cluster,
) -> None:
    path = one_object(cluster)
    cluster.swift.touch(
        path,
        timestamp="9999999999.00000",
        entry={"last_modified": "2023-11-14T22:13:20.000000"},
    )

    with pytest.raises(JobError, match="swift://AUTH_a/in/a changed") as error:
        cluster.run(job("in/*"))

    assert (error.value.code, error.value.status) == ("object_changed", 409)


def test_object_that_changed_after_its_head_is_a_conflict(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_object(cluster)
    connect = cluster.nodes.connect

    def overwrite(ip: str, port: int, timeout: float) -> Any:
        cluster.swift.touch(path, data=b"other", timestamp="9999999999.00000")
        return connect(ip, port, timeout)

    cluster.service.connect = overwrite

    with pytest.raises(JobError) as error:
        cluster.run(job())

    assert error.value.code == "object_changed"


def test_streamed_object_that_changed_is_a_conflict(cluster: Cluster) -> None:
    path = one_object(cluster)
    cluster.options["local_reads"] = "false"
    connect = cluster.nodes.connect

    def overwrite(ip: str, port: int, timeout: float) -> Any:
        cluster.swift.touch(path, data=b"other", timestamp="9999999999.00000")
        return connect(ip, port, timeout)

    cluster.service.connect = overwrite

    with pytest.raises(JobError) as error:
        cluster.run(job())

    assert error.value.code == "object_changed"
    settle()
    assert cluster.ended() == ["proxy gave up"]


def test_object_that_was_deleted_after_the_plan_is_a_conflict(
    cluster: Cluster,
) -> None:
    one_object(cluster)
    container = cluster.swift.containers["AUTH_a", "in"]
    connect = cluster.nodes.connect

    def delete(ip: str, port: int, timeout: float) -> Any:
        container.objects.pop("a", None)
        return connect(ip, port, timeout)

    cluster.service.connect = delete

    with pytest.raises(JobError, match="in/a was there when") as error:
        cluster.run(job("in/*"))

    assert error.value.code == "object_changed"


def test_large_outputs_lost_with_their_server_cost_a_rerun(
    cluster: Cluster,
) -> None:
    cluster.swift.container("out")
    big = {"name": "stdout", "path": "swift://~/out/x"}
    first = [group("name 200000", devices=[big])]
    # The server that is used first dies with the outputs in its hands.
    cluster.nodes.first(1, "die after R")

    done = cluster.run(first, report=True)

    assert cluster.swift.stored() == {"x": b"n" * 200_000}
    assert done.report["nodes"][0]["attempts"] == 2


def test_large_outputs_lost_while_storing_are_said(cluster: Cluster) -> None:
    cluster.swift.container("out")
    big = {"name": "stdout", "path": "swift://~/out/x"}
    cluster.nodes.every("die at G")

    with pytest.raises(ClusterError, match="went away before") as caught:
        cluster.run([group("name 200000", devices=[big])])

    assert caught.value.code == "node_lost"
    assert cluster.swift.stored() == {}


def test_unreachable_server_is_told_to_swift(cluster: Cluster) -> None:
    cluster.nodes.mood("127.0.0.1", "refuse")

    cluster.run([group("name", count=8)])

    assert {t.ip for t in cluster.nodes.reported} == {"127.0.0.1"}
    # Found out once or a few times, not by every node of the job.
    assert len(cluster.nodes.reported) <= 3


def test_streamed_object_beyond_the_limit_is_refused(cluster: Cluster) -> None:
    cluster.swift.put("in/a", b"x" * 50, headers={"X-Object-Manifest": "y"})
    cluster.options["max_input_bytes"] = "49"

    with pytest.raises(JobError, match="has 50 bytes") as caught:
        cluster.run(job())

    assert caught.value.code == "input_too_large"
    assert "max_input_bytes" in caught.value.message


def test_report_right_after_an_upload_is_not_taken_for_a_heartbeat(
    cluster: Cluster,
) -> None:
    cluster.nodes.every("no heartbeat")

    done = cluster.run([group("name")], report=True)

    assert cluster.nodes.uploads
    assert done.report["nodes"][0]["attempts"] == 1


def test_read_that_swift_breaks_off_is_tried_again(cluster: Cluster) -> None:
    """Swift's own timeouts are no Exceptions, and come within a body."""
    cluster.swift.put("in/a", b"hello", headers={"X-Object-Manifest": "x"})
    cluster.swift.break_reads = 2

    done = cluster.run(job(), report=True)

    assert done.report["nodes"][0]["attempts"] == 3
    settle()
    assert cluster.ended()[:2] == ["proxy gave up", "proxy gave up"]


def test_object_that_swift_cannot_read_fails_the_job(cluster: Cluster) -> None:
    cluster.swift.put("in/a", b"hello", headers={"X-Object-Manifest": "x"})
    cluster.swift.break_reads = 100

    with pytest.raises(ClusterError, match="Swift stopped within") as caught:
        cluster.run(job())

    assert (caught.value.code, caught.value.status) == ("input_failed", 503)


def test_task_that_is_too_long_names_its_node(cluster: Cluster) -> None:
    cluster.options["max_job_bytes"] = "4000000"
    long = group("name", devices=[STDOUT])
    long["exec"]["env"] = {f"K{n}": "x" * 1000 for n in range(1100)}

    with pytest.raises(JobError, match="node n: its arguments") as caught:
        cluster.run([long])

    assert caught.value.status == 413
