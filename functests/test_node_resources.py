"""A storage node at its caps: memory, staging, caches, the disk itself.

`tight` is one node whose caps hold two small tasks and a few images.  Each
test fills something to its cap and beyond, and then the node must serve the
next request.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, warm_up, with_container
from functests.executor_client import (
    Exchange,
    anywhere,
    begun,
    run,
    streamed,
    task,
)
from functests.jobs import STDOUT, group, guest, put_guest, reads
from functests.running import most_vms, posted, wait_for_vm
from functests.support import Account, residue, tree, wait_until
from unittests.fakes.tars import tar_of
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.errors import CODES
from zerocloud.executor.admission import OVERHEAD_BYTES
from zerocloud.protocol import frames

MIB = 1 << 20
TASK_BYTES = 64 * MIB
# Two tasks at once, whatever the slots.
MEMORY_BYTES = 2 * (TASK_BYTES + OVERHEAD_BYTES)
LIMITS = {"memory_bytes": TASK_BYTES, "output_bytes": 8 * MIB}
CAT = guest("cat")


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node with small caps, and a cache of its own."""
    folder = tmp_path_factory.mktemp("tight")
    settings = ClusterSettings(
        nodes=1,
        replicas=1,
        executor_options={
            "slots": "8",
            "memory_bytes": str(MEMORY_BYTES),
            "staging_bytes": str(64 * MIB),
            "cache_dir": str(folder / "cache"),
            "cache_bytes": str(MIB),
            "artefact_bytes": str(MIB),
        },
    )
    with started(folder / "cluster", settings) as cluster:
        warm_up(cluster)
        yield cluster


@pytest.fixture
def box(tight: Cluster) -> Iterator[Account]:
    """An account on the tight node."""
    yield from with_container(Account(tight))


def job(*groups: dict[str, Any], **limits: Any) -> dict[str, Any]:
    """The object form, with limits that fit."""
    return {"version": 2, "limits": {**LIMITS, **limits}, "nodes": [*groups]}


def refused(account: Account, asked: Any) -> tuple[int, str, str]:
    answer = account.post_job(asked, {"Accept": "application/json"})
    error = answer.json()["error"]
    assert CODES[error["code"]].status == answer.status_code
    return answer.status_code, error["code"], error["message"]


def serves(account: Account) -> None:
    """Storage and jobs work as if nothing had happened."""
    account.put("next", b"next")
    program = put_guest(account, "cat")
    answer = account.post_job(
        job(group(program, reads(account.path("next")), STDOUT))
    )
    assert (answer.status_code, answer.content) == (200, b"next")


# Memory.


def test_memory_holds_back_what_does_not_fit(box: Account) -> None:
    """Six tasks, eight slots, memory for two: never more than two VMs."""
    spin = put_guest(box, "spin")
    with posted(
        box, job(group(spin, STDOUT, count=6), wall_seconds=0.4)
    ) as answer:
        most = most_vms(box.cluster, answer)
    report = answer.result().json()
    assert [n["outcome"]["code"] for n in report["nodes"]] == (
        ["wall_seconds"] * 6
    )
    assert most == 2
    serves(box)


def test_task_larger_than_the_node_is_refused_with_both_numbers(
    box: Account,
) -> None:
    large = MEMORY_BYTES - OVERHEAD_BYTES
    cat = put_guest(box, "cat")
    status, code, text = refused(
        box, job(group(cat, STDOUT), memory_bytes=large + 1)
    )
    assert (status, code) == (400, "job_limit")
    assert f"needs {MEMORY_BYTES + 1} bytes of memory" in text
    assert f"has {MEMORY_BYTES} for all tasks (memory_bytes)" in text
    # To the byte.
    answer = box.post_job(job(group(cat, STDOUT), memory_bytes=large))
    assert answer.status_code == 200


