"""Who may run what over which objects, asked of real auth with real ACLs.

`mine` is test:tester, who owns AUTH_test and runs the jobs; `theirs` is the
account of test2:tester2.  Each refusal is checked to run and publish nothing,
and to say the same of what exists and what does not.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from functests.conftest import with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.refusing import Refusal, refuse, tasks_run
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
)
from zerocloud.cluster import Cluster
from zerocloud.headers import EXECUTE, JOB_STATUS, SOURCE

LEFT_SECONDS = 3.0
ME = "test:tester"


@pytest.fixture(scope="module")
def mine(cluster: Cluster) -> Iterator[Account]:
    """Who runs the jobs, with a program and an object."""
    for account in with_container(Account(cluster)):
        account.put("a", b"hello")
        for name in ("cat", "args_env"):
            put_guest(account, name)
        yield account


@pytest.fixture
def theirs(cluster: Cluster) -> Iterator[Account]:
    """A stranger's container, closed to everyone, with an object."""
    for account in with_container(
        Account(cluster, "test2:tester2", "testing2")
    ):
        account.put("there", b"secret")
        yield account


@pytest.fixture
def member(cluster: Cluster, mine: Account) -> Iterator[Account]:
    """Another user of my account, who is no admin of it."""
    account = Account(cluster, "test:tester3", "testing3").log_in()
    assert account.url == mine.url
    account.container = mine.container
    yield account
    account.close()


@pytest.fixture(scope="module", autouse=True)
def quiet(mine: Account) -> Iterator[None]:
    """All of them together leave nothing."""
    mine.session.close()
    before = residue(mine.cluster)
    yield
    mine.session.close()
    assert_nothing_left(mine.cluster, before, LEFT_SECONDS)


def cat_job(mine: Account, *devices: dict[str, Any]) -> list[dict[str, Any]]:
    return [group(mine.path("bin/cat.wasm"), *devices)]


def foreign(theirs: Account, name: str, container: str = "") -> str:
    return f"swift://{theirs.name}/{container or theirs.container}/{name}"


def allow(account: Account, **acl: str) -> None:
    """Set the container's ACLs: Read=…, Write=…."""
    headers = {f"X-Container-{kind}": value for kind, value in acl.items()}
    account.request("POST", account.container, headers).raise_for_status()


def refused_as(error: Refusal, doing: str) -> None:
    """It is a 403 about that, and about nothing else."""
    assert error.code == "forbidden", error
    assert error.message == f"{doing} is not allowed for this user"


# Who asks.


@pytest.mark.parametrize(
    "token", [None, "", "AUTH_tk" + "0" * 32, "nonsense", "AUTH_tk\xff"]
)
def test_job_without_a_valid_token_is_401(
    mine: Account, token: str | None
) -> None:
    ran = tasks_run(mine.cluster)
    headers = {EXECUTE: "1.0", "Content-Type": "application/json"}
    if token is not None:
        headers["X-Auth-Token"] = token

    answer = mine.session.post(
        mine.url,
        headers={k: v.encode("latin-1") for k, v in headers.items()},
        data=json.dumps(cat_job(mine, STDOUT)),
        timeout=20,
    )

    assert answer.status_code == 401
    assert "Www-Authenticate" in answer.headers
    assert JOB_STATUS not in answer.headers
    assert tasks_run(mine.cluster) == ran


def test_anonymous_runs_nothing_over_public_objects(mine: Account) -> None:
    ran = tasks_run(mine.cluster)
    allow(mine, Read=".r:*,.rlistings", Write="*:*")

    answer = mine.session.post(
        mine.url,
        headers={EXECUTE: "1.0", "Content-Type": "application/json"},
        data=json.dumps(cat_job(mine, reads(mine.path("a")), STDOUT)),
        timeout=20,
    )

    allow(mine, Read="", Write="")
    assert answer.status_code == 401
    assert "token" in answer.text
    assert tasks_run(mine.cluster) == ran


