"""The order of tries: pure, repeatable, even."""

from __future__ import annotations

from collections import Counter

from zerocloud.scheduler.placement import (
    Conditions,
    Target,
    by_server,
    order,
    shared_server,
)

SERVERS = [Target(f"10.0.0.{n}", 6000, "d1", 3, 0) for n in range(1, 5)]


def names(targets: list[Target]) -> list[str]:
    return [t.ip for t in targets]


def test_order_is_a_function_of_its_arguments() -> None:
    conditions = Conditions(load={})

    assert order(SERVERS, conditions, "j/n") == order(
        reversed(SERVERS), conditions, "j/n"
    )


def test_order_of_equal_servers_differs_from_node_to_node() -> None:
    firsts = Counter(
        order(SERVERS, Conditions(load={}), f"job/{n}")[0].ip
        for n in range(1000)
    )

    assert len(firsts) == 4
    assert min(firsts.values()) > 200


def test_order_prefers_the_server_with_fewer_tasks() -> None:
    load = {t.server: 5 for t in SERVERS} | {"10.0.0.3:6000": 4}

    assert order(SERVERS, Conditions(load), "x")[0].ip == "10.0.0.3"


def test_order_has_suspects_last_but_has_them() -> None:
    conditions = Conditions(
        load={t.server: 9 for t in SERVERS} | {"10.0.0.1:6000": 0},
        suspects={"10.0.0.1:6000"},
    )

    found = names(order(SERVERS, conditions, "x"))

    assert found[-1] == "10.0.0.1"
    assert len(found) == 4


def test_order_puts_the_preferred_server_before_load() -> None:
    conditions = Conditions(
        load={"10.0.0.2:6000": 9}, preferred="10.0.0.2:6000"
    )

    assert order(SERVERS, conditions, "x")[0].ip == "10.0.0.2"


def test_order_puts_a_preferred_suspect_last() -> None:
    bad = "10.0.0.2:6000"
    conditions = Conditions(load={}, suspects={bad}, preferred=bad)

    assert order(SERVERS, conditions, "x")[-1].ip == "10.0.0.2"


def test_server_of_an_ipv6_address_can_stand_in_a_host_header() -> None:
    assert Target("fd00::2", 6000, "d", 0, 0).server == "[fd00::2]:6000"


def test_by_server_spreads_tasks_over_disks() -> None:
    disks = [Target("10.0.0.1", 6000, f"d{n}", 0, 0) for n in range(4)]

    [server] = by_server(disks)
    used = Counter(server.disk(f"job/{n}").device for n in range(400))

    assert min(used.values()) > 60


def test_shared_server_is_where_most_objects_are() -> None:
    holders = [{"a", "b"}, {"b", "c"}, {"b", "a"}]

    assert shared_server(holders, ["a", "b", "c", "d"], "x") == "b"


def test_shared_server_without_objects_is_spread_by_the_salt() -> None:
    chosen = {
        shared_server([(), ()], ["a", "b", "c", "d"], f"job/{n}")
        for n in range(50)
    }

    assert chosen == {"a", "b", "c", "d"}


def test_shared_server_without_servers_is_none() -> None:
    assert shared_server([()], [], "x") is None