def test_large_task_runs_though_small_ones_keep_coming(box: Account) -> None:
    """It needs the whole node; others send small tasks all the while."""
    spin, cat = put_guest(box, "spin"), put_guest(box, "cat")
    small = job(group(spin, STDOUT), wall_seconds=0.2)
    large = job(group(cat, STDOUT), memory_bytes=MEMORY_BYTES - OVERHEAD_BYTES)
    others = [Account(box.cluster).log_in() for _ in range(4)]
    stop = False

    def keep_sending(account: Account) -> int:
        sent = 0
        while not stop:
            answer = account.post_job(small)
            assert answer.status_code == 200, answer.text
            sent += 1
        account.close()
        return sent

    with ThreadPoolExecutor(len(others)) as pool:
        under_way = [pool.submit(keep_sending, account) for account in others]
        try:
            wait_for_vm(box.cluster)
            answer = box.post_job(large)
        finally:
            stop = True
        sent = [one.result() for one in under_way]
    assert answer.status_code == 200
    assert min(sent) > 0


# Staging.


def test_task_that_could_write_more_than_the_cap_is_refused(
    box: Account,
) -> None:
    cat = put_guest(box, "cat")
    status, code, text = refused(
        box, job(group(cat, STDOUT), output_bytes=64 * MIB + 1)
    )
    assert (status, code) == (507, "disk_full")
    assert f"at most {64 * MIB} of all tasks (staging_bytes)" in text
    serves(box)


def test_staging_holds_back_what_does_not_fit(box: Account) -> None:
    """Room for one task's output at a time, memory for two."""
    spin = put_guest(box, "spin")
    asked = job(
        group(spin, STDOUT, count=3), wall_seconds=0.3, output_bytes=40 * MIB
    )
    with posted(box, asked) as answer:
        most = most_vms(box.cluster, answer)
    assert answer.result().json()["status"] == "failed"
    assert most == 1
    serves(box)


# Caches.


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def cached(cluster: Cluster, kind: str, pattern: str = "*") -> list[Path]:
    folder = Path(str(cluster.settings.executor_options["cache_dir"])) / kind
    return [path for path in folder.rglob(pattern) if path.is_file()]


