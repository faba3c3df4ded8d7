"""`zerocloud-check` on a real cluster: well, and with each fault planted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started
from functests.support import residue
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.cluster.processes import raise_descriptor_limit

COMMAND = Path(sys.executable).with_name("zerocloud-check")
NOBODY = 65534


@pytest.fixture(autouse=True, scope="module")
def many_files() -> None:
    """The command looks at its own limit, as no unit started the servers."""
    raise_descriptor_limit()


@pytest.fixture
def confs(cluster: Cluster, tmp_path: Path) -> Path:
    """Copies of the conf files, to be spoilt."""
    shutil.copytree(cluster.folder.etc, tmp_path / "etc")
    return tmp_path / "etc"


def check(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as it is installed."""
    return subprocess.run(
        [COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def faults(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """What is to be mended, by the JSON."""
    assert done.stderr == ""
    document = json.loads(done.stdout)
    found = [f for f in document["findings"] if f["level"] == "fail"]
    assert done.returncode == (1 if found else 0)
    assert document["fit"] is (not found)
    assert all(f["mend"] for f in found)
    return found


def spoil(conf: Path, pattern: str, text: str) -> None:
    before = conf.read_text()
    after = re.sub(pattern, text, before, count=1, flags=re.MULTILINE)
    assert after != before, f"{pattern} is not in {conf}"
    conf.write_text(after)


def test_good_host_has_nothing_to_mend_and_nothing_changes(
    cluster: Cluster, confs: Path
) -> None:
    before = residue(cluster)
    done = check(
        "--proxy-conf", confs / "proxy-1.conf",
        "--object-conf", confs / "object-1.conf",
        "--proxy-url", cluster.url,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n\d\d looked at, nothing to mend\n$", done.stdout)
    for what in ("pipeline", "options", "key", "kernel", "limits", "folders",
                 "runner", "images", "servers", "clock"):  # fmt: skip
        assert f"ok    {what}" in done.stdout, what
    for node in cluster.nodes:
        server = node.server("object")
        assert f"object server {server.ip}:{server.port}: has the filter" in (
            done.stdout
        )
    key = (cluster.folder.root / "key").read_text("ascii").strip()
    assert key not in done.stdout + done.stderr
    assert residue(cluster).within(before)


def test_probe_is_told_in_the_log_of_the_server_but_not_as_a_refusal(
    cluster: Cluster, confs: Path
) -> None:
    log = cluster.folder.log / "cluster.log"
    before = log.read_text("utf-8")
    assert not faults(check("--proxy-conf", confs / "proxy-1.conf", "--json"))
    added = log.read_text("utf-8")[len(before) :]
    assert added.count("INFO: probe peer=127.0.0.1") == 4
    assert "refused" not in added


PLANTED = [
    ("proxy-1", r"^cluster_key = .*", "cluster_key = another-key-0123456789",
     "servers", "has another key"),
    ("proxy-1", r"tempauth zerocloud copy", "tempauth copy zerocloud",
     "pipeline", "copy stands left of zerocloud"),
    ("proxy-1", r" dlo versioned_writes", " versioned_writes",
     "pipeline", "dlo is not listed"),
    ("proxy-1", r"^swift_dir = .*", "swift_dir = /nowhere",
     "servers", "holds no object*.ring.gz"),
    ("proxy-1", r"^system_images = .*", "max_nodez = 1",
     "options", "max_nodez is not an option"),
    ("object-1", r"^state_dir = .*", "state_dir = /nowhere/zerocloud",
     "folders", "does not exist"),
    ("object-1", r"^zvm = .*", "zvm = /bin/sh",
     "runner", "does not say its version"),
    ("object-1", r"^(system_images = python)[^= ]*=", r"\1x=",
     "images", "is promised by"),
    ("object-1", r"^slots = .*", "slots = 4000",
     "limits", "tasks may hold a connection each"),
    ("object-1", r"^slots = .*", "slots = 4\nreserve_bytes = 1099511627776",
     "folders", "bytes free; 1099511627776 are kept for Swift"),
    ("object-1", r"^cluster_key = .*", "cluster_key = another-key-0123456789",
     "key", "the proxy signs with key"),
]  # fmt: skip


@pytest.mark.parametrize("case", PLANTED, ids=[c[4] for c in PLANTED])
def test_fault_that_is_planted_is_told(
    confs: Path, case: tuple[str, str, str, str, str]
) -> None:
    conf, pattern, text, what, said = case
    spoil(confs / f"{conf}.conf", pattern, text)
    found = faults(
        check(
            "--proxy-conf", confs / "proxy-1.conf",
            "--object-conf", confs / "object-1.conf",
            "--json",
        )
    )  # fmt: skip
    assert [f for f in found if f["check"] == what and said in f["said"]], (
        found
    )


def test_image_of_another_digest_is_told_by_the_proxys_info(
    cluster: Cluster, confs: Path, tmp_path: Path
) -> None:
    image = tmp_path / "python3.tar"
    image.write_bytes(b"\0" * 10240)  # an empty tar
    spoil(confs / "object-1.conf", r"(python3)=\S+", rf"\1={image}")
    found = faults(
        check(
            "--object-conf", confs / "object-1.conf",
            "--proxy-url", cluster.url, "--json",
        )
    )  # fmt: skip
    assert [f["check"] for f in found] == ["images"]
    assert f"{cluster.url} promises" in found[0]["said"]


def test_node_that_hangs_is_told_within_the_timeout(
    process_cluster: Cluster,
) -> None:
    conf = process_cluster.folder.etc / "proxy-1.conf"
    process_cluster.stop_node(2)
    try:
        [found] = faults(
            check("--proxy-conf", conf, "--timeout", "0.5", "--json")
        )
    finally:
        process_cluster.continue_node(2)
    assert found["said"] == "does not answer: timed out"
    assert found["subject"].startswith("object server 127.0.0.2:")
    assert not faults(check("--proxy-conf", conf, "--json"))


def test_server_without_the_filter_is_told(
    cluster: Cluster, confs: Path, tmp_path: Path
) -> None:
    settings = ClusterSettings(nodes=1, replicas=1, filters=False)
    with started(tmp_path / "plain", settings) as plain:
        spoil(
            confs / "proxy-1.conf",
            r"^swift_dir = .*",
            f"swift_dir = {plain.folder.swift}",
        )
        [found] = faults(
            check("--proxy-conf", confs / "proxy-1.conf", "--json")
        )
        assert found["said"] == "has no executor filter in its pipeline"
        spoiled = faults(
            check("--object-conf", plain.folder.etc / "object-1.conf",
                  "--proxy-url", plain.url, "--json")
        )  # fmt: skip
    said = [f["said"] for f in spoiled]
    assert said[0].startswith("no filter section has")
    assert said[1].startswith("does not offer jobs")


@pytest.fixture
def readable(confs: Path) -> Iterator[Path]:
    """The conf files where another user finds them."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        for name in ("proxy-1.conf", "object-1.conf"):
            shutil.copy(confs / name, place / name)
            (place / name).chmod(0o644)
        yield place


# The interpreter may be closed to others: load first, then become one.
AS_NOBODY = f"""
import os, sys
from zerocloud.check.main import main
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(main(sys.argv[1:]))
"""


def test_command_of_another_user_looks_as_far_as_it_may(
    readable: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the rest ran as one")
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "--json",
         "--object-conf", readable / "object-1.conf"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = faults(done)
    assert [f for f in found if "everybody on this host may read" in f["said"]]
    notes = [
        f for f in json.loads(done.stdout)["findings"] if f["level"] == "note"
    ]
    # The folders below the cluster's, which is for its owner alone.
    assert [f for f in notes if f["said"].startswith("cannot be looked at")]
