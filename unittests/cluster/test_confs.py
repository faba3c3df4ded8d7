"""Conf files: pipelines in the order that our filters rely on."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from zerocloud.cluster.confs import Installation, server_conf
from zerocloud.cluster.folder import Folder, Server
from zerocloud.cluster.installation import InstalledImage
from zerocloud.cluster.settings import ClusterSettings
from zerocloud.config import read_executor_settings, read_proxy_settings

PROXY = Server("proxy-1", "proxy", 1, "127.0.0.1", 8080)
OBJECT = Server("object-2", "object", 2, "127.0.0.2", 6200)
IMAGE = InstalledImage(
    "python3", ("python",), "ab" * 32, Path("/images/python3.tar")
)
INSTALLATION = Installation(Path("/opt/zvm"), (IMAGE,), Path("/cache"))
FILTERS = ClusterSettings(filters=True)
PLAIN = ClusterSettings(filters=False)

# What Swift's proxy adds by itself when a pipeline lacks it.
REQUIRED = {
    "catch_errors",
    "gatekeeper",
    "listing_formats",
    "copy",
    "dlo",
    "versioned_writes",
}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def parsed(
    server: Server, folder: Folder, settings: ClusterSettings
) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment] # as paste reads it
    parser.read_string(server_conf(server, folder, settings, INSTALLATION))
    return parser


def pipeline(
    server: Server, folder: Folder, settings: ClusterSettings
) -> list[str]:
    conf = parsed(server, folder, settings)
    return conf["pipeline:main"]["pipeline"].split()


def test_proxy_filter_stands_between_auth_and_what_gives_meaning(
    folder: Folder,
) -> None:
    settings = ClusterSettings(filters=True, encrypt=True)
    order = pipeline(PROXY, folder, settings)
    place = order.index("zerocloud")
    assert {"gatekeeper", "cache", "tempurl", "s3api", "tempauth"} <= set(
        order[:place]
    )
    assert set(order[place + 1 :]) >= {
        "copy",
        "container-quotas",
        "account-quotas",
        "slo",
        "dlo",
        "versioned_writes",
        "symlink",
        "keymaster",
        "encryption",
    }


@pytest.mark.parametrize("settings", [FILTERS, PLAIN])
def test_proxy_pipeline_leaves_nothing_for_swift_to_insert(
    folder: Folder, settings: ClusterSettings
) -> None:
    order = pipeline(PROXY, folder, settings)
    assert set(order) >= REQUIRED
    assert order[0] == "catch_errors"
    assert order[-2:] == ["proxy-logging", "proxy-server"]


@pytest.mark.parametrize("server", [PROXY, OBJECT], ids=lambda s: s.kind)
@pytest.mark.parametrize("settings", [FILTERS, PLAIN])
def test_every_name_of_a_pipeline_has_its_section(
    folder: Folder, server: Server, settings: ClusterSettings
) -> None:
    conf = parsed(server, folder, settings)
    *filters, app = pipeline(server, folder, settings)
    assert conf.has_section(f"app:{app}")
    missing = [f for f in filters if not conf.has_section(f"filter:{f}")]
    assert missing == []


def test_executor_filter_stands_right_before_the_object_server(
    folder: Folder,
) -> None:
    order = pipeline(OBJECT, folder, FILTERS)
    assert order[-2:] == ["executor", "object-server"]


@pytest.mark.parametrize("server", [PROXY, OBJECT], ids=lambda s: s.kind)
def test_plain_swift_has_no_filter_of_ours(
    folder: Folder, server: Server
) -> None:
    text = server_conf(server, folder, PLAIN, INSTALLATION)
    assert "egg:zerocloud" not in text


def test_encryption_is_off_unless_asked(folder: Folder) -> None:
    text = server_conf(PROXY, folder, FILTERS, INSTALLATION)
    assert "keymaster" not in text


def test_encryption_secret_is_stable_and_not_the_key(folder: Folder) -> None:
    settings = ClusterSettings(encrypt=True)
    first, again = (
        parsed(PROXY, folder, settings)["filter:keymaster"] for _ in range(2)
    )
    assert first == again
    assert folder.key() not in str(dict(first))


def test_filter_sections_are_what_the_filters_read(folder: Folder) -> None:
    proxy = parsed(PROXY, folder, FILTERS)["filter:zerocloud"]
    executor = parsed(OBJECT, folder, FILTERS)["filter:executor"]
    proxy_settings = read_proxy_settings(proxy)
    executor_settings = read_executor_settings(executor)
    assert proxy_settings.cluster_key == executor_settings.cluster_key
    assert [i.name for i in proxy_settings.system_images] == [
        "python3",
        "python",
    ]
    assert executor_settings.system_images == (
        ("python3", IMAGE.tar),
        ("python", IMAGE.tar),
    )
    assert executor_settings.zvm == Path("/opt/zvm")
    assert executor_settings.state_dir == folder.node(2) / "zerocloud"
    assert executor_settings.cache_dir == Path("/cache/artefacts")


def test_filter_options_asked_for_reach_their_sections(
    folder: Folder,
) -> None:
    settings = ClusterSettings(
        filters=True,
        proxy_options={"local_reads": "false", "node_timeout": "7"},
        executor_options={"slots": "1"},
    )
    proxy = parsed(PROXY, folder, settings)["filter:zerocloud"]
    assert (proxy["local_reads"], proxy["node_timeout"]) == ("false", "7")
    executor = parsed(OBJECT, folder, settings)["filter:executor"]
    assert executor["slots"] == "1"
