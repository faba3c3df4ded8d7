"""A program and the objects it is to run beside → a job.

What most jobs are, without a JSON document: one program, once or once for
each object that a pattern matches, its standard output answered or stored.
Anything beyond that is written as a job (docs/job-format.md); what is made
here can be printed as a start.

A program is a name that a job knows (`swift://…`, `file://IMAGE:MEMBER`), or a
file of this machine: a Python script, a script with `#!file://IMAGE:PROGRAM`,
or a WebAssembly program.  Local files travel in the job itself, as a tar with
the job in it, in `/job` of each VM; nothing is stored anywhere for it, so
nothing is left over.  The tar is the same bytes for the same files.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from zerocloud.client.errors import UsageError
from zerocloud.errors import JobError
from zerocloud.job.description import VERSION, parse_job
from zerocloud.job.limits import Determinism, JobCaps, Limits
from zerocloud.job.paths import SCHEME
from zerocloud.job.program import FILE_SCHEME, USER_IMAGE, split_words

PYTHON = "file://python3:python"
FOLDER = "job"
MAP = "boot/system.map"
WASM = b"\0asm"
READ_DEVICES = ("stdin", "input")
MAX_FILE_BYTES = 1024**3
_LINE_BYTES = 4096
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_NOT_IN_NAMES = re.compile(r'[,;:/*"\\]|[^\S ]')
# The endpoint has the caps; here only shapes are judged.
_ANY_CAPS = JobCaps(
    job_bytes=2**62,
    stored_job_bytes=2**62,
    nodes=2**62,
    caps=Limits(inf, inf, 2**63, 2**63, 2**63, 2**63),
    # Its default may be strict, so fuel may be asked for without saying so.
    determinism="strict",
)


# The list form, or the object form when something is said of the whole job.
Document = list[dict[str, Any]] | dict[str, Any]


@dataclass(frozen=True)
class OneLineJob:
    """A job of one group, and the local files that go with it."""

    document: Document
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def job(self) -> Document | bytes:
        """What `Client.submit` takes: the document, or a tar with files."""
        if not self.files:
            return self.document
        text = json.dumps(self.document, indent=1).encode("utf-8")
        return _tar({MAP: text, **self.files})


@dataclass(frozen=True)
class _Program:
    """What `exec` says of it, and the local files it is made of."""

    path: str
    stem: str
    words: tuple[str, ...] = ()
    name: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def make_job(
    program: str | os.PathLike[str],
    *args: str,
    each: str | None = None,
    to: str | None = None,
    **more: Any,
) -> Document | bytes:
    """Make a job for `Client.submit`, without writing JSON.

        client.submit(make_job("count.py", each="swift://~/texts/*"))

    `program`: `swift://…`, `file://IMAGE:MEMBER`, or the path of a script or
    of a .wasm file here.  `args` are its arguments.  `each`: the object it
    reads; with `*`, one VM for each that matches.  `to`: the object that its
    standard output becomes, `*` standing for what matched; without it the
    output is in the answer.

    Further keywords: `read_as` ("stdin", or "input" for a file /dev/input
    that can be sought in); `files` (local files to lie beside a local
    program); `env` (a mapping); `limits` (a mapping, docs/job-format.md);
    `count` (how many VMs, without `each`); `name` (of the nodes);
    `content_type` (of the output); `determinism` ("default" or "strict").

    Raises UsageError for what makes no job.
    """
    return describe_job(program, args, each=each, to=to, **more).job


def describe_job(  # noqa: PLR0913 - one for each part of a job
    program: str | os.PathLike[str],
    args: Iterable[str] = (),
    *,
    each: str | None = None,
    to: str | None = None,
    read_as: str = "stdin",
    files: Iterable[str | os.PathLike[str]] = (),
    env: Mapping[str, str] | None = None,
    limits: Mapping[str, float] | None = None,
    count: int | None = None,
    name: str | None = None,
    content_type: str | None = None,
    determinism: Determinism | None = None,
) -> OneLineJob:
    """Make a job; arguments and errors are those of `make_job`."""
    if read_as not in READ_DEVICES:
        raise UsageError(
            f"a program cannot read an object as {read_as!r}; allowed are "
            f"{' and '.join(READ_DEVICES)}"
        )
    found = _find(os.fspath(program), tuple(os.fspath(file) for file in files))
    asked: dict[str, Any] = {"path": found.path}
    if found.name:
        asked["name"] = found.name
    if words := [*found.words, *args]:
        asked["args"] = words
    if env:
        asked["env"] = dict(env)
    reads = {"name": read_as, "path": each} if each else {"name": "stdin"}
    writes = {"name": "stdout", "path": to, "content_type": content_type}
    group: dict[str, Any] = {
        "name": name or _group_name(found.stem),
        "exec": asked,
        "devices": [reads, {k: v for k, v in writes.items() if v}],
    }
    if count is not None:
        group["count"] = count
    if limits:
        group["limits"] = dict(limits)
    document: Document = [group]
    if determinism is not None:
        document = {
            "version": VERSION,
            "determinism": determinism,
            "nodes": document,
        }
    made = OneLineJob(document, found.files)
    _check(made.document)
    return made


def is_local(program: str) -> bool:
    """Whether a program is a file here, not a name that jobs know."""
    return not program.startswith((SCHEME, FILE_SCHEME))


def is_script(path: str, content: bytes) -> bool:
    """Whether a local file is a script, by its first line or its name."""
    return content.startswith(b"#!") or path.endswith(".py")


def _check(document: Document) -> None:
    """Refuse here what the endpoint would refuse by its shape alone."""
    try:
        text = json.dumps(document).encode("utf-8")
        parse_job(text, account="~", caps=_ANY_CAPS)
    except JobError as error:
        raise UsageError(f"this makes no job: {error.message}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"this makes no job: {error}") from error


def _find(program: str, files: tuple[str, ...]) -> _Program:
    if not is_local(program):
        if files:
            raise UsageError(
                f"{files[0]} can lie beside a local program only; {program} "
                "is not a file here"
            )
        last = re.split(r"[/:]", program.rstrip("/"))[-1]
        return _Program(path=program, stem=last)
    content = read_local(program)
    member = _member(program)
    beside = {_member(file): read_local(file) for file in files}
    if len(beside) < len(files) or member in beside:
        raise UsageError(
            "two of the local files have one name; they lie in one folder of "
            "the VM, so allowed is one of each name"
        )
    all_files = {member: content, **beside}
    stem = Path(program).name
    if content.startswith(WASM):
        path = f"{FILE_SCHEME}{USER_IMAGE}:{member}"
        name = member.rpartition("/")[2]
        return _Program(path, stem, name=name, files=all_files)
    if not is_script(program, content):
        raise UsageError(
            f"{program} is no program: allowed are a Python script (*.py), a "
            "script that begins with #!file://IMAGE:PROGRAM, and WebAssembly"
        )
    path, words = _interpreter(program, content)
    words = (*words, f"/{member}")
    return _Program(path, stem, words, name="python", files=all_files)


def _interpreter(script: str, content: bytes) -> tuple[str, tuple[str, ...]]:
    """What runs a script, and the words before the script's name."""
    head = content[:_LINE_BYTES].partition(b"\n")[0]
    line = head.decode("utf-8", "replace").removeprefix("#!").strip()
    path, _, rest = line.replace("\t", " ").partition(" ")
    if not content.startswith(b"#!") or is_local(path):
        # `#!/usr/bin/env python3` and the like are meant for a shell here.
        if script.endswith(".py") or "python" in line:
            return PYTHON, ()
        raise UsageError(
            f"{script}: nothing here runs {line!r}; allowed is a first line "
            f"such as #!{PYTHON}"
        )
    words = split_words(rest.strip())
    if words is None:
        raise UsageError(
            f"{script}: its first line has an open quote, or ends in a "
            "backslash"
        )
    return path, tuple(words)


def read_local(name: str) -> bytes:
    """Read a file that is to be sent; UsageError."""
    try:
        with open(name, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(
            f"{name} is larger than {MAX_FILE_BYTES} bytes; store it and name "
            "it as swift://…"
        )
    return content


def _member(path: str) -> str:
    """Where a local file lies in the VM."""
    name = Path(path).name
    if not _PLAIN_NAME.fullmatch(name):
        raise UsageError(
            f"{path}: the name of a file that is sent along has letters, "
            "digits and . _ - only, and at most 80 of them"
        )
    return f"{FOLDER}/{name}"


def _group_name(stem: str) -> str:
    """A name for the nodes: the program's, without its extension."""
    plain = _NOT_IN_NAMES.sub("-", stem.rpartition(".")[0] or stem)
    kept = "".join(c for c in plain if c.isprintable())[:40].strip()
    return "job" if kept in {"", ".", ".."} else kept


def _tar(members: Mapping[str, bytes]) -> bytes:
    """The members in their order, with nothing of this machine about them."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT
    ) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o755
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
