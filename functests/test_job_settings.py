"""The same jobs on clusters with other settings give the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.support import Account
from zerocloud.cluster import ClusterSettings

OFF = {"local_reads": "false"}
SETTINGS = {
    "encrypted": ClusterSettings(encrypt=True),
    "streamed": ClusterSettings(proxy_options=OFF),
    "refused by the nodes": ClusterSettings(executor_options=OFF),
    "one node": ClusterSettings(nodes=1, replicas=1),
}


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_job_reads_and_writes_the_same_bytes(
    tmp_path: Path, kind: str
) -> None:
    with started(tmp_path / "it", SETTINGS[kind]) as cluster:
        for account in with_container(Account(cluster)):
            stored = {f"in/{n}": bytes([n]) * (1000 * n) for n in range(1, 6)}
            for name, data in stored.items():
                account.put(name, data)
            program = put_guest(account, "cat")

            report = account.run(
                [
                    group(
                        program,
                        reads(account.path("in/*")),
                        writes(account.path("out/*")),
                    ),
                    group(
                        program,
                        reads(account.path("in/3")),
                        STDOUT,
                        name="literal",
                    ),
                ]
            )

            assert report["status"] == "succeeded"
            for name, data in stored.items():
                assert account.get(name.replace("in/", "out/")) == data
            ways = {
                entry["source"]
                for node in report["nodes"]
                for entry in node["io"]
                if entry["device"] == "stdin"
            }
            assert ways == {"local" if kind == "one node" else "stream"}
