"""Several proxies of one cluster: the same data, tokens and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.running import posted, wait_for_vm
from functests.support import Account
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.cluster.folder import read_env

SETTINGS = ClusterSettings(
    nodes=2, replicas=2, proxies=2, mode="process",
    executor_options={"slots": "8"},
)  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("two") / "it", SETTINGS) as running:
        yield running


@pytest.fixture
def both(two: Cluster) -> Iterator[list[Account]]:
    """The same user, container and token, through each proxy."""
    for account in with_container(Account(two)):
        others = [through(account, url) for url in two.urls]
        yield others
        for other in others:
            other.close()


def through(account: Account, url: str) -> Account:
    """The account by another proxy, with the token that it has."""
    return Account(
        account.cluster,
        container=account.container,
        url=f"{url}/v1/{account.name}",
        token=account.token,
    )


def run_one(account: Account, program: str, number: int) -> dict[str, Any]:
    source = account.path(f"in/{number}")
    target = account.path(f"out/{number}")
    return account.run([group(program, reads(source), writes(target))])


def test_env_file_names_every_proxy(two: Cluster) -> None:
    exports = read_env(two.folder.env)
    urls = exports["ZEROCLOUD_URLS"].split()
    assert len(set(urls)) == 2
    assert urls[0] == exports["ZEROCLOUD_URL"]
    assert all(url.startswith("http://127.0.0.1:") for url in urls)


def test_jobs_run_through_both_proxies_at_once(both: list[Account]) -> None:
    first, second = both
    program = put_guest(first, "cat")
    data = {f"in/{n}": b"%d" % n * 1000 for n in range(12)}
    for name, content in data.items():
        first.put(name, content)
    with ThreadPoolExecutor(6) as pool:
        reports = list(
            pool.map(
                lambda n: run_one(both[n % 2], program, n), range(len(data))
            )
        )
    assert {report["status"] for report in reports} == {"succeeded"}
    # What one proxy has stored, the other one reads.
    for name, content in data.items():
        stored = name.replace("in/", "out/")
        assert first.get(stored) == second.get(stored) == content


def test_job_stored_through_one_proxy_runs_by_the_other(
    both: list[Account],
) -> None:
    first, second = both
    second.put("in/1", b"there")
    program = put_guest(second, "cat")
    job = [group(program, reads(second.path("in/1")), STDOUT)]
    reports = [account.run(job) for account in both]
    assert [r["status"] for r in reports] == ["succeeded"] * 2
    receipts = {r["nodes"][0]["receipt"] for r in reports}
    assert len(receipts) == 1
    assert first.get("in/1") == b"there"


def test_killed_proxy_takes_its_own_jobs_along_and_no_others(
    tmp_path: Path,
) -> None:
    with started(tmp_path / "it", SETTINGS) as cluster:
        for account in with_container(
            Account(cluster).log_in(cluster.urls[1])
        ):
            doomed, other = (through(account, url) for url in cluster.urls)
            other.put("in/1", b"goes on")
            program = put_guest(other, "cat")
            spin = [group(put_guest(other, "spin"), STDOUT, name="spin")]
            with posted(doomed, spin) as lost:
                wait_for_vm(cluster, "spin")
                cluster.kill_proxy(1)
                with pytest.raises(OSError, match=r"."):
                    lost.result(10)
            assert run_one(other, program, 1)["status"] == "succeeded"
            assert other.get("out/1") == b"goes on"
            account.url = other.url
            doomed.close()
            other.close()
        assert "cluster: proxy-1 ended (killed by SIGKILL)" in cluster.said()


def test_kill_of_a_proxy_that_shares_its_process_is_refused(
    cluster: Cluster,
) -> None:
    with pytest.raises(ValueError, match="only in mode 'process'"):
        cluster.kill_proxy(1)
