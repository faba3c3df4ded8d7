"""Outputs longer than Swift's longest object become static large objects.

On a cluster whose longest object has 100 kB.  Segments are the user's, in a
container beside; nobody sees anything before the manifest is there, and when
the job fails, nothing is left.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import group, guest, put_guest, reads, writes
from functests.running import posted
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
)
from functests.test_job_inputs import cat, pattern, source_of
from zerocloud.cluster import Cluster, ClusterSettings

LONGEST = 100_000
SIZE = 250_001
LEFT_SECONDS = 3.0


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose objects have at most LONGEST bytes."""
    settings = ClusterSettings(
        nodes=3, swift_constraints={"max_file_size": str(LONGEST)}
    )
    with started(tmp_path_factory.mktemp("lowered"), settings) as cluster:
        yield cluster


@pytest.fixture
def box(lowered: Cluster) -> Iterator[Account]:
    """A container with a program, and none for segments."""
    for account in with_container(Account(lowered)):
        put_guest(account, "cat")
        yield account
        name = f"{account.container}_segments"
        if account.request("HEAD", name).status_code == 204:
            for segment in account.listing(name):
                account.delete(segment, name)
            account.request("DELETE", name)


@pytest.fixture(autouse=True)
def nothing_is_left(lowered: Cluster, box: Account) -> Iterator[None]:
    """No process, open object or staged file stays behind."""
    box.session.close()
    before = residue(lowered)
    yield
    box.session.close()
    assert_nothing_left(lowered, before, LEFT_SECONDS)


def source(account: Account, size: int, name: str = "in") -> str:
    """A dynamic large object of so many bytes, as an input."""
    data = pattern(size)
    for at in range(0, size, LONGEST):
        account.put(f"{name}-parts/{at:08}", data[at : at + LONGEST])
    prefix = f"{account.container}/{name}-parts/"
    account.put(name, X_Object_Manifest=prefix)
    return account.path(name)


def copy(account: Account, path: str, **more: Any) -> list[Any]:
    program = account.path("bin/cat.wasm")
    return [group(program, reads(path), writes(account.path("out"), **more))]


def segments(account: Account) -> list[str]:
    """What is in the segments container; it need not exist."""
    name = f"{account.container}_segments"
    found = account.request("GET", name, params={"format": "json"})
    if found.status_code == 404:
        return []
    return [entry["name"] for entry in found.json()]


def test_longer_output_is_a_static_large_object(box: Account) -> None:
    device = {"content_type": "text/csv", "meta": {"Color": "blü"}}

    report = box.run(copy(box, source(box, SIZE), **device))

    assert report["status"] == "succeeded"
    assert box.get("out") == pattern(SIZE)
    head = box.head("out").headers
    assert head["X-Static-Large-Object"] == "True"
    assert head["Content-Length"] == str(SIZE)
    assert head["Content-Type"] == "text/csv"
    assert head["X-Object-Meta-Color"].encode("latin-1") == "blü".encode()
    [entry] = report["nodes"][0]["outputs"]
    assert entry["etag"] == head["Etag"].strip('"')
    assert entry["bytes"] == SIZE
    md5s = [
        hashlib.md5(pattern(SIZE)[at : at + LONGEST]).hexdigest()
        for at in range(0, SIZE, LONGEST)
    ]
    assert entry["etag"] == hashlib.md5("".join(md5s).encode()).hexdigest()
    [listed] = [
        row
        for row in box.request(
            "GET", box.container, params={"format": "json"}
        ).json()
        if row["name"] == "out"
    ]
    assert listed["bytes"] == SIZE
    assert listed["content_type"] == "text/csv"
    assert listed["slo_etag"].strip('"') == entry["etag"]
    job, names = report["job"], segments(box)
    assert names == [
        f"out/zerocloud/{job}/1/stdout/{number:08}" for number in (1, 2, 3)
    ]


