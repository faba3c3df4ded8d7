"""Task requests straight at an object server's port, without its trust.

Whoever gets there without the cluster's key learns nothing and changes
nothing; whoever has recorded a good request cannot use it for anything else.
What a holder of the key is told is in test_executor_refusals.py.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from functests.executor_client import Exchange, Place, anywhere, places, task
from functests.jobs import guest
from functests.refusing import tasks_run
from functests.support import Account
from zerocloud import headers
from zerocloud.cluster import Cluster
from zerocloud.protocol import frames

CAT = guest("cat")
pytestmark = pytest.mark.usefixtures("nothing_left")


def answered(exchange: Exchange, **changed: str) -> tuple[int, dict[str, Any]]:
    """Status and error of a request that must be refused."""
    exchange.open(**changed)
    exchange.send_task()
    response = exchange.status()
    error = json.loads(response.read())["error"]
    exchange.close()
    return response.status, error


def reading(cluster: Cluster, account: Account) -> tuple[Place, Exchange]:
    """A good request to read an object in place, not sent yet."""
    account.put("o", b"secret")
    [place, *_] = places(cluster, account, "o")
    return place, Exchange(cluster, place, task(CAT, inputs=(place.input(),)))


def without(exchange: Exchange) -> None:
    exchange.signature = ""


def with_garbage(exchange: Exchange) -> None:
    exchange.signature = "x" * 5000


def cut_off(exchange: Exchange) -> None:
    exchange.signature = exchange.signature[:-1]


def in_capitals(exchange: Exchange) -> None:
    known, mac = exchange.signature.split()
    exchange.signature = f"{known} {mac.upper()}"


def of_zeros(exchange: Exchange) -> None:
    known, _ = exchange.signature.split()
    exchange.signature = f"{known} {'0' * 64}"


def with_another_key(exchange: Exchange) -> None:
    exchange.sign(b"another cluster's key, as long as ours")


def with_no_key(exchange: Exchange) -> None:
    exchange.sign(b"")


FORGERIES = [
    without,
    with_garbage,
    cut_off,
    in_capitals,
    of_zeros,
    with_another_key,
    with_no_key,
]


@pytest.mark.parametrize("forge", FORGERIES)
@pytest.mark.parametrize("name", ["there", "missing"])
def test_forged_signature_is_refused_whether_the_object_exists(
    cluster: Cluster,
    account: Account,
    forge: Callable[[Exchange], None],
    name: str,
) -> None:
    ran = tasks_run(cluster)
    place, exchange = reading(cluster, account)
    if name == "missing":
        other = replace(place, object=place.object + "-not")
        document = task(CAT, inputs=(other.input(),))
        exchange = Exchange(cluster, other, document)
    forge(exchange)

    status, error = answered(exchange)

    assert status == 403
    assert error["code"] in ("bad_signature", "unknown_key")
    assert "secret" not in error["message"]
    assert place.object not in error["message"]
    assert cluster.folder.key() not in error["message"]
    assert tasks_run(cluster) == ran
    assert account.get("o") == b"secret"


RECORDED = {
    "another disk": {"disk": "d2"},
    "another partition": {"partition": 77},
    "another object": {"object": "/AUTH_test/c/x"},
}


@pytest.mark.parametrize("change", RECORDED.values(), ids=RECORDED.keys())
def test_recorded_signature_fits_nothing_else(
    cluster: Cluster, account: Account, change: dict[str, Any]
) -> None:
    place, exchange = reading(cluster, account)
    exchange.place = replace(place, **change)
    if exchange.place == place:
        exchange.place = replace(place, disk="d1")

    status, error = answered(exchange)

    assert (status, error["code"]) == (403, "bad_signature")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (headers.POLICY_INDEX, "1"),
        (headers.TASK_PIN, "1700000000.00000"),
        (headers.TASK_ID, "job/node/2"),
        (headers.TASK_DIGEST, "0" * 64),
        (headers.TASK_EXPIRES, str(int(time.time()) + 200)),
    ],
)
def test_recorded_signature_covers_each_header(
    cluster: Cluster, account: Account, name: str, value: str
) -> None:
    _, exchange = reading(cluster, account)

    changed = {name.replace("-", "_"): value}
    status, error = answered(exchange, **changed)

    assert (status, error["code"]) == (403, "bad_signature")


def test_task_document_is_covered_by_the_signature(cluster: Cluster) -> None:
    exchange = Exchange(cluster, anywhere(cluster), task(CAT))
    exchange.data = exchange.data.replace(b"node-1", b"node-2")

    status, error = answered(exchange)

    assert (status, error["code"]) == (400, "bad_request")
    assert headers.TASK_DIGEST in error["message"]


def test_request_that_is_good_for_too_long_is_refused(
    cluster: Cluster,
) -> None:
    late = int(time.time()) + 3600
    exchange = Exchange(cluster, anywhere(cluster), task(CAT), expires=late)

    status, error = answered(exchange)

    assert (status, error["code"]) == (403, "expired")


def test_frame_without_its_mac_is_garbage(cluster: Cluster) -> None:
    exchange = Exchange(cluster, anywhere(cluster), task(CAT)).open()
    exchange.send_raw(frames.encode_frame(frames.TASK, 0, exchange.data))
    exchange.send_raw(bytes(16))

    response = exchange.status()

    assert response.status == 400
    assert "MAC" in json.loads(response.read())["error"]["message"]
    exchange.close()


def test_stranger_with_a_plain_request_is_refused(
    cluster: Cluster, account: Account
) -> None:
    place, _ = reading(cluster, account)
    for table in ({}, {headers.TASK_VERSION: "1"}):
        connection = http.client.HTTPConnection(
            place.server.ip, place.server.port, timeout=9
        )
        path = quote(place.path.encode("latin-1"))
        connection.request(headers.TASK_VERB, path, b"x" * 100_000, table)
        response = connection.getresponse()
        assert response.status in (400, 403, 412)
        assert b"secret" not in response.read()
        connection.close()


def test_verb_is_none_of_the_proxy(cluster: Cluster, account: Account) -> None:
    account.put("o", b"secret")

    answer = account.request(
        headers.TASK_VERB,
        f"{account.container}/o",
        {headers.TASK_VERSION: "1", headers.TASK_SIGNATURE: "x y"},
    )

    assert answer.status_code == 405
    assert b"secret" not in answer.content
