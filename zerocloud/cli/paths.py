"""`zerocloud paths`: where this installation keeps what jobs are made of.

For scripts and for those who try things: the guests of the examples, the
system images for `zvm run --layer`, the runner, the cache.  The same words in
a clone and in an environment that has the wheel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from zerocloud.cli import exit as status
from zerocloud.cluster.installation import (
    find_guest,
    find_images,
    find_zvm,
    user_cache,
)

EPILOG = f"""\
examples:
  zerocloud paths
      all of them, a line each
  zvm run "$(zerocloud paths guests)/wc.wasm" < data
      a program of the examples, without a cluster

{status.statuses_help(status.SUCCESS, status.USAGE)}
read on: README.md, docs/guest.md
"""


def _images() -> Path | None:
    found = find_images()
    return found[0].tar.parent if found else None


def _guests() -> Path | None:
    found = find_guest("wc")
    return found.parent if found else None


_PLACES: dict[str, Callable[[], Path | None]] = {
    "zvm": find_zvm,
    "guests": _guests,
    "images": _images,
    "cache": user_cache,
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "paths",
        help="print where the runner, the guests and the images are",
        description=(
            "Print where the runner zvm, the compiled programs of the\n"
            "examples (guests), the system images and the cache are; or only\n"
            "the one that is named."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "name", nargs="?", choices=tuple(_PLACES), help="only this"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line per place; 2 when the named one is not there."""
    if args.name is None:
        for name, find in _PLACES.items():
            sys.stdout.write(f"{name} {find() or 'not built'}\n")
        return status.SUCCESS
    place = _PLACES[args.name]()
    if place is None:
        sys.stderr.write(f"zerocloud: {args.name}: not built: `make build`\n")
        return status.USAGE
    sys.stdout.write(f"{place}\n")
    return status.SUCCESS
