"""Whole jobs over the fakes: what reaches guests, Swift and the client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unittests.scheduler.conftest import Cluster, group
from unittests.scheduler.swift_fake import ACCOUNT
from zerocloud.errors import ClusterError, JobError

STDOUT = {"name": "stdout"}


def stdin(path: str) -> dict[str, Any]:
    return {"name": "stdin", "path": f"swift://~/{path}"}


def stdout(path: str) -> dict[str, Any]:
    return {"name": "stdout", "path": f"swift://~/{path}"}


def fill(cluster: Cluster, count: int) -> None:
    """Objects in/0000 … with their names as bytes."""
    for number in range(count):
        cluster.swift.put(f"in/{number:04}", f"{number:04}".encode())


def test_job_with_one_object_answers_with_its_bytes(cluster: Cluster) -> None:
    cluster.swift.put("in/a.txt", b"hello")

    done = cluster.run([group(devices=[stdin("in/a.txt"), STDOUT])])

    assert done.body == b"hello"
    assert done.length == 5
    assert done.headers["X-Zerovm-Job-Status"] == "succeeded"
    assert done.headers["X-Nexe-Retcode"] == "0"


def test_job_reads_a_plain_object_in_place(cluster: Cluster) -> None:
    path = cluster.swift.put("in/ä b", b"hello")

    done = cluster.run([group(devices=[stdin("in/ä b"), STDOUT])], report=True)

    [ran] = cluster.nodes.ran
    assert ran.task.inputs[0].source == "local"
    assert ran.path.endswith(path.wsgi)
    primaries = [t.ip for t in cluster.nodes.primaries(0, path)]
    assert ran.server in primaries
    assert done.report["totals"]["in_place_bytes"] == 5
    assert done.report["totals"]["streamed_bytes"] == 0


def test_input_identity_is_the_same_in_place_and_streamed(
    cluster: Cluster,
) -> None:
    cluster.swift.put("in/a", b"hello")
    job = [group(devices=[stdin("in/a"), STDOUT])]
    cluster.run(job)

    cluster.options["local_reads"] = "false"
    cluster._service = None
    done = cluster.run(job)

    here, sent = (ran.task.inputs[0] for ran in cluster.nodes.ran)
    assert (here.source, sent.source) == ("local", "stream")
    assert here.identity == sent.identity
    assert done.body == b"hello"


@pytest.mark.parametrize(
    "marker",
    [
        {"X-Static-Large-Object": "True"},
        {"X-Object-Manifest": "in/parts"},
        {"X-Backend-Crypto-Cipher": "AES"},
        {"Content-Location": "/v1/AUTH_a/in/target"},
    ],
)
def test_object_whose_file_is_not_its_bytes_is_streamed(
    cluster: Cluster, marker: dict[str, str]
) -> None:
    cluster.swift.put("in/a", b"joined", headers=marker)

    done = cluster.run([group(devices=[stdin("in/a"), STDOUT])])

    assert done.body == b"joined"
    assert [r.task.inputs[0].source for r in cluster.nodes.ran] == ["stream"]


def test_listed_object_that_turns_out_not_local_is_streamed(
    cluster: Cluster,
) -> None:
    marker = {"X-Backend-Crypto-Cipher": "AES"}
    cluster.swift.put("in/a", b"secret", headers=marker)

    done = cluster.run([group(devices=[stdin("in/*"), STDOUT])])

    assert done.body == b"secret"
    assert done.headers["X-Nexe-System"] == "n-1"


def test_erasure_coded_object_is_streamed(cluster: Cluster) -> None:
    cluster.swift.container("ec", policy_index=1)
    cluster.swift.put("ec/a", b"fragments")

    done = cluster.run([group(devices=[stdin("ec/a"), STDOUT])])

    assert done.body == b"fragments"
    assert cluster.nodes.ran[0].task.inputs[0].source == "stream"


def test_wildcard_job_asks_for_no_object_one_by_one(cluster: Cluster) -> None:
    fill(cluster, 50)

    done = cluster.run([group(devices=[stdin("in/*"), STDOUT])])

    assert done.body == b"".join(f"{n:04}".encode() for n in range(50))
    asked = [line for line in cluster.swift.log if "/in/" in line]
    assert not [line for line in asked if line.startswith(("HEAD", "GET"))]
    assert len([line for line in asked if line.startswith("may")]) == 1


def test_wildcard_job_spreads_over_the_servers(cluster: Cluster) -> None:
    fill(cluster, 80)

    cluster.run([group(devices=[stdin("in/*"), STDOUT])])

    used = [ran.server for ran in cluster.nodes.ran]
    counts = sorted(used.count(server) for server in set(used))
    assert len(counts) == 4
    assert counts[0] >= 10


def test_listing_is_read_in_pages(cluster: Cluster) -> None:
    fill(cluster, 7)
    cluster.options["listing_limit"] = "3"

    done = cluster.run([group("name", devices=[stdin("in/*"), STDOUT])])

    assert done.headers["X-Nexe-System"] == ",".join(
        f"n-{n}" for n in range(1, 8)
    )
    listed = [e for e in cluster.swift.log if e.startswith("LIST")]
    assert len(listed) == 3


def test_container_wildcard_lists_matching_containers_only(
    cluster: Cluster,
) -> None:
    for name in ("log-1/x", "log-2/x", "other/x"):
        cluster.swift.put(name, name.encode())

    done = cluster.run([group(devices=[stdin("log-*/x"), STDOUT])])

    assert done.body == b"log-1/xlog-2/x"
    assert "LIST AUTH_a/other" not in cluster.swift.log


def test_outputs_are_published_when_every_node_succeeds(
    cluster: Cluster,
) -> None:
    fill(cluster, 3)
    cluster.swift.container("out")

    done = cluster.run(
        [group(devices=[stdin("in/*"), stdout("out/*.copy")])], report=True
    )

    assert cluster.swift.stored() == {
        "0000.copy": b"0000",
        "0001.copy": b"0001",
        "0002.copy": b"0002",
    }
    [entry] = done.report["nodes"][0]["outputs"]
    assert entry["path"] == f"swift://{ACCOUNT}/out/0000.copy"
    assert entry["bytes"] == 4


def test_output_metadata_and_type_reach_swift(cluster: Cluster) -> None:
    cluster.swift.container("out")
    device = {
        **stdout("out/x"),
        "content_type": "text/csv",
        "meta": {"Color": "blü"},
    }

    cluster.run([group("name", devices=[device])])

    made = cluster.swift.containers[ACCOUNT, "out"].objects["x"]
    assert made.content_type == "text/csv"
    assert made.headers["X-Object-Meta-Color"] == "blü".encode().decode(
        "latin-1"
    )


def test_output_shorter_than_min_size_is_neither_stored_nor_returned(
    cluster: Cluster,
) -> None:
    cluster.swift.container("out")
    devices = [
        {**stdout("out/x"), "min_size": 100},
        {"name": "stderr", "min_size": 100},
    ]

    done = cluster.run([group("name", devices=devices)])

    assert cluster.swift.stored() == {}
    assert done.body == b""


def test_nothing_is_published_when_one_node_fails(cluster: Cluster) -> None:
    cluster.swift.container("out")
    job = [
        group("name", "good", devices=[stdout("out/good")]),
        group("fail", "bad", devices=[stdout("out/bad")]),
    ]

    done = cluster.run(job)

    assert cluster.swift.stored() == {}
    assert done.headers["X-Zerovm-Job-Status"] == "failed"
    assert done.headers["X-Nexe-Retcode"] == "0,42"
    assert done.headers["X-Nexe-Error"] == ",exit 42"
    assert "running" not in cluster.ended()


def test_large_outputs_are_published_from_the_storage_node(
    cluster: Cluster,
) -> None:
    cluster.swift.container("out")
    job = [group("name 200000", devices=[stdout("out/x"), {"name": "stderr"}])]

    done = cluster.run(job)

    assert cluster.swift.stored() == {"x": b"n" * 200_000}
    assert done.body == b"n" * 200_000
    assert cluster.ended() == ["sent"]


def test_large_immediate_outputs_flow_into_the_body(cluster: Cluster) -> None:
    job = [group("name 100000", "a"), group("name 150000", "b")]

    done = cluster.run(job)

    assert done.body == b"a" * 100_000 + b"b" * 150_000
    assert done.length == 250_000
    assert cluster.ended() == ["sent", "sent"]


def test_large_outputs_of_a_failed_job_are_dropped(cluster: Cluster) -> None:
    cluster.swift.container("out")
    job = [
        group("name 200000", "big", devices=[stdout("out/x")]),
        group("trap", "bad"),
    ]

    done = cluster.run(job)

    assert cluster.swift.stored() == {}
    assert "given up" in cluster.ended()
    assert done.headers["X-Nexe-Status"] == "ok.,trap unreachable"
    assert "trap unreachable (wasm; and more)" in done.headers["X-Nexe-Error"]


def test_ok_exit_makes_another_code_a_success(cluster: Cluster) -> None:
    cluster.swift.container("out")

    done = cluster.run(
        [group("fail", devices=[stdout("out/x")], ok_exit=[0, 42])]
    )

    assert done.headers["X-Zerovm-Job-Status"] == "succeeded"
    assert cluster.swift.stored() == {"x": b"before failing"}


def test_refused_output_names_it_and_says_what_is_stored(
    cluster: Cluster,
) -> None:
    cluster.swift.container("out")
    cluster.swift.refuse_put["x"] = 413

    with pytest.raises(JobError, match=r"swift://AUTH_a/out/x.*413") as caught:
        cluster.run([group("name", devices=[stdout("out/x")])])

    assert caught.value.code == "output_refused"
    assert "Upload exceeds quota." in caught.value.message
    assert "no output of the job was reported as stored" in (
        caught.value.message
    )


def test_output_that_swift_cannot_store_is_our_failure(
    cluster: Cluster,
) -> None:
    cluster.swift.container("out")
    cluster.swift.refuse_put["x"] = 503

    with pytest.raises(ClusterError) as caught:
        cluster.run([group("name", devices=[stdout("out/x")])])

    assert caught.value.code == "output_failed"
    assert caught.value.status == 503


def test_missing_output_container_is_said_before_anything_runs(
    cluster: Cluster,
) -> None:
    with pytest.raises(JobError, match="container swift://AUTH_a/out does"):
        cluster.run([group("name", devices=[stdout("out/x")])])

    assert cluster.nodes.ran == []


def test_missing_object_is_named(cluster: Cluster) -> None:
    cluster.swift.container("in")

    with pytest.raises(JobError, match="swift://AUTH_a/in/no does") as caught:
        cluster.run([group(devices=[stdin("in/no"), STDOUT])])

    assert caught.value.status == 404
    assert cluster.nodes.ran == []


def test_wildcard_without_a_match_is_named(cluster: Cluster) -> None:
    cluster.swift.container("in")

    with pytest.raises(JobError, match=r"in/\*\.txt") as caught:
        cluster.run([group(devices=[stdin("in/*.txt"), STDOUT])])

    assert caught.value.code == "no_match"


def test_too_many_matches_are_refused_without_listing_all(
    cluster: Cluster,
) -> None:
    fill(cluster, 60)
    cluster.options |= {"max_nodes": "20", "listing_limit": "10"}

    with pytest.raises(JobError) as caught:
        cluster.run([group(devices=[stdin("in/*"), STDOUT])])

    assert caught.value.code == "too_many_nodes"
    listed = [e for e in cluster.swift.log if e.startswith("LIST")]
    assert len(listed) == 3


def test_report_has_outcome_and_outputs_of_each_node(cluster: Cluster) -> None:
    job = [group("name", "a"), group("fail", "b")]

    report = cluster.run(job, report=True).report

    a, b = report["nodes"]
    assert report["status"] == "failed"
    assert a["outputs"] == [{"device": "stdout", "bytes": 1, "text": "a"}]
    assert b["outcome"] == {"kind": "exit", "code": 42, "message": ""}
    assert b["stderr_tail"] == "a word on stderr"
    assert b["succeeded"] is False
    assert a["receipt"] == "12" * 32
    assert a["policy"] == "gold"
    assert "127.0.0" not in json.dumps(report)
    assert set(report["timing"]) >= {"plan", "authorize", "run", "total"}


def test_report_tells_how_each_input_was_read(cluster: Cluster) -> None:
    cluster.swift.put("in/a", b"one")
    cluster.swift.put("in/b", b"three", headers={"X-Object-Manifest": "x"})
    devices = [
        stdin("in/a"),
        {"name": "input", "path": "swift://~/in/b"},
        STDOUT,
    ]

    [node] = cluster.run([group(devices=devices)], report=True).report["nodes"]

    assert {e["device"]: e["source"] for e in node["io"]} == {
        "stdin": "local",
        "input": "stream",
        "stdout": "",
    }
    assert (node["in_place_bytes"], node["streamed_bytes"]) == (3, 5)


def test_report_tells_which_version_of_what_was_read(cluster: Cluster) -> None:
    cluster.swift.put("in/a b", b"one")
    devices = [stdin("in/a b"), STDOUT]

    [node] = cluster.run([group(devices=devices)], report=True).report["nodes"]

    read, written = node["io"]
    version = read["identity"].pop("version")
    assert version == "1700000000.00000"
    assert read["identity"] == {
        "path": f"swift://{ACCOUNT}/in/a b",
        "bytes": 3,
    }
    assert written["identity"] is None
    newer = "1700000001.00000"
    cluster.swift.put("in/a b", b"two", timestamp=newer)
    [node] = cluster.run([group(devices=devices)], report=True).report["nodes"]
    assert node["io"][0]["identity"]["version"] == newer


def test_report_leaves_out_outputs_beyond_its_limit(cluster: Cluster) -> None:
    cluster.options["report_immediate_bytes"] = "100"
    job = [group("name 80", "a"), group("name 30", "b"), group("name 20", "c")]

    nodes = cluster.run(job, report=True).report["nodes"]

    assert nodes[0]["outputs"][0]["text"] == "a" * 80
    assert nodes[1]["outputs"] == [
        {"device": "stdout", "bytes": 30, "omitted": True}
    ]
    assert nodes[2]["outputs"][0]["text"] == "c" * 20


def test_report_has_bytes_that_are_no_text_as_base64(cluster: Cluster) -> None:
    cluster.swift.put("in/a", b"\xff\x00")

    [node] = cluster.run(
        [group(devices=[stdin("in/a"), STDOUT])], report=True
    ).report["nodes"]

    assert node["outputs"][0]["base64"] == "/wA="


def test_headers_that_are_too_long_give_way_to_the_report(
    cluster: Cluster,
) -> None:
    cluster.options["header_bytes"] = "256"

    done = cluster.run([group("name", "abcdefghij", count=40)])

    assert done.headers["X-Zerovm-Report"] == "accept"
    assert not [name for name in done.headers if name.startswith("X-Nexe")]
    assert done.headers["X-Zerovm-Job-Status"] == "succeeded"


def test_job_without_immediate_output_has_an_empty_text_body(
    cluster: Cluster,
) -> None:
    done = cluster.run([group("name", devices=[])])

    assert (done.body, done.length) == (b"", 0)
    assert done.headers["Content-Type"] == "text/plain"


def test_content_type_is_the_outputs_when_they_agree(cluster: Cluster) -> None:
    csv = [{"name": "stdout", "content_type": "text/csv"}]
    one = cluster.run([group("name", "a", devices=csv)])
    two = cluster.run([group("name", "a", devices=csv), group("name", "b")])

    assert one.headers["Content-Type"] == "text/csv"
    assert two.headers["Content-Type"] == "application/octet-stream"


def test_nodes_of_a_location_share_a_server(cluster: Cluster) -> None:
    fill(cluster, 12)
    device = stdin("in/*")

    cluster.run(
        [group(devices=[device, STDOUT], location="here")], report=True
    )

    assert len({ran.server for ran in cluster.nodes.ran}) == 1


def test_nodes_without_objects_run_on_all_servers(cluster: Cluster) -> None:
    cluster.run([group("name", count=40)])

    used = [ran.server for ran in cluster.nodes.ran]
    assert sorted(used.count(s) for s in set(used)) == [10, 10, 10, 10]


def test_guest_sees_arguments_environment_and_no_token(
    cluster: Cluster,
) -> None:
    job = [group("name 3 x", name="a")]
    job[0]["exec"]["env"] = {"LANG": "C"}

    cluster.run(
        job, HTTP_X_AUTH_TOKEN="AUTH_tk_secret", HTTP_COOKIE="c=secret"
    )

    [ran] = cluster.nodes.ran
    assert ran.task.args == ("name", "3", "x")
    assert ran.task.env == (("LANG", "C"),)
    assert "secret" not in ran.task.to_json().decode()


def test_two_nodes_draw_different_seeds_that_repeat(cluster: Cluster) -> None:
    job = [group("name", count=2)]
    cluster.run(job)
    cluster.run(job)

    seeds = sorted((r.task.node, r.task.seed) for r in cluster.nodes.ran)
    assert seeds[0] == seeds[1]
    assert seeds[2] == seeds[3]
    assert seeds[0][1] != seeds[2][1]


def test_job_id_cannot_be_guessed_from_another(cluster: Cluster) -> None:
    ids = {
        cluster.run([group("name")]).headers["X-Zerovm-Job-Id"]
        for _ in range(3)
    }

    assert len(ids) == 3
    assert all(len(i) == 32 for i in ids)


def test_each_job_is_one_line_in_the_log(cluster: Cluster) -> None:
    cluster.run([group("name", count=2)])

    [line] = cluster.log.lines
    assert line.startswith("job txn=tx-unit job=")
    assert "status=succeeded nodes=2 failed=0" in line


def test_refused_job_is_one_line_in_the_log(cluster: Cluster) -> None:
    with pytest.raises(JobError):
        cluster.run([group(devices=[stdin("in/no"), STDOUT])])

    [line] = cluster.log.lines
    assert "status=failed stage=resolve code=not_found" in line


def test_refused_job_is_logged_without_its_own_words(cluster: Cluster) -> None:
    with pytest.raises(JobError, match="hunter2"):
        cluster.run([{**group("name"), "hunter2": 1}])

    [line] = cluster.log.lines
    assert "code=job_schema" in line
    assert "reason=" not in line


def test_job_is_counted_with_its_bytes_and_stages(cluster: Cluster) -> None:
    cluster.swift.put("in/a", b"hello")
    cluster.run([group(devices=[stdin("in/a"), STDOUT])])

    counts, timings = cluster.statsd.counts, cluster.statsd.timings
    assert counts["jobs.succeeded"] == 1
    assert counts["nodes"] == 1
    assert counts["nodes.failed"] == 0
    assert counts["bytes.in_place"] == counts["bytes.output"] == 5
    assert {f"jobs.{s}.timing" for s in ("total", "plan", "run")} < set(
        timings
    )
