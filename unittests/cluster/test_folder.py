"""The folder: its lock, its files, its ports, its env file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from zerocloud.cluster.folder import PORT_RANGE, Folder, read_env
from zerocloud.cluster.settings import ClusterSettings, StartError

SETTINGS = ClusterSettings(nodes=2, replicas=2, proxies=2)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    opened = Folder(tmp_path / "cluster")
    opened.acquire()
    return opened


def test_folder_in_use_is_refused_with_its_owner(folder: Folder) -> None:
    with pytest.raises(StartError) as caught:
        Folder(folder.root).acquire()
    assert str(caught.value) == (
        f"a cluster already runs on {folder.root} (process {os.getpid()})"
    )


def test_folder_of_a_killed_cluster_is_cleaned_and_says_so(
    tmp_path: Path,
) -> None:
    root = tmp_path / "other"
    root.mkdir()
    (root / "lock").write_text("4711")
    for name in ("env", "pids.json", ".key.4711"):
        (root / name).write_text("stale")
    assert Folder(root).acquire() == (
        f"the last cluster on {root} (process 4711) was killed; removed what "
        "it left: .key.4711, env, pids.json"
    )
    assert [path.name for path in root.iterdir()] == ["lock"]


def test_folder_of_a_stopped_cluster_needs_no_cleaning(tmp_path: Path) -> None:
    root = tmp_path / "other"
    root.mkdir()
    (root / "lock").write_text("4711")
    assert Folder(root).acquire() == ""


def test_folder_that_was_no_clusters_keeps_what_is_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "env").write_text("export MINE=1\n")
    folder = Folder(tmp_path)
    assert folder.acquire() == ""
    with pytest.raises(StartError, match=r"holds other files \(env\)"):
        folder.stored()
    assert (tmp_path / "env").read_text() == "export MINE=1\n"


@pytest.mark.parametrize("name", ["with blank", "100%", "a;b", "a#b"])
def test_folder_that_a_conf_cannot_name_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(StartError, match="conf files cannot express"):
        Folder(tmp_path / name).acquire()
    assert not (tmp_path / name).exists()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be used: Not a directory"):
        Folder(tmp_path / "file" / "below").acquire()


def test_folder_new_has_no_stored_settings(folder: Folder) -> None:
    assert folder.stored() is None


def test_folder_whose_making_was_cut_short_counts_as_new(
    folder: Folder,
) -> None:
    folder.servers(SETTINGS)
    folder.key()
    folder.swift.mkdir()
    folder.node(1).mkdir()
    assert folder.stored() is None


def test_folder_finished_stores_the_lasting_settings(folder: Folder) -> None:
    folder.finish(SETTINGS)
    stored = folder.stored()
    assert stored is not None
    assert (stored["nodes"], stored["replicas"]) == (2, 2)
    assert "mode" not in stored


def test_folder_with_other_files_is_refused(folder: Folder) -> None:
    (folder.root / "photos").mkdir()
    with pytest.raises(StartError, match=r"holds other files \(photos\)"):
        folder.stored()


def test_folder_of_another_layout_is_refused(folder: Folder) -> None:
    folder.write("cluster.json", {"layout": 99, "nodes": 2})
    with pytest.raises(StartError, match="has layout 99; this version"):
        folder.stored()


def test_folder_with_damaged_settings_is_refused(folder: Folder) -> None:
    (folder.root / "cluster.json").write_text("{")
    with pytest.raises(StartError, match=r"cluster\.json is damaged"):
        folder.stored()


def test_key_is_made_once_and_private(folder: Folder) -> None:
    key = folder.key()
    assert len(bytes.fromhex(key)) == 32
    assert folder.key() == key
    mode = (folder.root / "key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_servers_are_named_and_addressed_by_node(folder: Folder) -> None:
    servers = {s.name: s for s in folder.servers(SETTINGS)}
    assert list(servers) == [
        "account-1",
        "container-1",
        "object-1",
        "account-2",
        "container-2",
        "object-2",
        "proxy-1",
        "proxy-2",
    ]
    assert servers["object-2"].ip == "127.0.0.2"
    assert servers["proxy-2"].ip == "127.0.0.1"
    ports = [s.port for s in servers.values()]
    assert len(set(ports)) == 8
    assert set(ports) <= set(PORT_RANGE)


def test_servers_keep_their_ports(folder: Folder) -> None:
    first = folder.servers(SETTINGS)
    more = ClusterSettings(nodes=2, replicas=2, proxies=3)
    assert folder.servers(more)[:-1] == first
    assert folder.servers(SETTINGS) == first


def test_servers_take_the_port_asked_for_the_first_proxy(
    folder: Folder,
) -> None:
    asked = ClusterSettings(nodes=1, replicas=1, proxies=2, port=8080)
    servers = {s.name: s.port for s in folder.servers(asked)}
    assert servers["proxy-1"] == 8080
    assert servers["proxy-2"] != 8080


def test_env_file_read_back_is_what_was_written(folder: Folder) -> None:
    exports = {"A": "plain", "B": "two words, a 'quote' and $HOME", "C": ""}
    folder.write_env(exports)
    assert read_env(folder.env) == exports
    assert stat.S_IMODE(folder.env.stat().st_mode) == 0o600
    assert json.loads((folder.root / "lock").read_text()) == os.getpid()


def test_env_file_absent_reads_as_nothing(folder: Folder) -> None:
    assert read_env(folder.env) == {}
