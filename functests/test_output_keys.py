"""`min_size`, `meta` and `content_type` of outputs, on every way they can go.

A small output comes with the report, a large one waits on its storage node
until the whole job has succeeded; it is stored, or is part of the answer; the
name is given, or made by a wildcard.
"""

from __future__ import annotations

from typing import Any

import pytest

from functests.jobs import group, put_guest, reads, writes
from functests.support import Account

SMALL, LARGE = b"small\n", b"0123456789abcde\n" * 8192
SIZES = {"small": SMALL, "large": LARGE}
KEYS: dict[str, Any] = {
    "content_type": "text/csv",
    "meta": {"Color": "blue", "Of": "a job"},
}


def stored(account: Account, data: bytes, *, wildcard: bool) -> None:
    names = ("a", "b") if wildcard else ("a",)
    for name in names:
        account.put(f"in/{name}", data)


def ran(
    account: Account, device: dict[str, Any], *, wildcard: bool
) -> dict[str, Any]:
    path = account.path("in/*" if wildcard else "in/a")
    report = account.run(
        [group(put_guest(account, "cat"), reads(path), device)]
    )
    assert report["status"] == "succeeded", report
    return report


@pytest.mark.parametrize("wildcard", [False, True], ids=["name", "wildcard"])
@pytest.mark.parametrize("size", sorted(SIZES))
def test_stored_output_has_its_type_and_metadata(
    account: Account, size: str, wildcard: bool
) -> None:
    data = SIZES[size]
    stored(account, data, wildcard=wildcard)

    ran(
        account,
        writes(account.path("out/*"), min_size=len(data), **KEYS),
        wildcard=wildcard,
    )

    made = account.listing(prefix="out/")
    assert made == (["out/a", "out/b"] if wildcard else ["out/n"])
    for name in made:
        head = account.head(name).headers
        assert account.get(name) == data
        assert head["Content-Type"] == "text/csv"
        assert head["X-Object-Meta-Color"] == "blue"
        assert head["X-Object-Meta-Of"] == "a job"


@pytest.mark.parametrize("wildcard", [False, True], ids=["name", "wildcard"])
@pytest.mark.parametrize("size", sorted(SIZES))
def test_stored_output_a_byte_too_short_is_not_stored(
    account: Account, size: str, wildcard: bool
) -> None:
    data = SIZES[size]
    stored(account, data, wildcard=wildcard)

    ran(
        account,
        writes(account.path("out/*"), min_size=len(data) + 1),
        wildcard=wildcard,
    )

    assert account.listing(prefix="out/") == []


@pytest.mark.parametrize("wildcard", [False, True], ids=["name", "wildcard"])
@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("short", [0, 1], ids=["enough", "a byte too short"])
def test_answered_output_has_its_type_if_it_is_long_enough(
    account: Account, size: str, wildcard: bool, short: int
) -> None:
    data = SIZES[size]
    stored(account, data, wildcard=wildcard)
    device = {
        "name": "stdout",
        "content_type": "text/csv",
        "min_size": len(data) + short,
    }
    path = account.path("in/*" if wildcard else "in/a")

    answer = account.post_job(
        [group(put_guest(account, "cat"), reads(path), device)]
    )

    assert answer.status_code == 200
    times = (2 if wildcard else 1) * (1 - short)
    assert answer.content == data * times
    assert answer.headers["Content-Length"] == str(len(data) * times)
    if times:
        assert answer.headers["Content-Type"] == "text/csv"


@pytest.mark.parametrize("size", sorted(SIZES))
def test_each_output_of_a_node_has_its_own(
    account: Account, size: str
) -> None:
    """One is stored, one is too short, one is the answer."""
    data = SIZES[size]
    stored(account, data, wildcard=False)
    text = (
        "import sys; data = sys.stdin.buffer.read(); "
        "open('/dev/output', 'wb').write(data + data); "
        "sys.stderr.write('e'); sys.stdout.buffer.write(data)"
    )

    answer = account.post_job(
        [
            group(
                "file://python3:python",
                reads(account.path("in/a")),
                {"name": "python3"},
                writes(
                    account.path("twice"),
                    "output",
                    content_type="a/b",
                    meta={"N": "2"},
                    min_size=2 * len(data),
                ),
                writes(account.path("short"), "stderr", min_size=2),
                {"name": "stdout", "content_type": "text/csv"},
                args=["-c", text],
            )
        ]
    )

    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["Content-Type"] == "text/csv"
    head = account.head("twice").headers
    assert (head["Content-Type"], head["X-Object-Meta-N"]) == ("a/b", "2")
    assert account.get("twice") == data + data
    assert account.head("short").status_code == 404


def test_output_of_default_type_is_the_operators(account: Account) -> None:
    stored(account, SMALL, wildcard=False)
    ran(account, writes(account.path("out")), wildcard=False)
    head = account.head("out").headers
    assert head["Content-Type"] == "application/octet-stream"
