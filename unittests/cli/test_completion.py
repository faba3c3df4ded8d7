"""`zerocloud completion` in the shells themselves.

bash is where make is.  zsh and fish are asked where they are installed; their
tests are skipped, with that reason, where they are not.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zerocloud.cli import exit as status
from zerocloud.cli.completion import SHELLS
from zerocloud.cli.main import COMMANDS, main

PATIENCE_SECONDS = 20.0


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(shell) is None, reason=f"{shell} is not installed"
    )


@pytest.fixture
def script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Path]:
    """Write the script for a shell into an empty folder with two files."""

    def write(shell: str) -> Path:
        assert main(["completion", shell]) == status.SUCCESS
        path = tmp_path / f"complete.{shell}"
        path.write_text(capsys.readouterr().out)
        (tmp_path / "job.json").write_text("[]")
        (tmp_path / "jobs").mkdir()
        return path

    return write


def ask_bash(script: Path, words: list[str]) -> list[str]:
    """What bash would offer for the last of these words."""
    done = subprocess.run(
        [
            "bash",
            "--norc",
            "-c",
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            "_shtab_zerocloud; printf '%s\\n' \"${COMPREPLY[@]}\"",
            "bash",
            script,
            *words,
        ],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def ask_fish(script: Path, words: list[str]) -> list[str]:
    done = subprocess.run(
        ["fish", "-c", 'source $argv[1]; complete -C "$argv[2..]"',
         script, " ".join(words)],
        cwd=script.parent,
        env={**os.environ, "HOME": str(script.parent)},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    return sorted(line.partition("\t")[0] for line in lines)


ASKED = [
    (["zerocloud", ""], set(COMMANDS)),
    (["zerocloud", "com"], {"completion"}),
    (["zerocloud", "run", "--outp"], {"--output-dir"}),
    (["zerocloud", "run", "--os-i"], {"--os-interface"}),
    (["zerocloud", "run", "--os-interface", "i"], {"internal"}),
    (["zerocloud", "run", "--as", ""], {"stdin", "input"}),
    (["zerocloud", "completion", ""], set(SHELLS)),
    (["zerocloud", "run", "job.j"], {"job.json"}),
    (["zerocloud", "info", "--env-file", "job.j"], {"job.json"}),
]


@pytest.mark.parametrize(("words", "offered"), ASKED)
def test_completion_bash_offers_what_the_parser_knows(
    script: Callable[[str], Path], words: list[str], offered: set[str]
) -> None:
    assert set(ask_bash(script("bash"), words)) == offered


def test_completion_bash_offers_folders_where_a_folder_is_meant(
    script: Callable[[str], Path],
) -> None:
    words = ["zerocloud", "cluster", "--dir", "jo"]
    assert ask_bash(script("bash"), words) == ["jobs"]


@needs("fish")
@pytest.mark.parametrize(("words", "offered"), ASKED)
def test_completion_fish_offers_what_the_parser_knows(
    script: Callable[[str], Path], words: list[str], offered: set[str]
) -> None:
    assert set(ask_fish(script("fish"), words)) == offered


def typed(command: list[str], first: str, keys: str, cwd: Path) -> str:
    """What a terminal shows after keys were typed into a shell."""
    terminal, inside = pty.openpty()
    shell = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd), "TERM": "dumb"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    try:
        os.write(terminal, f"{first}; echo so''urced\n".encode())
        seen = _until(terminal, "sourced")
        assert "sourced" in seen, seen
        os.write(terminal, keys.encode())
        return _until(terminal, "--output-dir")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def _until(terminal: int, text: str) -> str:
    seen = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096).decode("utf-8", "replace")
    return seen


@pytest.mark.parametrize(
    ("command", "before"),
    [
        pytest.param(
            ["bash", "--norc", "-i"], "source complete.bash", id="bash"
        ),
        pytest.param(
            ["zsh", "-f", "-i"],
            "mv complete.zsh _zerocloud; fpath+=$PWD; "
            "autoload -U compinit; compinit -u -D",
            id="zsh",
            marks=needs("zsh"),
        ),
    ],
)
def test_completion_in_a_terminal_completes_at_tab(
    script: Callable[[str], Path], command: list[str], before: str
) -> None:
    """As `zerocloud completion --help` says to install it."""
    folder = script(command[0]).parent
    shown = typed(command, before, "zerocloud run --outp\t", folder)
    assert "--output-dir" in shown, shown


@needs("zsh")
def test_completion_zsh_is_valid_and_found_by_its_first_line(
    script: Callable[[str], Path],
) -> None:
    path = script("zsh")
    assert path.read_text().startswith("#compdef zerocloud\n")
    done = subprocess.run(
        ["zsh", "-n", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_shell_that_is_unknown_names_the_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["completion", "tcsh"])
    assert caught.value.code == status.USAGE
    assert "bash" in capsys.readouterr().err
