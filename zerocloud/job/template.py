"""A script that was POSTed by itself → a job of one node, and its image.

The first line names the interpreter: `#!file://python3:python -u`.  The node
is called `script`; it runs the interpreter with the words that follow, and
then `script`, which is the whole script as the only member of the node's
image, so that it is read as `/script` from the working directory `/`.  The
answer is the interpreter's output, as plain text.

The image is the same for the same script, byte for byte: its digest is part of
what makes an answer repeatable.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

from zerocloud.errors import JobError
from zerocloud.job.description import Job
from zerocloud.job.devices import KINDS, Device
from zerocloud.job.document import Value, has_controls, plain
from zerocloud.job.group import Group
from zerocloud.job.limits import JobCaps
from zerocloud.job.plan import Program
from zerocloud.job.program import (
    USER_IMAGE,
    Exec,
    parse_program,
    split_words,
)

MEMBER = "script"
MAX_LINE_BYTES = 4096
ALLOWED = (
    "#!file://IMAGE:PROGRAM of a system image (as #!file://python3:python), "
    "or #!swift://ACCOUNT/CONTAINER/OBJECT, and then arguments"
)


@dataclass(frozen=True)
class ScriptJob:
    """The job that runs a script, and the tar that holds it."""

    job: Job
    image_tar: bytes


def parse_script(body: bytes, *, account: str, caps: JobCaps) -> ScriptJob:
    """Make the job of a script.

    The plan is to be made with `posted_image`, which is `image_tar`.  Raises
    JobError `bad_script` when the first line is not what is allowed.
    """
    line = _first_line(body)
    interpreter, _, rest = line.partition(" ")
    program = _interpreter(interpreter, account)
    words = split_words(rest)
    if words is None:
        raise _bad(
            f"the arguments {plain(rest)} have an open quote or end in a "
            "backslash"
        )
    group = Group(
        name=MEMBER,
        where="",
        exec=Exec(
            program=program,
            where="",
            name=_base_name(program),
            args=(*words, MEMBER),
        ),
        limits=caps.defaults,
        devices=_devices(),
    )
    job = Job((group,), caps.defaults, determinism=caps.determinism)
    return ScriptJob(job, _tar(body))


def _first_line(body: bytes) -> str:
    """The first line without `#!`, stripped, its tabs as blanks."""
    if not body.startswith(b"#!"):
        raise _bad("it does not start with #!")
    head, newline, _ = body[2:MAX_LINE_BYTES].partition(b"\n")
    if not newline:
        raise _bad(
            "its first line does not end within its first "
            f"{MAX_LINE_BYTES} bytes"
        )
    try:
        line = head.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("its first line is not UTF-8") from None
    # A script from Windows has a carriage return there, which is not meant.
    line = line.removesuffix("\r").replace("\t", " ").strip(" ")
    if has_controls(line):
        raise _bad("its first line has control characters")
    return line


def _interpreter(text: str, account: str) -> Program:
    if not text:
        raise _bad("its first line names no interpreter")
    try:
        program = parse_program(
            Value(text, "", "interpreter"), account=account
        )
    except JobError as error:
        raise _bad(error.message) from error
    if program.path is None and program.image in (None, USER_IMAGE):
        raise _bad(f"interpreter {plain(text)} names no system image")
    return program


def _base_name(program: Program) -> str:
    path = program.member if program.path is None else program.path.object
    return path.rstrip("/").rpartition("/")[2] or MEMBER


def _devices() -> tuple[Device, ...]:
    """The payload and the answer; the program's path mounts its image."""
    return (
        Device(name="stdin", where="", kind=KINDS["stdin"]),
        Device(
            name="stdout",
            where="",
            kind=KINDS["stdout"],
            content_type="text/plain",
        ),
    )


def _bad(what: str) -> JobError:
    return JobError(
        "bad_script", f"the script cannot be run: {what}; allowed is {ALLOWED}"
    )


def _tar(body: bytes) -> bytes:
    info = tarfile.TarInfo(MEMBER)
    info.size = len(body)
    info.mode = 0o755
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT
    ) as tar:
        tar.addfile(info, io.BytesIO(body))
    return buffer.getvalue()
