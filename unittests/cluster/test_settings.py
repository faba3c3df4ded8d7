"""What may be asked of a cluster, and what a folder's past forbids."""

from __future__ import annotations

from typing import Any

import pytest

from zerocloud.cluster.settings import (
    ClusterSettings,
    Erasure,
    SettingsError,
    check_settings,
    disk_names,
    erasure_for,
    lasting,
    settle,
)


def test_settings_of_a_usual_cluster_are_allowed() -> None:
    check_settings(ClusterSettings())
    check_settings(ClusterSettings(nodes=1, replicas=2, mode="process"))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"nodes": 0}, "nodes is 0; allowed is 1 to 200"),
        (
            {"nodes": 1, "replicas": 3},
            "replicas is 3; allowed is 1 to 2 (a disk holds at most one "
            "replica; there are 2 disks)",
        ),
        ({"proxies": 33}, "proxies is 33; allowed is 1 to 32"),
        ({"port": 65536}, "port is 65536; allowed is 1 to 65535"),
        ({"mode": "fork"}, "mode is 'fork'; allowed is single or process"),
        (
            {"proxy_options": {"local_reads": "perhaps"}},
            "proxy option local_reads is 'perhaps'; allowed is true or false",
        ),
        (
            {"executor_options": {"queue": "1\nslots = 2"}},
            "executor option queue has a control character in its value",
        ),
    ],
)
def test_settings_beyond_what_is_allowed_are_refused(
    asked: dict[str, Any], text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(ClusterSettings(**asked))
    assert str(caught.value) == text


def test_settings_with_an_unknown_option_are_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(ClusterSettings(proxy_options={"slots": "1"}))
    text = str(caught.value)
    assert text.startswith("proxy option 'slots' is unknown; allowed are ")
    assert "local_reads" in text


def test_settle_in_a_new_folder_takes_the_defaults() -> None:
    assert settle({"nodes": 2}, None) == ClusterSettings(nodes=2)


def test_settle_in_a_used_folder_takes_what_it_keeps() -> None:
    stored = lasting(ClusterSettings(nodes=2, replicas=2, encrypt=True))
    settings = settle({"mode": "process"}, stored)
    assert settings == ClusterSettings(
        nodes=2, replicas=2, encrypt=True, mode="process"
    )


def test_settle_with_what_the_folder_contradicts_names_all_of_it() -> None:
    stored = lasting(ClusterSettings(nodes=2, replicas=2, encrypt=True))
    with pytest.raises(SettingsError) as caught:
        settle({"nodes": 4, "replicas": 2, "encrypt": False}, stored)
    assert str(caught.value) == (
        "the folder was made with nodes 2 (asked: 4), encrypt yes (asked: "
        "no); start it as it was made, or choose another folder"
    )


@pytest.mark.parametrize(
    ("disks", "scheme"),
    [(8, Erasure(4, 2)), (6, Erasure(4, 2)), (4, Erasure(2, 1)), (2, None)],
)
def test_erasure_scheme_fits_the_disks(
    disks: int, scheme: Erasure | None
) -> None:
    assert erasure_for(disks) == scheme


def test_disk_names_are_unique_in_the_cluster() -> None:
    assert disk_names(1) + disk_names(2) == ["d1", "d2", "d3", "d4"]


@pytest.mark.parametrize("value", ["", "-1", "many", "1 000", "²"])
def test_constraint_that_is_no_number_is_refused(value: str) -> None:
    asked = {"max_file_size": value}
    with pytest.raises(SettingsError, match="constraint max_file_size is"):
        check_settings(ClusterSettings(swift_constraints=asked))


def test_settings_with_options_for_conf_files_that_are_kept_are_refused() -> (
    None
):
    check_settings(ClusterSettings(keep_confs=True))
    for options in ({"proxy_options": {"max_nodes": "7"}},
                    {"executor_options": {"slots": "1"}}):  # fmt: skip
        with pytest.raises(SettingsError, match="edit them instead"):
            check_settings(ClusterSettings(keep_confs=True, **options))
