"""The same four programs in every language, unchanged, give the same answers.

hello, cat, sort and readdir in C, C++, Zig, Python, Go and Lua run as nodes of
one job each: over an object of text and one of all bytes, and a folder of the
user's image.  The C, C++ and Zig programs are runner/tests/guests; the others
are in functests/languages.  Lua is the example's (examples/lua), compiled from
its source; its library lists no folders, so there it is three programs.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from functests.jobs import STDOUT, group, guest, reads
from functests.support import Account
from unittests.fakes.tars import tar_of

SOURCES = Path(__file__).parent / "languages"
TASKS = ("hello", "cat", "sort", "readdir")
BYTES = random.Random(1).randbytes(300_000)
LINES = [
    "",
    "a line",
    "zwölf Boxkämpfer",
    "B",
    "a",
    *(f"{number % 977}" for number in range(5000)),
]
TEXT = "".join(f"{line}\n" for line in LINES)
TREE = tar_of(
    ("data/b/c", b"12345"), ("data/b/a", b""), ("data/a", b"x" * 70_000)
)
LISTED = "f 70000 /data/a\nd 0 /data/b\nf 0 /data/b/a\nf 5 /data/b/c\n"
GO = shutil.which("go") or "/usr/local/go/bin/go"


@dataclass(frozen=True)
class Language:
    """How a language's program of a task is named in a job."""

    path: str
    args: tuple[str, ...]
    devices: tuple[dict[str, Any], ...] = ()


def compiled(account: Account, module: bytes, name: str) -> str:
    """Store a program; its path for a job."""
    account.put(name, module)
    return account.path(name)


def guest_for(account: Account, task: str, names: dict[str, str]) -> Language:
    """One of runner/tests/guests; `names` are those that differ."""
    return Language(compiled(account, guest(names[task]), f"bin/{task}"), ())


def in_c(account: Account, task: str) -> Language:
    """As most guests of the tests."""
    names = {task: task for task in TASKS} | {"readdir": "read_dir"}
    return guest_for(account, task, names)


def in_cpp(account: Account, task: str) -> Language:
    """By libc++ and its streams."""
    return guest_for(account, task, {task: f"cpp_{task}"})


def in_zig(account: Account, task: str) -> Language:
    """By Zig's own library, which calls WASI without libc."""
    return guest_for(account, task, {task: f"zig_{task}"})


def in_python(account: Account, task: str) -> Language:
    """A script for the interpreter of the system image."""
    account.put("four.py", (SOURCES / "four.py").read_bytes())
    return Language(
        "file://python3:python",
        ("/dev/script", task),
        (reads(account.path("four.py"), "script"),),
    )


@cache
def go_module() -> bytes:
    """Compile the program in Go; skips where no compiler has its target."""
    if not os.access(GO, os.X_OK):
        pytest.skip("no Go compiler is installed here")
    environment = os.environ | {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
    }
    known = subprocess.run(
        [GO, "tool", "dist", "list"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout.split()
    if "wasip1/wasm" not in known:
        pytest.skip("this Go compiler has no wasip1 (Go 1.21 and later have)")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "four.wasm"
        subprocess.run(
            [GO, "build", "-trimpath", "-ldflags=-s -w", "-o", str(out),
             str(SOURCES / "four.go")],
            check=True,
            env=environment,
        )  # fmt: skip
        return out.read_bytes()


def in_go(account: Account, task: str) -> Language:
    """With Go's runtime, its scheduler and collector."""
    path = compiled(account, go_module(), "bin/four")
    return Language(path, (task,))


def in_lua(account: Account, task: str) -> Language:
    """A script for an interpreter that is an object, as any program."""
    account.put("four.lua", (SOURCES / "four.lua").read_bytes())
    return Language(
        compiled(account, guest("lua"), "bin/lua"),
        ("/dev/script", task),
        (reads(account.path("four.lua"), "script"),),
    )


LANGUAGES = {
    "c": in_c,
    "c++": in_cpp,
    "zig": in_zig,
    "python": in_python,
    "go": in_go,
    "lua": in_lua,
}
# What a language has no words for.
MISSING = {"lua": ("readdir",)}


def tasks_of(language: str) -> list[str]:
    """Return the tasks that the language has programs for."""
    missing = MISSING.get(language, ())
    return [task for task in TASKS if task not in missing]


def nodes(account: Account, language: str) -> list[dict[str, Any]]:
    """One group for each task."""
    account.put("text", TEXT.encode())
    account.put("bytes", BYTES)
    account.put("tree.tar", TREE)
    devices: dict[str, list[dict[str, Any]]] = {
        "hello": [],
        "cat": [reads(account.path("bytes"))],
        "sort": [reads(account.path("text"))],
        "readdir": [reads(account.path("tree.tar"), "image")],
    }
    groups = []
    for task in tasks_of(language):
        program = LANGUAGES[language](account, task)
        args = [*program.args, *(["/data"] if task == "readdir" else [])]
        groups.append(
            group(
                program.path,
                *program.devices,
                *devices[task],
                STDOUT,
                name=task,
                args=args,
            )
        )
    return groups


def output(node: dict[str, Any]) -> bytes:
    """The immediate output of a node."""
    [entry] = node["outputs"]
    if "text" in entry:
        return str(entry["text"]).encode()
    return base64.b64decode(entry["base64"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_four_programs_run_unchanged_as_jobs(
    account: Account, language: str
) -> None:
    report = account.run(nodes(account, language))

    assert report["status"] == "succeeded", report
    answers = {node["name"]: output(node) for node in report["nodes"]}
    expected = sorted(line.encode() for line in LINES)
    right = {
        "hello": b"hello\n",
        "cat": BYTES,
        "sort": b"".join(line + b"\n" for line in expected),
        "readdir": LISTED.encode(),
    }
    assert answers == {task: right[task] for task in tasks_of(language)}
    assert {node["stderr_tail"] for node in report["nodes"]} == {""}
