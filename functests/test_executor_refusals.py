"""What an object server says to a task it will not run, before it runs."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.executor_client import (
    Exchange,
    Place,
    anywhere,
    places,
    run,
    streamed,
    task,
)
from functests.jobs import guest
from functests.support import Account
from zerocloud import headers
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.protocol.signing import key_id
from zerocloud.protocol.task import TaskImage

CAT = guest("cat")
pytestmark = pytest.mark.usefixtures("nothing_left")


def refused(exchange: Exchange, **changed: str) -> tuple[int, dict[str, Any]]:
    """Status and error of a request that must be refused."""
    exchange.open(**changed)
    exchange.send_task()
    response = exchange.status()
    error = json.loads(response.read())["error"]
    exchange.close()
    return response.status, error


def local(cluster: Cluster, place: Place, **changes: Any) -> Exchange:
    return Exchange(
        cluster, place, task(CAT, inputs=(place.input(),)), **changes
    )


def test_stranger_reads_and_runs_nothing(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"secret")
    [place, *_] = places(cluster, account, "o")
    exchange = local(cluster, place)
    exchange.sign(b"not the cluster's key")
    status, error = refused(exchange)
    assert (status, error["code"]) == (403, "unknown_key")
    key = cluster.folder.key()
    log = (cluster.folder.log / "cluster.log").read_text()
    assert f"known are {key_id(key.encode())}" in log
    assert key not in log


def test_request_recorded_is_good_once(cluster: Cluster) -> None:
    document = task(CAT)
    exchange = Exchange(cluster, anywhere(cluster), document)
    assert exchange.begin().status == 200
    exchange.close()
    again = Exchange(
        cluster,
        anywhere(cluster),
        document,
        expires=exchange.request.expires,
    )
    assert again.signature == exchange.signature
    status, error = refused(again)
    assert (status, error["code"]) == (403, "replayed")


def test_request_for_another_object_is_refused(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"mine")
    [place, *_] = places(cluster, account, "o")
    exchange = local(cluster, place)
    exchange.place = Place(place.server, place.disk, place.partition, "/a/c/x")
    status, error = refused(exchange)
    assert (status, error["code"]) == (403, "bad_signature")


def test_request_expired_is_refused(cluster: Cluster) -> None:
    expired = int(time.time()) - 120
    exchange = Exchange(cluster, anywhere(cluster), task(CAT), expires=expired)
    assert refused(exchange)[1]["code"] == "expired"


def test_version_unknown_is_told_to_try_elsewhere(cluster: Cluster) -> None:
    exchange = Exchange(cluster, anywhere(cluster), task(CAT))
    status, error = refused(exchange, X_Zerocloud_Version="9")
    assert (status, error["may_retry"]) == (412, True)
    assert headers.TASK_VERSION in error["message"]


def test_object_changed_is_a_conflict(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"old")
    [old, *_] = places(cluster, account, "o")
    account.put("o", b"new")
    new = places(cluster, account, "o")
    [here] = [p for p in new if p.server == old.server]
    status, error = refused(local(cluster, old))
    assert (status, error["code"]) == (409, "object_changed")
    assert error["timestamp"] == here.pin


def test_object_with_new_metadata_has_not_changed(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"same")
    [place, *_] = places(cluster, account, "o")
    meta = {"X-Object-Meta-Of": "later"}
    account.request("POST", f"{account.container}/o", meta)
    document = task(CAT, inputs=(place.input(),))
    assert run(cluster, place, document, (CAT,)).outputs == {0: b"same"}


def test_object_deleted_is_not_found(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"x")
    [place, *_] = places(cluster, account, "o")
    account.delete("o")
    status, error = refused(local(cluster, place))
    assert (status, error["code"]) == (404, "not_found")
    assert error["may_retry"]


def test_object_expired_is_not_found(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"x", X_Delete_At=str(int(time.time()) + 1))
    [place, *_] = places(cluster, account, "o")
    time.sleep(1.1)
    assert refused(local(cluster, place))[0] == 404


def test_disk_missing_is_insufficient_storage(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"x")
    [place, *_] = places(cluster, account, "o")
    place.disk = "nodisk"
    assert refused(local(cluster, place))[0] == 507


def slo(account: Account) -> None:
    etag = account.put("s", b"segment")
    path = f"/{account.container}/s"
    manifest = [{"path": path, "etag": etag, "size_bytes": 7}]
    answer = account.request(
        "PUT",
        f"{account.container}/o?multipart-manifest=put",
        data=json.dumps(manifest),
    )
    assert answer.status_code == 201


def dlo(account: Account) -> None:
    account.put("o", b"", X_Object_Manifest=f"{account.container}/s")


def symlink(account: Account) -> None:
    account.put("target", b"bytes")
    account.put("o", b"", X_Symlink_Target=f"{account.container}/target")


@pytest.mark.parametrize("make", [slo, dlo, symlink])
def test_object_that_is_not_its_bytes_is_not_local(
    cluster: Cluster, account: Account, make: Any
) -> None:
    make(account)
    [place, *_] = places(cluster, account, "o")
    status, error = refused(local(cluster, place))
    assert (status, error["code"]) == (422, "not_local")
    assert error["may_retry"]


def test_object_encrypted_is_not_local(tmp_path: Path) -> None:
    with started(tmp_path / "enc", ClusterSettings(encrypt=True)) as cluster:
        for account in with_container(Account(cluster)):
            account.put("o", b"plain")
            [place, *_] = places(cluster, account, "o")
            status, error = refused(local(cluster, place))
    assert (status, error["code"]) == (422, "not_local")
    assert "encrypted" in error["message"]


def test_local_reads_off_is_not_local(tmp_path: Path) -> None:
    off = ClusterSettings(executor_options={"local_reads": "no"})
    with started(tmp_path / "off", off) as cluster:
        for account in with_container(Account(cluster)):
            account.put("o", b"plain")
            [place, *_] = places(cluster, account, "o")
            assert refused(local(cluster, place))[0] == 422


def test_object_of_another_policy_is_looked_for_there(
    cluster: Cluster, account: Account
) -> None:
    account.put("o", b"x")
    [place, *_] = places(cluster, account, "o")
    place.policy_index = 77
    status, error = refused(local(cluster, place))
    assert (status, error["code"]) == (422, "not_local")


def test_system_image_unknown_is_told_to_try_elsewhere(
    cluster: Cluster,
) -> None:
    images = (TaskImage("cobol", "system", "0" * 64),)
    exchange = Exchange(cluster, anywhere(cluster), task(CAT, images=images))
    status, error = refused(exchange)
    assert (status, error["code"]) == (422, "unknown_image")
    assert error["may_retry"]


def test_queue_full_is_busy(tmp_path: Path) -> None:
    narrow = {"slots": "1", "queue": "0"}
    with started(
        tmp_path / "narrow", ClusterSettings(executor_options=narrow)
    ) as cluster:
        # Its input never comes: it keeps its slot.
        waiting = task(CAT, inputs=(streamed("stdin", b"never"),))
        first = Exchange(cluster, anywhere(cluster), waiting)
        assert first.begin().status == 200
        second = Exchange(cluster, anywhere(cluster), task(CAT))
        status, error = refused(second)
        assert (status, error["code"]) == (503, "busy")
        first.close()


def test_verb_without_the_filter_is_not_allowed(tmp_path: Path) -> None:
    with started(tmp_path / "bare", ClusterSettings(filters=False)) as cluster:
        exchange = Exchange(cluster, anywhere(cluster), task(CAT))
        exchange.open()
        assert exchange.status().status == 405
        exchange.close()


def test_other_verbs_reach_the_object_server(cluster: Cluster) -> None:
    server = anywhere(cluster).server
    connection = http.client.HTTPConnection(server.ip, server.port, timeout=9)
    connection.request("NONSENSE", "/d1/0/a/c/o")
    assert connection.getresponse().status == 405
    connection.close()
