"""Blobs and inputs as they come in, outputs as they go out: frames ↔ files.

Each stream is `B`/`D` frames and an `E` with the count of bytes; one at a
time, in order.  A stream that does not keep to what was announced is a
ProtocolError, and no byte beyond the announcement is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from zerocloud.errors import ProtocolError
from zerocloud.executor.blobs import BlobWriter
from zerocloud.executor.duplex import Exchange, breathe
from zerocloud.executor.staging import said_of_the_disk, write_all
from zerocloud.protocol import frames
from zerocloud.protocol.frames import Frame
from zerocloud.protocol.report import ChannelReport, Report
from zerocloud.protocol.strict import Fields, parse_object, to_json
from zerocloud.protocol.task import TaskDocument

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class StagedOutput:
    """An output that can be sent; `stream` is its position in the task."""

    stream: int
    fd: int
    size: int
    md5: str | None
    blake3: str | None


def receive_blob(
    exchange: Exchange, stream: int, writer: BlobWriter, idle_seconds: float
) -> int:
    """Take one blob in, and publish it; the writer is closed in any case.

    The descriptor keeps it in the store, and is the caller's.
    """
    received = 0
    try:
        while True:
            frame = exchange.receive(idle_seconds)
            if _ends(frame, frames.BLOB, stream, received):
                break
            writer.write(frame.payload)
            received += len(frame.payload)
            breathe()
        return writer.finish()
    finally:
        writer.close()


def receive_input(
    exchange: Exchange, stream: int, fd: int, size: int, idle_seconds: float
) -> None:
    """Take one input of `size` bytes in."""
    received = 0
    while True:
        frame = exchange.receive(idle_seconds)
        if _ends(frame, frames.DATA, stream, received):
            break
        received += len(frame.payload)
        if received > size:
            raise ProtocolError(
                f"input {stream} has more than the {size} bytes announced"
            )
        with said_of_the_disk("staging folder"):
            write_all(fd, frame.payload)
        breathe()
    if received != size:
        raise ProtocolError(
            f"input {stream} has {received} bytes; announced were {size}"
        )


def _ends(frame: Frame, kind: bytes, stream: int, received: int) -> bool:
    """Whether the frame is the end of the stream; it may only be its data."""
    if frame.stream != stream or frame.kind not in (kind, frames.END):
        raise ProtocolError(
            f"frame {frame.kind!r} of stream {frame.stream} where {kind!r} "
            f"of stream {stream} was due"
        )
    if frame.kind == kind:
        return False
    fields = Fields(parse_object(frame.payload, "end", 1024), "end")
    count = fields.whole("bytes")
    fields.done()
    if count != received:
        raise ProtocolError(
            f"stream {stream} ends after {received} bytes; {count} were sent"
        )
    return True


def staged_outputs(
    task: TaskDocument, report: Report, descriptors: list[int]
) -> list[StagedOutput]:
    """The outputs with their lengths and digests, in the task's order."""
    by_device: dict[str | None, ChannelReport] = {
        channel.device: channel for channel in report.channels
    }
    staged = []
    for stream, output in enumerate(task.outputs):
        channel = by_device.get(output.device)
        if channel is None:
            raise ProtocolError(f"the report lacks {output.device}")
        staged.append(
            StagedOutput(
                stream,
                descriptors[stream],
                channel.size,
                channel.md5,
                channel.blake3,
            )
        )
    return staged


def wait_for_go(
    exchange: Exchange, staged: list[StagedOutput], idle_seconds: float
) -> list[StagedOutput]:
    """Those of the outputs that the proxy asks for; it may take its time."""
    frame = exchange.receive(idle_seconds)
    if frame.kind != frames.GO:
        raise ProtocolError(f"frame {frame.kind!r} where a decision was due")
    if not frame.payload:
        return staged
    fields = Fields(parse_object(frame.payload, "go", 65536), "go")
    wanted = fields.items("outputs", _position)
    fields.done()
    return [output for output in staged if output.stream in set(wanted)]


def _position(item: object, what: str) -> int:
    if type(item) is not int:
        raise ProtocolError(f"{what} is {item!r:.80}; allowed is a position")
    return item


def send_output(exchange: Exchange, output: StagedOutput) -> None:
    """One output: `O`, its bytes, `E`."""
    head = {
        "bytes": output.size,
        "md5": output.md5,
        "blake3": output.blake3,
    }
    exchange.send(frames.OUTPUT, output.stream, to_json(head))
    offset = 0
    while offset < output.size:
        data = os.pread(
            output.fd, min(PIECE_BYTES, output.size - offset), offset
        )
        if not data:
            raise ProtocolError(
                f"output {output.stream} ends after {offset} of "
                f"{output.size} bytes"
            )
        exchange.send(frames.DATA, output.stream, data)
        offset += len(data)
        if offset < output.size:
            breathe()
    exchange.send(frames.END, output.stream, to_json({"bytes": offset}))
