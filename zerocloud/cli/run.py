"""`zerocloud run`: submit a job, wait, hand out what it wrote.

What goes where:

* immediate outputs: to stdout in node order (an immediate stderr to stderr),
  or with `--output-dir` each to a file NODE.DEVICE;
* the table of nodes and the summary: to stderr, unless `--quiet`;
* `--json`: the report to stdout, instead of the outputs (it holds them).

A payload (what path-less stdin devices read) exists for stored jobs only:
`--source` names one, `--store-as` stores the local job first.  Standard input
is the payload of a stored job when it is a file or a pipe, or with
`--payload -`.  A local job that wants a payload without either is refused
with the way out, rather than run on empty input.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from zerocloud.cli import exit as status
from zerocloud.cli.table import printable, result_lines
from zerocloud.cli.waiting import waiting
from zerocloud.client import Client, JobResult, OutputBytes, UsageError

EXAMPLES = """\
examples:
  zerocloud run hello.py
      a script; its first line is #!file://python3:python
  zerocloud run job.json --output-dir out
      a job; each immediate output becomes a file out/NODE.DEVICE
  zerocloud run job.json --store-as swift://~/jobs/job.json < data
      store the job, then run it; its path-less stdin reads data
  zerocloud run --source swift://~/jobs/job.json < data
      run the stored job again
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="run a job or a script, wait, print what it wrote",
        description="Run a job (JSON) or a script (#!) and wait for it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("job", nargs="?", metavar="JOB", help="a job.json, or a script")
    add("--env-file", metavar="FILE", help="take the account from FILE")
    add("--source", metavar="NAME", help="run the job stored at swift://…")
    add("--store-as", metavar="NAME", help="store JOB there first")
    add(
        "--payload",
        metavar="FILE",
        help="what path-less stdin of a stored job reads; - is stdin",
    )
    add("--output-dir", metavar="DIR", help="immediate outputs as files")
    add("--json", action="store_true", help="print the report as JSON")
    add("--quiet", action="store_true", help="no table, no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run one job; returns an exit status, or raises ClientError."""
    _check_arguments(args)
    job = _read_job(args.job) if args.job else None
    if job is not None and not args.store_as:
        _check_no_payload_wanted(args.job, job)
    if args.output_dir:
        _make_directory(args.output_dir)
    client = Client.from_environment(args.env_file)
    client.zerocloud_info()
    if job is not None and args.store_as:
        client.store_job(args.store_as, job)
    label = args.job or args.source
    with waiting(f"running {label}", sys.stderr, quiet=args.quiet):
        result = _submit(client, job, args)
    _hand_out(result, args)
    if not args.quiet:
        sys.stdout.flush()  # the table comes last where both are one terminal
        for line in result_lines(result):
            sys.stderr.write(line + "\n")
    return status.SUCCESS if result.succeeded else status.JOB_FAILED


def _check_arguments(args: argparse.Namespace) -> None:
    if args.job and args.source:
        raise UsageError(
            "JOB and --source are both given; allowed is one of them "
            "(--store-as stores JOB and runs it from there)"
        )
    if not args.job and not args.source:
        raise UsageError("nothing to run: give a JOB file or --source NAME")
    if args.store_as and not args.job:
        raise UsageError("--store-as needs a JOB file to store")
    if args.payload and args.job and not args.store_as:
        raise UsageError(
            "--payload is for stored jobs; add --store-as swift://~/C/O to "
            "store this one first, or use --source"
        )


def _read_job(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def _check_no_payload_wanted(name: str, job: bytes) -> None:
    """Refuse `zerocloud run job.json < data`: the job would read nothing."""
    if _stdin_has_data() and _reads_payload(job):
        raise UsageError(
            f"{name} has a stdin without a path, which reads a payload only "
            "in a stored job; add --store-as swift://~/C/O to store it first "
            "and send standard input, or redirect it: < /dev/null"
        )


def _reads_payload(job: bytes) -> bool:
    try:
        document: Any = json.loads(job)
    except ValueError:  # a script, or a bad job: the endpoint will say so
        return False
    groups = document.get("nodes") if isinstance(document, dict) else document
    return any(
        device.get("name") == "stdin" and "path" not in device
        for group in _objects(groups)
        for device in _objects(group.get("devices"))
    )


def _objects(items: Any) -> list[dict[str, Any]]:
    if not isinstance(items, list):
        return []
    return [item for item in items if isinstance(item, dict)]


def _stdin_has_data() -> bool:
    """Whether standard input is a file or a pipe, not a terminal or null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        # Closed, replaced or absent: there is nothing to send.
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def _submit(
    client: Client, job: bytes | None, args: argparse.Namespace
) -> JobResult:
    source = args.store_as or args.source
    if source is None:
        return client.submit(job)
    if args.payload == "-" or (not args.payload and _stdin_has_data()):
        return client.submit(source=source, payload=sys.stdin.buffer)
    return client.submit(source=source, payload=args.payload)


def _hand_out(result: JobResult, args: argparse.Namespace) -> None:
    if args.output_dir:
        for output in result.outputs:
            _write_file(Path(args.output_dir), output)
    if args.json:
        sys.stdout.write(json.dumps(result.report, indent=2) + "\n")
    elif not args.output_dir:
        for output in result.outputs:
            _write_stream(output)


def _write_stream(output: OutputBytes) -> None:
    if output.data is None:
        sys.stderr.write(f"zerocloud: {_too_long(output)}\n")
        return
    stream = sys.stderr if output.device == "stderr" else sys.stdout
    stream.flush()
    stream.buffer.write(output.data)
    stream.buffer.flush()


def _write_file(directory: Path, output: OutputBytes) -> None:
    if output.data is None:
        sys.stderr.write(f"zerocloud: {_too_long(output)}\n")
        return
    path = directory / file_name(output)
    try:
        path.write_bytes(output.data)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _too_long(output: OutputBytes) -> str:
    return (
        f"{printable(output.node)} {output.device}: {output.size} bytes are "
        "too long for a report; give the device a path to store them"
    )


def file_name(output: OutputBytes) -> str:
    """NODE.DEVICE as one path component, whatever the node is called."""
    node = output.node.replace("%", "%25").replace("/", "%2F")
    return f"{node}.{output.device}"


def _make_directory(name: str) -> None:
    try:
        os.makedirs(name, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
