"""The limits of a node: defaults, and the operator's caps.

A job may ask for any value from the least one (`LEAST`) up to the cap; what it
does not name gets the default.  Units are in the names.  Limits of a guest are
never retried.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from zerocloud.errors import JobError

MIB = 1024 * 1024
GIB = 1024 * MIB


# What a job's results are promised to be equal on: one instruction set, or all
# of them and whatever the compiler is set to (docs/guarantees.md).
Determinism = Literal["default", "strict"]
MODES: tuple[Determinism, ...] = get_args(Determinism)


@dataclass(frozen=True)
class Limits:
    """Limits of one node; `fuel` counts in strict mode only."""

    wall_seconds: float = 30.0
    cpu_seconds: float = 30.0
    memory_bytes: int = 512 * MIB
    output_bytes: int = 1 * GIB
    stderr_bytes: int = 64 * 1024
    fuel: int = 100_000_000_000

    def with_request(
        self, asked: dict[str, float], caps: Limits, where: str
    ) -> Limits:
        """These limits, changed to what a job asks for.

        Raises JobError `job_limit` when a value is beyond its cap, naming the
        limit, the value and the cap.
        """
        for name, value in asked.items():
            cap = getattr(caps, name)
            if value > cap:
                raise JobError(
                    "job_limit",
                    f"limit {name} is {value}; the operator's cap is {cap} "
                    f"(max_{name})",
                    where=f"{where}/{name}",
                )
        whole = {
            name: float(v) if name.endswith("_seconds") else int(v)
            for name, v in asked.items()
        }
        return replace(self, **whole)  # type: ignore[arg-type] # names checked


LIMIT_NAMES = tuple(field.name for field in fields(Limits))

# One page of WebAssembly is 64 KiB; no program fits in less.
LEAST = Limits(
    wall_seconds=0.01,
    cpu_seconds=0.01,
    memory_bytes=64 * 1024,
    output_bytes=0,
    stderr_bytes=0,
    fuel=1,
)


@dataclass(frozen=True)
class JobCaps:
    """What bounds a whole job before anything runs.

    `determinism` is the mode of a job that names none.
    """

    job_bytes: int = 64 * 1024
    stored_job_bytes: int = 1 * MIB
    nodes: int = 1000
    defaults: Limits = Limits()
    caps: Limits = Limits(
        wall_seconds=300.0,
        cpu_seconds=300.0,
        memory_bytes=2 * GIB,
        output_bytes=5 * GIB,
        stderr_bytes=1 * MIB,
        fuel=1_000_000_000_000,
    )
    determinism: Determinism = "default"
    allowed_determinism: tuple[Determinism, ...] = MODES
