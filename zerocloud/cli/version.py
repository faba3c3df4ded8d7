"""`zerocloud version`: the versions that matter in a report of a fault."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from zerocloud import __version__
from zerocloud.cli import exit as status
from zerocloud.cluster.installation import find_zvm

COMPANIONS = ("swift", "python-swiftclient", "requests", "openstacksdk")
ZVM_SECONDS = 5.0
EPILOG = f"""\
examples:
  zerocloud version
      what to put into a report of a fault
  zerocloud --version
      the version of zerocloud alone, for a script

openstacksdk comes with the extra zerocloud[keystone]. zvm is the runner that
`zerocloud cluster` and `demo` would use: $ZEROCLOUD_ZVM, the installation's,
or the first on PATH.

{status.statuses_help(status.SUCCESS)}
read on: CHANGELOG.md; `zerocloud info` for the version of an endpoint
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    subparsers.add_parser(
        "version",
        help="print the versions of zerocloud and of what it uses",
        description="Print the versions of zerocloud and of what it uses.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    ).set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print one line per component on stdout."""
    lines = [f"zerocloud {__version__}", zvm_line()]
    lines.append(f"python {platform.python_version()}")
    for name in COMPANIONS:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    sys.stdout.write("\n".join(lines) + "\n")
    return status.SUCCESS


def zvm_line() -> str:
    """What the runner says of itself, or that there is none that can."""
    zvm = find_zvm()
    if zvm is None:
        return "zvm not built"
    try:
        done = subprocess.run(
            [zvm, "--version"],
            capture_output=True,
            text=True,
            timeout=ZVM_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return f"zvm unusable: {zvm} --version fails"
    return done.stdout.strip()
