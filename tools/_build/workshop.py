"""The folder in which one image is built, and how commands run in it."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .progress import Progress
from .zig import BuildError, Zig


@dataclass(frozen=True)
class Workshop:
    """Where one build happens, and what with."""

    folder: Path
    zig: Zig
    python: str
    recipe: dict[str, Any]
    progress: Progress

    @property
    def log(self) -> Path:
        """The log of every command."""
        return self.folder / "build.log"

    def environment(self) -> dict[str, str]:
        """The environment of every command: nothing of the user's flags."""
        kept = {
            name: value
            for name, value in self.zig.environment().items()
            if not re.search(
                r"FLAGS$|^(CC|CPP|LIBS|MAKE|PYTHON)|^_PYTHON", name
            )
        }
        return kept | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONHASHSEED": "0",
            "SOURCE_DATE_EPOCH": "946684800",
            "TZ": "UTC",
        }


def run(
    shop: Workshop,
    command: list[str],
    cwd: Path,
    counts: str = "",
    total: int = 0,
) -> None:
    """Run a command into the log; lines that match `counts` are progress."""
    seen = 0
    with shop.log.open("a") as log:
        print("$", *command, file=log, flush=True)
        with subprocess.Popen(
            ["nice", *command],
            cwd=cwd,
            env=shop.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                log.write(line)
                if counts and re.search(counts, line):
                    seen += 1
                    shop.progress.part(seen, total)
    if process.returncode:
        raise BuildError(f"`{' '.join(command)[:200]}` failed")
