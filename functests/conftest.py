"""Fixtures of the functional tests: clusters, accounts, no process left.

cluster          single mode, started once per session, in < 2 s
process_cluster  process mode (nodes can be killed), once per session
account          test:tester with an empty container, deleted afterwards
other_account    test2:tester2, likewise
nothing_left     asserts that the test left nothing on `cluster`
narrow           one slot, one task at a time, little room
harsh            little time to send, to compile, and little memory for that
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from functests.support import (
    Account,
    assert_nothing_left,
    command_name,
    residue,
    tree,
    wait_until,
)
from zerocloud.cluster import Cluster, ClusterSettings, StartError
from zerocloud.cluster.processes import adopt_orphans

# Of what a cluster's servers said in a test that failed, no more than this.
SAID_LINES = 60

# What a job may take to clean up after its answer.
CLEAN_UP_SECONDS = 3.0


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """At the end no process is left that a test, or its cluster, started.

    Orphans become children of this process, wherever they came from.
    """
    adopt_orphans()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it does not wait for so; the commands that tests
        # interrupt would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    wait_until(lambda: not tree(os.getpid()), CLEAN_UP_SECONDS)
    left = {pid: command_name(pid) for pid in tree(os.getpid())}
    assert not left, f"processes left by the tests: {left}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what went wrong on the servers meanwhile."""
    report = yield
    if report.failed:
        used = {
            id(cluster): cluster
            for value in item.funcargs.values()
            if isinstance(cluster := getattr(value, "cluster", value), Cluster)
        }
        for cluster in used.values():
            said = servers_complaints(cluster, call.start)
            report.sections.append(("servers meanwhile", said))
    return report


def servers_complaints(cluster: Cluster, since: float) -> str:
    """The last warnings and errors in the logs, from that time on."""
    begin = time.strftime("%F %T", time.localtime(since))
    lines = [
        line
        for path in sorted(cluster.folder.log.glob("cluster*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if line >= begin and (" WARNING: " in line or " ERROR: " in line)
    ]
    return "\n".join(lines[-SAID_LINES:]) or "neither warning nor error"


def started(folder: Path, settings: ClusterSettings) -> Cluster:
    """Start a cluster; a missing runner fails the test with the remedy."""
    try:
        return Cluster(folder, settings).start()
    except StartError as error:
        text = str(error)
    pytest.fail(f"the cluster does not start: {text}", pytrace=False)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """All servers in one process."""
    running = started(tmp_path_factory.mktemp("cluster"), ClusterSettings())
    warm_up(running)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def process_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A process per server.  Continue the nodes you stop; kill none."""
    running = started(
        tmp_path_factory.mktemp("processes"), ClusterSettings(mode="process")
    )
    yield running
    running.stop()


def warm_up(running: Cluster) -> None:
    """Let the servers open what they then keep: their threads' sockets."""
    for account in with_container(Account(running)):
        account.put("warm", b"up")


@pytest.fixture
def account(cluster: Cluster) -> Iterator[Account]:
    """The user test:tester with an empty container."""
    yield from with_container(Account(cluster))


@pytest.fixture
def other_account(cluster: Cluster) -> Iterator[Account]:
    """The user test2:tester2, who owns another account."""
    yield from with_container(Account(cluster, "test2:tester2", "testing2"))


def with_container(account: Account) -> Iterator[Account]:
    """Log in, make a container, hand out; then delete what is in it."""
    account.log_in()
    account.container = f"c-{uuid.uuid4().hex[:12]}"
    account.create(account.container)
    yield account
    for name in account.listing():
        account.delete(name)
    account.request("DELETE", account.container)
    account.close()


@contextmanager
def leaving_nothing(
    cluster: Cluster, *accounts: Account, seconds: float = CLEAN_UP_SECONDS
) -> Iterator[None]:
    """What is done within leaves no process, descriptor, file or draft.

    The accounts' own connections are closed before each count.
    """
    for account in accounts:
        account.session.close()
    before = residue(cluster)
    yield
    for account in accounts:
        account.session.close()
    assert_nothing_left(cluster, before, seconds)


@pytest.fixture
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """The test leaves no process, no open object and no file behind."""
    with leaving_nothing(cluster):
        yield


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One storage node with one slot, one task at a time, little room.

    Whatever a test leaves there (the slot, a draft in the cache) is seen by
    the next one.
    """
    folder = tmp_path_factory.mktemp("narrow")
    small = {"max_blob_bytes": str(4 * 1024 * 1024)}
    settings = ClusterSettings(
        nodes=1,
        replicas=1,
        proxy_options={"concurrency": "1", **small},
        executor_options={
            "slots": "1",
            "queue_seconds": "5",
            "cache_dir": str(folder / "cache"),
            **small,
        },
    )
    running = started(folder / "cluster", settings)
    warm_up(running)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def harsh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One storage node; 2 s to send a body, 3 s and 256 MiB to compile.

    Outputs of 64 MiB at most, which have room on any disk.  Its only slot must
    be free again after each test.
    """
    folder = tmp_path_factory.mktemp("harsh")
    settings = ClusterSettings(
        nodes=1,
        replicas=1,
        proxy_options={
            "upload_timeout": "2",
            "max_output_bytes": str(64 * 1024 * 1024),
            "default_output_bytes": str(64 * 1024 * 1024),
        },
        executor_options={
            "slots": "1",
            "cache_dir": str(folder / "cache"),
            "compile_seconds": "3",
            "compile_memory_bytes": str(256 * 1024 * 1024),
        },
    )
    running = started(folder / "cluster", settings)
    warm_up(running)
    yield running
    running.stop()
