"""The `zerocloud-check` command.

Exit status: 0 nothing to mend (there may be notes), 1 something to mend, 2 the
command line is at fault, or a conf file that it names cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import zerocloud
from zerocloud.check.conf import ConfUnreadable, read_conf
from zerocloud.check.finding import Finding
from zerocloud.check.host import Host
from zerocloud.cluster.installation import find_images, find_zvm

FIT, TO_MEND, CANNOT_LOOK = 0, 1, 2
DOCUMENT_VERSION = 1
TIMEOUT_SECONDS = 5.0

EPILOG = """\
on a storage server:
  zerocloud-check --object-conf /etc/swift/object-server.conf \\
                  --proxy-url https://swift.example.org
on a proxy:
  zerocloud-check --proxy-conf /etc/swift/proxy-server.conf

It needs no root; run it as Swift's user, who can look into the folders. It
changes nothing and starts nothing that stays.

exit status: 0 nothing to mend, 1 something to mend, 2 it could not look
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="zerocloud-check",
        description=(
            "Look at this host as its Swift conf files describe it, and say "
            "what ZeroCloud needs mended."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=zerocloud.__version__
    )
    add = parser.add_argument
    add(
        "--proxy-conf",
        type=Path,
        metavar="FILE",
        help="proxy-server.conf, or its conf.d folder",
    )
    add(
        "--object-conf",
        type=Path,
        metavar="FILE",
        help="object-server.conf, or its conf.d folder",
    )
    add(
        "--proxy-url",
        metavar="URL",
        help="a proxy whose /info says which images it promises",
    )
    add(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="wait so long for each server (default: %(default)g)",
    )
    add(
        "--installed",
        action="store_true",
        help="print the conf lines for the runner and images installed here",
    )
    add("--json", action="store_true", help="print one JSON document")
    add("--quiet", action="store_true", help="print what is to be mended only")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 600:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds from 0.01 to 600"
        )
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Look, print, and return an exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.installed:
        return print_installed()
    if args.proxy_conf is None and args.object_conf is None:
        parser.error("name a --proxy-conf, an --object-conf, or both")
    try:
        host = Host(
            proxy_conf=read_conf(args.proxy_conf) if args.proxy_conf else None,
            object_conf=(
                read_conf(args.object_conf) if args.object_conf else None
            ),
            proxy_url=args.proxy_url,
            timeout_seconds=args.timeout,
        )
    except ConfUnreadable as error:
        print(f"zerocloud-check: {error}", file=sys.stderr)
        return CANNOT_LOOK
    findings = list(host.findings())
    bad = sum(finding.level == "fail" for finding in findings)
    if args.json:
        print(json.dumps(_document(findings, bad), indent=1))
    else:
        shown = [f for f in findings if not args.quiet or f.level == "fail"]
        sys.stdout.write("".join(_lines(finding) for finding in shown))
        if not args.quiet or bad:
            print(_summary(len(findings), bad))
    return TO_MEND if bad else FIT


def print_installed() -> int:
    """The conf lines that name what is installed here."""
    zvm, images = find_zvm(), find_images()
    if zvm is None:
        print(
            "zerocloud-check: no runner is installed here; the wheel brings "
            "one, and `make build` makes one",
            file=sys.stderr,
        )
        return TO_MEND
    named = [(name, image) for image in images for name in image.names]
    paths = " ".join(f"{name}={image.tar}" for name, image in named)
    digests = " ".join(f"{name}={image.sha256}" for name, image in named)
    print("# [filter:executor] in object-server.conf")
    print(f"zvm = {zvm}")
    print(f"system_images = {paths}".rstrip())
    print("# [filter:zerocloud] in proxy-server.conf")
    print(f"system_images = {digests}".rstrip())
    return FIT


def _document(findings: list[Finding], bad: int) -> dict[str, object]:
    return {
        "version": DOCUMENT_VERSION,
        "zerocloud": zerocloud.__version__,
        "fit": bad == 0,
        "findings": [finding.as_dict() for finding in findings],
    }


def _lines(finding: Finding) -> str:
    level = "FAIL" if finding.level == "fail" else finding.level
    text = f"{level:<5} {finding.check:<9} {finding.subject}: {finding.said}\n"
    if finding.mend:
        text += f"{'':<15} mend: {finding.mend}\n"
    return text


def _summary(count: int, bad: int) -> str:
    if bad:
        return f"{bad} of {count} to mend"
    return f"{count} looked at, nothing to mend"


if __name__ == "__main__":
    sys.exit(main())
