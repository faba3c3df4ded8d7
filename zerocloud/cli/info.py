"""`zerocloud info`: what the endpoint offers, from its `/info`.

Prints ZeroCloud's part as `key: value` lines, nested keys joined by dots;
`--json` prints the document as it came.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from zerocloud.cli import exit as status
from zerocloud.client import Client


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "info",
        help="say what the endpoint offers: limits, system images",
        description="Print what ZeroCloud offers at this endpoint.",
    )
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="take the account from this file (DIR/env of a cluster)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the document as JSON"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask /info and print ZeroCloud's part."""
    client = Client.from_environment(args.env_file)
    document = client.zerocloud_info()
    if args.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return status.SUCCESS
    sys.stdout.write(f"account: {client.login.storage_url}\n")
    for name, value in flat(document):
        sys.stdout.write(f"{name}: {value}\n")
    return status.SUCCESS


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of a document, with its keys joined by dots."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list) and not _is_nested(value):
        yield prefix, ", ".join(str(item) for item in value)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from flat(inner, f"{prefix}.{index}")
    else:
        yield prefix, str(value)


def _is_nested(items: list[Any]) -> bool:
    return any(isinstance(item, dict | list) for item in items)
