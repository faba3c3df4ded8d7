"""When a template stands for its program."""

from __future__ import annotations

import json

import pytest

from zerocloud.errors import ProtocolError
from zerocloud.executor.templates import Template, chosen, parse_template

IMAGE_ENV = {"PYTHONHOME": "/usr/local", "LANG": "C"}
PYTHON = Template("python", ".zerocloud/t", ("-c", "-m"), "PYTHON")


@pytest.mark.parametrize(
    "args",
    [
        ["n"],
        ["n", "script.py", "-O"],
        ["n", "-"],
        ["n", "-", "x"],
        ["n", ""],
        ["n", "-c", "pass"],
        ["n", "-cpass"],
        ["n", "-m", "json.tool", "-h"],
    ],
)
def test_template_stands_for_what_the_start_does_not_depend_on(
    args: list[str],
) -> None:
    assert chosen(PYTHON, args, {**IMAGE_ENV, "LANG": "de"}, IMAGE_ENV)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["/bin/n"],
        ["n", "-O"],
        ["n", "-u", "script.py"],
        ["n", "--help"],
        ["n", "-c"],
        ["n", "-m"],
        ["n", "-X", "dev", "-c", "pass"],
    ],
)
def test_template_is_not_for_other_options(args: list[str]) -> None:
    assert not chosen(PYTHON, args, IMAGE_ENV, IMAGE_ENV)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"PYTHONHOME": "/elsewhere"},
        {**IMAGE_ENV, "PYTHONPATH": "/app"},
    ],
)
def test_template_is_not_for_changed_variables(env: dict[str, str]) -> None:
    assert not chosen(PYTHON, ["n"], env, IMAGE_ENV)


def test_template_of_an_image_is_parsed() -> None:
    item = {
        "program": "python",
        "module": ".zerocloud/t",
        "options": ["-c", "-m"],
        "variables": "PYTHON",
    }
    assert parse_template(json.loads(json.dumps(item)), "t") == PYTHON


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"options": "-c"}, "t.options is '-c'; allowed is a list"),
        ({"module": 3}, "t.module is 3; allowed is text"),
        ({"more": 1}, "t has unknown keys: more"),
    ],
)
def test_template_of_another_form_is_refused(
    change: dict[str, object], text: str
) -> None:
    item = {
        "program": "python",
        "module": "m",
        "options": [],
        "variables": "",
        **change,
    }
    with pytest.raises(ProtocolError) as caught:
        parse_template(item, "t")
    assert text in str(caught.value)
