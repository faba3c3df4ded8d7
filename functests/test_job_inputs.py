"""Jobs read what users stored: several objects at once, payloads.

Each kind of object by itself is in test_object_kinds.py.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from functests.jobs import STDOUT, group, put_guest, reads
from functests.support import Account
from zerocloud.headers import JSON_TYPE

pytestmark = pytest.mark.usefixtures("nothing_left")
SIZE = 300_000


def pattern(size: int) -> bytes:
    """Bytes that show where they were cut or mixed."""
    return b"".join(b"%015d\n" % n for n in range(size // 16 + 1))[:size]


def cat(account: Account, path: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes that a guest reads from `path`, and its node's report."""
    job = [group(put_guest(account, "cat"), reads(path), STDOUT)]
    answer = account.post_job(job)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    [node] = account.run(job)["nodes"]
    return answer.content, node


def identity_of(node: dict[str, Any]) -> Any:
    [entry] = [e for e in node["io"] if e["device"] == "stdin"]
    return entry["identity"]


def source_of(node: dict[str, Any]) -> str:
    [entry] = [e for e in node["io"] if e["device"] == "stdin"]
    return str(entry["source"])


def test_receipt_is_the_same_in_place_and_streamed(account: Account) -> None:
    """The same object, once beside the node and once sent to it."""
    account.put("a", b"hello")
    account.put("b", b"other")
    program = put_guest(account, "cat")
    near = [group(program, reads(account.path("a")), STDOUT)]
    # Attached to the other object, so that this one has to be sent.
    far = [
        group(
            program,
            reads(account.path("a")),
            reads(account.path("b"), "input"),
            STDOUT,
            attach="input",
        )
    ]

    [one] = account.run(near)["nodes"]
    [two] = account.run(far)["nodes"]

    assert source_of(one) == "local"
    assert source_of(two) == "stream"
    assert identity_of(one) == identity_of(two)
    head = account.head("a").headers
    assert identity_of(one) == {
        "path": f"swift://{account.name}/{account.container}/a",
        "version": head["X-Timestamp"],
        "bytes": 5,
    }
    assert one["digests"]["stdin"] == two["digests"]["stdin"]


def test_several_objects_reach_one_node(account: Account) -> None:
    account.put("a", b"first")
    account.put("b", b"0123456789")
    program = put_guest(account, "seek_read")

    answer = account.post_job(
        [
            group(
                program,
                reads(account.path("a")),
                reads(account.path("b"), "input"),
                STDOUT,
                args=["7", "3", "0", "2"],
            )
        ]
    )

    assert answer.text == "78901"


def test_payload_of_a_stored_job_is_its_stdin(account: Account) -> None:
    program = put_guest(account, "cat")
    job = [group(program, {"name": "stdin"}, STDOUT, count=2)]
    account.put("job", json.dumps(job), Content_Type="application/json")

    answer = account.post_job(
        b"from the request",
        {"X-Zerovm-Source": account.path("job")},
    )

    assert answer.content == b"from the request" * 2
    [first, _] = account.post_job(
        b"from the request",
        {"X-Zerovm-Source": account.path("job"), "Accept": JSON_TYPE},
    ).json()["nodes"]
    assert identity_of(first) == {
        "path": None,
        "version": hashlib.sha256(b"from the request").hexdigest(),
        "bytes": 16,
    }


def test_large_payload_reaches_the_guest(account: Account) -> None:
    program = put_guest(account, "cat")
    job = [group(program, {"name": "stdin"}, STDOUT)]
    account.put("job", json.dumps(job), Content_Type="application/json")

    answer = account.post_job(
        pattern(3_000_000), {"X-Zerovm-Source": account.path("job")}
    )

    assert answer.content == pattern(3_000_000)
