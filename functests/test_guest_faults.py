"""What guests do wrong: data in the report, and nothing published.

Every job here also has two nodes that succeed and want to store outputs.  The
answer is 200 and `failed`; the container holds what it held.  On the cluster
`narrow`, whose only slot must be free afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from functests import wasm
from functests.conftest import with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
)
from zerocloud.cluster import Cluster

LEFT_SECONDS = 3.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Fault:
    """A guest, its limits, and how it must end."""

    guest: str
    kind: str
    code: int | str
    args: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    message: str = ""
    receipt: bool = True


FAULTS = {
    "exit 1": Fault("exit_code", "exit", 1, ("1",)),
    "exit 42": Fault("exit_code", "exit", 42, ("42",)),
    "exit 255": Fault("exit_code", "exit", 255, ("255",)),
    "unreachable": Fault("trap", "trap", "unreachable"),
    "division by zero": Fault(
        "trap", "trap", "integer_divide_by_zero", ("divide",)
    ),
    "read beyond memory": Fault(
        "trap", "trap", "memory_out_of_bounds", ("load",)
    ),
    "call of the wrong type": Fault(
        "trap", "trap", "indirect_call", ("call",)
    ),
    "endless recursion": Fault("recurse", "trap", "stack_overflow"),
    "endless recursion in memory": Fault(
        "recurse", "trap", "memory_out_of_bounds", ("memory",)
    ),
    "endless loop, by the clock": Fault(
        "spin",
        "limit",
        "wall_seconds",
        limits={"wall_seconds": 0.3},
        message="the limit is 0.3 s (wall_seconds)",
        receipt=False,
    ),
    "endless loop, by CPU": Fault(
        "spin",
        "limit",
        "cpu_seconds",
        limits={"cpu_seconds": 0.2},
        message="the limit is 0.2 s (cpu_seconds)",
        receipt=False,
    ),
    "all memory": Fault(
        "alloc_all", "exit", 3, limits={"memory_bytes": 4 * MIB}
    ),
    "all memory by growing": Fault(
        "alloc_all", "exit", 3, ("grow",), {"memory_bytes": 4 * MIB}
    ),
    "endless output": Fault(
        "endless_output",
        "limit",
        "output_bytes",
        limits={"output_bytes": 1_000_000},
        message="1000000",
    ),
    "no output allowed": Fault(
        "endless_output", "limit", "output_bytes", limits={"output_bytes": 0}
    ),
    "endless stderr": Fault(
        "endless_stderr",
        "limit",
        "wall_seconds",
        limits={"wall_seconds": 0.3, "stderr_bytes": 1000},
        receipt=False,
    ),
}


@pytest.fixture(scope="module")
def box(narrow: Cluster) -> Iterator[Account]:
    """A container with the guests and an object."""
    for account in with_container(Account(narrow)):
        account.put("a", b"hello")
        put_guest(account, "cat")
        for name in sorted({fault.guest for fault in FAULTS.values()}):
            put_guest(account, name)
        yield account


@pytest.fixture(autouse=True)
def nothing_is_left(box: Account) -> Iterator[None]:
    """No process, descriptor, staged file, draft."""
    box.session.close()
    before = residue(box.cluster)
    yield
    box.session.close()
    assert_nothing_left(box.cluster, before, LEFT_SECONDS)


def between_good_ones(box: Account, bad: dict[str, Any]) -> list[Any]:
    """A job of three nodes, of which the one in the middle goes wrong."""
    cat = box.path("bin/cat.wasm")
    return [
        group(cat, reads(box.path("a")), writes(box.path("o1")), name="one"),
        bad,
        group(cat, reads(box.path("a")), writes(box.path("o2")), name="two"),
    ]


def failing(box: Account, job: list[Any]) -> dict[str, Any]:
    """The report of a job that fails, publishing nothing."""
    before = box.listing()
    report = box.run(job)
    assert report["status"] == "failed"
    assert box.listing() == before
    assert all(node["attempts"] == 1 for node in report["nodes"])
    assert report["totals"]["failed"] == 1
    one, bad, two = report["nodes"]
    assert one["succeeded"]
    assert two["succeeded"]
    assert not bad["succeeded"]
    # What was not stored is not told as stored.
    assert (one["outputs"], two["outputs"]) == ([], [])
    return dict(bad)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_fault_of_one_guest_is_told_and_nothing_is_stored(
    box: Account, fault: Fault
) -> None:
    bad = group(
        box.path(f"bin/{fault.guest}.wasm"),
        writes(box.path("bad")),
        name="bad",
        args=list(fault.args),
        limits=dict(fault.limits),
    )

    node = failing(box, between_good_ones(box, bad))

    outcome = node["outcome"]
    assert (outcome["kind"], outcome["code"]) == (fault.kind, fault.code)
    assert fault.message in outcome["message"]
    assert (node["receipt"] is not None) == fault.receipt
    for limit in ("wall_seconds", "cpu_seconds"):
        if limit in fault.limits:
            assert node[limit] < fault.limits[limit] + 1.5


def test_refused_memory_is_named_and_counted(box: Account) -> None:
    bad = group(
        box.path("bin/alloc_all.wasm"),
        name="bad",
        args=["grow"],
        limits={"memory_bytes": 4 * MIB},
    )

    node = failing(box, between_good_ones(box, bad))

    assert node["limits_reached"] == ["memory_bytes"]
    assert node["memory_peak_bytes"] == 4 * MIB
    assert "out of memory after" in node["stderr_tail"]


def test_endless_stderr_keeps_its_end_only(box: Account) -> None:
    bad = group(
        box.path("bin/endless_stderr.wasm"),
        name="bad",
        limits={"wall_seconds": 0.2, "stderr_bytes": 1000},
    )

    node = failing(box, between_good_ones(box, bad))

    assert node["stderr_tail"] == "e" * 1000


def test_endless_output_holds_no_more_than_its_limit(box: Account) -> None:
    bad = group(
        box.path("bin/endless_output.wasm"),
        STDOUT,
        name="bad",
        limits={"output_bytes": 100_000},
    )

    node = failing(box, between_good_ones(box, bad))

    [io] = node["io"]
    assert io["size"] <= 100_000
    [output] = node["outputs"]
    assert output["bytes"] <= 100_000


@pytest.mark.parametrize("pages", [65536, 1024])
def test_memory_at_the_start_beyond_the_limit_is_named(
    box: Account, pages: int
) -> None:
    box.put("bin/huge.wasm", wasm.command(pages=pages))
    bad = group(
        box.path("bin/huge.wasm"),
        name="bad",
        limits={"memory_bytes": 4 * MIB},
    )

    node = failing(box, between_good_ones(box, bad))

    outcome = node["outcome"]
    assert (outcome["kind"], outcome["code"]) == ("limit", "memory_bytes")
    assert str(4 * MIB) in outcome["message"]
    assert str(pages * wasm.PAGE_BYTES) in outcome["message"]
    assert node["memory_peak_bytes"] <= 4 * MIB


def test_faults_are_told_in_the_headers_too(box: Account) -> None:
    bad = group(
        box.path("bin/exit_code.wasm"), STDOUT, name="bad", args=["42"]
    )
    before = box.listing()

    answer = box.post_job(between_good_ones(box, bad))

    assert answer.status_code == 200
    assert answer.headers["X-Zerovm-Job-Status"] == "failed"
    assert answer.headers["X-Nexe-System"] == "one,bad,two"
    assert answer.headers["X-Nexe-Retcode"] == "0,42,0"
    assert answer.headers["X-Nexe-Error"] == ",exit 42,"
    assert answer.headers["Content-Length"] == "0"
    assert box.listing() == before


def test_same_fault_has_the_same_receipt(box: Account) -> None:
    job = [group(box.path("bin/trap.wasm"), name="n", args=["divide"])]

    receipts = {box.run(job)["nodes"][0]["receipt"] for _ in range(3)}

    assert len(receipts) == 1
    assert None not in receipts


def test_closing_all_channels_is_no_fault(box: Account) -> None:
    program = put_guest(box, "close_all")
    job = [group(program, writes(box.path("o")), name="n")]

    assert box.run(job)["status"] == "succeeded"
    assert box.get("o") == b""
    box.delete("o")


# What a guest asks too much of, its arguments, its exit code, what it prints.
# It gets an errno, as from any system, and goes on.
GREEDY = {
    "writes to its stdin": ("write_stdin", (), 0, "write 0: Bad file"),
    "opens ten thousand files": (
        "open_files",
        ("10000",),
        0,
        "(Too many open files in system)",
    ),
    "makes ten thousand files": (
        "many_files",
        ("10000",),
        0,
        "(No space left on device)",
    ),
    "gives a file a million names": (
        "many_names",
        ("1000000",),
        0,
        "4096 names, errno 51 (No space left on device)",
    ),
    "fills /tmp": ("fill_tmp", (), 0, "(No space left on device)"),
    "looks for the host's files": ("open_host", (), 0, "open /etc/passwd: No"),
    "looks for a network": ("sockets", (), 0, "accept 0: "),
}


@pytest.mark.parametrize(
    ("name", "args", "code", "said"), GREEDY.values(), ids=GREEDY.keys()
)
def test_guest_that_asks_too_much_is_told_so_and_goes_on(
    box: Account, name: str, args: tuple[str, ...], code: int, said: str
) -> None:
    program = put_guest(box, name)
    job = [
        group(
            program,
            reads(box.path("a")),
            STDOUT,
            name="n",
            args=list(args),
            limits={"memory_bytes": 32 * MIB},
        )
    ]

    [node] = box.run(job)["nodes"]

    outcome = node["outcome"]
    assert (outcome["kind"], outcome["code"]) == ("exit", code), outcome
    text = node["outputs"][0]["text"]
    assert said in text, text
    assert "WORKED" not in text
    assert "OPENED" not in text
    assert node["memory_peak_bytes"] <= 32 * MIB


def test_slot_is_free_after_all_of_it(box: Account) -> None:
    job = [group(box.path("bin/cat.wasm"), reads(box.path("a")), STDOUT)]

    assert box.post_job(job).content == b"hello"
