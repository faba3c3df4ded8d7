"""Replicas that lag, are missing or damaged cost another try, not the result.

Of each object two replicas of three are spoilt, so that most nodes begin at
one of them.  What a program made of damaged bytes is seen by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, guest, put_guest, reads, writes
from functests.replicas import (
    Damage,
    keep_aside,
    lag,
    lose,
    quarantined,
    replicas,
    rot,
    spoil_two,
    to_handoff,
    truncate,
)
from functests.support import Account
from functests.test_job_inputs import pattern, source_of
from functests.wasm import name as wasm_name
from unittests.fakes.tars import tar_of
from zerocloud.cluster import ClusterSettings

pytestmark = pytest.mark.usefixtures("nothing_left")

# Below and above what is hashed on the spot (verify.py).
SIZES = (1000, 300_000)
OBJECTS = 8
STREAMED = {"attach": "stdout"}


def fill(account: Account) -> dict[str, bytes]:
    """Small and large objects in/…"""
    stored = {}
    for number in range(OBJECTS):
        name = f"in/{number}"
        stored[name] = pattern(SIZES[number % 2] + number)
        account.put(name, stored[name])
    return stored


def copies(account: Account, **more: Any) -> list[Any]:
    """A job that copies in/* to out/*."""
    return [
        group(
            put_guest(account, "cat"),
            reads(account.path("in/*")),
            writes(account.path("out/*")),
            **more,
        )
    ]


def check_copied(account: Account, stored: dict[str, bytes]) -> None:
    for name, data in stored.items():
        assert account.get(name.replace("in/", "out/")) == data, name


@pytest.mark.parametrize("damage", [rot, truncate, lose])
def test_spoilt_replicas_are_passed_over(
    account: Account, damage: Damage
) -> None:
    stored = fill(account)
    for name in stored:
        spoil_two(account, name, damage)
    before = len(quarantined(account.cluster))

    report = account.run(copies(account))

    assert report["status"] == "succeeded"
    check_copied(account, stored)
    for node in report["nodes"]:
        # The sound replica's server may have been unable for other reasons.
        tried_all = node["attempts"] > ClusterSettings().replicas
        assert source_of(node) == "local" or tried_all, node
    skipped = report["totals"]["attempts"] - OBJECTS
    assert skipped > 0
    if damage is not lose:
        # What was met, and no sound one, is out of Swift's way now.  (A try
        # may also have ended for the node's reasons, and met none.)
        assert 0 < len(quarantined(account.cluster)) - before <= skipped
        for name, data in stored.items():
            left = [p.read_bytes() for p in replicas(account, name)]
            assert data in left


def test_damage_since_the_last_job_is_noticed(account: Account) -> None:
    """A file that was found sound is looked at again when it has changed."""
    stored = fill(account)
    account.run(copies(account))
    for name in stored:
        spoil_two(account, name, rot)

    report = account.run(copies(account))

    assert report["totals"]["attempts"] > OBJECTS
    check_copied(account, stored)


@pytest.mark.parametrize("way", [{}, STREAMED], ids=["local", "streamed"])
def test_replicas_that_lag_are_passed_over(
    account: Account, tmp_path: Path, way: dict[str, str]
) -> None:
    old = {
        f"in/{number}": pattern(SIZES[number % 2])[::-1]
        for number in range(OBJECTS)
    }
    kept = {}
    for number, (name, data) in enumerate(old.items()):
        account.put(name, data)
        paths = replicas(account, name)[:2]
        kept[name] = keep_aside(paths, tmp_path / str(number))
    stored = fill(account)
    for name in stored:
        for path, older in zip(
            replicas(account, name), kept[name], strict=False
        ):
            lag(path, older)

    report = account.run(copies(account, **way))

    assert report["totals"]["attempts"] > OBJECTS
    check_copied(account, stored)


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A cluster that asks all servers for the newest version."""
    settings = ClusterSettings(proxy_options={"newest_inputs": "true"})
    with started(tmp_path_factory.mktemp("asking"), settings) as cluster:
        yield from with_container(Account(cluster))


def test_named_object_is_the_newest_with_newest_inputs(
    asking: Account, tmp_path: Path
) -> None:
    """Even if the plan's HEAD would meet a server that lags, and the VM too.

    By default this is a matter of luck, as with any client's GET.
    """
    names = [f"o{number}" for number in range(6)]
    program = put_guest(asking, "cat")
    for name in names:
        asking.put(name, b"old")
        kept = keep_aside(replicas(asking, name)[:2], tmp_path / name)
        asking.put(name, b"new")
        for path, older in zip(replicas(asking, name)[:2], kept, strict=True):
            lag(path, older)

    answer = asking.post_job(
        [
            group(program, reads(asking.path(name)), STDOUT, name=name)
            for name in names
        ]
    )

    assert answer.text == "new" * 6


def test_damaged_replicas_are_passed_over_when_streamed(
    account: Account,
) -> None:
    stored = fill(account)
    for name in stored:
        spoil_two(account, name, rot)

    report = account.run(copies(account, **STREAMED))

    assert report["totals"]["attempts"] > OBJECTS
    check_copied(account, stored)


def static(account: Account) -> str:
    """A static large object; its last segment."""
    parts = []
    for number in range(2):
        etag = account.put(f"parts/{number}", pattern(70_000 + number))
        path = f"/{account.container}/parts/{number}"
        parts.append({"path": path, "etag": etag})
    account.request(
        "PUT",
        f"{account.container}/large?multipart-manifest=put",
        data=json.dumps(parts),
    ).raise_for_status()
    return "parts/1"


def dynamic(account: Account) -> str:
    """A dynamic large object; its last segment."""
    for number in range(2):
        account.put(f"parts/{number}", pattern(70_000 + number))
    account.put("large", X_Object_Manifest=f"{account.container}/parts/")
    return "parts/1"


@pytest.mark.parametrize("make", [static, dynamic])
@pytest.mark.parametrize("segment", [0, 1])
def test_damaged_segments_of_a_large_object_are_passed_over(
    account: Account, make: Any, segment: int
) -> None:
    make(account)
    spoil_two(account, f"parts/{segment}", rot)
    job = [
        group(put_guest(account, "cat"), reads(account.path("large")), STDOUT)
    ]

    for _ in range(4):
        answer = account.post_job(job)
        assert answer.content == pattern(70_000) + pattern(70_001)


def test_damaged_fragment_of_an_erasure_coded_object_is_passed_over(
    account: Account,
) -> None:
    box = account.create(f"{account.container}-ec", X_Storage_Policy="erasure")
    account.put("o", pattern(200_000), box)
    spoil_two(account, "o", rot, box)
    job = [
        group(put_guest(account, "cat"), reads(account.path("o", box)), STDOUT)
    ]

    for _ in range(4):
        assert account.post_job(job).content == pattern(200_000)
    account.delete("o", box)
    account.request("DELETE", box)


def test_damaged_programs_images_and_stored_jobs_are_passed_over(
    account: Account,
) -> None:
    """Whatever a job is made of, it is what was stored."""
    data = tar_of(("file", b"in the image"))
    account.put("image.tar", data)
    program = put_guest(account, "cat")
    job = [
        group(
            program,
            {"name": "image", "path": account.path("image.tar")},
            reads(account.path("in")),
            STDOUT,
        )
    ]
    account.put("in", b"hello")
    for number in range(4):
        # New versions each time, which no server remembers: a custom section
        # at the end, whose last byte means nothing.
        section = wasm_name("n") + bytes([number])
        more = b"\0" + bytes([len(section)]) + section
        account.put("bin/cat.wasm", guest("cat") + more)
        account.put("image.tar", data + bytes(512 * number))
        account.put("job", json.dumps(job), Content_Type="application/json")
        for name in ("bin/cat.wasm", "image.tar", "job"):
            spoil_two(account, name, rot)

        answer = account.post_job(
            b"", {"X-Zerovm-Source": account.path("job")}
        )

        assert answer.text == "hello", answer.text


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A cluster with Swift's encryption."""
    settings = ClusterSettings(encrypt=True)
    with started(tmp_path_factory.mktemp("encrypted"), settings) as cluster:
        yield from with_container(Account(cluster))


def test_damaged_replicas_of_an_encrypted_object_are_passed_over(
    encrypted: Account,
) -> None:
    stored = fill(encrypted)
    for name in stored:
        spoil_two(encrypted, name, rot)

    report = encrypted.run(copies(encrypted))

    assert report["totals"]["attempts"] > OBJECTS
    check_copied(encrypted, stored)


def test_object_only_on_a_handoff_is_streamed(account: Account) -> None:
    account.put("o", pattern(1000))
    to_handoff(account.cluster, replicas(account, "o"))
    job = [group(put_guest(account, "cat"), reads(account.path("o")), STDOUT)]

    [node] = account.run(job)["nodes"]

    assert (source_of(node), node["attempts"]) == ("stream", 4)
    assert node["outputs"][0]["text"].encode() == pattern(1000)


@pytest.mark.parametrize("way", [{}, STREAMED], ids=["local", "streamed"])
@pytest.mark.parametrize("size", SIZES)
def test_object_damaged_everywhere_stores_nothing_and_names_it(
    account: Account, way: dict[str, str], size: int
) -> None:
    account.put("in/o", pattern(size))
    for path in replicas(account, "in/o"):
        rot(path)

    answer = account.post_job(copies(account, **way))

    assert answer.status_code == 503, answer.text
    assert f"{account.container}/in/o" in answer.text
    assert "damaged" in answer.text
    assert account.listing(prefix="out/") == []
    # Swift knows of no such object any more: nothing to read, or to delete.
    assert account.head("in/o").status_code == 404


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A cluster of one node that does not look for damage."""
    settings = ClusterSettings(
        nodes=1,
        replicas=1,
        executor_options={"verify_local_reads": "false"},
    )
    with started(tmp_path_factory.mktemp("trusting"), settings) as cluster:
        yield from with_container(Account(cluster))


def test_damage_is_not_looked_for_with_verify_local_reads_off(
    trusting: Account,
) -> None:
    trusting.put("o", b"sound")
    [path] = replicas(trusting, "o")
    rot(path)
    job = [
        group(put_guest(trusting, "cat"), reads(trusting.path("o")), STDOUT)
    ]

    assert trusting.post_job(job).content == b"soune"
