"""The `env` file of `zerocloud cluster` → variables.

The file is parsed, never run by a shell: lines `export NAME=VALUE`, quotes as
in a shell, no expansion of any kind.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from zerocloud.client.errors import LoginError

ENV_FILE_MAX_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_env_file(path: str | Path) -> dict[str, str]:
    """Parse a file of `export NAME=VALUE` lines, without running anything.

    Raises LoginError that names the line when it is anything else.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(ENV_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise LoginError(f"env file {path}: {error.strerror}") from error
    if len(raw) > ENV_FILE_MAX_BYTES:
        raise LoginError(
            f"env file {path} is larger than {ENV_FILE_MAX_BYTES} bytes; "
            "allowed are a few lines `export NAME=VALUE`"
        )
    values: dict[str, str] = {}
    lines = raw.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        pair = _parse_line(line)
        if pair is None:
            raise LoginError(
                f"env file {path}, line {number} is not understood; allowed "
                "are comments and `export NAME=VALUE` without $ or ` "
            )
        if pair:
            values[pair[0]] = pair[1]
    return values


def _parse_line(line: str) -> tuple[str, str] | tuple[()] | None:
    """One pair, nothing (a comment, a blank line), or None: a bad line."""
    text = line.strip()
    if not text or text.startswith("#"):
        return ()
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # an open quote: the line is bad, the caller says so
        return None
    if words and words[0] == "export":
        words = words[1:]
    if len(words) != 1 or "=" not in words[0]:
        return None
    name, _, value = words[0].partition("=")
    # A shell would expand these; taking them literally would surprise.
    expands = ("$" in text or "`" in text) and "'" not in text
    if not _NAME.fullmatch(name) or expands:
        return None
    return name, value
