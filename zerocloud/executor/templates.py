"""Templates: a program of an image that was started when the image was built.

An image may say, in its description, that one of its programs lies there a
second time, started up to its safe point: the *template*
(images/python3/template.c, runner/src/template).  A VM of the template goes on
where that start ended.  The result is the same as the program's own, a few
milliseconds sooner, so nobody asks for it: `chosen` decides, from the
arguments and the environment alone.

    "templates": [{"program": "python",
                   "module": ".zerocloud/templates/python",
                   "options": ["-c", "-m"], "variables": "PYTHON"}]

The template is taken unless something would change the start itself: a first
argument that begins with `-` and is not `-` itself or one of `options`; a
variable whose name begins with `variables` and is not exactly the image's; a
path in `argv[0]`.  The program asks itself the same question, and starts
either way to the same state; tests hold both to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zerocloud.protocol.strict import Fields, text_item

MOST = 16
NAME_LENGTH = 255


@dataclass(frozen=True)
class Template:
    """One program of an image that has a template; members of the image."""

    program: str
    module: str
    options: tuple[str, ...]
    variables: str


def parse_template(item: Any, what: str) -> Template:
    """One item of `templates`; ProtocolError for anything else."""
    fields = Fields(item, what)
    template = Template(
        program=fields.text("program", NAME_LENGTH),
        module=fields.text("module", NAME_LENGTH),
        options=fields.items("options", text_item, MOST),
        variables=fields.text("variables", NAME_LENGTH),
    )
    fields.done()
    return template


def chosen(
    template: Template,
    args: Sequence[str],
    env: Mapping[str, str],
    image_env: Mapping[str, str],
) -> bool:
    """Whether a start with these arguments can go on from the template.

    `args` begins with `argv[0]`; `env` is the whole environment of the VM,
    `image_env` what the image says of itself.
    """
    return _keeps_start(template, args) and (
        _of_prefix(env, template.variables)
        == _of_prefix(image_env, template.variables)
    )


def _keeps_start(template: Template, args: Sequence[str]) -> bool:
    if not args or "/" in args[0]:
        return False
    first = args[1] if len(args) > 1 else ""
    if not first.startswith("-") or first == "-":
        return True
    has_operand = len(first) > 2 or len(args) > 2
    return first[:2] in template.options and has_operand


def _of_prefix(env: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {k: v for k, v in env.items() if k.startswith(prefix)}
