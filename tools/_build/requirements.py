"""What a machine must have, told all at once and before any work starts.

Read by every Python 3 there is, so that an old one can say that it is old:
annotations with brackets stand in quotes.
"""

import re
import shutil
import subprocess
import sys

PYTHON = (3, 11)
RUST = (1, 95)


def refuse_unless_met() -> None:
    """Exit with a line for each thing that is missing."""
    missing = missing_tools()
    if missing:
        raise SystemExit(
            "setup: these are missing:\n  " + "\n  ".join(missing)
        )


def missing_tools() -> "list[str]":
    """One line per missing tool, with how to get it."""
    missing = missing_python()
    for tool, package in (("gcc", "gcc libc6-dev"), ("make", "make")):
        if not shutil.which(tool):
            missing.append(f"{tool}: apt-get install {package}")
    return missing + missing_rust()


def missing_python() -> "list[str]":
    """What is wrong with the Python that runs this, and with its company."""
    version = sys.version.split()[0]
    if sys.version_info < PYTHON:
        return [
            f"Python 3.11 or newer (this is {version}): apt-get install "
            "python3.11 python3.11-venv, then make PYTHON=python3.11"
        ]
    missing = []
    if output([sys.executable, "-c", "import venv, ensurepip"]) is None:
        missing.append("Python's venv: apt-get install python3-venv")
    if sys.version_info[:2] != PYTHON and not shutil.which("python3.11"):
        missing.append(
            f"Python 3.11 beside {version} (the system image is built with "
            "it): apt-get install python3.11"
        )
    return missing


def missing_rust() -> "list[str]":
    """What is wrong with cargo."""
    how = "install rustup from https://rustup.rs"
    if not shutil.which("cargo"):
        return [f"Rust 1.95 or newer (cargo is not on PATH): {how}"]
    shown = output(["cargo", "--version"]) or ""
    found = re.search(r"(\d+)\.(\d+)", shown)
    if found and (int(found.group(1)), int(found.group(2))) >= RUST:
        return []
    if shutil.which("rustup"):
        how = "rustup update stable"
    return [f"Rust 1.95 or newer (found {shown or 'none'}): {how}"]


def output(command: "list[str]") -> "str | None":
    """What a command prints; None when it fails."""
    # Not capture_output and text, which Python 3.6 does not know.
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return None if done.returncode else done.stdout.decode().strip()
