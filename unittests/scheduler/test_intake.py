"""Requests → submissions: kinds of bodies, and what is wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from contextlib import closing
from socket import socket, socketpair
from typing import Any

import pytest

from unittests.scheduler.conftest import Cluster, group
from unittests.scheduler.test_blobs import tar_of
from zerocloud.errors import JobError
from zerocloud.scheduler import intake
from zerocloud.scheduler.concurrency import sleep
from zerocloud.scheduler.intake import source_path

JOB = json.dumps([group("name")]).encode()
SCRIPT = b"#!file://python3:python -u\nprint('hello')\n"


def failing(cluster: Cluster, body: bytes, **env: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        cluster.run(body, **env)
    assert cluster.nodes.ran == []
    return caught.value


def test_body_without_content_type_is_refused(cluster: Cluster) -> None:
    error = failing(cluster, JOB, CONTENT_TYPE="")

    assert (error.code, error.status) == ("bad_request", 400)
    assert "Content-Type" in error.message


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8"]
)
def test_json_body_is_a_job(cluster: Cluster, kind: str) -> None:
    assert cluster.run(JOB, CONTENT_TYPE=kind).body == b"n"


def test_json_body_beyond_the_limit_is_refused(cluster: Cluster) -> None:
    cluster.options["max_job_bytes"] = "1024"

    assert cluster.run(JOB + b" " * (1024 - len(JOB))).body == b"n"
    cluster.nodes.ran.clear()
    error = failing(cluster, JOB + b" " * (1025 - len(JOB)))

    assert (error.code, error.status) == ("job_too_large", 413)
    assert "the limit is 1024 (max_job_bytes)" in error.message


def test_object_form_may_be_larger_than_a_list(cluster: Cluster) -> None:
    cluster.options["max_job_bytes"] = "1024"
    whole = json.dumps({"version": 2, "nodes": [group("name")]}).encode()

    assert cluster.run(whole + b" " * 5000).body == b"n"


def test_body_beyond_every_limit_is_not_read_to_its_end(
    cluster: Cluster,
) -> None:
    cluster.options["max_stored_job_bytes"] = "100000"
    source = io.BytesIO(b" " * 10_000_000)

    error = failing(
        cluster, b"", CONTENT_LENGTH="10000000", **{"wsgi.input": source}
    )

    assert error.code == "job_too_large"
    assert source.tell() < 300_000


def test_json_body_that_is_not_json_is_refused(cluster: Cluster) -> None:
    error = failing(cluster, b"[")

    assert (error.code, error.status) == ("job_not_json", 422)


def test_chunked_body_needs_no_length(cluster: Cluster) -> None:
    done = cluster.run(
        JOB, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"
    )

    assert done.body == b"n"


@pytest.mark.parametrize("length", ["-1", "x", "1.5"])
def test_content_length_that_is_none_is_refused(
    cluster: Cluster, length: str
) -> None:
    error = failing(cluster, JOB, CONTENT_LENGTH=length)

    assert error.code == "bad_request"
    assert length in error.message


def test_body_that_ends_early_is_a_disconnect(cluster: Cluster) -> None:
    error = failing(cluster, JOB, CONTENT_LENGTH=str(len(JOB) + 3))

    assert (error.code, error.status) == ("client_disconnect", 499)
    assert "3 bytes too early" in error.message


def test_body_that_breaks_off_is_a_disconnect(cluster: Cluster) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError("connection reset")

    error = failing(cluster, JOB, **{"wsgi.input": Broken()})

    assert error.code == "client_disconnect"
    assert "reset" not in error.message


class Chunks:
    """A body that is not chunked, on a connection like the server's."""

    def __init__(self) -> None:
        self.client, self.socket = socketpair()

    def get_socket(self) -> socket:
        return self.socket

    def read(self, size: int) -> bytes:
        raise ValueError("invalid literal for int() with base 16")

    def close(self) -> None:
        self.client.close()
        self.socket.close()


def test_body_that_is_not_chunked_is_told_to_who_waits(
    cluster: Cluster,
) -> None:
    with closing(Chunks()) as body:
        error = failing(cluster, JOB, **{"wsgi.input": body})

    assert (error.code, error.status) == ("bad_request", 400)
    assert "not chunked as Transfer-Encoding says" in error.message


