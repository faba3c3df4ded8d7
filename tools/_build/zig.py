"""The compiler of guest programs: the `zig` of the PyPI package ziglang.

It is a whole C toolchain for WASI preview 1 (clang, linker, C library) in one
package that needs no root; setup.cfg or tools/setup pins its version.  Found
for the Python that runs this, else in the checkout's .venv.
"""

import importlib.metadata
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_folder

ROOT = Path(__file__).resolve().parent.parent.parent
# "wasi" is preview 1 by default in zig's spelling.  lime1 is the fixed set of
# WebAssembly features that every engine of the last years has; naming it keeps
# programs the same when the compiler's default moves on.
TARGET = ("-target", "wasm32-wasi", "-mcpu=lime1")


class BuildError(Exception):
    """A build cannot go on; the text says what to do."""


@dataclass(frozen=True)
class Zig:
    """One installed zig."""

    program: Path
    version: str

    def command(self, tool: str) -> list[str]:
        """Return the start of a command line: cc, ar or ranlib."""
        target = list(TARGET) if tool == "cc" else []
        return [str(self.program), tool, *target]

    def environment(self) -> dict[str, str]:
        """Return the environment to run it in: its caches inside ours."""
        folder = str(cache_folder("zig"))
        return os.environ | {
            "ZIG_GLOBAL_CACHE_DIR": folder,
            "ZIG_LOCAL_CACHE_DIR": folder,
            "LC_ALL": "C",
        }


def find_zig() -> Zig:
    """Find the installed zig; BuildError if there is none."""
    sites = [Path(name) for name in sys.path if name.endswith("-packages")]
    sites += sorted(ROOT.glob(".venv/lib/python3*/site-packages"))
    for site in sites:
        program = site / "ziglang" / "zig"
        found = importlib.metadata.distributions(
            name="ziglang", path=[str(site)]
        )
        for distribution in found:
            if program.exists():
                return Zig(program, distribution.version)
    raise BuildError(
        "the Python package ziglang (the C compiler for guests) is missing: "
        "run `make build`, or pip install ziglang into .venv"
    )
