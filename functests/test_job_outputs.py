"""What jobs write: objects when all nodes succeed, answers, or nothing."""

from __future__ import annotations

import hashlib

import pytest

from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.running import on_two_servers
from functests.support import Account
from functests.test_job_inputs import pattern

pytestmark = pytest.mark.usefixtures("nothing_left")


def fill(account: Account, count: int) -> dict[str, bytes]:
    """Objects in/… of different lengths."""
    stored = {f"in/{n:03}": pattern(17 * n) for n in range(count)}
    for name, data in stored.items():
        account.put(name, data)
    return stored


def test_one_output_object_per_input_object(account: Account) -> None:
    stored = fill(account, 12)
    program = put_guest(account, "cat")

    report = account.run(
        [
            group(
                program,
                reads(account.path("in/*")),
                writes(account.path("out/*.copy")),
            )
        ]
    )

    assert report["status"] == "succeeded"
    assert report["totals"]["nodes"] == 12
    for name, data in stored.items():
        made = name.replace("in/", "out/") + ".copy"
        assert account.get(made) == data
    assert len({node["server"] for node in report["nodes"]}) > 1


def test_output_has_type_metadata_and_etag(account: Account) -> None:
    account.put("a", b"hello")
    program = put_guest(account, "cat")
    device = writes(
        account.path("b"), content_type="text/csv", meta={"Color": "blü"}
    )

    report = account.run([group(program, reads(account.path("a")), device)])

    head = account.head("b")
    assert head.headers["Content-Type"] == "text/csv"
    assert head.headers["X-Object-Meta-Color"].encode("latin-1") == (
        "blü".encode()
    )
    etag = hashlib.md5(b"hello").hexdigest()
    assert head.headers["Etag"].strip('"') == etag
    [entry] = report["nodes"][0]["outputs"]
    assert entry["etag"] == etag
    assert entry["bytes"] == 5


def test_output_larger_than_memory_chunks_is_stored_whole(
    account: Account,
) -> None:
    data = pattern(5_000_000)
    account.put("a", data)
    program = put_guest(account, "cat")

    account.run(
        [group(program, reads(account.path("a")), writes(account.path("b")))]
    )

    assert account.get("b") == data


def test_large_answers_of_several_nodes_come_in_node_order(
    account: Account,
) -> None:
    one, two = pattern(400_000), pattern(300_000)[::-1]
    account.put("a", one)
    account.put("b", two)
    program = put_guest(account, "cat")

    answer = account.post_job(
        [
            group(program, reads(account.path("b")), STDOUT, name="first"),
            group(program, reads(account.path("a")), STDOUT, name="second"),
        ]
    )

    assert answer.content == two + one
    assert answer.headers["X-Nexe-System"] == "first,second"
    assert answer.headers["X-Nexe-Retcode"] == "0,0"


def test_nothing_is_stored_when_one_node_of_many_fails(
    account: Account,
) -> None:
    fill(account, 4)
    cat = put_guest(account, "cat")
    bad = put_guest(account, "exit_code")

    answer = account.post_job(
        [
            group(
                cat,
                reads(account.path("in/*")),
                writes(account.path("out/*")),
            ),
            group(bad, name="bad", args=["42"]),
        ]
    )

    assert answer.status_code == 200
    assert answer.headers["X-Zerovm-Job-Status"] == "failed"
    assert answer.headers["X-Nexe-Retcode"] == "0,0,0,0,42"
    assert not account.listing(prefix="out/")


def test_failed_node_still_answers_what_it_printed(account: Account) -> None:
    program = put_guest(account, "args_env")

    answer = account.post_job(
        [group(program, STDOUT, args=["x"], ok_exit=[7])]
    )

    assert answer.headers["X-Zerovm-Job-Status"] == "failed"
    assert "arg x" in answer.text


def test_ok_exit_makes_an_exit_code_a_success(account: Account) -> None:
    program = put_guest(account, "exit_code")

    report = account.run([group(program, args=["42"], ok_exit=[42])])

    assert report["status"] == "succeeded"
    assert report["nodes"][0]["outcome"]["code"] == 42


def test_short_output_is_not_stored_with_min_size(account: Account) -> None:
    account.put("a", b"hello")
    program = put_guest(account, "cat")

    account.run(
        [
            group(
                program,
                reads(account.path("a")),
                writes(account.path("b"), min_size=6),
            )
        ]
    )

    assert account.head("b").status_code == 404


def test_random_output_is_stored(account: Account) -> None:
    program = put_guest(account, "write_random")

    account.run(
        [
            group(
                program,
                writes(account.path("b"), "output"),
                args=["3", "def", "0", "abc"],
            )
        ]
    )

    assert account.get("b") == b"abcdef"


def test_output_beyond_a_quota_is_refused_by_name(account: Account) -> None:
    account.put("a", b"hello")
    program = put_guest(account, "cat")
    account.request(
        "POST", account.container, {"X-Container-Meta-Quota-Bytes": "3"}
    ).raise_for_status()

    answer = account.post_job(
        [group(program, reads(account.path("a")), writes(account.path("b")))]
    )

    assert answer.status_code == 422
    assert f"/{account.container}/b" in answer.text
    assert "413" in answer.text
    assert account.head("b").status_code == 404


def test_same_job_has_the_same_receipt_anywhere(account: Account) -> None:
    account.put("a", b"hello")
    program = put_guest(account, "cat")
    job = [group(program, reads(account.path("a")), STDOUT)]

    nodes = on_two_servers(lambda: account.run(job))

    assert len({node["receipt"] for node in nodes}) == 1
    assert nodes[0]["receipt"]
