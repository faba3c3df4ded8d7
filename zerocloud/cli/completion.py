"""`zerocloud completion SHELL`: prints a script that completes commands.

Made from the parser itself by shtab, so that it never lags behind; the script
is static, and no Python starts when a user presses Tab.  (argcomplete would
start one at each, 0.1 s; a generator of our own would be the fourth place to
know three shells' quoting.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from zerocloud.cli import exit as status

SHELLS = ("bash", "zsh", "fish")
EPILOG = f"""\
examples:
  source <(zerocloud completion bash)
      for this bash; for each one, the same line in ~/.bashrc
  d=~/.local/share/bash-completion/completions
  mkdir -p $d; zerocloud completion bash > $d/zerocloud
      for each bash, where the package bash-completion is installed
  zerocloud completion zsh > ~/.zfunc/_zerocloud
      for zsh, with fpath+=~/.zfunc before compinit in ~/.zshrc
  zerocloud completion fish > ~/.config/fish/completions/zerocloud.fish
      for fish

{status.statuses_help(status.SUCCESS, status.USAGE)}
read on: docs/cli.md
"""
_FILES = {"FILE", "JOB"}
_FOLDERS = {"DIR"}


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a completion script for a shell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    # Imported here: both are needed by this command only.
    import shtab  # noqa: PLC0415

    from zerocloud.cli.main import build_parser  # noqa: PLC0415

    parser = build_parser()
    _mark_files(parser, shtab.FILE, shtab.DIRECTORY)
    sys.stdout.write(shtab.complete(parser, shell=args.shell) + "\n")
    return status.SUCCESS


def _mark_files(
    parser: argparse.ArgumentParser,
    file: Mapping[str, Any],
    folder: Mapping[str, Any],
) -> None:
    """Tell shtab which values are paths, by the word in the help."""
    for action in parser._actions:  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):
            for command in action._choices_actions:
                inner = action.choices[command.dest]
                # Beside the command's name there is room for a line only.
                inner.description = command.help
                _mark_files(inner, file, folder)
        elif action.metavar in _FILES:
            action.complete = file  # type: ignore[attr-defined] # shtab's way
        elif action.metavar in _FOLDERS:
            action.complete = folder  # type: ignore[attr-defined]
