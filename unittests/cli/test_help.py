"""`--help` teaches: examples, defaults, exit statuses, where to read on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from zerocloud.cli import exit as status
from zerocloud.cli.main import COMMANDS, build_parser, main, parse

ROOT = Path(__file__).resolve().parents[2]


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == status.SUCCESS
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_has_examples_statuses_and_what_to_read(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    text = help_of(capsys, *command)
    assert "\nexamples:\n" in text
    assert "\nexit status:\n  0    done" in text
    assert "read on: " in text
    assert [line for line in text.splitlines() if len(line) > 79] == []


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_names_only_documents_that_exist(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    read_on = help_of(capsys, *command).partition("read on: ")[2]
    names = re.findall(r"[\w/-]+\.md", read_on)
    assert names
    assert [name for name in names if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_examples_are_lines_that_the_parser_takes(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    examples = help_of(capsys, *command).partition("examples:\n")[2]
    joined = examples.partition("\n\n")[0].replace("\\\n", " ")
    lines = [
        line.strip()
        for line in joined.splitlines()
        if line.startswith("  zerocloud ")
    ]
    assert lines
    for line in lines:
        words = shlex.split(re.split(r" [|<>] ?", line)[0])[1:]
        if words != ["--version"]:
            assert callable(parse(words).run), line


def test_help_lists_every_command_with_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_of(capsys)
    for name in COMMANDS:
        assert re.search(rf"^    {name}\s+\S", text, re.MULTILINE), name


def test_help_of_each_option_says_something() -> None:
    parser = build_parser()
    [subparsers] = [
        a for a in parser._actions if a.dest == "==SUPPRESS=="
    ] or [a for a in parser._actions if a.choices]
    assert isinstance(subparsers.choices, dict)
    for name, command in subparsers.choices.items():
        for action in command._actions:
            assert action.help, f"{name} {action.option_strings}"


def test_abbreviated_option_is_refused() -> None:
    """A script that uses one would break with the next option."""
    with pytest.raises(SystemExit) as caught:
        main(["run", "--outp", "d", "job.json"])
    assert caught.value.code == status.USAGE


def test_version_option_prints_the_version_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == status.SUCCESS
    assert re.fullmatch(r"[\d.]+\S*\n", capsys.readouterr().out)


def test_exit_statuses_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = page.partition("## Exit statuses\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    documented = {int(n): text.replace("\\|", "|") for n, text in rows}
    assert documented == status.MEANINGS


def test_exit_statuses_have_each_a_meaning() -> None:
    named = [v for k, v in vars(status).items() if k.isupper()]
    numbers = [value for value in named if isinstance(value, int)]
    assert sorted(numbers) == sorted(status.MEANINGS)
