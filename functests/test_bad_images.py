"""Images that are none: named, refused in time, and nothing is left.

The tables are in hostile_images.py.  Each tar is once the image of a job,
where the storage node or the runner finds the fault, and once the request's
body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from functests.conftest import leaving_nothing, with_container
from functests.hostile_images import HARMLESS, TABLES, Image, with_job
from functests.jobs import STDOUT, group, put_guest, reads
from functests.refusing import error_of, refuse, tasks_run
from functests.support import Account
from zerocloud.cluster import Cluster
from zerocloud.headers import JSON_TYPE

TAR = {"Content-Type": "application/x-tar"}
ALL = [
    pytest.param(image, id=f"{table}: {name}")
    for table, images in TABLES.items()
    for name, image in images.items()
]


@pytest.fixture(scope="module")
def box(harsh: Cluster) -> Iterator[Account]:
    """A container with a program and an object."""
    for account in with_container(Account(harsh)):
        account.put("a", b"hello")
        put_guest(account, "cat")
        yield account


@pytest.fixture(scope="module", autouse=True)
def quiet(box: Account) -> Iterator[None]:
    """All of them together leave nothing."""
    with leaving_nothing(box.cluster, box):
        yield


def job_with(box: Account, image: bytes) -> list[dict[str, Any]]:
    box.put("image.tar", image)
    devices = (
        reads(box.path("a")),
        reads(box.path("image.tar"), "image"),
        STDOUT,
    )
    return [group(box.path("bin/cat.wasm"), *devices)]


@pytest.mark.parametrize("image", ALL)
def test_image_that_is_none_is_refused_with_the_reason(
    box: Account, image: Image
) -> None:
    job = job_with(box, image.data)
    before = box.listing()

    error = error_of(box, job)

    assert error.code == "image_invalid", error
    assert "image" in error.message
    for word in image.words:
        assert word in error.message, error
    assert error.message.isprintable()
    assert len(error.message) < 700
    assert box.listing() == before


@pytest.mark.parametrize("image", ALL)
def test_posted_tar_that_is_none_is_refused(
    box: Account, image: Image
) -> None:
    error = refuse(box, image.data, TAR)

    assert error.code == "image_invalid", error
    for word in image.words if image.posted else ("boot/cluster.map",):
        assert word in error.message, error


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS.keys())
def test_image_that_is_only_strange_is_used(box: Account, data: bytes) -> None:
    assert box.post_job(job_with(box, data)).content == b"hello"


def test_job_early_in_a_large_tar_is_found(box: Account) -> None:
    tar = with_job(box.path("bin/cat.wasm"))
    ran = tasks_run(box.cluster)

    answer = box.post_job(tar, {**TAR, "Accept": JSON_TYPE})

    assert answer.json()["status"] == "succeeded"
    assert tasks_run(box.cluster) == ran + 1
