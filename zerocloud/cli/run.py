"""`zerocloud run`: submit a job, wait, hand out what it wrote.

What is run is the business of cli/asked.py, where outputs go that of
cli/handout.py.  `--raw` asks for the plain answer (each node's first immediate
output) and passes it to stdout as it comes, of any length; there is no table
then, since there is no report.

A payload (what path-less stdin devices read) exists for stored jobs only:
`--source` names one, `--store-as` stores the local job first.  Standard input
is the payload of a stored job when it is a file or a pipe, or with
`--payload -`.  A local job that wants a payload without either is refused
with the way out, rather than run on empty input.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import IO

from zerocloud.cli import account, asked
from zerocloud.cli import exit as status
from zerocloud.cli.asked import Asked
from zerocloud.cli.handout import (
    hand_out,
    make_directory,
    show_table,
    write_all,
)
from zerocloud.cli.table import printable, size_text
from zerocloud.cli.waiting import Wait, waiting
from zerocloud.client import Client, UsageError
from zerocloud.client.sending import Job, OnSent

DESCRIPTION = """\
Run a job and wait for its end. What its programs print comes on stdout, in the
order of the nodes; a table of what ran where comes on stderr.

JOB is a file: a job in JSON, a script (*.py, or with a first line such as
#!file://python3:python), a WebAssembly program, or a tar with a job in it.
With a script or a program, --each runs it beside every object that matches.
"""

EPILOG = f"""\
examples:
  zerocloud run hello.py
      a script, once; python3 is a system image of the cluster
  zerocloud run --each 'swift://~/texts/*' count.py -- --words
      a script beside each object of a container; after -- its arguments
  zerocloud run --program swift://~/programs/wc.wasm \\
      --each 'swift://~/texts/*' --to 'swift://~/counts/*' -- -l
      a stored program beside each object; each answer becomes an object
  zerocloud run --program file://python3:python --show-job -- -c 'print(1)'
      the JSON of a job, to go on from by hand
  zerocloud run job.json --output-dir out
      a job; each immediate output becomes a file out/NODE.DEVICE
  zerocloud run job.json --store-as swift://~/jobs/job.json < data
      store the job, then run it; its path-less stdin reads data
  zerocloud run --source swift://~/jobs/job.json < data
      run the stored job again
  zerocloud run --raw extract.json > extract.bin
      stream an answer that is too long for a report

Quote patterns, so that the shell leaves them alone. ~ is your own account.
Limits that are not named are the cluster's defaults: zerocloud info.

{account.LOGIN_HELP}
{status.statuses_help()}
read on: docs/cli.md (this command and the SDK), docs/job-format.md (jobs),
docs/guest.md (what a program finds in its VM)
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="run a job, a script or a program, print what it wrote",
        usage="%(prog)s [options] JOB [-- ARGUMENTS]\n"
        "       %(prog)s [options] --program NAME [-- ARGUMENTS]\n"
        "       %(prog)s [options] --source NAME [< PAYLOAD]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "job",
        nargs="?",
        metavar="JOB",
        help="a job in JSON, a script, a WebAssembly program, or a tar",
    )
    asked.add_options(parser)
    add = parser.add_argument_group("stored jobs").add_argument
    add(
        "--source",
        metavar="NAME",
        help="run the job that is stored at swift://…, instead of JOB",
    )
    add(
        "--store-as",
        metavar="NAME",
        help="store JOB at swift://… first, and run it from there",
    )
    add(
        "--payload",
        metavar="FILE",
        help="what path-less stdin of a stored job reads; - is standard "
        "input (the default, if that is a file or a pipe)",
    )
    add = parser.add_argument_group("output").add_argument
    add(
        "--output-dir",
        metavar="DIR",
        help="immediate outputs as files DIR/NODE.DEVICE, not on stdout",
    )
    add(
        "--json",
        action="store_true",
        help="print the report as JSON; it holds the outputs",
    )
    add(
        "--raw",
        action="store_true",
        help="stream the plain answer, of any length; no table",
    )
    add("--quiet", action="store_true", help="no table, no progress")
    account.add_options(parser)
    parser.set_defaults(run=run, takes_arguments=True)