def test_user_of_the_account_without_rights_to_it_is_403(
    mine: Account, member: Account
) -> None:
    allow(mine, Read="test:tester3", Write="test:tester3")
    # The objects would be there for the taking.
    assert member.get("a") == b"hello"

    error = refuse(member, cat_job(mine, reads(mine.path("a")), STDOUT))

    allow(mine, Read="", Write="")
    refused_as(error, f"running jobs in account {mine.name}")


@pytest.mark.parametrize("account", ["AUTH_test2", "AUTH_nobody", "AUTH_"])
def test_job_in_a_foreign_account_is_403_whether_it_exists(
    mine: Account, account: str
) -> None:
    ran = tasks_run(mine.cluster)
    job = cat_job(mine, STDOUT)
    url = mine.url.replace(mine.name, account)

    answer = mine.session.post(
        url,
        headers={
            "X-Auth-Token": mine.token,
            EXECUTE: "1.0",
            "Content-Type": "application/json",
        },
        data=json.dumps(job),
        timeout=20,
    )

    assert answer.status_code == 403
    assert answer.text == (
        f"running jobs in account {account} is not allowed for this user\n"
    )
    assert tasks_run(mine.cluster) == ran


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
@pytest.mark.parametrize("name", ["a", "no"])
def test_temporary_url_for_everything_starts_no_job(
    mine: Account, method: str, name: str
) -> None:
    ran, before = tasks_run(mine.cluster), mine.listing()
    mine.request(
        "POST", "", {"X-Account-Meta-Temp-URL-Key": "k"}
    ).raise_for_status()
    path = f"/v1/{mine.name}/{mine.container}/{name}"
    expires = int(time.time()) + 60
    text = f"{method}\n{expires}\nprefix:/v1/{mine.name}/{mine.container}/"
    signed = hmac.new(b"k", text.encode(), hashlib.sha256).hexdigest()
    url = (
        f"{mine.cluster.url}{path}?temp_url_sig={signed}"
        f"&temp_url_expires={expires}&temp_url_prefix="
    )

    answer = mine.session.request(
        method,
        url,
        headers={EXECUTE: "1.0", "Content-Type": "application/json"},
        data=json.dumps(cat_job(mine, STDOUT)),
        timeout=20,
    )
    # The URL itself is good.
    plain = mine.session.request("HEAD", url, timeout=20).status_code

    mine.request("POST", "", {"X-Account-Meta-Temp-URL-Key": ""})
    assert answer.status_code in (403, 412, 501)
    assert JOB_STATUS not in answer.headers
    assert plain == (200 if name == "a" else 404)
    assert tasks_run(mine.cluster) == ran
    assert mine.listing() == before


# What of others is read.


@pytest.mark.parametrize("device", ["stdin", "input", "script", "image"])
@pytest.mark.parametrize("name", ["there", "missing"])
def test_foreign_object_is_403_whether_it_exists(
    mine: Account, theirs: Account, device: str, name: str
) -> None:
    path = foreign(theirs, name)

    error = refuse(mine, cat_job(mine, reads(path, device), STDOUT))

    refused_as(error, f"reading {path}")


def test_foreign_object_of_a_missing_container_is_403(
    mine: Account, theirs: Account
) -> None:
    path = foreign(theirs, "there", "no-such-container")

    error = refuse(mine, cat_job(mine, reads(path), STDOUT))

    refused_as(error, f"reading {path}")


@pytest.mark.parametrize("name", ["there", "missing"])
def test_foreign_program_is_403_whether_it_exists(
    mine: Account, theirs: Account, name: str
) -> None:
    path = foreign(theirs, name)

    error = refuse(mine, [group(path, STDOUT)])

    refused_as(error, f"reading {path}")


@pytest.mark.parametrize("name", ["there", "missing"])
def test_foreign_stored_job_is_403_whether_it_exists(
    mine: Account, theirs: Account, name: str
) -> None:
    path = foreign(theirs, name)

    error = refuse(mine, b"", {SOURCE: path})

    refused_as(error, f"reading {path}")


