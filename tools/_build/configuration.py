"""docs/configuration.md: made of the samples' words and the code's tables.

Names, defaults, units and ranges come from `zerocloud.config`, so that they
are what the filters check; what an option is for comes from the comments in
etc/*.sample, so that it is written once.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from zerocloud.config import Option, options_of

ROOT = Path(__file__).resolve().parents[2]

_OPTION = re.compile(r"# (\w+) =(?: (.*))?")
# What the comment says of unit and range: the table has columns for it.
_TAIL = re.compile(
    r" ?(?:Bytes, |Seconds, )?[\d.]+ to [\d.]*\d\.$| true or false\.$"
)
_WORDS = {
    "flag": "true or false",
    "text": "a media type",
    "mode": "default or strict",
    "words": "words, blanks between",
    "path": "an absolute path",
    "key": "at least 16 characters",
    "ids": "FIRST-LAST, or same",
}

HEAD = """\
# Configuration

Every option of both filters. `tools/build_docs` makes this page out of
`zerocloud/config.py`, which checks them, and of the comments in
[etc/](../etc), which explain them; a test holds the three together.
[operations.md](operations.md) says how to set them up, and which to look at.

* The server **does not start** with a value that is not allowed, or with a
  name in the filter's section that is no option (a misspelled limit would not
  hold). It names the option, the value and what is allowed. Before you go
  back to an older version, take out the options that it does not know.
* Options of Swift's loggers (`log_…`, `statsd_…`) may stand there too.
* An option that also stands in the file's `[DEFAULT]` section is taken from
  there, by a rule of Swift's conf files: write `set NAME = VALUE` in the
  filter's section to overrule it. `zerocloud-check` tells you.
* Bytes are plain numbers, without K or M. Options named `…_bytes` are bytes,
  `…_seconds` and `…_timeout` are seconds and may have a fraction; all others
  with a range are counts.
"""


@dataclass(frozen=True)
class Place:
    """Where a filter's options stand."""

    kind: str
    title: str
    sample: str
    section: str


PLACES = (
    Place(
        "proxy",
        "Proxy servers",
        "proxy-server.conf.sample",
        "filter:zerocloud",
    ),
    Place(
        "executor",
        "Storage servers",
        "object-server.conf.sample",
        "filter:executor",
    ),
)


def section_text(place: Place) -> str:
    """Our filter's section of the sample."""
    text = (ROOT / "etc" / place.sample).read_text("ascii")
    _, _, after = text.partition(f"\n[{place.section}]\n")
    return after.partition("\n[")[0]


def comments(place: Place) -> dict[str, str]:
    """What the sample says of each option, in its order.

    A paragraph of its own, closed by an empty comment line, holds for the
    options below it and is left out.
    """
    found: dict[str, str] = {}
    lines: list[str] = []
    for line in section_text(place).splitlines():
        option = _OPTION.fullmatch(line)
        if option:
            found[option[1]] = " ".join(" ".join(lines).split())
        if option or not line.startswith("# "):
            lines = []
        else:
            lines.append(line[2:])
    return found


def _allowed(option: Option) -> str:
    if option.low is None or option.high is None:
        return _WORDS[option.kind]
    unit = f" {option.unit}" if option.unit else ""
    return f"{_number(option.low)} to {_number(option.high)}{unit}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _row(option: Option, comment: str) -> str:
    default = f"`{option.default}`" if option.default else "none"
    said = _TAIL.sub("", comment).replace("|", "\\|")
    return f"| `{option.name}` | {default} | {_allowed(option)} | {said} |\n"


def page() -> str:
    """The whole page."""
    text = HEAD
    for place in PLACES:
        said = comments(place)
        options = {o.name: o for o in options_of()[place.kind]}
        missing = sorted(set(options) ^ set(said))
        if missing:
            raise SystemExit(
                f"etc/{place.sample} and zerocloud/config.py differ in: "
                + ", ".join(missing)
            )
        text += (
            f"\n## {place.title}: `[{place.section}]` in "
            f"{place.sample.removesuffix('.sample')}\n\n"
            "| option | default | allowed | what it is |\n|---|---|---|---|\n"
        )
        text += "".join(_row(options[n], c) for n, c in said.items())
    return text