def test_body_that_ends_within_a_chunk_is_a_disconnect(
    cluster: Cluster,
) -> None:
    with closing(Chunks()) as body:
        body.client.close()
        error = failing(cluster, JOB, **{"wsgi.input": body})

    assert error.code == "client_disconnect"


def test_body_that_stops_for_the_servers_time_is_a_timeout(
    cluster: Cluster,
) -> None:
    class Stopped:
        def read(self, size: int) -> bytes:
            raise TimeoutError("timed out")

    error = failing(cluster, JOB, **{"wsgi.input": Stopped()})

    assert (error.code, error.status) == ("upload_timeout", 408)
    assert "client_timeout" in error.message


def test_slow_body_is_refused_in_time(cluster: Cluster) -> None:
    class Slow:
        def read(self, size: int) -> bytes:
            sleep(5)
            return b""

    cluster.service.settings.__dict__["upload_timeout"] = 0.01
    error = failing(cluster, JOB, **{"wsgi.input": Slow()})

    assert (error.code, error.status) == ("upload_timeout", 408)


def test_etag_of_the_body_is_checked(cluster: Cluster) -> None:
    right = hashlib.md5(JOB).hexdigest()

    assert cluster.run(JOB, HTTP_ETAG=f'"{right}"').body == b"n"
    cluster.nodes.ran.clear()
    error = failing(cluster, JOB, HTTP_ETAG="0" * 32)

    assert (error.code, error.status) == ("etag_mismatch", 422)


def test_any_other_type_is_a_script(cluster: Cluster) -> None:
    cluster.run(SCRIPT, CONTENT_TYPE="text/plain")

    [ran] = cluster.nodes.ran
    assert ran.task.node == "script"
    assert ran.task.args == ("python", "-u", "script")
    assert [i.kind for i in ran.task.images] == ["blob", "system"]
    assert len(cluster.nodes.uploads) == 1


@pytest.mark.parametrize("body", [b"", b"hello", b"#!\n", b"#!/bin/sh\n"])
def test_script_without_a_known_interpreter_is_refused(
    cluster: Cluster, body: bytes
) -> None:
    error = failing(cluster, body, CONTENT_TYPE="text/plain")

    assert (error.code, error.status) == ("bad_script", 400)


@pytest.mark.parametrize(
    ("kind", "pack"),
    [
        ("application/x-tar", bytes),
        ("application/x-gtar", bytes),
        ("Application/X-UStar", bytes),
        ("application/x-gzip", gzip.compress),
    ],
)
def test_tar_body_is_the_image_of_every_node(
    cluster: Cluster, kind: str, pack: Any
) -> None:
    tar = tar_with_map("boot/system.map", JOB, "bin/x", b"program")

    cluster.run(pack(tar), CONTENT_TYPE=kind)

    [ran] = cluster.nodes.ran
    assert ran.task.images[0].sha256 == hashlib.sha256(tar).hexdigest()


def tar_with_map(*pairs: Any) -> bytes:
    names, maps = pairs[::2], pairs[1::2]
    return tar_of(
        **{n.replace("/", "__"): m for n, m in zip(names, maps, strict=True)}
    )


def test_cluster_map_comes_before_system_map(cluster: Cluster) -> None:
    other = json.dumps([group("name", "chosen")]).encode()
    tar = tar_with_map("boot/system.map", JOB, "boot/cluster.map", other)

    cluster.run(tar, CONTENT_TYPE="application/x-tar")

    assert cluster.nodes.ran[0].task.node == "chosen"


def test_map_behind_the_first_megabyte_is_not_found(cluster: Cluster) -> None:
    tar = tar_with_map("big", bytes(2**20), "boot/system.map", JOB)

    error = failing(cluster, tar, CONTENT_TYPE="application/x-tar")

    assert error.code == "image_invalid"
    assert "boot/cluster.map nor boot/system.map" in error.message


@pytest.mark.parametrize("body", [b"not a tar" * 100, b""])
def test_tar_body_that_is_none_is_refused(
    cluster: Cluster, body: bytes
) -> None:
    error = failing(cluster, body, CONTENT_TYPE="application/x-tar")

    assert (error.code, error.status) == ("image_invalid", 422)


