"""`zerocloud` as a user types it: a process of its own, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerocloud.cluster import Cluster

TIMEOUT_SECONDS = 120
Done = subprocess.CompletedProcess[bytes]


def clean_environment() -> dict[str, str]:
    """This process's environment, without anybody's credentials."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OS_", "ST_"))
    }


@dataclass
class Command:
    """Runs `zerocloud SUBCOMMAND …` for the account of a cluster.

    `variables` say how to log in; by default those of the cluster's `env`.
    """

    cluster: Cluster
    folder: Path
    variables: Mapping[str, str] | None = None

    def save(self, name: str, content: str | bytes) -> str:
        """Write a file into the folder; returns its name."""
        raw = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(raw)
        return name

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Done:
        """Run it to its end."""
        source: dict[str, Any] = (
            {"stdin": subprocess.DEVNULL}
            if stdin is None
            else {"input": stdin}
        )
        return subprocess.run(
            self._line(arguments),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            **source,
        )

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start it; its pipes are open."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **more,
        }
        return subprocess.Popen(
            self._line(arguments),
            cwd=self.folder,
            env=self._environment(),
            **options,
        )

    def _line(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "zerocloud.cli.main", *arguments]

    def _environment(self) -> dict[str, str]:
        given = self.variables
        chosen = self.cluster.env if given is None else given
        return {**clean_environment(), **chosen}
