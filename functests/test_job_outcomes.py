"""What guests do wrong is data in the report; scripts and images run."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from functests.jobs import STDOUT, group, guest, put_guest, reads, writes
from functests.support import Account

pytestmark = pytest.mark.usefixtures("nothing_left")


def outcome(
    account: Account, program: str, *args: str, **limits: Any
) -> dict[str, Any]:
    """Run one guest with an output to be stored; its node's report."""
    job = {
        "version": 2,
        "limits": limits,
        "nodes": [
            group(
                put_guest(account, program),
                writes(account.path("out")),
                args=[*args],
            )
        ],
    }
    report = account.run(job)
    assert report["status"] == "failed"
    assert account.head("out").status_code == 404
    [node] = report["nodes"]
    assert node["succeeded"] is False
    assert node["attempts"] == 1
    assert isinstance(node, dict)
    return node


def test_exit_code_is_data(account: Account) -> None:
    node = outcome(account, "exit_code", "42")

    assert node["outcome"] == {"kind": "exit", "code": 42, "message": ""}


def test_trap_is_data(account: Account) -> None:
    node = outcome(account, "trap", "unreachable")

    assert node["outcome"]["kind"] == "trap"
    assert node["receipt"]


def test_endless_recursion_is_a_trap(account: Account) -> None:
    node = outcome(account, "recurse")

    assert node["outcome"]["kind"] == "trap"
    assert node["outcome"]["code"] == "stack_overflow"


def test_endless_loop_ends_at_its_limit(account: Account) -> None:
    node = outcome(account, "spin", wall_seconds=0.5)

    assert node["outcome"]["kind"] == "limit"
    assert node["outcome"]["code"] in ("wall_seconds", "cpu_seconds")
    assert node["receipt"] is None
    assert node["wall_seconds"] < 5


def test_endless_output_ends_at_its_limit(account: Account) -> None:
    node = outcome(account, "endless_output", output_bytes=100_000)

    assert "output_bytes" in (
        node["outcome"]["code"],
        *node["limits_reached"],
    )


def test_script_posted_by_itself_runs(account: Account) -> None:
    script = b"#!file://python3:python\nprint(6 * 7)\n"

    answer = account.post_job(script)

    assert answer.text == "42\n"
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_script_that_fails_tells_its_last_words(account: Account) -> None:
    script = b"#!file://python3:python\nraise SystemExit('no such thing')\n"

    answer = account.post_job(script, {"Accept": "application/json"})

    report = answer.json()
    assert report["status"] == "failed"
    assert report["nodes"][0]["outcome"]["code"] == 1
    assert "no such thing" in report["nodes"][0]["stderr_tail"]


def test_stored_script_reads_objects_by_wildcard(account: Account) -> None:
    for number in range(6):
        account.put(f"in/{number}", b"x" * number)
    account.put(
        "count.py", b"import sys\nprint(len(sys.stdin.buffer.read()))\n"
    )

    answer = account.post_job(
        [
            group(
                "file://python3:python",
                reads(account.path("in/*")),
                reads(account.path("count.py"), "script"),
                STDOUT,
                args=["/dev/script"],
            )
        ]
    )

    assert answer.text == "0\n1\n2\n3\n4\n5\n"


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_posted_tar_holds_job_and_program(account: Account) -> None:
    job = json.dumps([group("file://bin/hello", STDOUT)]).encode()
    tar = tar_of({"boot/system.map": job, "bin/hello": guest("hello")})

    answer = account.post_job(tar, {"Content-Type": "application/x-tar"})

    assert (answer.status_code, answer.text) == (200, "hello\n")


def test_image_object_holds_the_program(account: Account) -> None:
    account.put("image.tar", tar_of({"hello.wasm": guest("hello")}))

    answer = account.post_job(
        [
            group(
                "file://image:hello.wasm",
                {"name": "image", "path": account.path("image.tar")},
                STDOUT,
            )
        ]
    )

    assert answer.text == "hello\n"


def test_program_that_no_image_has_is_named(account: Account) -> None:
    answer = account.post_job(
        [group("file://python3:bin/nothing", {"name": "python3"}, STDOUT)]
    )

    assert answer.status_code == 404
    assert "bin/nothing" in answer.text
