"""Programs that are none, or that explode, and what must be said of each.

A function makes the module, because some have many megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from functests.wasm import (
    EMPTY_FUNCTION,
    MAGIC,
    MEMORY,
    START,
    body,
    custom,
    module,
    name,
    number,
    section,
)

MANY = 1_000_000
WASI = name("wasi_snapshot_preview1")
NOTHING = b"\x60\x00\x00"


@dataclass(frozen=True)
class Program:
    """A module, and what is said of it."""

    make: Callable[[], bytes]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Running:
    """A module that runs, and how that ends."""

    make: Callable[[], bytes]
    kind: str
    code: int | str
    message: str = ""


def importing(*imports: bytes) -> Callable[[], bytes]:
    """A module whose functions follow those imports."""
    start = name("_start") + b"\x00" + number(len(imports))
    return lambda: module(imports=imports, exports=(start, MEMORY))


def functions(count: int, code_of_one: bytes = EMPTY_FUNCTION) -> bytes:
    """A module of so many functions."""
    code = number(count) + code_of_one * count
    return b"".join(
        (
            MAGIC,
            section(1, NOTHING),
            b"\x03" + number(len(number(count)) + count) + number(count),
            b"\x00" * count,
            section(5, b"\x00\x01"),
            section(7, START, MEMORY),
            b"\x0a" + number(len(code)) + code,
        )
    )


def one(code: bytes, locals_: bytes = b"\x00") -> Callable[[], bytes]:
    """A module of one function."""
    return lambda: module(codes=(body(code, locals_),))


LONG = "x" * 99_000
LONG_EXPORT = name(LONG) + b"\x00\x00"

MALFORMED = {
    "a section that passes the end": Program(
        lambda: MAGIC + b"\x01\xff\xff\xff\xff\x0f\x00", ("end-of-file",)
    ),
    "a number without end": Program(
        lambda: MAGIC + b"\x01" + b"\x80" * 20, ("too long",)
    ),
    "sections out of order": Program(
        lambda: MAGIC + section(3, b"\0") + section(1, NOTHING),
        ("out of order",),
    ),
    "a section twice": Program(
        lambda: MAGIC + section(1, NOTHING) * 2, ("out of order",)
    ),
    "an unknown section": Program(
        lambda: MAGIC + b"\x7f\x01\x00", ("_start",)
    ),
    "no _start, but a main": Program(
        lambda: module(exports=(name("main") + b"\0\0", MEMORY)),
        ("_start", "main", "wasm32-wasip1"),
    ),
    "a _start that is a memory": Program(
        lambda: module(exports=(name("_start") + b"\x02\x00", MEMORY)),
        ("_start",),
    ),
    "a _start that takes a number": Program(
        lambda: module(types=(b"\x60\x01\x7f\x00",)), ("takes or returns",)
    ),
    "no memory": Program(
        lambda: module(exports=(START,)), ("no memory named memory",)
    ),
    "two memories": Program(
        lambda: module(memories=(b"\0\1", b"\0\1")), ("multiple memories",)
    ),
    "a shared memory": Program(
        lambda: module(memories=(b"\x03\x01\x02",)), ("threads", "memories")
    ),
    "a 64-bit memory": Program(
        lambda: module(memories=(b"\x04\x01",)), ("memory64",)
    ),
    "a memory of 5 GiB": Program(
        lambda: module(memories=(b"\x00" + number(81920),)), ("memory",)
    ),
    "a memory that ends before it begins": Program(
        lambda: module(memories=(b"\x01\x05\x01",)), ("minimum",)
    ),
    "garbage collection": Program(
        lambda: module(types=(NOTHING, b"\x5f\x00")), ("gc",)
    ),
    "threads": Program(one(b"\xfe\x03\x00"), ("threads",)),
    "exceptions of the old form": Program(
        one(b"\x06\x40\x19\x0b"), ("legacy", "-wasm-use-legacy-eh=false")
    ),
    "an exception of a kind that is not there": Program(
        one(b"\x08\x00"), ("unknown tag",)
    ),
    "code that leaves something": Program(one(b"\x41\x00"), ("invalid",)),
    "code that ends early": Program(one(b"\x02\x40"), ("invalid",)),
    "a start that is not there": Program(
        lambda: module(start=7), ("invalid module",)
    ),
    "an import of a memory": Program(
        importing(WASI + name("memory") + b"\x02\x00\x01"),
        ("memory", "not a function"),
    ),
    "an import of a host's file": Program(
        importing(name("env") + name("/etc/passwd") + b"\0\0"),
        ("/etc/passwd", "wasi_snapshot_preview1"),
    ),
    "an import of the next WASI": Program(
        importing(name("wasi:cli/run@0.2.0") + name("run") + b"\0\0"),
        ("wasi:cli/run@0.2.0", "wasi_snapshot_preview1"),
    ),
    "an import of 99 kB": Program(
        importing(name("env") + name(LONG) + b"\0\0"), ("xxx", "…")
    ),
    "an import that colours logs": Program(
        importing(name("env") + name("\x1b[31m\n") + b"\0\0"),
        (r"\u{1b}[31m\n",),
    ),
    "100 000 imports of a wrong type": Program(
        importing(*([WASI + name("sched_yield") + b"\0\0"] * 100_000)),
        ("sched_yield",),
    ),
    "an export twice, of 99 kB": Program(
        lambda: module(exports=(START, MEMORY, LONG_EXPORT, LONG_EXPORT)),
        ("duplicate export", "…"),
    ),
}

BOMBS = {
    "a million functions": Program(
        lambda: functions(MANY), ("compiling took",)
    ),
    "more functions than there may be, in 100 MB": Program(
        lambda: functions(MANY + 1, body(b"\x01" * 96)),
        ("functions count exceeds limit of 1000000",),
    ),
    "100 MB of code": Program(
        lambda: module(
            functions=(b"\0",) * 14,
            codes=(body(b"\x41\x00" + b"\x41\x01\x6a" * 2_450_000 + b"\x1a"),)
            * 14,
        ),
        ("compil",),
    ),
    "one function of 4 MB": Program(
        one(b"\x41\x00" + b"\x41\x01\x6a" * 1_300_000 + b"\x1a"), ("compil",)
    ),
    "one function of 10 MB": Program(
        one(b"\x41\x00\x1a" * 3_500_000), ("7654321",)
    ),
    "blocks a million deep": Program(
        one(b"\x02\x40" * MANY + b"\x0b" * MANY), ("compil",)
    ),
    "4 billion locals": Program(
        one(b"", b"\x01" + number(2**32 - 1) + b"\x7f"), ("too many locals",)
    ),
    "a table of a million branches": Program(
        one(b"\x41\x00\x0e" + number(MANY) + b"\x00" * (MANY + 1)),
        ("br_table", "65520"),
    ),
    "a function of 1001 results": Program(
        lambda: module(
            types=(NOTHING, b"\x60\x00" + number(1001) + b"\x7f" * 1001)
        ),
        ("returns size",),
    ),
    "more exports than there may be": Program(
        lambda: module(
            exports=(
                START,
                MEMORY,
                *(name(f"{i}") + b"\0\0" for i in range(MANY)),
            )
        ),
        ("1000000",),
    ),
}

# What a module may have, and its VM not.
RUNNING = {
    "a start that traps": Running(
        lambda: module(
            functions=(b"\0", b"\0"),
            codes=(EMPTY_FUNCTION, body(b"\x00")),
            start=1,
        ),
        "trap",
        "start_function",
        "unreachable",
    ),
    "a start that loops": Running(
        lambda: module(
            functions=(b"\0", b"\0"),
            codes=(EMPTY_FUNCTION, body(b"\x03\x40\x0c\x00\x0b")),
            start=1,
        ),
        "limit",
        "wall_seconds",
        "0.5 s",
    ),
    "a start that recurses": Running(
        lambda: module(
            functions=(b"\0", b"\0"),
            codes=(EMPTY_FUNCTION, body(b"\x10\x01")),
            start=1,
        ),
        "trap",
        "start_function",
        "stack",
    ),
    "a table of 4 billion": Running(
        lambda: module(tables=(b"\x70\x00" + number(2**32 - 1),)),
        "limit",
        "table_elements",
        "1048576 elements (table_elements)",
    ),
    "a hundred tables of 10 million": Running(
        lambda: module(tables=(b"\x70\x00" + number(9_999_999),) * 100),
        "limit",
        "table_elements",
        "1048576 elements",
    ),
    "a memory of 4 GiB": Running(
        lambda: module(memories=(b"\x00" + number(65536),)),
        "limit",
        "memory_bytes",
        "4294967296",
    ),
    "data outside of its memory": Running(
        lambda: module(data=(b"\x00\x41\xff\xff\xff\xff\x07\x0b\x04abcd",)),
        "trap",
        "memory_out_of_bounds",
    ),
    "names that lie": Running(
        lambda: module(
            codes=(body(b"\x00"),),
            rest=custom("name", b"\x01\xff\xff\xff\xff\x0f" + b"\xff" * 100),
        ),
        "trap",
        "unreachable",
        "in function 0",
    ),
    "names that write headers": Running(
        lambda: module(
            codes=(body(b"\x00"),),
            rest=custom(
                "name", b"\x01\x13\x01\x00" + name("f\r\nX-Evil: \x1b[31m")
            ),
        ),
        "trap",
        "unreachable",
        "in fX-Evil: [31m",
    ),
    "a hundred thousand segments": Running(
        lambda: module(data=(b"\x00\x41\x00\x0b\x01a",) * 100_000), "exit", 0
    ),
    "800 000 globals": Running(
        lambda: module(globals=(b"\x7f\x00\x41\x00\x0b",) * 800_000), "exit", 0
    ),
    "100 MB of nothing": Running(
        lambda: module(rest=custom("x", bytes(100_000_000))), "exit", 0
    ),
}
