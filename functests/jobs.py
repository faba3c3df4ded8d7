"""Jobs for the functional tests: guests, and the JSON around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from functests.support import Account

GUESTS = Path(__file__).resolve().parents[1] / "build" / "guests"
STDOUT = {"name": "stdout"}


def guest(name: str) -> bytes:
    """The bytes of a compiled guest (runner/tests/guests)."""
    path = GUESTS / f"{name}.wasm"
    if not path.is_file():
        pytest.fail(f"{path} is missing; `make build` makes it", pytrace=False)
    return path.read_bytes()


def put_guest(account: Account, name: str) -> str:
    """Store a guest in the test's container; its path for `exec.path`."""
    account.put(f"bin/{name}.wasm", guest(name))
    return account.path(f"bin/{name}.wasm")


def group(
    path: str,
    *devices: dict[str, Any],
    name: str = "n",
    args: list[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One group; a keyword is a key of it."""
    program: dict[str, Any] = {"path": path}
    if args is not None:
        program["args"] = args
    return {"name": name, "exec": program, "devices": [*devices], **more}


def reads(path: str, device: str = "stdin") -> dict[str, Any]:
    """A device that reads an object."""
    return {"name": device, "path": path}


def writes(path: str, device: str = "stdout", **more: Any) -> dict[str, Any]:
    """A device that writes an object."""
    return {"name": device, "path": path, **more}
