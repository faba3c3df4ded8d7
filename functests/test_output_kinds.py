"""Outputs are stored as a client's PUT is, whatever the container does.

Policies, versions, quotas, encryption: the object and its listing are as if
the user had put it there.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import group, put_guest, reads, writes
from functests.replicas import replicas
from functests.support import Account
from functests.test_job_inputs import pattern
from zerocloud.cluster import Cluster, ClusterSettings

# Small ones come with the report, the other is fetched.
SIZES = {"empty": 0, "small": 11, "large": 300_017}


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster with Swift's encryption."""
    settings = ClusterSettings(encrypt=True)
    with started(tmp_path_factory.mktemp("encrypted"), settings) as running:
        yield running


def fill(account: Account) -> dict[str, bytes]:
    """in/empty, in/large, in/small."""
    stored = {name: pattern(size) for name, size in SIZES.items()}
    for name, data in stored.items():
        account.put(f"in/{name}", data)
    return stored


def copies(account: Account, target: str) -> list[Any]:
    """A job that copies in/* into a container."""
    return [
        group(
            put_guest(account, "cat"),
            reads(account.path("in/*")),
            writes(
                account.path("out/*", target),
                content_type="text/x-copy; charset=utf-8",
                meta={"Color": "blü", "Of": "in"},
            ),
        )
    ]


def check_stored(account: Account, target: str, stored: Any) -> None:
    """Bytes, headers and listing are those of a PUT of these bytes."""
    rows = account.request("GET", target, params={"format": "json"}).json()
    listed = {row["name"]: row for row in rows}
    assert set(listed) == {f"out/{name}" for name in stored}
    for name, data in stored.items():
        md5 = hashlib.md5(data).hexdigest()
        assert account.get(f"out/{name}", target) == data
        head = account.head(f"out/{name}", target).headers
        assert head["Etag"].strip('"') == md5
        assert head["Content-Length"] == str(len(data))
        assert head["Content-Type"] == "text/x-copy; charset=utf-8"
        assert head["X-Object-Meta-Of"] == "in"
        color = head["X-Object-Meta-Color"].encode("latin-1")
        assert color == "blü".encode()
        row = listed[f"out/{name}"]
        assert (row["bytes"], row["hash"]) == (len(data), md5)
        # Swift takes the blank away in listings, from a user's PUT as well.
        assert row["content_type"] == "text/x-copy;charset=utf-8"


def remove(account: Account, target: str) -> None:
    for name in account.listing(target):
        account.delete(name, target)
    assert account.request("DELETE", target).status_code == 204


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("policy", "files"), [("replicated", 3), ("single", 1), ("erasure", 6)]
)
def test_outputs_have_the_policy_of_their_container(
    account: Account, policy: str, files: int
) -> None:
    stored = fill(account)
    target = account.create(
        f"out-{uuid.uuid4().hex[:8]}", X_Storage_Policy=policy
    )

    report = account.run(copies(account, target))

    assert report["status"] == "succeeded"
    check_stored(account, target, stored)
    for name in stored:
        assert len(replicas(account, f"out/{name}", target)) == files
    remove(account, target)


def test_outputs_are_encrypted_at_rest(encrypted: Cluster) -> None:
    for account in with_container(Account(encrypted)):
        stored = fill(account)
        target = account.create("out")

        report = account.run(copies(account, target))

        assert report["status"] == "succeeded"
        check_stored(account, target, stored)
        on_disk = [
            path.read_bytes()
            for path in replicas(account, "out/large", target)
        ]
        assert len(on_disk) == 3
        assert not any(stored["large"][:64] in data for data in on_disk)


@pytest.mark.usefixtures("nothing_left")
def test_outputs_into_a_versioned_container_are_one_version_a_job(
    account: Account,
) -> None:
    target = account.create(
        f"out-{uuid.uuid4().hex[:8]}", X_Versions_Enabled="true"
    )
    program = put_guest(account, "cat")
    job = [
        group(
            program,
            reads(account.path("in")),
            writes(account.path("o", target)),
        )
    ]
    texts = [b"first", pattern(200_000), b"third"]
    for data in texts:
        account.put("in", data)
        assert account.run(job)["status"] == "succeeded"

    rows = account.request(
        "GET", target, params={"versions": "", "format": "json"}
    ).json()
    read = [
        account.request(
            "GET", f"{target}/o", params={"version-id": row["version_id"]}
        ).content
        for row in rows
    ]
    assert read == texts[::-1]
    assert account.get("o", target) == texts[-1]
    for row in rows:
        account.request(
            "DELETE", f"{target}/o", params={"version-id": row["version_id"]}
        )
    remove(account, target)


@pytest.mark.usefixtures("nothing_left")
def test_outputs_over_others_leave_them_in_the_versions_location(
    account: Account,
) -> None:
    """The older way of versions."""
    token = uuid.uuid4().hex[:8]
    history = account.create(f"history-{token}")
    target = account.create(f"out-{token}", X_Versions_Location=history)
    account.put("o", b"by hand", target)
    account.put("in", b"by a job")
    program = put_guest(account, "cat")

    account.run(
        [
            group(
                program,
                reads(account.path("in")),
                writes(account.path("o", target)),
            )
        ]
    )

    assert account.get("o", target) == b"by a job"
    [old] = account.listing(history)
    assert account.get(old, history) == b"by hand"
    account.request(
        "POST", target, {"X-Remove-Versions-Location": "x"}
    ).raise_for_status()
    remove(account, target)
    remove(account, history)


QUOTAS = {
    "bytes": {"X-Container-Meta-Quota-Bytes": "10"},
    "objects": {"X-Container-Meta-Quota-Count": "0"},
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("quota", QUOTAS.values(), ids=QUOTAS)
def test_quota_of_a_container_refuses_an_output_by_name(
    account: Account, quota: dict[str, str]
) -> None:
    account.put("in", pattern(11))
    target = account.create(f"out-{uuid.uuid4().hex[:8]}")
    account.request("POST", target, quota).raise_for_status()
    program = put_guest(account, "cat")
    job = [
        group(
            program,
            reads(account.path("in")),
            writes(account.path("o", target)),
        )
    ]

    answer = account.post_job(job, {"Accept": "application/json"})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "output_refused")
    assert (
        f"{target}/o could not be stored: Swift answered 413"
        in (error["message"])
    )
    assert "Upload exceeds quota." in error["message"]
    assert account.listing(target) == []
    remove(account, target)


def test_quota_of_an_account_refuses_an_output_by_name(
    encrypted: Cluster,
) -> None:
    """On a cluster that is not shared: the quota is of the whole account."""
    admin = Account(encrypted, "admin:admin", "admin").log_in()
    for account in with_container(Account(encrypted)):
        account.put("in", pattern(11))
        program = put_guest(account, "cat")
        target = account.path("o")
        job = [group(program, reads(account.path("in")), writes(target))]
        admin.url = account.url
        admin.request(
            "POST", "", {"X-Account-Meta-Quota-Bytes": "10"}
        ).raise_for_status()

        answer = account.post_job(job)

        assert answer.status_code == 422, answer.text
        assert f"{account.container}/o could not be stored" in answer.text
        assert "Upload exceeds quota." in answer.text
        assert account.head("o").status_code == 404

        admin.request(
            "POST", "", {"X-Account-Meta-Quota-Bytes": ""}
        ).raise_for_status()
        assert account.run(job)["status"] == "succeeded"
        assert account.get("o") == pattern(11)
    admin.close()
