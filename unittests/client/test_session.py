"""Submitting jobs (zerocloud/client/session.py)."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

import zerocloud.client
from unittests.client.endpoint import TOKEN, Endpoint
from zerocloud.client import (
    AnswerError,
    Client,
    ClusterFailedError,
    FilterMissingError,
    Login,
    LoginError,
    RefusedError,
    UsageError,
)
from zerocloud.client.sending import job_body

CAT = [
    {
        "name": "cat",
        "exec": {"path": "file://fake:cat"},
        "devices": [{"name": "stdin"}, {"name": "stdout"}],
    }
]
FAIL = [{"name": "bad", "exec": {"path": "file://fake:fail"}}]
SCRIPT = b"#!file://python3:python\nprint('hello')\n"


def test_public_surface_is_what_all_names() -> None:
    public = {n for n in vars(zerocloud.client) if not n.startswith("_")}
    modules = {
        path.stem for path in Path(zerocloud.client.__file__).parent.iterdir()
    }
    assert public - modules - {"annotations"} == set(zerocloud.client.__all__)


def test_submit_script_returns_its_output(client: Client) -> None:
    result = client.submit(SCRIPT)
    assert result.succeeded
    assert [(o.node, o.device, o.data) for o in result.outputs] == [
        ("script", "stdout", b"print('hello')\n")
    ]


def test_submit_job_as_values_as_text_and_as_bytes_is_one_job(
    client: Client, endpoint: Endpoint
) -> None:
    for job in (CAT, json.dumps(CAT), json.dumps(CAT).encode()):
        assert client.submit(job).job == "j-1"
    assert len(set(endpoint.bodies)) == 1


def test_submit_asks_info_once_before_the_first_job(
    client: Client, endpoint: Endpoint
) -> None:
    client.submit(CAT)
    client.submit(CAT)
    assert endpoint.requests == [
        "GET /info",
        "POST /v1/AUTH_test",
        "POST /v1/AUTH_test",
    ]


def test_submit_failed_job_is_a_result_not_an_error(client: Client) -> None:
    result = client.submit(FAIL)
    assert not result.succeeded
    node = result.nodes[0]
    assert str(node.outcome) == "exit 3"
    assert node.stderr_tail == "it broke\n"


def test_submit_where_the_filter_is_absent_sends_nothing_and_says_so(
    client: Client, endpoint: Endpoint
) -> None:
    endpoint.info = {"swift": {}}
    with pytest.raises(FilterMissingError, match="a Swift without ZeroCloud"):
        client.submit(CAT)
    assert endpoint.requests == ["GET /info"]


def test_submit_answered_as_a_plain_account_post_says_so(
    client: Client, endpoint: Endpoint
) -> None:
    client.info()
    endpoint.info = {"swift": {}}  # another proxy, without the filter
    with pytest.raises(FilterMissingError, match="204 without X-Zerovm"):
        client.submit(CAT)


def test_submit_info_that_is_not_json_says_so(
    client: Client, endpoint: Endpoint
) -> None:
    endpoint.info = ["not", "an", "object"]
    with pytest.raises(AnswerError, match="/info answers: this is not a JSON"):
        client.submit(CAT)


def test_submit_refused_job_carries_code_place_and_text(
    client: Client,
) -> None:
    job = [{"name": "x", "exec": {"path": "file://fake:nope"}}]
    with pytest.raises(RefusedError) as caught:
        client.submit(job)
    assert (caught.value.status, caught.value.code) == (
        404,
        "program_not_found",
    )
    assert str(caught.value) == (
        "no program file://fake:nope (at /0/exec/path) [404 program_not_found]"
    )
    assert not caught.value.may_retry
    assert caught.value.refusal.transaction == "tx-unit"


def test_submit_to_a_full_cluster_fails_once_and_may_be_retried(
    client: Client, endpoint: Endpoint
) -> None:
    endpoint.broken = "503 Service Unavailable"
    with pytest.raises(ClusterFailedError, match="all slots are full"):
        client.submit(CAT)
    assert endpoint.requests.count("POST /v1/AUTH_test") == 1
    with pytest.raises(ClusterFailedError) as caught:
        client.submit(CAT)
    assert caught.value.may_retry
    assert str(caught.value) == (
        "all slots are full [503 busy, tx-unit]; trying again may help"
    )


def test_submit_with_an_old_token_asks_to_log_in(endpoint: Endpoint) -> None:
    client = Client(Login(endpoint.storage_url, "expired"))
    with pytest.raises(LoginError, match="log in again"):
        client.submit(CAT)


def test_submit_bytes_that_are_no_job_are_refused_here(
    client: Client, endpoint: Endpoint
) -> None:
    with pytest.raises(UsageError, match="this is none of them"):
        client.submit(b"print('hello')\n")
    assert "POST /v1/AUTH_test" not in endpoint.requests


def test_job_body_knows_tars_by_their_bytes() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("boot/system.map"))
    body = packed.getvalue()
    assert job_body(body) == (body, "application/x-tar")
    zipped = gzip.compress(body)
    assert job_body(zipped) == (zipped, "application/x-gzip")


@pytest.mark.parametrize("both", [True, False])
def test_submit_needs_exactly_one_of_job_and_source(
    client: Client, both: bool
) -> None:
    job, source = (CAT, "swift://~/jobs/j") if both else (None, None)
    with pytest.raises(UsageError, match="either a job or a source"):
        client.submit(job, source=source)


def test_submit_local_job_with_a_payload_says_to_store_it(
    client: Client,
) -> None:
    with pytest.raises(UsageError, match="a payload needs a stored job"):
        client.submit(CAT, payload=b"data")


def test_submit_stored_job_reads_the_payload_as_bytes_path_and_file(
    client: Client, tmp_path: Path
) -> None:
    client.store_job("swift://~/jobs/cat é.json", CAT)
    path = tmp_path / "data"
    path.write_bytes(b"payload")
    for payload in (b"payload", path, str(path), io.BytesIO(b"payload")):
        result = client.submit(
            source="swift://~/jobs/cat é.json", payload=payload
        )
        assert result.outputs[0].data == b"payload"


def test_submit_stored_job_streams_the_payload_from_a_pipe(
    client: Client,
) -> None:
    client.store_job("swift://AUTH_test/jobs/cat", CAT)
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    with open(reading, "rb") as pipe:
        result = client.submit(source="swift://~/jobs/cat", payload=pipe)
    assert result.outputs[0].data == b"through a pipe"


def test_submit_stored_job_without_payload_reads_empty(
    client: Client,
) -> None:
    client.store_job("swift://~/jobs/cat", CAT)
    assert client.submit(source="swift://~/jobs/cat").outputs[0].data == b""


def test_submit_raw_streams_what_is_too_long_for_a_report(
    client: Client, endpoint: Endpoint
) -> None:
    endpoint.report_bytes = 1000
    client.store_job("swift://~/jobs/cat", CAT)
    long = bytes(range(256)) * 4000
    result = client.submit(source="swift://~/jobs/cat", payload=long)
    assert (result.outputs[0].data, result.outputs[0].size) == (
        None,
        len(long),
    )
    with client.submit_raw(
        source="swift://~/jobs/cat", payload=long
    ) as answer:
        assert (answer.job, answer.succeeded) == ("j-1", True)
        parts = list(answer.chunks)
    assert b"".join(parts) == long
    assert len(parts) > 1


def test_submit_raw_failed_job_says_how_each_node_failed(
    client: Client,
) -> None:
    with client.submit_raw(FAIL) as answer:
        assert (answer.succeeded, answer.error) == (False, "exit 3")


def test_submit_raw_refused_job_raises_like_submit(client: Client) -> None:
    job = [{"name": "x", "exec": {"path": "file://fake:nope"}}]
    with pytest.raises(RefusedError, match="no program file://fake:nope"):
        client.submit_raw(job).__enter__()


def test_submit_payload_file_that_is_missing_is_named(
    client: Client, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="none: No such file"):
        client.submit(source="swift://~/jobs/j", payload=tmp_path / "none")


@pytest.mark.parametrize(
    "name", ["jobs/j", "swift://~/jobs", "swift://~/jobs/", "swift:///c/o"]
)
def test_submit_source_that_names_no_object_is_refused_here(
    client: Client, name: str
) -> None:
    with pytest.raises(UsageError, match="is not the name of an object"):
        client.submit(source=name)


def test_submit_source_that_is_missing_is_a_404(client: Client) -> None:
    with pytest.raises(RefusedError, match="no object swift://AUTH_test/jobs"):
        client.submit(source="swift://~/jobs/none")


def test_store_job_keeps_bytes_and_type(
    client: Client, endpoint: Endpoint
) -> None:
    client.store_job("swift://~/jobs/s.py", SCRIPT)
    stored = endpoint.objects["swift://AUTH_test/jobs/s.py"]
    assert stored == ("text/x-script", SCRIPT)


def test_store_job_makes_the_container_when_it_is_missing(
    client: Client, endpoint: Endpoint
) -> None:
    client.store_job("swift://~/new/dir/s.py", SCRIPT)
    assert "new" in endpoint.containers
    assert "swift://AUTH_test/new/dir/s.py" in endpoint.objects


@pytest.mark.parametrize("what", ["submit", "store_job", "download"])
def test_client_with_a_bad_token_is_a_login_error_everywhere(
    endpoint: Endpoint, tmp_path: Path, what: str
) -> None:
    client = Client(Login(endpoint.storage_url, TOKEN + "x"))
    do = {
        "submit": lambda: client.submit(CAT),
        "store_job": lambda: client.store_job("swift://~/jobs/s", SCRIPT),
        "download": lambda: client.download("swift://~/c/o", tmp_path / "f"),
    }[what]
    with pytest.raises(LoginError, match=r"log in again \[401\]") as caught:
        do()
    assert TOKEN not in str(caught.value)


def test_client_with_nobody_there_fails_to_connect() -> None:
    client = Client(Login("http://127.0.0.1:9/v1/AUTH_x", "tk"))
    with pytest.raises(zerocloud.client.ConnectError, match="refused"):
        client.submit(CAT)
