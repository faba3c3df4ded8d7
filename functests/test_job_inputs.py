"""Jobs read what users stored, in place where they can, in every form."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from functests.jobs import STDOUT, group, put_guest, reads
from functests.support import Account

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


def source_of(node: dict[str, Any]) -> str:
    [entry] = [e for e in node["io"] if e["device"] == "stdin"]
    return str(entry["source"])


@pytest.mark.parametrize("name", ["plain", "mit Umlaut ä/%41?&#*.txt", "~"])
def test_plain_object_is_read_in_place(account: Account, name: str) -> None:
    account.put(name, pattern(SIZE))

    data, node = cat(account, account.path(name))

    assert data == pattern(SIZE)
    assert source_of(node) == "local"
    assert (node["in_place_bytes"], node["streamed_bytes"]) == (SIZE, 0)


def test_empty_object_reads_empty(account: Account) -> None:
    account.put("empty", b"")

    data, node = cat(account, account.path("empty"))

    assert data == b""
    assert node["outcome"]["code"] == 0


def test_object_whose_metadata_was_posted_is_read_in_place(
    account: Account,
) -> None:
    account.put("in/a", b"hello")
    account.request(
        "POST", f"{account.container}/in/a", {"X-Object-Meta-Color": "blue"}
    ).raise_for_status()

    data, node = cat(account, account.path("in/*"))

    assert data == b"hello"
    assert source_of(node) == "local"


def test_static_large_object_is_streamed(account: Account) -> None:
    segments = []
    for number in range(2):
        data = pattern(SIZE)[number * 200_000 : (number + 1) * 200_000]
        etag = account.put(f"parts/{number}", data)
        segments.append(
            {"path": f"/{account.container}/parts/{number}", "etag": etag}
        )
    account.request(
        "PUT",
        f"{account.container}/whole?multipart-manifest=put",
        data=json.dumps(segments),
    ).raise_for_status()

    data, node = cat(account, account.path("whole"))

    assert data == pattern(SIZE)
    assert source_of(node) == "stream"


def test_static_large_object_found_by_wildcard_is_streamed(
    account: Account,
) -> None:
    etag = account.put("parts/0", b"hello")
    account.request(
        "PUT",
        f"{account.container}/whole-1?multipart-manifest=put",
        data=json.dumps(
            [{"path": f"/{account.container}/parts/0", "etag": etag}]
        ),
    ).raise_for_status()

    data, node = cat(account, account.path("whole-*"))

    assert data == b"hello"
    assert source_of(node) == "stream"


@pytest.mark.parametrize("path", ["whole", "whol*"])
def test_dynamic_large_object_is_streamed(account: Account, path: str) -> None:
    account.put("parts/0", b"one ")
    account.put("parts/1", b"two")
    account.put("whole", X_Object_Manifest=f"{account.container}/parts/")

    data, node = cat(account, account.path(path))

    assert data == b"one two"
    assert source_of(node) == "stream"


@pytest.mark.parametrize("path", ["link", "lin*"])
def test_symlink_reads_its_target(account: Account, path: str) -> None:
    account.put("target", b"hello")
    account.put("link", X_Symlink_Target=f"{account.container}/target")

    data, _ = cat(account, account.path(path))

    assert data == b"hello"


def test_erasure_coded_object_is_streamed(account: Account) -> None:
    box = f"ec-{uuid.uuid4().hex[:8]}"
    answer = account.request("PUT", box, {"X-Storage-Policy": "erasure"})
    if answer.status_code == 400:
        pytest.fail("the embedded cluster has no policy `erasure`")
    account.put("a", pattern(SIZE), box)

    data, node = cat(account, account.path("a", box))

    assert data == pattern(SIZE)
    assert source_of(node) == "stream"
    account.delete("a", box)
    account.request("DELETE", box)


def test_versioned_object_reads_its_current_version(account: Account) -> None:
    account.request(
        "POST", account.container, {"X-Versions-Enabled": "true"}
    ).raise_for_status()
    account.put("a", b"old")
    account.put("a", b"new!")

    for path in ("a", "a*"):
        assert cat(account, account.path(path))[0] == b"new!"
    # So that the container can be emptied.
    account.request(
        "POST", account.container, {"X-Versions-Enabled": "false"}
    ).raise_for_status()
    versions = account.request(
        "GET", account.container, params={"versions": "", "format": "json"}
    ).json()
    for entry in versions:
        account.request(
            "DELETE",
            f"{account.container}/{entry['name']}",
            params={"version-id": entry["version_id"]},
        )


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


def test_large_payload_reaches_the_guest(account: Account) -> None:
    program = put_guest(account, "cat")
    job = [group(program, {"name": "stdin"}, STDOUT)]
    account.put("job", json.dumps(job), Content_Type="application/json")

    answer = account.post_job(
        pattern(3_000_000), {"X-Zerovm-Source": account.path("job")}
    )

    assert answer.content == pattern(3_000_000)
