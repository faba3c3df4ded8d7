"""The `zerocloud` command: one module per subcommand.

Each module named in COMMANDS has `add_parser(subparsers)`, which adds its
parser and sets `run` as its default, and `run(args) -> int`, which returns
the exit status.  Modules import what is heavy (Swift) inside `run`, so that
`zerocloud --help` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import zerocloud

COMMANDS = ("cluster",)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="zerocloud",
        description="Runs sandboxed programs next to the objects of Swift.",
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
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