def test_one_foreign_input_among_mine_refuses_the_job(
    mine: Account, theirs: Account
) -> None:
    path = foreign(theirs, "there")
    job = cat_job(
        mine,
        reads(mine.path("a")),
        reads(path, "input"),
        writes(mine.path("o")),
    )

    refused_as(refuse(mine, job), f"reading {path}")


def test_foreign_object_with_a_read_acl_is_read(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Read=ME)
    job = cat_job(mine, reads(foreign(theirs, "there")), STDOUT)

    assert mine.post_job(job).content == b"secret"


def test_missing_object_is_404_for_who_may_read_there(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Read=ME)
    path = foreign(theirs, "missing")

    error = refuse(mine, cat_job(mine, reads(path), STDOUT))

    assert (error.code, path in error.message) == ("not_found", True)


def test_read_acl_taken_back_holds_at_once(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Read=ME)
    job = cat_job(mine, reads(foreign(theirs, "there")), STDOUT)
    assert mine.post_job(job).content == b"secret"

    allow(theirs, Read="")

    refused_as(refuse(mine, job), f"reading {foreign(theirs, 'there')}")


def test_program_remembered_by_the_proxy_needs_its_rights_again(
    mine: Account, theirs: Account
) -> None:
    program = put_guest(theirs, "cat").replace("~", theirs.name)
    allow(theirs, Read=ME)
    job = [group(program, reads(mine.path("a")), STDOUT)]
    assert mine.post_job(job).content == b"hello"

    allow(theirs, Read="")

    refused_as(refuse(mine, job), f"reading {program}")


@pytest.mark.parametrize("pattern", ["*", "nothing*"])
def test_foreign_wildcard_without_rights_is_403_whatever_it_matches(
    mine: Account, theirs: Account, pattern: str
) -> None:
    path = foreign(theirs, pattern)

    error = refuse(mine, cat_job(mine, reads(path), STDOUT))

    container = f"swift://{theirs.name}/{theirs.container}"
    refused_as(error, f"listing container {container}")


def test_foreign_wildcard_over_a_missing_container_is_403(
    mine: Account, theirs: Account
) -> None:
    path = foreign(theirs, "*", "no-such-container")

    error = refuse(mine, cat_job(mine, reads(path), STDOUT))

    container = f"swift://{theirs.name}/no-such-container"
    refused_as(error, f"listing container {container}")


def test_foreign_wildcard_over_containers_is_403(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Read=ME)
    path = foreign(theirs, "*", "*")

    error = refuse(mine, cat_job(mine, reads(path), STDOUT))

    refused_as(error, f"listing account {theirs.name}")


def test_objects_that_may_be_read_but_not_listed_have_no_wildcard(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Read=".r:*")
    named = cat_job(mine, reads(foreign(theirs, "there")), STDOUT)
    listed = cat_job(mine, reads(foreign(theirs, "*")), STDOUT)

    assert mine.post_job(named).content == b"secret"
    container = f"swift://{theirs.name}/{theirs.container}"
    refused_as(refuse(mine, listed), f"listing container {container}")


def test_foreign_wildcard_with_a_read_acl_is_read(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Read=ME)
    job = cat_job(mine, reads(foreign(theirs, "th*")), STDOUT)

    assert mine.post_job(job).content == b"secret"


def test_link_to_a_foreign_object_is_403(
    mine: Account, theirs: Account
) -> None:
    mine.put(
        "link",
        X_Symlink_Target=f"{theirs.container}/there",
        X_Symlink_Target_Account=theirs.name,
    )
    for name in ("link", "lin*"):
        job = cat_job(mine, reads(mine.path(name)), STDOUT)
        answer = mine.post_job(job)
        assert answer.status_code == 403
        assert b"secret" not in answer.content
    mine.delete("link")


# What of others is written.


@pytest.mark.parametrize("container", ["", "no-such-container"])
@pytest.mark.parametrize("name", ["there", "new"])
def test_foreign_output_is_403_whether_it_exists(
    mine: Account, theirs: Account, container: str, name: str
) -> None:
    path = foreign(theirs, name, container)

    error = refuse(mine, cat_job(mine, writes(path)))

    refused_as(error, f"writing {path}")
    assert theirs.listing() == ["there"]
    assert theirs.get("there") == b"secret"


