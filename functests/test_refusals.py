"""Requests refused before anything runs: status, code, place and text.

The tables are in refusal_cases.py.  Each case also checks what refusing.py
checks: nothing ran, nothing was published, no host is named.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from functests.conftest import with_container
from functests.jobs import put_guest
from functests.refusal_cases import TABLES, Case, dev, node
from functests.refusing import refuse, tasks_run
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
)
from zerocloud.cluster import Cluster
from zerocloud.headers import EXECUTE, JOB_STATUS, SOURCE

LEFT_SECONDS = 3.0


@pytest.fixture(scope="module")
def box(cluster: Cluster) -> Iterator[Account]:
    """The container that the tables speak of."""
    for account in with_container(Account(cluster)):
        account.put("a", b"hello")
        for number in (1, 2, 3):
            account.put(f"in/{number}", b"x" * number)
        put_guest(account, "cat")
        yield account


@pytest.fixture(scope="module", autouse=True)
def quiet(box: Account) -> Iterator[None]:
    """All of them together leave nothing."""
    cluster = box.cluster
    box.session.close()
    before = residue(cluster)
    yield
    box.session.close()
    assert_nothing_left(cluster, before, LEFT_SECONDS)


def document_of(job: Any, box: Account) -> bytes:
    data = job if isinstance(job, bytes) else json.dumps(job).encode()
    return data.replace(b"BOX", box.container.encode())


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{table}: {name}")
        for table, cases in TABLES.items()
        for name, case in cases.items()
    ],
)
def test_bad_job_is_refused_with_its_place(box: Account, case: Case) -> None:
    error = refuse(
        box,
        document_of(case.job, box),
        {"Content-Type": "application/json"},
    )

    assert error.code == case.code, error
    assert len(error.message) < 700
    for word in case.words:
        assert word.replace("BOX", box.container) in error.message, error
    if case.where is not None:
        assert error.where == case.where, error


def good(box: Account) -> bytes:
    """A job that would run."""
    program = box.path("bin/cat.wasm")
    return json.dumps([{"name": "n", "exec": {"path": program}}]).encode()


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("2.0", "bad_mode", ("'2.0'", "allowed is 1.0")),
        ("", "bad_mode", ("''", "allowed is 1.0")),
        ("yes", "bad_mode", ("'yes'", "allowed is 1.0")),
        ("open/1.0", "not_implemented", ("open/1.0", "1.0 is")),
        ("api/1.0", "not_implemented", ("api/1.0", "1.0 is")),
        ("1" * 5000, "bad_mode", ("allowed is 1.0",)),
    ],
)
def test_mode_that_is_not_offered_is_refused(
    box: Account, mode: str, code: str, words: tuple[str, ...]
) -> None:
    error = refuse(box, good(box), {EXECUTE: mode})

    assert error.code == code
    assert len(error.message) < 200
    assert all(word in error.message for word in words), error


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_method_that_starts_no_job_is_refused(
    box: Account, method: str
) -> None:
    ran = tasks_run(box.cluster)

    answer = box.request(method, "", {EXECUTE: "1.0"})

    assert answer.status_code == 501
    if method != "HEAD":
        assert f"method {method} is not offered" in answer.text
        assert "POST is" in answer.text
    assert JOB_STATUS not in answer.headers
    assert tasks_run(box.cluster) == ran


@pytest.mark.parametrize("path", ["BOX", "BOX/a"])
def test_job_posted_to_a_container_or_object_is_refused(
    box: Account, path: str
) -> None:
    before = box.head("a").headers

    answer = box.request(
        "POST",
        path.replace("BOX", box.container),
        {EXECUTE: "1.0", "X-Object-Meta-Color": "blue"},
        data=good(box),
    )

    assert answer.status_code == 412
    assert f"POSTed to /v1/{box.name}" in answer.text
    # Nor was it taken for a POST of metadata.
    assert "X-Object-Meta-Color" not in box.head("a").headers
    assert box.head("a").headers["X-Timestamp"] == before["X-Timestamp"]


def test_error_without_accept_is_plain_text(box: Account) -> None:
    answer = box.post_job([])

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "job: no groups; allowed is at least one\n"


def test_body_that_is_no_script_is_told_what_is_read(box: Account) -> None:
    error = refuse(box, b"print(1)\n", {"Content-Type": "text/x-python"})

    assert error.code == "bad_script"
    assert "#!" in error.message


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        (b"#!/bin/python3\n", "bad_script", "/bin/python3"),
        (b"#!file://cobol:run\n", "unknown_image", "cobol"),
        (b"#!file://python3:python " + b"x" * 5000, "bad_script", "4096"),
        (b"#!file://python3\n", "bad_script", "file://"),
        (b"#!swift://~/BOX/no.wasm\n", "not_found", "no.wasm"),
    ],
)
def test_script_with_a_bad_first_line_is_refused(
    box: Account, line: bytes, code: str, word: str
) -> None:
    error = refuse(box, line.replace(b"BOX", box.container.encode()))

    assert error.code == code, error
    assert word in error.message


def test_body_without_a_type_is_told_which_there_are(box: Account) -> None:
    error = refuse(box, good(box), {"Content-Type": ""})

    assert error.code == "bad_request"
    assert "application/json" in error.message


def test_body_that_is_not_what_etag_says_is_refused(box: Account) -> None:
    asked = {"Content-Type": "application/json", "ETag": "0" * 32}

    error = refuse(box, good(box), asked)

    assert error.code == "etag_mismatch"
    assert "0" * 32 in error.message


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("a", "bad_source", ("X-Zerovm-Source", "swift://ACCOUNT")),
        ("/etc/passwd", "bad_source", ("/etc/passwd", "swift://ACCOUNT")),
        ("swift://~/BOX", "bad_source", ("not an object",)),
        ("swift://~/BOX/%00", "bad_source", ("NUL",)),
        ("swift://~/BOX/no.json", "not_found", ("BOX/no.json",)),
        ("swift://~/BOX/a", "bad_script", ("#!",)),
    ],
)
def test_stored_job_that_is_none_is_refused(
    box: Account, source: str, code: str, words: tuple[str, ...]
) -> None:
    source = source.replace("BOX", box.container)

    error = refuse(box, b"payload", {SOURCE: source})

    assert error.code == code, error
    for word in words:
        assert word.replace("BOX", box.container) in error.message, error


def tar_of(**members: bytes) -> bytes:
    """A tar; `__` in a name stands for a slash."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b"not a tar" * 100, "image_invalid", "tar"),
        (b"", "image_invalid", "empty file"),
        (tar_of(x=b"1"), "image_invalid", "boot/cluster.map"),
        (gzip.compress(tar_of(x=b"1"))[:-9], "image_invalid", "gzip"),
        (tar_of(boot__cluster__map=b"[]"), "image_invalid", "boot/cluster"),
        (tar_of(**{"boot__cluster.map": b"["}), "job_not_json", "line 1"),
        (tar_of(**{"boot__system.map": b"[]"}), "job_schema", "no groups"),
    ],
)
def test_posted_tar_without_a_good_job_is_refused(
    box: Account, body: bytes, code: str, word: str
) -> None:
    error = refuse(box, body, {"Content-Type": "application/x-tar"})

    assert error.code == code, error
    assert word in error.message


def test_requests_without_the_header_are_swifts(box: Account) -> None:
    answer = box.request("POST", "", data=good(box))

    assert answer.status_code == 204
    assert JOB_STATUS not in answer.headers


def test_job_beside_the_bad_ones_runs(box: Account) -> None:
    """The tables are about jobs that are wrong in one thing only."""
    job = document_of([node(dev("stdin", "in/*"), dev("stdout"))], box)

    answer = box.post_job(job, {"Content-Type": "application/json"})

    assert answer.content == b"xxxxxx"
