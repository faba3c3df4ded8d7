"""Jobs that must not run: what the user is told, and that nothing ran."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import pytest

from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.support import Account
from zerocloud.cluster import Cluster

pytestmark = pytest.mark.usefixtures("nothing_left")


def refused(account: Account, job: Any, **more: Any) -> tuple[int, str]:
    answer = account.post_job(job, **more)
    assert "X-Zerovm-Job-Status" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/plain")
    return answer.status_code, answer.text


def test_error_is_json_for_who_asks(account: Account) -> None:
    answer = account.post_job(b"[", {"Accept": "application/json"})

    # Not application/json as its type: a script, and a bad one.
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_script"
    assert answer.json()["error"]["may_retry"] is False


def test_missing_object_is_named(account: Account) -> None:
    job = [group(put_guest(account, "cat"), reads(account.path("no")), STDOUT)]

    status, text = refused(account, job)

    assert status == 404
    assert f"swift://{account.name}/{account.container}/no" in text


def test_missing_program_is_named(account: Account) -> None:
    status, text = refused(account, [group(account.path("no.wasm"), STDOUT)])

    assert status == 404
    assert "no.wasm" in text


def test_missing_output_container_is_named(account: Account) -> None:
    job = [group(put_guest(account, "cat"), writes("swift://~/none/x"))]

    status, text = refused(account, job)

    assert (status, f"swift://{account.name}/none" in text) == (404, True)


def test_program_that_is_not_wasm_is_said(account: Account) -> None:
    account.put("prog", b"#!/bin/sh\necho hello\n")

    status, text = refused(account, [group(account.path("prog"), STDOUT)])

    assert status == 422
    assert "node n" in text


def test_unknown_image_is_said(account: Account) -> None:
    status, text = refused(account, [group("file://nope:python", STDOUT)])

    assert status == 400
    assert "nope" in text


def test_no_token_is_401(account: Account) -> None:
    job = [group(put_guest(account, "cat"), STDOUT)]

    answer = account.post_job(job, {"X-Auth-Token": "AUTH_tk_wrong"})

    assert answer.status_code == 401
    assert "Www-Authenticate" in answer.headers


def test_job_in_a_foreign_account_is_403(
    account: Account, other_account: Account
) -> None:
    program = put_guest(account, "cat")
    other_account.token = account.token

    status, _ = refused(other_account, [group(program, STDOUT)])

    assert status == 403
    other_account.log_in()


@pytest.mark.parametrize("name", ["there", "missing"])
def test_foreign_object_is_403_whether_it_exists(
    account: Account, other_account: Account, name: str
) -> None:
    other_account.put("there", b"secret")
    path = f"swift://{other_account.name}/{other_account.container}/{name}"
    job = [group(put_guest(account, "cat"), reads(path), STDOUT)]

    status, text = refused(account, job)

    assert status == 403
    assert "secret" not in text


def test_foreign_object_with_a_read_acl_is_read(
    account: Account, other_account: Account
) -> None:
    other_account.put("there", b"shared")
    other_account.request(
        "POST",
        other_account.container,
        {"X-Container-Read": "test:tester"},
    ).raise_for_status()
    path = f"swift://{other_account.name}/{other_account.container}/there"
    job = [group(put_guest(account, "cat"), reads(path), STDOUT)]

    assert account.post_job(job).content == b"shared"


def test_foreign_listing_needs_its_acl(
    account: Account, other_account: Account
) -> None:
    other_account.put("there", b"secret")
    path = f"swift://{other_account.name}/{other_account.container}/*"
    job = [group(put_guest(account, "cat"), reads(path), STDOUT)]

    status, _ = refused(account, job)

    assert status == 403


def test_foreign_container_is_not_written(
    account: Account, other_account: Account
) -> None:
    path = f"swift://{other_account.name}/{other_account.container}/x"
    job = [group(put_guest(account, "cat"), writes(path))]

    status, _ = refused(account, job)

    assert status == 403
    assert other_account.listing() == []


def test_temporary_url_cannot_start_a_job(
    account: Account, cluster: Cluster
) -> None:
    account.request(
        "POST", "", {"X-Account-Meta-Temp-URL-Key": "k"}
    ).raise_for_status()
    path = f"/v1/{account.name}/{account.container}/x"
    expires = int(time.time()) + 60
    text = f"POST\n{expires}\n{path}".encode()
    signature = hmac.new(b"k", text, hashlib.sha256).hexdigest()

    answer = account.session.post(
        f"{cluster.url}{path}?temp_url_sig={signature}"
        f"&temp_url_expires={expires}",
        headers={"X-Zerovm-Execute": "1.0", "Content-Type": "text/plain"},
        data=b"#!file://python3:python\n",
        timeout=20,
    )

    assert answer.status_code in (401, 403, 412)
    account.request("POST", "", {"X-Account-Meta-Temp-URL-Key": ""})


@pytest.mark.parametrize(
    ("mode", "method", "status"),
    [
        ("2.0", "POST", 412),
        ("open/1.0", "POST", 501),
        ("1.0", "GET", 501),
        ("1.0", "PUT", 501),
    ],
)
def test_request_that_fits_no_mode_is_refused(
    account: Account, mode: str, method: str, status: int
) -> None:
    answer = account.request(method, "", {"X-Zerovm-Execute": mode})

    assert answer.status_code == status
    assert "1.0" in answer.text


def test_requests_without_the_header_are_swifts(account: Account) -> None:
    answer = account.request("POST", "")

    assert answer.status_code == 204
    assert "X-Zerovm-Job-Status" not in answer.headers


def test_info_tells_what_is_offered(
    account: Account, cluster: Cluster
) -> None:
    info = account.session.get(f"{cluster.url}/info", timeout=20).json()

    part = info["zerocloud"]
    assert part["modes"] == ["1.0"]
    assert part["job_versions"] == [1, 2]
    assert part["limits"]["max_nodes"] == 1000
    assert part["limits"]["caps"]["wall_seconds"] == 300
    assert part["local_reads"] is True