def test_output_of_the_greatest_length_is_plain(box: Account) -> None:
    box.put("in", pattern(LONGEST))

    box.run(copy(box, box.path("in")))

    assert box.get("out") == pattern(LONGEST)
    assert "X-Static-Large-Object" not in box.head("out").headers
    assert segments(box) == []


def test_large_output_is_an_input_of_the_next_job(box: Account) -> None:
    box.run(copy(box, source(box, SIZE)))

    data, node = cat(box, box.path("out"))

    assert data == pattern(SIZE)
    assert source_of(node) == "stream"


def test_jobs_that_write_one_name_share_no_segment(box: Account) -> None:
    path = source(box, SIZE)
    first = box.run(copy(box, path))["job"]
    second = box.run(copy(box, path))["job"]

    assert box.get("out") == pattern(SIZE)
    jobs = [name.split("/")[2] for name in segments(box)]
    assert sorted(jobs) == sorted([first] * 3 + [second] * 3)


def test_swift_delete_takes_the_segments_along(box: Account) -> None:
    box.run(copy(box, source(box, SIZE)))

    box.request(
        "DELETE", f"{box.container}/out?multipart-manifest=delete"
    ).raise_for_status()

    assert segments(box) == []


def test_segments_container_has_the_policy_of_the_output(box: Account) -> None:
    path = source(box, SIZE)
    target = box.create(
        f"one-{uuid.uuid4().hex[:8]}", X_Storage_Policy="single"
    )
    program = box.path("bin/cat.wasm")

    box.run([group(program, reads(path), writes(box.path("out", target)))])

    name = f"{target}_segments"
    made = box.request("HEAD", name).headers
    assert made["X-Storage-Policy"] == "single"
    assert box.get("out", target) == pattern(SIZE)
    box.request("DELETE", f"{target}/out?multipart-manifest=delete")
    for container in (name, target):
        assert box.request("DELETE", container).status_code == 204


def test_several_large_outputs_of_several_nodes(box: Account) -> None:
    for number in range(3):
        source(box, SIZE + number, f"in/{number}")
    job = [
        group(
            box.path("bin/cat.wasm"),
            reads(box.path("in/*")),
            writes(box.path("out/*")),
        )
    ]
    # The parts, in/0-parts/…, match as well.
    report = box.run(job)

    assert report["status"] == "succeeded"
    for number in range(3):
        assert box.get(f"out/{number}") == pattern(SIZE + number)


def test_failed_job_stores_no_segment(box: Account) -> None:
    path = source(box, SIZE)
    box.put("bin/exit_code.wasm", guest("exit_code"))
    bad = group(box.path("bin/exit_code.wasm"), name="bad", args=["42"])

    report = box.run([*copy(box, path), bad])

    assert report["status"] == "failed"
    assert box.head("out").status_code == 404
    assert segments(box) == []


def test_quota_on_the_segments_leaves_nothing(box: Account) -> None:
    path = source(box, SIZE)
    name = box.create(f"{box.container}_segments")
    box.request(
        "POST", name, {"X-Container-Meta-Quota-Bytes": str(LONGEST - 1)}
    ).raise_for_status()

    answer = box.post_job(copy(box, path))

    assert answer.status_code == 422, answer.text
    assert f"{name}, and Swift answered 413" in answer.text
    assert box.head("out").status_code == 404
    assert segments(box) == []


def test_quota_on_the_container_leaves_no_segment(box: Account) -> None:
    path = source(box, SIZE)
    box.request(
        "POST", box.container, {"X-Container-Meta-Quota-Count": "0"}
    ).raise_for_status()

    answer = box.post_job(copy(box, path))

    assert answer.status_code == 422, answer.text
    assert f"{box.container}/out could not be stored" in answer.text
    assert box.head("out").status_code == 404
    assert segments(box) == []


