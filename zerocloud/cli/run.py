"""`zerocloud run`: submit a job, wait, hand out what it wrote.

What goes where:

* immediate outputs: to stdout in node order (an immediate stderr to stderr),
  or with `--output-dir` each to a file NODE.DEVICE;
* the table of nodes and the summary: to stderr, unless `--quiet`;
* `--json`: the report to stdout, instead of the outputs (it holds them);
* `--raw`: the plain answer (each node's first immediate output) to stdout as
  it comes, of any length; no table, since there is no report.

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
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from zerocloud.cli import exit as status
from zerocloud.cli.table import printable, result_lines
from zerocloud.cli.waiting import waiting
from zerocloud.client import (
    Client,
    JobResult,
    OutputBytes,
    RawAnswer,
    UsageError,
)

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
  zerocloud run --raw extract.json > extract.bin
      stream outputs that are too long for a report
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
    add(
        "--raw",
        action="store_true",
        help="stream the plain answer, of any length; no table",
    )
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
    submission = _Submission(job, args.store_as or args.source, args.payload)
    if args.raw:
        return _run_raw(client, submission, args)
    with _waiting(args):
        result = submission.submit(client)
    omitted = _hand_out(result, args)
    if not args.quiet:
        sys.stdout.flush()  # the table comes last where both are one terminal
        for line in result_lines(result):
            sys.stderr.write(line + "\n")
    if not result.succeeded:
        return status.JOB_FAILED
    return status.OUTPUT_TOO_LONG if omitted else status.SUCCESS


def _waiting(args: argparse.Namespace) -> AbstractContextManager[None]:
    label = args.job or args.source
    return waiting(f"running {label}", sys.stderr, quiet=args.quiet)


@dataclass(frozen=True)
class _Submission:
    """What is sent: a job, or a source with its payload."""

    job: bytes | None
    source: str | None
    payload: str | None

    def submit(self, client: Client) -> JobResult:
        if self.source is None:
            return client.submit(self.job)
        return client.submit(source=self.source, payload=self._payload())

    def submit_raw(self, client: Client) -> AbstractContextManager[RawAnswer]:
        if self.source is None:
            return client.submit_raw(self.job)
        return client.submit_raw(source=self.source, payload=self._payload())

    def _payload(self) -> IO[bytes] | str | None:
        if self.payload == "-" or (not self.payload and _stdin_has_data()):
            return sys.stdin.buffer
        return self.payload


def _run_raw(
    client: Client, submission: _Submission, args: argparse.Namespace
) -> int:
    with ExitStack() as stack:
        with _waiting(args):
            answer = stack.enter_context(submission.submit_raw(client))
        for chunk in answer.chunks:
            _write_all(sys.stdout.buffer, chunk)
    if answer.succeeded:
        return status.SUCCESS
    said = f": {printable(answer.error)}" if answer.error else ""
    sys.stderr.write(f"zerocloud: job {answer.job} failed{said}\n")
    return status.JOB_FAILED


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
    if args.raw and (args.json or args.output_dir):
        raise UsageError(
            "--raw has no report: allowed is neither --json nor --output-dir "
            "with it"
        )
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


def _hand_out(result: JobResult, args: argparse.Namespace) -> bool:
    """Write the outputs; returns whether one was too long for the report."""
    if args.json:
        sys.stdout.write(json.dumps(result.report, indent=2) + "\n")
    for output in result.outputs:
        if output.data is None:
            sys.stderr.write(f"zerocloud: {_too_long(output)}\n")
        elif args.output_dir:
            _write_file(Path(args.output_dir), output, output.data)
        elif not args.json:
            to_stderr = output.device == "stderr"
            stream = sys.stderr if to_stderr else sys.stdout
            stream.flush()
            _write_all(stream.buffer, output.data)
    return any(output.data is None for output in result.outputs)


def _write_all(stream: BinaryIO, data: bytes) -> None:
    """Write everything: under PYTHONUNBUFFERED one write may do a part."""
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]
    stream.flush()


def _write_file(directory: Path, output: OutputBytes, data: bytes) -> None:
    path = directory / file_name(output)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _too_long(output: OutputBytes) -> str:
    return (
        f"{printable(output.node)} {output.device}: {output.size} bytes are "
        "too long for a report; use --raw, or give the device a path"
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
