"""`zerocloud cluster`: start, stop, start again, and being killed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from functests.conftest import started
from functests.jobs import STDOUT, group, put_guest
from functests.running import posted, wait_for_vm
from functests.support import Account, command_name, tree, wait_until
from zerocloud.cluster import Cluster, ClusterSettings, StartError

SINGLE = ClusterSettings(nodes=2, replicas=2)
PROCESS = ClusterSettings(nodes=2, replicas=2, mode="process")
MODES = pytest.mark.parametrize(
    "settings", [SINGLE, PROCESS], ids=lambda s: s.mode
)


def refusal(folder: Path, settings: ClusterSettings) -> str:
    """What a start that must fail says; stops one that does not fail."""
    cluster = Cluster(folder, settings)
    with pytest.raises(StartError) as caught:
        cluster.start()
    cluster.stop()
    return str(caught.value)


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that run; a zombie does not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            # Not there, or gone between the opening and the reading.
            continue
        if state.split()[0] != "Z":
            found.append(pid)
    return found


@MODES
def test_restarted_cluster_has_its_data_and_addresses(
    tmp_path: Path, settings: ClusterSettings
) -> None:
    cluster = started(tmp_path / "it", settings)
    url = cluster.url
    account = Account(cluster).log_in()
    account.put("o", b"kept", account.create("c"))
    account.close()
    cluster.stop()
    with cluster:
        assert cluster.url == url
        account = Account(cluster).log_in()
        assert account.get("o", "c") == b"kept"
        account.close()


@MODES
def test_stopped_cluster_is_gone_within_two_seconds(
    tmp_path: Path, settings: ClusterSettings
) -> None:
    cluster = started(tmp_path / "it", settings)
    pids = [cluster.pid, *tree(cluster.pid)]
    account = Account(cluster).log_in()  # leaves its connection open
    before = time.monotonic()
    cluster.stop()
    assert time.monotonic() - before < 2.0
    assert alive(pids) == []
    assert not cluster.folder.env.exists()
    account.close()


@MODES
def test_stopped_cluster_ends_its_vms_within_two_seconds(
    tmp_path: Path, settings: ClusterSettings
) -> None:
    cluster = started(tmp_path / "it", settings)
    account = Account(cluster).log_in()
    account.container = account.create("c")
    job = [group(put_guest(account, "spin"), STDOUT, name="spin")]
    with posted(account, job) as lost:
        wait_for_vm(cluster, "spin")
        pids = [cluster.pid, *tree(cluster.pid)]
        before = time.monotonic()
        cluster.stop()
        assert time.monotonic() - before < 2.0
        assert alive(pids) == []
        # Cut off, or told that its storage server went.
        assert lost.exception(10) or lost.result().status_code >= 500
    account.close()


def test_stop_does_not_wait_for_a_slow_request(tmp_path: Path) -> None:
    cluster = started(tmp_path / "it", SINGLE)
    account = Account(cluster).log_in()
    host, _, port = cluster.url.rpartition("/")[2].partition(":")
    upload = (
        f"PUT /v1/{account.name}/c/o HTTP/1.1\r\nHost: h\r\n"
        f"X-Auth-Token: {account.token}\r\nContent-Length: 9\r\n\r\n1"
    )
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(upload.encode())
        before = time.monotonic()
        cluster.stop()
        assert time.monotonic() - before < 2.0
    account.close()


@MODES
def test_killed_cluster_leaves_no_process(
    tmp_path: Path, settings: ClusterSettings
) -> None:
    cluster = started(tmp_path / "it", settings)
    pids = [cluster.pid, *tree(cluster.pid)]
    os.kill(cluster.pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pids[1:]), 2.0), alive(pids)
    cluster.kill()
    # The stale env file is no obstacle, and does not count as serving.
    with cluster:
        assert cluster.pid not in pids
        assert cluster.said() == (
            f"cluster: the last cluster on {tmp_path / 'it'} (process "
            f"{pids[0]}) was killed; removed what it left: env, pids.json"
        )


@pytest.mark.parametrize("stage", ["run", "compile"])
def test_killed_cluster_takes_vms_and_compilers_along(
    tmp_path: Path, stage: str
) -> None:
    cache = str(tmp_path / "cache") if stage == "compile" else None
    settings = replace(
        PROCESS, executor_options={"cache_dir": cache} if cache else {}
    )
    cluster = started(tmp_path / "it", settings)
    account = Account(cluster).log_in()
    account.container = account.create("c")
    if stage == "run":
        job = [group(put_guest(account, "spin"), STDOUT, name="spin")]
    else:
        # Python is the one program that takes seconds to compile.
        job = [group("file://python3:python", STDOUT, args=["-c", "1"])]
    wanted = "zvm:" if stage == "run" else "zvm-compile"
    with posted(account, job) as lost:
        assert wait_until(lambda: wanted in commands(cluster), 20)
        pids = [cluster.pid, *tree(cluster.pid)]
        os.kill(cluster.pid, signal.SIGKILL)
        assert wait_until(lambda: not alive(pids[1:]), 3.0), [
            (pid, command_name(pid)) for pid in alive(pids[1:])
        ]
        with pytest.raises(OSError, match=r"."):
            lost.result(10)
    cluster.kill()
    account.close()


def commands(cluster: Cluster) -> str:
    """The first words of the command lines of all its processes."""
    words = []
    for pid in tree(cluster.pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        words.append(line.partition(b"\0")[0].decode("utf-8", "replace"))
    return "\n".join(words)


def test_cluster_whose_starter_died_stops_by_itself(tmp_path: Path) -> None:
    script = (
        "import sys, os\n"
        "from zerocloud.cluster import *\n"
        "settings = ClusterSettings(nodes=1, replicas=1, filters=False)\n"
        "print(Cluster(sys.argv[1], settings).start().pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "it")],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    assert wait_until(lambda: not alive([int(done.stdout)]), 3.0)


def test_interrupt_from_the_terminal_stops_it(tmp_path: Path) -> None:
    cluster = started(tmp_path / "it", PROCESS)
    pids = [cluster.pid, *tree(cluster.pid)]
    os.kill(cluster.pid, signal.SIGINT)
    assert wait_until(lambda: not alive(pids), 2.0)
    cluster.stop()


def test_second_start_on_the_folder_is_refused(
    tmp_path: Path,
) -> None:
    with started(tmp_path / "it", SINGLE) as cluster:
        assert refusal(tmp_path / "it", SINGLE) == (
            f"zerocloud cluster: a cluster already runs on {tmp_path / 'it'} "
            f"(process {cluster.pid})"
        )
        assert cluster.folder.env.exists()


def test_start_with_other_nodes_is_refused_and_names_both(
    tmp_path: Path,
) -> None:
    started(tmp_path / "it", SINGLE).stop()
    other = ClusterSettings(nodes=3, replicas=2)
    assert "nodes 2 (asked: 3)" in refusal(tmp_path / "it", other)


def test_start_on_a_port_in_use_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = ClusterSettings(nodes=1, replicas=1, port=port)
        assert refusal(tmp_path / "it", settings) == (
            f"zerocloud cluster: proxy-1 cannot listen on 127.0.0.1:{port}: "
            "Address already in use"
        )


def test_start_on_a_folder_with_other_files_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    assert "holds other files (thesis.txt)" in refusal(tmp_path, SINGLE)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_start_with_a_bad_filter_option_says_what_is_allowed(
    tmp_path: Path,
) -> None:
    bad = ClusterSettings(executor_options={"slots": "0"})
    assert refusal(tmp_path / "it", bad) == (
        "zerocloud cluster: executor option slots is '0'; allowed is a whole "
        "number from 1 to 10000"
    )


def test_servers_may_open_as_many_files_as_the_system_allows(
    cluster: Cluster,
) -> None:
    for pid in set(cluster.pids.values()):
        limits = Path(f"/proc/{pid}/limits").read_text()
        (line,) = (x for x in limits.splitlines() if "open files" in x)
        soft, hard = line.split()[3:5]
        assert soft == hard


def test_swift_changed_nothing_in_our_pipelines(cluster: Cluster) -> None:
    log = (cluster.folder.log / "cluster.log").read_text()
    assert "proxy-1" in log
    assert "Adding required filter" not in log
    assert "Traceback" not in log


def test_secrets_are_for_the_owner_alone(cluster: Cluster) -> None:
    folder = cluster.folder
    private = [folder.env, folder.root / "key", *folder.etc.iterdir()]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in private}
    assert modes == {0o600}
    assert stat.S_IMODE(folder.etc.stat().st_mode) == 0o700