def test_read_acl_is_no_right_to_write(mine: Account, theirs: Account) -> None:
    allow(theirs, Read=ME)
    path = foreign(theirs, "there")
    job = cat_job(mine, reads(path), writes(path))

    refused_as(refuse(mine, job), f"writing {path}")
    assert theirs.get("there") == b"secret"


def test_write_acl_is_no_right_to_read(mine: Account, theirs: Account) -> None:
    allow(theirs, Write=ME)
    path = foreign(theirs, "there")
    job = cat_job(mine, reads(path), writes(foreign(theirs, "new")))

    refused_as(refuse(mine, job), f"reading {path}")
    assert theirs.listing() == ["there"]


def test_foreign_output_with_a_write_acl_is_stored(
    mine: Account, theirs: Account
) -> None:
    allow(theirs, Write=ME)
    path = foreign(theirs, "new")

    report = mine.run(cat_job(mine, reads(mine.path("a")), writes(path)))

    assert report["status"] == "succeeded"
    assert theirs.get("new") == b"hello"


def test_one_foreign_output_among_mine_refuses_the_job(
    mine: Account, theirs: Account
) -> None:
    path = foreign(theirs, "new")
    job = cat_job(mine, writes(mine.path("o")), writes(path, "output"))

    refused_as(refuse(mine, job), f"writing {path}")
    assert theirs.listing() == ["there"]


# What a guest gets to know.


def test_nothing_of_the_request_reaches_a_guest(mine: Account) -> None:
    secret = "s3cr3t-of-the-request"
    job = [
        group(
            mine.path("bin/args_env.wasm"), STDOUT, name="n", args=["one two"]
        )
    ]
    job[0]["exec"]["env"] = {"COLOR": "blue", "N": 3}
    headers = {
        "Cookie": f"session={secret}",
        "Proxy-Authorization": f"Bearer {secret}",
        "X-Service-Token": secret,
        "X-Storage-Token": mine.token,
        "X-Anything": secret,
        "User-Agent": secret,
        "Referer": f"http://{secret}/",
    }

    answer = mine.post_job(job, headers)

    assert answer.text == "arg n\narg one two\nenv COLOR=blue\nenv N=3\n"
    assert secret not in str(answer.headers)


def test_request_signed_as_s3_starts_no_job(mine: Account) -> None:
    """`Authorization` never gets as far as a guest: it is S3's."""
    ran = tasks_run(mine.cluster)
    job = cat_job(mine, STDOUT)

    for value in ("AWS test:tester:c2lnbmVk", "Bearer x"):
        answer = mine.post_job(job, {"Authorization": value})
        assert answer.status_code == 403
        assert JOB_STATUS not in answer.headers
    assert tasks_run(mine.cluster) == ran


def test_nothing_of_the_host_reaches_a_python_guest(mine: Account) -> None:
    code = (
        "import os, sys, json;"
        "print(json.dumps([dict(os.environ), sys.argv, os.getcwd(),"
        "os.listdir('/')]))"
    )
    job = [group("file://python3:python", STDOUT, args=["-c", code])]

    answer = mine.post_job(job)

    environ, argv, folder, root = answer.json()
    # Only what the image says of itself.
    assert {name[:6] for name in environ} == {"PYTHON"}
    assert "PATH" in os.environ
    assert (argv, folder) == (["-c"], "/")
    assert set(root) == {".zerocloud", "dev", "python", "tmp", "usr"}


def test_tokens_are_not_in_the_log(mine: Account) -> None:
    job = cat_job(mine, reads(mine.path("a")), STDOUT)
    mine.post_job(job, {"Cookie": "session=biscuit"}).raise_for_status()

    log = (mine.cluster.folder.log / "cluster.log").read_text()

    assert mine.token not in log
    assert "biscuit" not in log
    assert mine.cluster.folder.key() not in log
