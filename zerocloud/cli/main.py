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
from zerocloud.client.errors import ClientError

COMMANDS = ("run", "demo", "cluster", "info", "version")

EPILOG = """\
examples:
  zerocloud demo
      start a small Swift cluster here, run three jobs on it, stop it
  zerocloud cluster --dir /tmp/c
      such a cluster until Ctrl-C; /tmp/c/env says how to reach it
  zerocloud run --env-file /tmp/c/env hello.py
      run a script; its first line is #!file://python3:python
  zerocloud run --env-file /tmp/c/env job.json
      run a job: one VM per object, next to the object
  zerocloud run --source swift://~/jobs/j.json < data
      run a stored job on data from standard input

Without --env-file the account comes from the environment: OS_STORAGE_URL and
OS_AUTH_TOKEN; or ST_AUTH, ST_USER and ST_KEY; or OS_AUTH_URL and company.

exit status: 0 done, 1 the job failed, 2 usage, 3 refused (4xx),
4 the cluster failed (5xx), 5 no connection or no login
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that `argv` (default: the process's) names."""
    args = build_parser().parse_args(argv)
    try:
        result: int = args.run(args)
        sys.stdout.flush()
    except ClientError as error:
        sys.stderr.write(f"zerocloud: {error}\n")
        return status.status_of(error)
    except KeyboardInterrupt:
        sys.stderr.write("zerocloud: interrupted\n")
        return status.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone (`zerocloud run … | head`).  Python
        # would complain again when it flushes at exit: give it somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status.OUTPUT_CLOSED
    return result


if __name__ == "__main__":
    sys.exit(main())
