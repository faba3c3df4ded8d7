"""What a command line of `zerocloud run` asks for → a job.

A job comes from a file (JSON, a tar, a script, a program), from an object
(`--source`), or from options: `--program`, or a local script or program, with
`--each`, `--to` and so on.  All that can be wrong without asking the cluster
is a UsageError here, before anything is sent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from zerocloud.client import UsageError
from zerocloud.client.build import (
    READ_DEVICES,
    WASM,
    describe_job,
    is_script,
    read_local,
)
from zerocloud.client.sending import Job, job_body
from zerocloud.job.limits import LIMIT_NAMES

# The options that make a job: their names in a Namespace.
BUILDING = (
    "program",
    "each",
    "read_as",
    "to",
    "content_type",
    "count",
    "name",
    "env",
    "limit",
    "strict",
    "files",
)
_OWN_LINES = (b"#!file://", b"#!swift://")


@dataclass(frozen=True)
class Asked:
    """A job to run.  `document`: its JSON, where it is known here."""

    label: str
    job: Job | None = None
    document: Any = None
    is_script: bool = False
    members: tuple[str, ...] = ()  # the local files that go with it

    @property
    def nodes(self) -> int | None:
        """How many VMs it is, where no wildcard decides that."""
        counts = []
        for group in _groups(self.document):
            paths = [d.get("path", "") for d in _objects(group.get("devices"))]
            names = [d.get("name") for d in _objects(group.get("devices"))]
            reads = zip(names, paths, strict=True)
            if any("*" in str(p) for n, p in reads if n not in _WRITE):
                return None
            count = group.get("count", 1)
            counts.append(count if isinstance(count, int) else 1)
        return sum(counts) or None

    @property
    def wants_payload(self) -> bool:
        """Whether a stdin without a path waits for one.

        Not for a script: it may be run without, as from a shell.
        """
        return not self.is_script and any(
            device.get("name") == "stdin" and "path" not in device
            for group in _groups(self.document)
            for device in _objects(group.get("devices"))
        )


_WRITE = frozenset({"stdout", "stderr", "output"})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a job."""
    add = parser.add_argument_group(
        "a job without JSON", "for a script or program JOB, or --program"
    ).add_argument
    add(
        "--program",
        metavar="NAME",
        help="run this instead of JOB: swift://… or file://IMAGE:MEMBER",
    )
    add(
        "--each",
        metavar="PATTERN",
        help="what it reads: 'swift://~/C/*' is one VM per object",
    )
    add(
        "--as",
        dest="read_as",
        choices=READ_DEVICES,
        help="how it sees the object: stdin (default), or /dev/input to "
        "seek in",
    )
    add(
        "--to",
        metavar="PATTERN",
        help="store its output: 'swift://~/D/*', * as in --each "
        "(default: print it)",
    )
    add("--content-type", metavar="TYPE", help="of the stored output")
    add("--count", type=int, metavar="N", help="N VMs, without --each (1)")
    add("--name", metavar="NAME", help="of the nodes (default: the program's)")
    add(
        "--env",
        action="append",
        metavar="NAME=VALUE",
        help="a variable of its environment; may be repeated",
    )
    add(
        "--limit",
        action="append",
        metavar="NAME=NUMBER",
        help=f"{', '.join(LIMIT_NAMES)}; may be repeated",
    )
    add(
        "--strict",
        action="store_true",
        default=None,
        help="the same result on any machine, and fuel as a limit; slower",
    )
    add(
        "--with",
        dest="files",
        action="append",
        metavar="FILE",
        help="send FILE along, to lie beside a local script; may be repeated",
    )
    add(
        "--show-job",
        action="store_true",
        help="print the job as JSON instead of running it",
    )


