"""Every kind of Swift object that a job may meet exists on the cluster."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from functests.conftest import started
from functests.support import Account
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.cluster.handle import Node


def data_files(node: Node) -> list[Path]:
    return sorted(node.folder.glob("disks/*/objects*/**/*.data"))


def test_object_stored_read_listed_and_deleted(account: Account) -> None:
    account.put("ein Name/with ünïcode", b"bytes", X_Object_Meta_Of="this")
    assert account.get("ein Name/with ünïcode") == b"bytes"
    assert account.listing() == ["ein Name/with ünïcode"]
    head = account.head("ein Name/with ünïcode")
    assert head.headers["X-Object-Meta-Of"] == "this"
    assert account.delete("ein Name/with ünïcode") == 204
    assert account.head("ein Name/with ünïcode").status_code == 404


def test_object_lies_on_three_nodes(
    cluster: Cluster, account: Account
) -> None:
    before = {n.number: set(data_files(n)) for n in cluster.nodes}
    account.put("o", b"replicated")
    new = [
        path
        for node in cluster.nodes
        for path in set(data_files(node)) - before[node.number]
    ]
    assert [path.read_bytes() for path in new] == [b"replicated"] * 3
    assert len({path.parents[6] for path in new}) == 3


def test_static_large_object_joins_its_segments(account: Account) -> None:
    manifest = []
    for name, data in (("s1", b"first "), ("s2", b"second")):
        etag = account.put(name, data)
        path = f"/{account.container}/{name}"
        manifest.append({"path": path, "etag": etag, "size_bytes": len(data)})
    answer = account.request(
        "PUT",
        f"{account.container}/slo?multipart-manifest=put",
        data=json.dumps(manifest),
    )
    assert answer.status_code == 201, answer.text
    assert account.get("slo") == b"first second"


def test_dynamic_large_object_joins_its_prefix(account: Account) -> None:
    account.put("part-1", b"one ")
    account.put("part-2", b"two")
    account.put("dlo", X_Object_Manifest=f"{account.container}/part-")
    assert account.get("dlo") == b"one two"


def test_symlink_reads_its_target(account: Account) -> None:
    account.put("target", b"behind")
    account.put("link", X_Symlink_Target=f"{account.container}/target")
    assert account.get("link") == b"behind"


def test_versioned_container_keeps_the_old_bytes(account: Account) -> None:
    account.request(
        "POST", account.container, {"X-Versions-Enabled": "true"}
    ).raise_for_status()
    account.put("v", b"old")
    account.put("v", b"new")
    query = {"versions": "true", "format": "json"}
    listed = account.request("GET", account.container, params=query).json()
    reads = [
        account.request(
            "GET",
            f"{account.container}/v",
            params={"version-id": entry["version_id"]},
        ).content
        for entry in listed
    ]
    assert (account.get("v"), reads) == (b"new", [b"new", b"old"])
    for entry in listed:
        account.request(
            "DELETE",
            f"{account.container}/v",
            params={"version-id": entry["version_id"]},
        )


def test_copy_takes_bytes_and_metadata(account: Account) -> None:
    account.put("from", b"same", X_Object_Meta_K="v")
    account.put("to", X_Copy_From=f"{account.container}/from")
    assert account.get("to") == b"same"
    assert account.head("to").headers["X-Object-Meta-K"] == "v"


def test_erasure_coded_object_is_cut_into_fragments(
    cluster: Cluster, account: Account
) -> None:
    data = os.urandom(300_000)
    box = account.create(f"{account.container}-ec", X_Storage_Policy="erasure")
    account.put("o", data, box)
    assert account.get("o", box) == data
    fragments = [
        path
        for node in cluster.nodes
        for path in node.folder.glob("disks/*/objects-1/**/*.data")
    ]
    assert len(fragments) == 6
    assert all(path.stat().st_size < 100_000 for path in fragments)
    account.delete("o", box)
    account.request("DELETE", box)


def test_single_policy_keeps_one_copy(
    cluster: Cluster, account: Account
) -> None:
    box = account.create(f"{account.container}-one", X_Storage_Policy="single")
    account.put("o", b"once", box)
    copies = [
        path
        for node in cluster.nodes
        for path in node.folder.glob("disks/*/objects-2/**/*.data")
    ]
    assert [path.read_bytes() for path in copies] == [b"once"]
    account.delete("o", box)
    account.request("DELETE", box)


def test_container_quota_refuses_more(account: Account) -> None:
    account.request(
        "POST", account.container, {"X-Container-Meta-Quota-Bytes": "4"}
    ).raise_for_status()
    account.put("fits", b"1234")
    answer = account.request(
        "PUT", f"{account.container}/too-much", data=b"12345"
    )
    assert (answer.status_code, answer.text) == (413, "Upload exceeds quota.")


def test_expired_object_is_gone(account: Account) -> None:
    account.put("o", b"soon", X_Delete_At=str(int(time.time()) + 2))
    assert account.get("o") == b"soon"
    time.sleep(2.1)  # Swift's unit is the second
    assert account.head("o").status_code == 404


def test_other_account_reads_only_what_an_acl_allows(
    account: Account, other_account: Account
) -> None:
    account.put("o", b"mine")
    path = f"{account.container}/o"
    other_account.url = account.url
    assert other_account.request("GET", path).status_code == 403
    account.request(
        "POST", account.container, {"X-Container-Read": "test2:tester2"}
    ).raise_for_status()
    assert other_account.request("GET", path).content == b"mine"
    other_account.log_in()


def test_info_lists_what_jobs_rely_on(cluster: Cluster) -> None:
    info = Account(cluster).session.get(f"{cluster.url}/info").json()
    expected = {
        "slo",
        "symlink",
        "s3api",
        "tempauth",
        "tempurl",
        "bulk_upload",
        "versioned_writes",
        "object_versioning",
        "account_quotas",
        "container_quotas",
    }
    assert expected <= set(info)
    policies = {policy["name"] for policy in info["swift"]["policies"]}
    assert policies == {"replicated", "erasure", "single"}


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster with Swift's encryption."""
    running = started(
        tmp_path_factory.mktemp("encrypted"), ClusterSettings(encrypt=True)
    )
    yield running
    running.stop()


def test_encrypted_object_is_not_readable_on_disk(encrypted: Cluster) -> None:
    account = Account(encrypted).log_in()
    account.container = account.create("c")
    account.put("o", b"a secret" * 100)
    assert account.get("o") == b"a secret" * 100
    stored = [
        path.read_bytes()
        for node in encrypted.nodes
        for path in data_files(node)
    ]
    assert [len(data) for data in stored] == [800] * 3
    assert not any(b"secret" in data for data in stored)
    account.close()