def size_of(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_image_cache_keeps_its_cap_and_the_latest_used(box: Account) -> None:
    """300 kB each, room for three."""
    put_guest(box, "cat")
    box.put("in", b"in")
    digests = []
    for number in range(6):
        tar = tar_of(("noise", noise(number, 300_000)))
        box.put(f"{number}.tar", tar)
        digests.append(sha256(tar).hexdigest())

    def use(number: int) -> None:
        answer = box.post_job(
            job(
                group(
                    box.path("bin/cat.wasm"),
                    reads(box.path(f"{number}.tar"), "image"),
                    reads(box.path("in")),
                    STDOUT,
                )
            )
        )
        assert (answer.status_code, answer.content) == (200, b"in")
        assert size_of(cached(box.cluster, "blobs")) <= MIB

    for number in (0, 1, 2, 0, 3, 4):
        use(number)
    there = {path.name for path in cached(box.cluster, "blobs")}
    # 1 and 2 were used longest ago; 0 was used again.
    assert [digest in there for digest in digests] == (
        [True, False, False, True, True, False]
    )
    # What was evicted is fetched again.
    use(1)


def test_image_larger_than_the_cache_is_refused(box: Account) -> None:
    box.put("large.tar", tar_of(("noise", noise(9, 2 * MIB))))
    status, code, text = refused(
        box,
        job(
            group(
                put_guest(box, "cat"),
                reads(box.path("large.tar"), "image"),
                STDOUT,
            )
        ),
    )
    assert (status, code) == (507, "disk_full")
    assert f"more than {MIB} bytes" in text
    assert "cache_bytes" in text
    assert box.cluster.folder.root.as_posix() not in text
    serves(box)


def test_compiled_programs_keep_their_cap(box: Account) -> None:
    """A program per job, each with an artefact of its own."""
    wasm = guest("wasi_names")
    for number in range(24):
        # A custom section makes it another program that does the same.
        mark = bytes([0, 4, 3]) + f"{number:03}".encode()[:3]
        box.put(f"p{number}.wasm", wasm + mark)
        answer = box.post_job(job(group(box.path(f"p{number}.wasm"), STDOUT)))
        assert answer.status_code == 200, answer.text
    artefacts = cached(box.cluster, "programs", "*.cwasm")
    one = max(path.stat().st_size for path in artefacts)
    # It was full, and never more than full.
    assert MIB - one < size_of(artefacts) <= MIB
    assert len(artefacts) < 24
    assert cached(box.cluster, "programs", "*.draft") == []
    # The first one has gone, and comes back.
    answer = box.post_job(job(group(box.path("p0.wasm"), STDOUT)))
    assert answer.status_code == 200


# The disk itself.


def test_disk_below_its_reserve_refuses_jobs_and_keeps_storing(
    tmp_path: Path,
) -> None:
    """A file takes the disk below the reserve; without it, jobs run again.

    The reserve is seven eighths of what is free now and the file a quarter,
    so that others on this disk may write an eighth meanwhile.
    """
    free = shutil.disk_usage(tmp_path).free
    settings = ClusterSettings(
        nodes=1,
        replicas=1,
        executor_options={
            "reserve_bytes": str(free * 7 // 8),
            "cache_dir": str(tmp_path / "cache"),
        },
    )
    with started(tmp_path / "it", settings) as cluster:
        for account in with_container(Account(cluster)):
            serves(account)
            with (tmp_path / "filler").open("wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, free // 4)
            cat = account.path("bin/cat.wasm")
            asked = job(group(cat, STDOUT))
            status, code, text = refused(account, asked)
            assert (status, code) == (507, "disk_full")
            assert f"a reserve of {free * 7 // 8}" in text
            # A program that is not there yet is refused for the cache's sake.
            account.put("new.wasm", CAT + b"\x00\x04\x03new")
            new = job(group(account.path("new.wasm"), STDOUT))
            assert refused(account, new)[:2] == (507, "disk_full")
            # Swift itself goes on.
            account.put("stored", b"meanwhile")
            assert account.get("stored") == b"meanwhile"
            (tmp_path / "filler").unlink()
            serves(account)


# Priorities.

_IOPRIO_GET, _WHO_PROCESS = {"x86_64": 252, "aarch64": 31}, 1


def io_class(pid: int) -> tuple[int, int]:
    """Class (2 is best effort) and level of a process's disk accesses."""
    number = _IOPRIO_GET[os.uname().machine]
    found = ctypes.CDLL(None).syscall(number, _WHO_PROCESS, pid)
    return found >> 13, found & 0x1FFF


def test_vm_yields_to_storage_and_its_server_does_not(box: Account) -> None:
    spin = put_guest(box, "spin")
    asked = job(group(spin, STDOUT), wall_seconds=5)
    with posted(box, asked) as answer:
        *_, vm = wait_for_vm(box.cluster)
        adjust = Path(f"/proc/{vm}/oom_score_adj")
        assert wait_until(lambda: io_class(vm) == (2, 7))
        assert adjust.read_text() == "1000\n"
        assert os.getpriority(os.PRIO_PROCESS, vm) == 5
        server = box.cluster.pid
        ours = Path("/proc/self/oom_score_adj").read_text()
        assert Path(f"/proc/{server}/oom_score_adj").read_text() == ours
        assert os.getpriority(os.PRIO_PROCESS, server) == os.getpriority(
            os.PRIO_PROCESS, 0
        )
    assert answer.result().status_code == 200


# Crashes.


def receiving_a_blob(cluster: Cluster) -> Exchange:
    program = CAT + b"\x00\x04\x03kil"
    exchange = Exchange(cluster, anywhere(cluster), task(program))
    exchange.begin()
    exchange.until(frames.ACCEPTED)
    exchange.send(frames.BLOB, 0, program[:100])
    return exchange


def receiving_an_input(cluster: Cluster) -> Exchange:
    source = streamed("stdin", bytes(5_000_000))
    exchange = Exchange(
        cluster, anywhere(cluster), task(CAT, inputs=(source,))
    )
    exchange.begin()
    exchange.until(frames.ACCEPTED)
    exchange.send(frames.DATA, 0, bytes(1_000_000))
    return exchange


def writing_output(cluster: Cluster) -> Exchange:
    exchange = begun(cluster, guest("endless_output"))
    wait_for_vm(cluster)
    return exchange


def holding_output(cluster: Cluster) -> Exchange:
    data = bytes(1_000_000)
    exchange = Exchange(
        cluster,
        anywhere(cluster),
        task(CAT, inputs=(streamed("stdin", data),), inline_bytes=10),
    )
    exchange.begin()
    exchange.until(frames.ACCEPTED)
    exchange.send_stream(frames.DATA, 0, data)
    exchange.until(frames.REPORT)
    return exchange


STAGES = [
    receiving_a_blob,
    receiving_an_input,
    writing_output,
    holding_output,
]


@pytest.fixture(scope="module")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, a process per server, with a cache of its own."""
    folder = tmp_path_factory.mktemp("killable")
    settings = ClusterSettings(
        nodes=1,
        replicas=1,
        mode="process",
        executor_options={"cache_dir": str(folder / "cache")},
    )
    with started(folder / "cluster", settings) as cluster:
        yield cluster


def on_disk(cluster: Cluster) -> set[str]:
    """Files of the node and of its cache but those that are meant to last."""
    cache = Path(str(cluster.settings.executor_options["cache_dir"]))
    state = cluster.nodes[0].folder / "zerocloud"
    return {
        str(path)
        for folder in (cache, state)
        for path in folder.rglob("*")
        if path.is_file() and not {"replay", "admission"} & set(path.parts)
    }


@pytest.mark.parametrize("stage", STAGES)
def test_kill_9_of_object_server_leaves_nothing_on_the_disk(
    killable: Cluster, stage: Any
) -> None:
    """And what it had taken of the caps is free for the next server."""
    run(killable, anywhere(killable), task(CAT), (CAT,))
    endless = guest("endless_output")
    before = on_disk(killable)
    exchange = stage(killable)
    below = set(tree(killable.pids["object-1"]))

    os.kill(killable.pids["object-1"], signal.SIGKILL)

    assert wait_until(
        lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in below)
    )
    left = on_disk(killable) - before
    # A program that had come whole may stay: it is a cache.
    whole = {sha256(endless).hexdigest()}
    assert {
        path
        for path in left
        if Path(path).name not in whole
        and Path(path).suffix not in (".cwasm", ".mac", ".lock")
    } == set()
    exchange.close()
    killable.stop()
    killable.start()
    cat = task(CAT, inputs=(streamed("stdin", b"next"),))
    answer = run(killable, anywhere(killable), cat, (CAT,), (b"next",))
    assert answer.outputs == {0: b"next"}


# The promise of the defaults.


def four(client: Account, small: Any) -> set[tuple[int, str]]:
    """Send a job four times; what came back."""
    answers = [client.post_job(small) for _ in range(4)]
    client.close()
    return {(answer.status_code, answer.text) for answer in answers}


def is_crowded(cluster: Cluster) -> bool:
    """Whether far more connections are open than an idle cluster has."""
    return residue(cluster).descriptors > 50


def test_eight_clients_and_a_job_of_600_nodes_are_all_served(
    tmp_path: Path,
) -> None:
    """On one storage node with the default slots and queue: nobody is busy."""
    defaults = {"slots": "8"}
    settings = ClusterSettings(nodes=1, replicas=1, executor_options=defaults)
    with started(tmp_path / "it", settings) as cluster:
        warm_up(cluster)
        for account in with_container(Account(cluster)):
            program = put_guest(account, "hello")
            clients = [Account(cluster).log_in() for _ in range(8)]
            small = [group(program, STDOUT, count=5)]

            large = [group(program, STDOUT, count=600)]
            with posted(account, large) as answer:
                # Each of its VMs is gone before anybody sees it; the
                # connections of those that wait are there for longer.
                assert wait_until(lambda: is_crowded(cluster))
                with ThreadPoolExecutor(8) as pool:
                    asked = [pool.submit(four, c, small) for c in clients]
                    found = set().union(*(one.result() for one in asked))
            report = answer.result().json()
            assert report["status"] == "succeeded"
            assert len(report["nodes"]) == 600
            assert {node["attempts"] for node in report["nodes"]} == {1}
            assert found == {(200, "hello\n" * 5)}
