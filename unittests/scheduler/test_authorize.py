"""Who may run what: decided before anything runs or is revealed."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.scheduler.conftest import Cluster, group
from unittests.scheduler.swift_fake import FakeObject
from zerocloud.errors import JobError
from zerocloud.scheduler.authorize import check_identity

STDOUT = {"name": "stdout"}
OTHER = "swift://AUTH_b"


def reads(path: str) -> list[dict[str, Any]]:
    return [group(devices=[{"name": "stdin", "path": path}, STDOUT])]


def writes(path: str) -> list[dict[str, Any]]:
    return [group("name", devices=[{"name": "stdout", "path": path}])]


def share(cluster: Cluster, **acl: str) -> None:
    """A container of another account with one object."""
    made = cluster.swift.container("box", "AUTH_b", **acl)
    made.objects["there"] = FakeObject(b"theirs")


def test_identity_needs_swifts_callback() -> None:
    with pytest.raises(JobError) as caught:
        check_identity({"REMOTE_USER": "alice"})

    assert caught.value.code == "forbidden"


@pytest.mark.parametrize(
    "env",
    [
        {"swift.authorize_override": True, "REMOTE_USER": "alice"},
        {"swift.authorize_override": True, "REMOTE_USER": ".wsgi.tempurl"},
        {"REMOTE_USER": ".wsgi.formpost"},
        {"REMOTE_USER": ".wsgi.pre_authed"},
    ],
)
def test_identity_of_an_overriding_callback_cannot_start_jobs(
    env: dict[str, Any],
) -> None:
    with pytest.raises(JobError, match="cannot start one") as caught:
        check_identity({"swift.authorize": lambda req: None, **env})

    assert caught.value.status == 403


def test_identity_is_needed() -> None:
    with pytest.raises(JobError, match="needs a token") as caught:
        check_identity({"swift.authorize": lambda req: None})

    assert caught.value.status == 401


@pytest.mark.parametrize(
    "who", [{"REMOTE_USER": "alice,acct"}, {"keystone.identity": {"u": 1}}]
)
def test_identity_of_a_named_user_is_enough(who: dict[str, Any]) -> None:
    check_identity({"swift.authorize": lambda req: None, **who})


def test_job_in_a_foreign_account_is_refused_before_its_body_is_read(
    cluster: Cluster,
) -> None:
    cluster.owns = "AUTH_b"

    with pytest.raises(JobError, match="running jobs in account AUTH_a"):
        cluster.run(b"this is not JSON")


def test_object_of_another_account_needs_its_read_acl(
    cluster: Cluster,
) -> None:
    share(cluster, readers="alice")

    done = cluster.run(reads(f"{OTHER}/box/there"))

    assert done.body == b"theirs"


@pytest.mark.parametrize("name", ["there", "missing"])
@pytest.mark.parametrize("acl", [{}, {"readers": "bob"}, {"writers": "alice"}])
def test_refused_read_is_the_same_whether_the_object_exists(
    cluster: Cluster, name: str, acl: dict[str, str]
) -> None:
    share(cluster, **acl)

    with pytest.raises(JobError) as caught:
        cluster.run(reads(f"{OTHER}/box/{name}"))

    assert (caught.value.code, caught.value.status) == ("forbidden", 403)
    assert caught.value.message == (
        f"reading {OTHER}/box/{name} is not allowed for this user"
    )
    assert f"HEAD {OTHER}/box/{name}" not in cluster.swift.log


@pytest.mark.parametrize("container", ["box", "nowhere"])
def test_refused_write_is_the_same_whether_the_container_exists(
    cluster: Cluster, container: str
) -> None:
    share(cluster, readers="alice")

    with pytest.raises(JobError) as caught:
        cluster.run(writes(f"{OTHER}/{container}/x"))

    assert caught.value.code == "forbidden"
    assert cluster.nodes.ran == []


def test_write_acl_of_another_account_is_enough(cluster: Cluster) -> None:
    share(cluster, writers="alice")

    cluster.run(writes(f"{OTHER}/box/made"))

    box = cluster.swift.containers["AUTH_b", "box"]
    assert box.objects["made"].data == b"n"


def test_listing_of_another_account_needs_its_read_acl(
    cluster: Cluster,
) -> None:
    share(cluster, readers="bob")

    with pytest.raises(JobError, match="listing container") as caught:
        cluster.run(reads(f"{OTHER}/box/*"))

    assert caught.value.code == "forbidden"


def test_every_name_is_checked_before_any_is_opened(cluster: Cluster) -> None:
    cluster.swift.put("in/a", b"mine")
    share(cluster)
    job = [
        *reads("swift://~/in/a"),
        group(
            name="m",
            devices=[{"name": "stdin", "path": f"{OTHER}/box/there"}, STDOUT],
        ),
    ]

    with pytest.raises(JobError):
        cluster.run(job)

    assert not [
        e for e in cluster.swift.log if e.startswith(("HEAD", "GET", "PUT"))
    ]
    assert cluster.nodes.ran == []


def test_program_of_another_account_needs_its_read_acl(
    cluster: Cluster,
) -> None:
    share(cluster)
    job = [group("name")]
    job[0]["exec"]["path"] = f"{OTHER}/box/there"

    with pytest.raises(JobError, match="reading swift://AUTH_b/box/there"):
        cluster.run(job)


def test_source_of_another_account_is_read_with_the_callers_rights(
    cluster: Cluster,
) -> None:
    share(cluster)

    with pytest.raises(JobError) as caught:
        cluster.run(b"", HTTP_X_ZEROVM_SOURCE=f"{OTHER}/box/there")

    assert caught.value.code == "forbidden"
