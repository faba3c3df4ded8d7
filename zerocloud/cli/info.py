"""`zerocloud info`: what the endpoint offers, from its `/info`.

Tables for people; `--json` prints the document as it came, for programs.  Keys
that this version does not know (a newer cluster may say more) are shown as
`key: value` lines at the end, nested keys joined by dots.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from zerocloud.cli import account
from zerocloud.cli import exit as status
from zerocloud.cli.table import grid, printable, size_text

EPILOG = f"""\
examples:
  zerocloud info --env-file /tmp/c/env
      what the cluster in /tmp/c offers
  zerocloud info --json | jq .limits.max_nodes
      one value, for a script

default is what a node gets that names no limit, cap the most that it may name.

{account.LOGIN_HELP}
{
    status.statuses_help(
        status.SUCCESS,
        status.USAGE,
        status.REFUSED,
        status.CLUSTER_FAILED,
        status.NO_CONNECTION,
    )
}
read on: docs/http-api.md (Is it there?), docs/job-format.md (Limits)
"""
_FORMS = {1: "1 (a list of groups)", 2: "2 (an object)"}


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "info",
        help="say what the endpoint offers: limits, system images",
        description="Print what ZeroCloud offers at this endpoint.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--json", action="store_true", help="print the document as JSON"
    )
    account.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask /info and print ZeroCloud's part."""
    client = account.client_of(args)
    document = client.zerocloud_info()
    if args.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return status.SUCCESS
    for line in info_lines(document, client.login.storage_url):
        sys.stdout.write(line.rstrip() + "\n")
    return status.SUCCESS


def info_lines(document: Mapping[str, Any], url: str) -> Iterator[str]:
    """The document for people; it may be of another version than this."""
    left = dict(document)
    yield from _grid(_first(left, url))
    images = left.pop("system_images", None)
    if _is_rows(images):
        yield ""
        rows = [[_text(i.get("name")), _text(i.get("sha256"))] for i in images]
        yield from grid(("system image", "sha256"), rows)
    limits = left.get("limits")
    if isinstance(limits, Mapping):
        rest = dict(limits)
        left["limits"] = rest
        yield from _node_limits(rest)
        yield from _job_limits(rest)
    further = list(flat({k: v for k, v in left.items() if v != {}}))
    if further:
        yield ""
    for name, value in further:
        yield f"{name}: {value}"


def _first(left: dict[str, Any], url: str) -> list[list[str]]:
    parts = urlsplit(url)
    name = url.rstrip("/").rpartition("/")[2]
    rows = [
        ["endpoint", f"{parts.scheme}://{parts.netloc}"],
        ["account", name],
    ]
    if "version" in left:
        rows.append(["zerocloud", _text(left.pop("version"))])
    if isinstance(left.get("job_versions"), list):
        forms = left.pop("job_versions")
        said = [_FORMS.get(form, _text(form)) for form in forms]
        rows.append(["forms of jobs", ", ".join(said)])
    if isinstance(left.get("job_schema"), str):
        rows.append(["their schema", _text(left.pop("job_schema"))])
    if isinstance(left.get("modes"), list):
        rows.append(["modes", ", ".join(map(_text, left.pop("modes")))])
    if isinstance(left.get("local_reads"), bool):
        in_place = "in place" if left.pop("local_reads") else "streamed"
        rows.append(["objects are read", in_place])
    modes = left.get("determinism")
    if isinstance(modes, Mapping) and isinstance(modes.get("allowed"), list):
        del left["determinism"]
        words = ", ".join(map(_text, modes["allowed"]))
        told = f"{_text(modes.get('default'))} (allowed: {words})"
        rows.append(["determinism", told])
    return rows


def _node_limits(limits: dict[str, Any]) -> Iterator[str]:
    """The table of defaults and caps; taken out of `limits`."""
    defaults, caps = limits.get("defaults"), limits.get("caps")
    if not isinstance(defaults, Mapping) or not isinstance(caps, Mapping):
        return
    del limits["defaults"], limits["caps"]
    rows = [
        [
            _text(name),
            _value(name, defaults.get(name, "-")),
            _value(name, caps.get(name, "-")),
        ]
        for name in dict.fromkeys([*defaults, *caps])
    ]
    headings = ("limit of a node", "default", "cap")
    yield ""
    yield from grid(headings, rows, headings[1:])


def _job_limits(limits: dict[str, Any]) -> Iterator[str]:
    rows = [
        [_text(name), _value(name, value)]
        for name, value in limits.items()
        if isinstance(value, int | float)
    ]
    for row in rows:
        limits.pop(row[0], None)
    if rows:
        yield ""
        yield from grid(("limit of a job", "most"), rows, ("most",))


def _value(name: str, value: Any) -> str:
    """A number with its unit, which is at the end of its name."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and name.endswith("_bytes"):
        return size_text(int(value))
    if number and name.endswith("_seconds"):
        return f"{value:g} s"
    return _text(value)


def _grid(rows: list[list[str]]) -> Iterator[str]:
    width = max(len(row[0]) for row in rows)
    for name, value in rows:
        yield f"{name.ljust(width)}  {value}"


def _is_rows(items: Any) -> bool:
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, Mapping) for item in items)
    )


def _text(value: Any) -> str:
    return printable(str(value))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of a document, with its keys joined by dots."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list) and not _is_nested(value):
        yield printable(prefix), ", ".join(map(_text, value))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from flat(inner, f"{prefix}.{index}")
    else:
        yield printable(prefix), _text(value)


def _is_nested(items: list[Any]) -> bool:
    return any(isinstance(item, dict | list) for item in items)
