"""Servers that must not start: a bad option, in a conf that Swift loads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from functests.conftest import started
from zerocloud.cluster import Cluster, ClusterSettings, StartError
from zerocloud.config import MIN_KEY_LENGTH

SETTINGS = ClusterSettings(nodes=1, replicas=1)

# conf file, option, value, what the start says
BAD = [
    ("proxy-1", "max_nodes", "many", "max_nodes is 'many'; allowed is a who"),
    ("proxy-1", "node_timeout", "0", "node_timeout is '0'; allowed is a num"),
    ("proxy-1", "cluster_key", "short", "cluster_key has 5 characters"),
    ("proxy-1", "system_images", "py", "system_images has 'py'; allowed is"),
    ("proxy-1", "standalone_policies", "tin", "standalone_policies has 'tin'"),
    ("proxy-1", "max_node", "7", "max_node is not an option of this filter"),
    ("object-1", "slots", "0", "slots is '0'; allowed is a whole number"),
    ("object-1", "zvm", "/nowhere/zvm", "zvm is '/nowhere/zvm'; allowed is"),
    ("object-1", "state_dir", "var", "state_dir is 'var'; allowed is an abs"),
    ("object-1", "system_images", "py=/no.tar", "names py=/no.tar; there is"),
    ("object-1", "local_reads", "maybe", "local_reads is 'maybe'; allowed is"),
    ("object-1", "slot", "4", "slot is not an option of this filter; did you"),
    ("object-1", "cluster_key", "", "cluster_key has 0 characters; needed"),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster that was started once, and stopped."""
    cluster = started(tmp_path_factory.mktemp("made") / "it", SETTINGS)
    cluster.stop()
    return cluster


@pytest.fixture
def kept(made: Cluster) -> Iterator[Cluster]:
    """The same with its conf files kept; they are put back afterwards."""
    etc = made.folder.etc
    before = {path: path.read_text() for path in etc.iterdir()}
    cluster = Cluster(made.folder.root, replace(SETTINGS, keep_confs=True))
    yield cluster
    cluster.stop()
    for path, text in before.items():
        path.write_text(text)


def set_option(conf: Path, name: str, value: str) -> None:
    """Set an option in our filter's section, as an editor would."""
    lines = conf.read_text().splitlines()
    ours = next(
        number
        for number, line in enumerate(lines)
        if line in ("[filter:zerocloud]", "[filter:executor]")
    )
    lines = [
        line
        for number, line in enumerate(lines)
        if number < ours or not line.startswith(f"{name} =")
    ]
    lines.insert(ours + 1, f"{name} = {value}")
    conf.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("server", "option", "value", "said"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}={case[2]}") for case in BAD],
)
def test_bad_option_stops_the_server_and_names_it(
    kept: Cluster, server: str, option: str, value: str, said: str
) -> None:
    set_option(kept.folder.etc / f"{server}.conf", option, value)
    with pytest.raises(StartError) as caught:
        kept.start()
    text = str(caught.value)
    assert said in text
    assert "ConfigError" in text
    assert not kept.folder.env.exists()
    key = (kept.folder.root / "key").read_text("ascii").strip()
    assert key not in text


@pytest.mark.parametrize("kind", ["proxy", "object"])
def test_stock_server_says_a_bad_option_in_one_line(
    kept: Cluster, kind: str
) -> None:
    conf = kept.folder.etc / f"{kind}-1.conf"
    set_option(conf, "local_reads", "perhaps")
    done = subprocess.run(
        [Path(sys.executable).with_name(f"swift-{kind}-server"), conf],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    name = {"proxy": "zerocloud", "object": "executor"}[kind]
    assert done.returncode == 1
    assert done.stdout == (
        f"[filter:{name}] local_reads is 'perhaps'; allowed is true or false\n"
    )
    assert "Traceback" not in done.stderr


def test_good_option_in_the_same_place_starts_it(kept: Cluster) -> None:
    for server, option, value in (
        ("proxy-1", "max_nodes", "7"),
        ("object-1", "slots", "3"),
        ("object-1", "log_level", "DEBUG"),
        ("object-1", "previous_cluster_key", "k" * MIN_KEY_LENGTH),
    ):
        set_option(kept.folder.etc / f"{server}.conf", option, value)
    with kept:
        assert kept.pids
        text = (kept.folder.etc / "proxy-1.conf").read_text()
        assert "max_nodes = 7" in text


def test_confs_cannot_be_kept_before_there_are_any(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "it", replace(SETTINGS, keep_confs=True))
    with pytest.raises(StartError, match="start once without --keep-confs"):
        cluster.start()