def test_other_output_that_is_refused_leaves_no_segment(box: Account) -> None:
    path = source(box, SIZE)
    full = box.create(
        f"full-{uuid.uuid4().hex[:8]}", X_Container_Meta_Quota_Bytes="1"
    )
    box.put("small", b"small")
    program = box.path("bin/cat.wasm")
    other = group(
        program,
        reads(box.path("small")),
        writes(box.path("x", full)),
        name="other",
    )

    answer = box.post_job([*copy(box, path), other])

    assert answer.status_code == 422, answer.text
    assert f"{full}/x could not be stored" in answer.text
    assert box.head("out").status_code == 404
    assert segments(box) == []
    box.request("DELETE", full)


@pytest.fixture
def guest_user(lowered: Cluster) -> Iterator[Account]:
    """A user of another account."""
    user = Account(lowered, "test2:tester2", "testing2").log_in()
    yield user
    user.close()


@pytest.mark.parametrize("there", [False, True])
def test_user_who_may_not_write_segments_is_told_where(
    box: Account, guest_user: Account, *, there: bool
) -> None:
    """Whether the container exists or not is not told."""
    path = source(box, SIZE).replace("~", box.name)
    acl = {
        "X-Container-Read": "test2:tester2",
        "X-Container-Write": "test2:tester2",
    }
    box.request("POST", box.container, acl).raise_for_status()
    if there:
        box.create(f"{box.container}_segments")
    target = box.path("out").replace("~", box.name)
    program = box.path("bin/cat.wasm").replace("~", box.name)
    job = [group(program, reads(path), writes(target))]

    answer = guest_user.post_job(job)

    assert answer.status_code == 403, answer.text
    where = f"swift://{box.name}/{box.container}_segments"
    assert answer.text.strip() == (
        f"output {target} is too long for one object; it is stored in "
        f"segments in {where}; that is not allowed for this user"
    )
    assert box.head("out").status_code == 404
    assert segments(box) == []


def test_user_who_may_write_segments_stores_them(
    box: Account, guest_user: Account
) -> None:
    path = source(box, SIZE).replace("~", box.name)
    acl = {
        "X-Container-Read": "test2:tester2",
        "X-Container-Write": "test2:tester2",
    }
    box.request("POST", box.container, acl).raise_for_status()
    name = box.create(f"{box.container}_segments")
    box.request("POST", name, acl).raise_for_status()
    program = box.path("bin/cat.wasm").replace("~", box.name)
    target = box.path("out").replace("~", box.name)

    report = guest_user.run([group(program, reads(path), writes(target))])

    assert report["status"] == "succeeded"
    assert box.get("out") == pattern(SIZE)


def test_no_part_of_a_large_output_can_be_seen_before_the_whole(
    box: Account,
) -> None:
    """A reader beside the job finds the old object, or all of the new one."""
    path = source(box, SIZE)
    box.put("out", b"old")
    seen = set()

    with posted(box, copy(box, path)) as answer:
        reader = Account(box.cluster).log_in()
        while not answer.done():
            seen.add(reader.get("out", box.container))
        seen.add(reader.get("out", box.container))
        reader.close()

    assert answer.result().status_code == 200
    assert seen <= {b"old", pattern(SIZE)}
    assert box.get("out") == pattern(SIZE)


def test_large_output_into_a_versioned_container_is_one_version(
    box: Account,
) -> None:
    path = source(box, SIZE)
    target = box.create(f"v-{uuid.uuid4().hex[:8]}", X_Versions_Enabled="true")
    program = box.path("bin/cat.wasm")
    job = [group(program, reads(path), writes(box.path("out", target)))]

    for _ in range(2):
        box.run(job)

    rows = box.request(
        "GET", target, params={"versions": "", "format": "json"}
    ).json()
    assert [row["name"] for row in rows] == ["out", "out"]
    assert box.get("out", target) == pattern(SIZE)
    for row in rows:
        box.request(
            "DELETE",
            f"{target}/out",
            params={"version-id": row["version_id"]},
        )
    for name in box.listing(f"{target}_segments"):
        box.delete(name, f"{target}_segments")
    for container in (f"{target}_segments", target):
        box.request("DELETE", container)