def run(args: argparse.Namespace) -> int:
    """Run one job; returns an exit status, or raises ClientError."""
    wanted = asked.asked_of(args)
    if args.show_job:
        sys.stdout.write(asked.shown(wanted))
        for member in wanted.members:
            sys.stderr.write(
                f"zerocloud: /{member} of its VMs is a file here; it is sent "
                "in one tar with this job\n"
            )
        return status.SUCCESS
    if not (args.source or args.store_as) and wanted.wants_payload:
        _check_no_payload(wanted.label)
    if args.output_dir:
        make_directory(args.output_dir)
    client = account.client_of(args)
    client.zerocloud_info()
    if wanted.job is not None and args.store_as:
        client.store_job(args.store_as, wanted.job)
    submission = _Submission(
        client, wanted, args.store_as or args.source, args.payload
    )
    label = _label(wanted)
    wait = waiting(label, sys.stderr, quiet=args.quiet)
    if args.raw:
        return _run_raw(submission, wait)
    with wait as shown:
        result = client.submit(
            submission.job,
            source=submission.source,
            payload=submission.payload(),
            on_sent=_on_sent(shown),
        )
    omitted = hand_out(result, as_json=args.json, folder=args.output_dir)
    if not args.quiet:
        show_table(result)
    if not result.succeeded:
        return status.JOB_FAILED
    return status.OUTPUT_TOO_LONG if omitted else status.SUCCESS


@dataclass(frozen=True)
class _Submission:
    """What is sent: a job, or a source with its payload."""

    client: Client
    asked: Asked
    source: str | None
    payload_name: str | None

    @property
    def job(self) -> Job | None:
        return None if self.source else self.asked.job

    def payload(self) -> IO[bytes] | str | None:
        if self.source is None:
            return None
        chosen = self.payload_name
        if chosen == "-" or (not chosen and _stdin_has_data()):
            return sys.stdin.buffer
        return chosen


def _run_raw(
    submission: _Submission, wait: AbstractContextManager[Wait]
) -> int:
    with ExitStack() as stack:
        with wait as shown:
            answer = stack.enter_context(
                submission.client.submit_raw(
                    submission.job,
                    source=submission.source,
                    payload=submission.payload(),
                    on_sent=_on_sent(shown),
                )
            )
        for chunk in answer.chunks:
            write_all(sys.stdout.buffer, chunk)
    if answer.succeeded:
        return status.SUCCESS
    said = f": {printable(answer.error)}" if answer.error else ""
    sys.stderr.write(f"zerocloud: job {answer.job} failed{said}\n")
    return status.JOB_FAILED


def _label(wanted: Asked) -> str:
    label = f"running {printable(wanted.label)}"
    if wanted.nodes:
        label += f", {wanted.nodes} VM{'s' * (wanted.nodes != 1)}"
    return label


def _on_sent(wait: Wait) -> OnSent:
    """Say how much of the payload is sent, until all of it is."""
    label = wait.what

    def on_sent(done: int, total: int | None) -> None:
        of = f" of {size_text(total)}" if total is not None else ""
        wait.what = f"{label}, {size_text(done)}{of} sent"

    return on_sent


def _check_no_payload(name: str) -> None:
    """Refuse `zerocloud run job.json < data`: the job would read nothing."""
    if _stdin_has_data():
        raise UsageError(
            f"{printable(name)} has a stdin without a path, which reads a "
            "payload only in a stored job; add --store-as swift://~/C/O to "
            "store it first and send standard input, or redirect it: "
            "< /dev/null"
        )


def _stdin_has_data() -> bool:
    """Whether standard input is a file or a pipe, not a terminal or null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        # Closed, replaced or absent: there is nothing to send.
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
