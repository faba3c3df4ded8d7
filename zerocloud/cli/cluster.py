"""`zerocloud cluster`: a whole Swift with our filters, in one folder.

Stays in the foreground until SIGTERM or Ctrl-C.  DIR/env appears when the
cluster serves; sourcing it lets `swift`, S3 clients and `zerocloud` find it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from zerocloud.cli import exit as status
from zerocloud.cluster.launch import run_cluster
from zerocloud.cluster.settings import (
    MODES,
    ClusterSettings,
    SettingsError,
    StartError,
)

_DEFAULTS = ClusterSettings()
_SETTINGS = (
    "nodes",
    "replicas",
    "port",
    "proxies",
    "mode",
    "encrypt",
    "filters",
    "keep_confs",
)
EPILOG = f"""\
examples:
  zerocloud cluster --dir /tmp/c
      all servers in one process: starts in a second, for trying and tests
  zerocloud cluster --dir /tmp/c --mode process
      a process for each server: uses all processors, and servers can be killed
  . /tmp/c/env; swift upload texts *.txt; zerocloud run …
      from another terminal: swift, S3 clients and zerocloud find it by env
  zerocloud cluster --dir /tmp/c --executor-option slots=4
      with an option of etc/object-server.conf.sample
  zerocloud cluster --dir /tmp/c --no-filters
      plain Swift on the same data, to compare with

The folder keeps its settings: started again without options it is the same.
It listens on 127.0.0.0/8 only and has a well-known password; it is for trying
and testing, not for data of value. It needs no root.

{status.statuses_help(status.SUCCESS, status.USAGE, status.CLUSTER_FAILED)}
read on: README.md, docs/architecture.md (The embedded cluster), etc/
"""


def add_parser(subparsers: Any) -> None:
    """Add `cluster` to the command line."""
    parser = subparsers.add_parser(
        "cluster",
        help="run an embedded Swift cluster in a folder",
        description=(
            "Run a Swift cluster with ZeroCloud in one folder, in the "
            "foreground, until\nSIGTERM or Ctrl-C. Started again on the same "
            "folder, it has its data. DIR/env\nappears when it serves."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dir", required=True, type=Path, metavar="DIR", help="its folder")
    add("--nodes", type=int, metavar="N", help=_help("storage nodes", "nodes"))
    add(
        "--replicas",
        type=int,
        metavar="R",
        help=_help("replicas of each object", "replicas"),
    )
    add("--port", type=int, metavar="P", help="port of the first proxy")
    add(
        "--proxies",
        type=int,
        metavar="N",
        help=_help("proxy servers, a port each", "proxies"),
    )
    add(
        "--mode",
        choices=MODES,
        help=_help("all servers in one process, or each in its own", "mode"),
    )
    flag = argparse.BooleanOptionalAction
    add("--encrypt", action=flag, help="encrypt objects at rest")
    add("--filters", action=flag, help="ZeroCloud's filters, or plain Swift")
    add(
        "--keep-confs",
        action="store_const",
        const=True,
        help="use the conf files in DIR/etc as they are, edited perhaps",
    )
    for kind in ("proxy", "executor"):
        add(
            f"--{kind}-option",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"an option of the {kind} filter; may be repeated",
        )
    add(
        "--swift-constraint",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a constraint of Swift (max_file_size, ...); may be repeated",
    )
    add(
        "--lifeline",
        type=int,
        metavar="FD",
        help="stop when this inherited descriptor reaches end of file",
    )
    parser.set_defaults(run=run)


def _help(what: str, name: str) -> str:
    return f"{what} (default: the folder's, else {getattr(_DEFAULTS, name)})"


def run(args: argparse.Namespace) -> int:
    """Run the cluster; returns an exit status of exit.py."""
    try:
        run_cluster(args.dir, asked_of(args), sys.stdout, args.lifeline)
    except StartError as error:
        print(f"zerocloud cluster: {error}", file=sys.stderr)
        at_fault = isinstance(error, SettingsError)
        return status.USAGE if at_fault else status.CLUSTER_FAILED
    return status.SUCCESS


def asked_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line names; SettingsError."""
    asked = {
        name: value
        for name in _SETTINGS
        if (value := getattr(args, name)) is not None
    }
    asked["proxy_options"] = _options(args.proxy_option)
    asked["executor_options"] = _options(args.executor_option)
    if args.swift_constraint:
        asked["swift_constraints"] = _options(args.swift_constraint)
    return asked


def _options(words: list[str]) -> dict[str, str]:
    options = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found:
            raise SettingsError(f"option {word!r} is not NAME=VALUE")
        options[name] = value
    return options
