"""Rings as the scheduler sees them, over a proxy with a fake ring."""

from __future__ import annotations

from typing import Any

import pytest

from zerocloud.errors import ConfigError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.placement import Target
from zerocloud.scheduler.ring import Rings, check_policies

DISKS: list[Any] = [
    {"ip": "10.0.0.1", "port": 6000, "device": "d1", "weight": 1.0},
    None,
    {"ip": "fd00::2", "port": "6000", "device": "d2", "weight": 1.0},
    {"ip": "10.0.0.3", "port": 6000, "device": "d3", "weight": 0},
]


class Ring:
    devs = DISKS

    def get_nodes(self, *name: str) -> tuple[int, list[Any]]:
        assert name == ("AUTH_a", "c", "ö")
        return 42, [DISKS[0], DISKS[2]]


class Proxy:
    """What of the proxy application is used."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def get_object_ring(self, index: int) -> Ring:
        assert index == 0
        return Ring()

    def error_limited(self, node: dict[str, Any]) -> bool:
        return bool(node["ip"] == "fd00::2")

    def error_occurred(self, node: dict[str, Any], text: str) -> None:
        self.told.append((node["device"], text))


def test_primaries_are_the_rings() -> None:
    targets = Rings(Proxy()).primaries(0, ObjectPath("AUTH_a", "c", "ö"))

    assert targets == (
        Target("10.0.0.1", 6000, "d1", 42, 0),
        Target("fd00::2", 6000, "d2", 42, 0),
    )


def test_everywhere_leaves_out_holes_and_disks_without_weight() -> None:
    targets = Rings(Proxy()).everywhere(())

    assert [t.device for t in targets] == ["d1", "d2"]


def test_policies_have_names_and_types() -> None:
    rings = Rings(Proxy())

    assert rings.policy_name(0) == "Policy-0"
    assert rings.is_replicated(0)
    assert rings.policy_name(99) == "99"
    assert not rings.is_replicated(99)


def test_unknown_policy_is_a_config_error() -> None:
    check_policies(("Policy-0",))
    with pytest.raises(ConfigError, match="allowed are Policy-0"):
        check_policies(("Policy-0", "tin"))


def test_swifts_error_limits_are_asked_and_told() -> None:
    proxy = Proxy()
    rings = Rings(proxy)
    good, bad = rings.everywhere(())

    assert not rings.is_suspect(good)
    assert rings.is_suspect(bad)
    rings.report_failure(good, "no connection")
    assert proxy.told == [("d1", "no connection")]