def asked_of(args: argparse.Namespace) -> Asked:
    """The job of a command line, read and checked; UsageError."""
    check_arguments(args)
    if args.source:
        return Asked(args.source)
    if args.program:
        return _built(args, args.program)
    content = read_local(args.job)
    script = is_script(args.job, content)
    if content.startswith(WASM) or (
        script and (_is_built(args) or not content.startswith(_OWN_LINES))
    ):
        return _built(args, args.job, script=script)
    if _is_built(args) and not (args.show_job and not _given(args)):
        raise UsageError(
            f"{args.job} is no script or program, so it says by itself what "
            f"{_given(args)[0]} says; allowed are {_given(args)[0]} with a "
            "script or a program, or the key in the JSON"
        )
    try:
        job_body(content)
    except UsageError:
        raise UsageError(
            f"{args.job} is nothing to run; allowed are a job in JSON, a "
            "script (*.py, or a file that begins with #!), a WebAssembly "
            "program, and a tar with a job in it"
        ) from None
    return Asked(args.job, content, _document(content), is_script=script)


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other; UsageError."""
    sources = {
        "JOB": args.job,
        "--source": args.source,
        "--program": args.program,
    }
    given = [name for name, value in sources.items() if value]
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(given)} are given; allowed is one of them "
            "(--store-as stores JOB and runs it from there; the arguments of "
            "a program come after --)"
        )
    if not given:
        raise UsageError(
            "nothing to run: give a JOB file, --program NAME or --source NAME"
        )
    if args.source and (wrong := _given(args)):
        raise UsageError(
            f"{wrong[0]} makes a job, and --source names one that is made; "
            "allowed is one of them"
        )
    if args.source and args.show_job:
        raise UsageError(
            "--show-job shows what is here; the stored job is shown by "
            f"`swift download` or `curl` of {args.source}"
        )
    if args.store_as and args.source:
        raise UsageError("--store-as needs a JOB file to store")
    if args.raw and (args.json or args.output_dir):
        raise UsageError(
            "--raw has no report: allowed is neither --json nor --output-dir "
            "with it"
        )
    if args.payload and not args.source and not args.store_as:
        raise UsageError(
            "--payload is for stored jobs; add --store-as swift://~/C/O to "
            "store this one first, or use --source"
        )


def shown(asked: Asked) -> str:
    """The job's JSON, for people to read and go on from; UsageError."""
    if asked.document is None:
        raise UsageError(
            f"{asked.label} has no JSON to show; allowed is a JSON job, a "
            "script or a program"
        )
    return json.dumps(asked.document, indent=2, ensure_ascii=False) + "\n"


def _given(args: argparse.Namespace) -> list[str]:
    """The options that make a job, as they were written."""
    words = {"read_as": "--as", "files": "--with"}
    found = [
        words.get(name, f"--{name.replace('_', '-')}")
        for name in BUILDING
        if getattr(args, name) not in (None, [])
    ]
    return [*found, *(["-- ARGUMENTS"] if args.arguments else [])]


def _is_built(args: argparse.Namespace) -> bool:
    return bool(_given(args)) or args.show_job


def _built(
    args: argparse.Namespace, program: str, *, script: bool = False
) -> Asked:
    made = describe_job(
        program,
        args.arguments,
        each=args.each,
        to=args.to,
        read_as=args.read_as or READ_DEVICES[0],
        files=args.files or (),
        env=dict(_pairs("--env", args.env)),
        limits={n: _number(n, v) for n, v in _pairs("--limit", args.limit)},
        count=args.count,
        name=args.name,
        content_type=args.content_type,
        determinism="strict" if args.strict else None,
    )
    return Asked(
        program,
        made.job,
        made.document,
        is_script=script,
        members=tuple(made.files),
    )


def _pairs(
    option: str, words: Iterable[str] | None
) -> Iterable[tuple[str, str]]:
    for word in words or ():
        name, found, value = word.partition("=")
        if not found or not name:
            raise UsageError(f"{option} {word!r} is not NAME=VALUE")
        yield name, value


def _number(name: str, text: str) -> float:
    if name not in LIMIT_NAMES:
        raise UsageError(
            f"--limit {name} is not known; allowed are "
            f"{', '.join(LIMIT_NAMES)}"
        )
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--limit {name} is {text!r}; allowed is a number of "
            f"{name.rpartition('_')[2]}"
        ) from None


def _document(content: bytes) -> Any:
    """The JSON of a job, None for all else: the endpoint will judge it."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def _groups(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, dict):
        document = document.get("nodes")
    return _objects(document)


def _objects(items: Any) -> list[dict[str, Any]]:
    if not isinstance(items, list):
        return []
    return [item for item in items if isinstance(item, dict)]