def test_source_is_read_and_the_body_is_the_payload(cluster: Cluster) -> None:
    job = json.dumps([group(devices=[{"name": "stdin"}, {"name": "stdout"}])])
    cluster.swift.put(
        "jobs/j b", job.encode(), content_type="application/json"
    )

    done = cluster.run(
        b"payload",
        HTTP_X_ZEROVM_SOURCE="swift://~/jobs/j%20b",
        CONTENT_TYPE="text/html",
    )

    assert done.body == b"payload"
    [ran] = cluster.nodes.ran
    identity = ran.task.inputs[0].identity
    assert identity is not None
    assert identity.version == hashlib.sha256(b"payload").hexdigest()


def test_payload_reaches_every_node_that_wants_it(cluster: Cluster) -> None:
    job = json.dumps(
        [group(count=3, devices=[{"name": "stdin"}, {"name": "stdout"}])]
    )
    cluster.swift.put("jobs/j", job.encode(), content_type="application/json")

    done = cluster.run(
        b"abc", HTTP_X_ZEROVM_SOURCE="swift://./jobs/j", CONTENT_TYPE="x/y"
    )

    assert done.body == b"abcabcabc"


def test_payload_beyond_the_limit_is_refused(cluster: Cluster) -> None:
    cluster.swift.put("jobs/j", JOB, content_type="application/json")
    cluster.options["max_input_bytes"] = "3"

    error = failing(cluster, b"abcd", HTTP_X_ZEROVM_SOURCE="swift://~/jobs/j")

    assert (error.code, error.status) == ("input_too_large", 413)


def test_body_of_a_plain_job_never_reaches_stdin(cluster: Cluster) -> None:
    job = [group(devices=[{"name": "stdin"}, {"name": "stdout"}])]

    assert cluster.run(job).body == b""
    assert cluster.nodes.ran[0].task.inputs[0].source == "empty"


def test_stored_script_is_run(cluster: Cluster) -> None:
    cluster.swift.put("jobs/s", SCRIPT, content_type="text/x-python")

    done = cluster.run(b"in", HTTP_X_ZEROVM_SOURCE="swift://~/jobs/s")

    assert done.body == b"in"


def test_stored_job_may_be_larger_than_one_in_a_request(
    cluster: Cluster,
) -> None:
    cluster.options["max_job_bytes"] = "1024"
    cluster.swift.put(
        "jobs/j", JOB + b" " * 5000, content_type="application/json"
    )

    done = cluster.run(b"", HTTP_X_ZEROVM_SOURCE="swift://~/jobs/j")

    assert done.body == b"n"


def test_damaged_source_is_read_again(cluster: Cluster) -> None:
    """Also when the damage makes it no job any more."""
    cluster.swift.put("in/job", JOB, content_type="application/json")
    cluster.swift.damage["job"] = 2

    done = cluster.run(b"", HTTP_X_ZEROVM_SOURCE="swift://~/in/job")

    assert done.body == b"n"


def test_missing_source_is_named(cluster: Cluster) -> None:
    error = failing(cluster, b"", HTTP_X_ZEROVM_SOURCE="swift://~/jobs/no")

    assert (error.code, error.status) == ("not_found", 404)
    assert "swift://AUTH_a/jobs/no" in error.message


@pytest.mark.parametrize(
    "value", ["", "jobs/j", "http://x/y/z", "swift://~", "swift://~/c", "/a/b"]
)
def test_malformed_source_is_refused(value: str) -> None:
    with pytest.raises(JobError, match="X-Zerovm-Source") as caught:
        source_path(value, "AUTH_a")

    assert (caught.value.code, caught.value.status) == ("bad_source", 412)


def test_source_is_decoded_once_and_as_utf8() -> None:
    path = source_path("swift://~/c/%C3%A4%2520b", "AUTH_a")

    assert path.object == "ä%20b"


def test_raw_utf8_in_source_is_read(cluster: Cluster) -> None:
    path = source_path("swift://~/c/ä".encode().decode("latin-1"), "AUTH_a")

    assert path.object == "ä"


def test_read_is_in_pieces() -> None:
    asked = []

    class Input(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    env = {"CONTENT_LENGTH": "200000", "wsgi.input": Input(bytes(200_000))}
    assert len(b"".join(intake.checked_body(env))) == 200_000
    assert max(asked) <= intake.READ_BYTES


@pytest.mark.parametrize("value", ["\xff", "swift://~/c/%ff", "%ED%A0%80"])
def test_source_that_is_not_utf8_is_refused(value: str) -> None:
    with pytest.raises(JobError, match="is not UTF-8 at byte") as caught:
        source_path(value, "AUTH_a")

    assert caught.value.code == "bad_source"
