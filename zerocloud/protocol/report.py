"""The report of one VM: from `zvm session`, through the node, to the proxy.

The twin of runner/src/report.rs (docs/protocol.md section 2); both are tested
against runner/tests/fixtures/.  `zvm session` writes it without, the storage
node's frame `R` with the names of devices and the node's own times
(`ExecutorNotes`).  `parse_report` reads both, strictly.

A guest's outcome is data here, never an exception.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from zerocloud.errors import ProtocolError
from zerocloud.job.limits import Determinism
from zerocloud.protocol.strict import (
    MAX_WHOLE,
    Fields,
    parse_object,
    text_item,
    to_json,
)

REPORT_VERSION = 1
# Of a strict VM's: with its mode and the fuel that it used.
STRICT_REPORT_VERSION = 2
MAX_REPORT_BYTES = 32 * 1024 * 1024
MAX_SECONDS = 1e9

OutcomeKind = Literal["exit", "trap", "limit", "killed", "lost"]
KINDS: tuple[OutcomeKind, ...] = ("exit", "trap", "limit", "killed", "lost")


@dataclass(frozen=True)
class Outcome:
    """How a VM ended.

    `code` is the exit code (`exit`), a word (`trap`), the name of the limit
    (`limit`), a signal's number (`killed`), or a word (`lost`).
    """

    kind: OutcomeKind
    code: int | str
    message: str = ""

    def succeeded(self, ok_exit: tuple[int, ...]) -> bool:
        """Whether this is an exit with one of the codes."""
        return self.kind == "exit" and self.code in ok_exit

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        return dict(vars(self))


@dataclass(frozen=True)
class ChannelReport:
    """What went through one channel; `device` is added by the node."""

    path: str
    reads: int
    read_bytes: int
    writes: int
    write_bytes: int
    size: int
    blake3: str | None
    md5: str | None
    device: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        table = dict(vars(self))
        if self.device is None:
            del table["device"]
        return table


@dataclass(frozen=True)
class ExecutorNotes:
    """The node's own account of a task; nothing here enters the receipt.

    `local_bytes` is the length of the inputs read in place, `streamed_bytes`
    of those that the proxy sent; `compile_seconds` is 0 when the program was
    compiled before.
    """

    queue_seconds: float
    prepare_seconds: float
    compile_seconds: float
    run_seconds: float
    local_bytes: int
    streamed_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the document."""
        return dict(vars(self))


@dataclass(frozen=True)
class Report:
    """The end of one VM.

    `fuel_used` is known of a strict one that was not killed.
    """

    outcome: Outcome
    wall_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    channels: tuple[ChannelReport, ...]
    stderr_tail: str
    limits_reached: tuple[str, ...]
    program_sha256: str
    receipt: str | None
    executor: ExecutorNotes | None = None
    determinism: Determinism = "default"
    fuel_used: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The document."""
        strict = self.determinism == "strict"
        table: dict[str, Any] = {
            "version": STRICT_REPORT_VERSION if strict else REPORT_VERSION,
            "outcome": self.outcome.as_dict(),
            "wall_seconds": self.wall_seconds,
            "cpu_seconds": self.cpu_seconds,
            "memory_peak_bytes": self.memory_peak_bytes,
            "channels": [channel.as_dict() for channel in self.channels],
            "stderr_tail": self.stderr_tail,
            "limits_reached": list(self.limits_reached),
            "program_sha256": self.program_sha256,
            "receipt": self.receipt,
        }
        if strict:
            table["determinism"] = self.determinism
            table["fuel_used"] = self.fuel_used
        if self.executor is not None:
            table["executor"] = self.executor.as_dict()
        return table

    def to_json(self, limit: int = MAX_REPORT_BYTES) -> bytes:
        """At most `limit` bytes: stderr's tail gives way, from its front.

        Raises ProtocolError when it is too long even without the tail.
        """
        data = self._with_tail(len(self.stderr_tail))
        if len(data) > limit:
            lengths = range(len(self.stderr_tail) + 1)
            fitting = bisect_right(
                lengths, limit, key=lambda n: len(self._with_tail(n))
            )
            data = self._with_tail(max(0, fitting - 1))
        if len(data) > limit:
            raise ProtocolError(
                f"report has {len(data)} bytes; allowed are {limit}"
            )
        return data

    def _with_tail(self, characters: int) -> bytes:
        tail = self.stderr_tail[len(self.stderr_tail) - characters :]
        document = replace(self, stderr_tail=tail).as_dict()
        return to_json(document, MAX_REPORT_BYTES)


def _outcome(item: Any, what: str) -> Outcome:
    fields = Fields(item, what)
    kind = cast(OutcomeKind, fields.choice("kind", KINDS))
    code: int | str
    if kind in ("exit", "killed"):
        code = fields.whole("code", -(2**31), 2**32 - 1)
    else:
        code = fields.text("code", 200)
    outcome = Outcome(kind, code, fields.raw_text("message", 65536))
    fields.done()
    return outcome


def _channel(item: Any, what: str) -> ChannelReport:
    fields = Fields(item, what)
    channel = ChannelReport(
        path=fields.text("path", 4096),
        reads=fields.whole("reads"),
        read_bytes=fields.whole("read_bytes"),
        writes=fields.whole("writes"),
        write_bytes=fields.whole("write_bytes"),
        size=fields.whole("size"),
        blake3=fields.optional_hexadecimal("blake3", 64),
        md5=fields.optional_hexadecimal("md5", 32),
        device=fields.text("device", 4096) if fields.has("device") else None,
    )
    fields.done()
    return channel


def _notes(item: Any, what: str) -> ExecutorNotes:
    fields = Fields(item, what)
    notes = ExecutorNotes(
        queue_seconds=_seconds(fields, "queue_seconds"),
        prepare_seconds=_seconds(fields, "prepare_seconds"),
        compile_seconds=_seconds(fields, "compile_seconds"),
        run_seconds=_seconds(fields, "run_seconds"),
        local_bytes=fields.whole("local_bytes"),
        streamed_bytes=fields.whole("streamed_bytes"),
    )
    fields.done()
    return notes


def _seconds(fields: Fields, name: str) -> float:
    return fields.number(name, 0, MAX_SECONDS)


def parse_report(data: bytes) -> Report:
    """A report's bytes; raises ProtocolError that says where."""
    return report_item(parse_object(data, "report", MAX_REPORT_BYTES))


def report_item(item: Any) -> Report:
    """A report inside of another document; raises ProtocolError."""
    fields = Fields(item, "report")
    version = fields.version(REPORT_VERSION, STRICT_REPORT_VERSION)
    fuel_used, strict = None, version == STRICT_REPORT_VERSION
    if strict:
        fields.choice("determinism", ("strict",))
        fuel_used = fields.optional_whole("fuel_used")
    notes = None
    if fields.has("executor"):
        notes = _notes(fields.take("executor"), "report.executor")
    report = Report(
        outcome=_outcome(fields.take("outcome"), "report.outcome"),
        wall_seconds=_seconds(fields, "wall_seconds"),
        cpu_seconds=_seconds(fields, "cpu_seconds"),
        memory_peak_bytes=fields.whole("memory_peak_bytes", 0, MAX_WHOLE),
        channels=fields.items("channels", _channel, 4096),
        stderr_tail=fields.raw_text("stderr_tail"),
        limits_reached=fields.items("limits_reached", text_item, 100),
        program_sha256=fields.hexadecimal("program_sha256", 64),
        receipt=fields.optional_hexadecimal("receipt", 64),
        executor=notes,
        determinism="strict" if strict else "default",
        fuel_used=fuel_used,
    )
    fields.done()
    return report
