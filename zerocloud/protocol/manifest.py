"""The manifest: what `zvm session` reads on its standard input.

The twin of runner/src/manifest.rs (docs/protocol.md section 1); both are
tested against runner/tests/fixtures/.  Only written here, by the executor:
descriptors are positions in the `--descriptors` list, never numbers of this
process, and no host path is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from zerocloud.job.limits import Determinism
from zerocloud.job.plan import Access
from zerocloud.protocol.strict import to_json

MANIFEST_VERSION = 1
# Of a strict one.  A runner that does not know the mode refuses the version,
# instead of running what is not strict.
STRICT_MANIFEST_VERSION = 2
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
DEFAULT_LIMIT_CALLS = 2**32

Direction = Literal["read", "write"]


@dataclass(frozen=True)
class ManifestFile:
    """A compiled program; the digest is that of its module.

    `template_of` is the digest of the program that this one is the template
    of, if it is one: receipts name that.
    """

    descriptor: int
    sha256: str
    name: str
    template_of: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        document = dict(vars(self))
        if not self.template_of:
            del document["template_of"]
        return document


@dataclass(frozen=True)
class ManifestLayer:
    """A tar layer.

    One that is a `system` image may be mapped and indexed by a process that
    has no job yet.
    """

    descriptor: int
    sha256: str
    name: str
    system: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        document = dict(vars(self))
        if not self.system:
            del document["system"]
        return document


@dataclass(frozen=True)
class ManifestChannel:
    """One channel; `identity` says what it is and enters the receipt."""

    path: str
    direction: Direction
    access: Access
    descriptor: int
    identity: str
    limit_bytes: int
    limit_calls: int = DEFAULT_LIMIT_CALLS

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        return dict(vars(self))


@dataclass(frozen=True)
class ManifestLimits:
    """The VM's limits that are not per channel; `fuel` of a strict one."""

    memory_bytes: int
    wall_seconds: float
    cpu_seconds: float
    stderr_bytes: int
    stack_bytes: int = 8 * 1024 * 1024
    tmp_bytes: int = 64 * 1024 * 1024
    files: int = 4096
    fuel: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        table = dict(vars(self))
        if self.fuel is None:
            del table["fuel"]
        return table


@dataclass(frozen=True)
class Manifest:
    """One run of one VM."""

    job: str
    node: str
    program: ManifestFile
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    layers: tuple[ManifestLayer, ...]
    channels: tuple[ManifestChannel, ...]
    limits: ManifestLimits
    clock_nanoseconds: int
    seed: str
    determinism: Determinism = "default"

    def as_dict(self) -> dict[str, Any]:
        """The document."""
        strict = self.determinism == "strict"
        table = {
            "version": STRICT_MANIFEST_VERSION if strict else MANIFEST_VERSION,
            "job": self.job,
            "node": self.node,
            "program": self.program.as_dict(),
            "args": list(self.args),
            "env": [list(pair) for pair in self.env],
            "layers": [layer.as_dict() for layer in self.layers],
            "channels": [channel.as_dict() for channel in self.channels],
            "limits": self.limits.as_dict(),
            "clock_nanoseconds": self.clock_nanoseconds,
            "seed": self.seed,
        }
        if strict:
            table["determinism"] = self.determinism
        return table

    def to_json(self) -> bytes:
        """Standard input of the session; ProtocolError when too long."""
        return to_json(self.as_dict(), MAX_MANIFEST_BYTES)
