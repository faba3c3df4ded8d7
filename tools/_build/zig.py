"""The compiler of guest programs: the `zig` of the PyPI package ziglang.

It is a whole C toolchain for WASI preview 1 (clang, linker, C library) in one
package that needs no root.  Its 20 000 files are unpacked once per user, into
the cache, and only when there is something to compile: a checkout whose
guests and images the cache holds needs none of it.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_folder

ROOT = Path(__file__).resolve().parent.parent.parent
# Decides the bytes of guests and images, so exactly one.
ZIG_VERSION = "0.17.1"
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
        """Return the start of a command line: cc, c++, ar, build-exe, …"""
        compiles = tool in ("cc", "c++", "build-exe")
        target = list(TARGET) if compiles else []
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
    """Return the pinned zig, fetching it once; BuildError if that fails."""
    home = cache_folder("tools") / f"ziglang-{ZIG_VERSION}"
    program = home / "ziglang" / "zig"
    if not program.exists():
        with (cache_folder("tools") / "ziglang.lock").open("w") as lock:
            # Guests and images are built side by side, and both need it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.exists():
                _fetch(home)
    return Zig(program, ZIG_VERSION)


def _fetch(home: Path) -> None:
    """Unpack the package into a folder, which appears by rename."""
    print(
        f"compiler: fetching ziglang {ZIG_VERSION} (100 MB), once per user",
        file=sys.stderr,
        flush=True,
    )
    fresh = home.with_name(f".{home.name}.new")
    # What an interrupted one has left; the lock is ours.
    shutil.rmtree(fresh, ignore_errors=True)
    done = subprocess.run(
        [
            *_pip(fresh / "venv"), "install", "--quiet",
            "--disable-pip-version-check", "--no-deps", "--no-compile",
            "--target", str(fresh), f"ziglang=={ZIG_VERSION}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode or not (fresh / "ziglang" / "zig").exists():
        shutil.rmtree(fresh, ignore_errors=True)
        raise BuildError(
            f"the C compiler for guests, ziglang {ZIG_VERSION} of PyPI, "
            f"cannot be fetched by pip: {done.stderr.strip()}"
        )
    shutil.rmtree(fresh / "venv", ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    os.replace(fresh, home)


def _pip(spare: Path) -> list[str]:
    """Return how to call pip; a folder for one where Python has none.

    So it is where pip itself builds a wheel from the source distribution.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    venv.create(spare, with_pip=True)
    # -I: not what a build's environment puts first.
    return [str(spare / "bin" / "python"), "-I", "-m", "pip"]
