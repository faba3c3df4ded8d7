"""`zerocloud version`: the versions that matter in a report of a fault."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from zerocloud import __version__
from zerocloud.cli import exit as status

COMPANIONS = ("swift", "python-swiftclient", "requests")


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    subparsers.add_parser(
        "version",
        help="print the versions of zerocloud and of what it uses",
        description="Print the versions of zerocloud and of what it uses.",
    ).set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print one line per component on stdout."""
    lines = [f"zerocloud {__version__}"]
    lines.append(f"python {platform.python_version()}")
    for name in COMPANIONS:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    sys.stdout.write("\n".join(lines) + "\n")
    return status.SUCCESS
