"""The `zerocloud` command: finds the subcommand, says errors in one line.

Each module named in COMMANDS has `add_parser(subparsers)`, which adds its
parser and sets `run` as its default, and `run(args) -> int`, which returns
the exit status.  Modules import what is heavy (Swift, requests) inside `run`,
so that `zerocloud --help` is quick, and so that nothing that opens sockets is
loaded before the embedded cluster has patched them.

Errors of the SDK become one line on stderr and an exit status (exit.py); any
other exception is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import zerocloud
from zerocloud.cli import exit as status
from zerocloud.cli.account import LOGIN_HELP
from zerocloud.client.errors import ClientError

COMMANDS = (
    "run",
    "demo",
    "cluster",
    "info",
    "paths",
    "version",
    "completion",
)

EPILOG = f"""\
examples:
  zerocloud demo
      start a small Swift cluster here, run three jobs on it, stop it
  zerocloud cluster --dir /tmp/c
      such a cluster until Ctrl-C; /tmp/c/env says how to reach it
  zerocloud run --env-file /tmp/c/env hello.py
      run a Python script in a VM of that cluster
  zerocloud run --env-file /tmp/c/env --each 'swift://~/texts/*' count.py
      run it once for each object, next to the object
  zerocloud run --env-file /tmp/c/env job.json
      run a job: any programs, next to any objects
  zerocloud run --source swift://~/jobs/j.json < data
      run a stored job on data from standard input

{LOGIN_HELP}
{status.statuses_help()}
each command has its own --help; read on: docs/cli.md
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="zerocloud",
        description="Run programs next to the objects of OpenStack Swift.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=zerocloud.__version__
    )
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    for name in COMMANDS:
        module = importlib.import_module(f"zerocloud.cli.{name}")
        module.add_parser(subparsers)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; what follows `--` is `arguments`, as it stands.

    argparse would hand the first word after `--` to whichever positional is
    still free.
    """
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    parser = build_parser()
    args, unknown = parser.parse_known_args(words[:cut])
    args.arguments = words[cut + 1 :]
    takes_arguments = getattr(args, "takes_arguments", False)
    if args.arguments and not takes_arguments:
        unknown += words[cut:]
    if unknown:
        hint = "; what is meant for the program comes after --"
        parser.error(
            f"unrecognized arguments: {' '.join(unknown)}"
            + hint * takes_arguments
        )
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that `argv` (default: the process's) names."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        result: int = args.run(args)
        sys.stdout.flush()
    except ClientError as error:
        sys.stderr.write(f"zerocloud: {error}\n")
        return status.status_of(error)
    except KeyboardInterrupt:
        job = getattr(args, "takes_arguments", False) and not args.show_job
        ended = "; the job is ended" if job else ""
        sys.stderr.write(f"zerocloud: interrupted{ended}\n")
        return status.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone (`zerocloud run … | head`).  Python
        # would complain again when it flushes at exit: give it somewhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return status.OUTPUT_CLOSED
    return result


if __name__ == "__main__":
    sys.exit(main())
