"""One try of one task, from the signed request to the report and its outputs.

    open ▶ A ▶ blobs ▶ inputs ▶ R ▶ small outputs at once, or `Held`

Heartbeats only prove life.  Frame `F`, and any refusal, is TaskRefused; a
silent or broken connection is ConnectionLost; another version of an input is
VersionChanged: noderun.py decides what follows.  Whenever this ends without
success, the node has been told to stop before the next try may begin.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from zerocloud.errors import CODES, ProtocolError, TaskRefused
from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Node, Output
from zerocloud.protocol import frames
from zerocloud.protocol.frames import MAX_PAYLOAD, Frame
from zerocloud.protocol.report import ChannelReport, Report, parse_report
from zerocloud.protocol.strict import Fields, parse_object
from zerocloud.protocol.task import TaskDocument, TaskInput
from zerocloud.scheduler.blobs import Blobs
from zerocloud.scheduler.concurrency import peer_closed
from zerocloud.scheduler.content import Content, Spool
from zerocloud.scheduler.inputs import Inputs
from zerocloud.scheduler.taskdoc import Payload
from zerocloud.scheduler.transport import ConnectionLost, TaskConnection
from zerocloud.scheduler.uploads import Uploads

EXPLANATION_SECONDS = 3.0


@dataclass(frozen=True)
class Stores:
    """Where the bytes of a job's tasks come from and go to."""

    inputs: Inputs
    blobs: Blobs
    uploads: Uploads
    spool: Spool
    payload: Payload | None


class Held:
    """Outputs that wait on a storage node until they are asked for."""

    def __init__(self, connection: TaskConnection) -> None:
        self._connection = connection
        self._asked = False

    def ping(self) -> None:
        """Keep the outputs; ConnectionLost when that is in vain."""
        if not self._asked:
            self._connection.send(frames.PING)

    def alive(self) -> bool:
        """Whether the node still holds them, as far as the kernel knows."""
        return not peer_closed(self._connection.fileno())

    def fetch(
        self, positions: list[int]
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The outputs at these positions, one after another, once.

        Each one's chunks must be read to their end before the next.  All
        others are dropped by the node.
        """
        self._asked = True
        asked = json.dumps({"outputs": positions}).encode()
        self._connection.send(frames.GO, payload=asked)
        yield from read_outputs(self._connection)
        self._connection.close()

    def give_up(self) -> None:
        """Let the node drop everything."""
        self._asked = True
        self._connection.give_up()


@dataclass
class Finished:
    """The end of a node's task: its report, and where its outputs are.

    `contents` has the outputs that are at the proxy by device; what is not
    there is in `held`.  `inputs` tells what each one was, and how it was read.
    """

    node: Node
    report: Report
    server: str
    policy_index: int
    attempts: int
    succeeded: bool
    in_place_bytes: int = 0
    streamed_bytes: int = 0
    inputs: dict[str, TaskInput] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    held: Held | None = None

    def channel(self, device: str) -> ChannelReport | None:
        """What the report says of a device."""
        for channel in self.report.channels:
            if channel.device == device:
                return channel
        return None

    def size(self, output: Output) -> int | None:
        """The output's length; None when it is not to be kept.

        Too short for the job's `min_size`, or the VM ended before there was
        anything.
        """
        channel = self.channel(output.device)
        if channel is None or channel.size < output.min_size:
            return None
        return channel.size

    def wanted(self) -> list[int]:
        """The positions of outputs that go anywhere.

        Of a failed node only what goes into the answer: nothing is stored.
        """
        return [
            position
            for position, output in enumerate(self.node.outputs)
            if self.size(output) is not None
            and (self.succeeded or output.path is None)
        ]

    def release(self) -> None:
        """Nothing more will be asked of the node."""
        if self.held is not None:
            self.held.give_up()
            self.held = None


class Exchange:
    """One open connection and the task that runs behind it."""

    def __init__(
        self,
        connection: TaskConnection,
        node: Node,
        document: TaskDocument,
        stores: Stores,
    ) -> None:
        self._connection = connection
        self._node = node
        self._document = document
        self._stores = stores

    def accept(self, server: str, digests: tuple[str, ...]) -> None:
        """Wait for a slot, then send what the server lacks of `digests`."""
        need = _needed(self._next(frames.ACCEPTED).payload)
        self._stores.uploads.missing(server, need)
        try:
            for stream, digest in enumerate(need):
                content = self._stores.blobs.content(digest)
                if content is None:
                    raise ConnectionLost("it asked for an unknown blob")
                self._send(frames.BLOB, stream, content.chunks())
        except ConnectionLost as error:
            raise self._explained(error) from error
        if need:
            # The first frame after the last blob says that it is stored:
            # only now may others count on it.
            self._connection.wait_for_life()
        self._stores.uploads.stored(server, digests)

    def send_inputs(self) -> int:
        """Stream the inputs that the node does not read in place."""
        total = 0
        try:
            for stream, item in enumerate(self._document.inputs):
                if item.source == "stream":
                    path = self._node.inputs[stream].path
                    chunks = self._chunks_of(path)
                    total += self._send(frames.DATA, stream, chunks)
        except ConnectionLost as error:
            raise self._explained(error) from error
        return total

    def report(self) -> Report:
        """Wait for the end of the VM."""
        payload = self._next(frames.REPORT).payload
        try:
            return parse_report(payload)
        except ProtocolError as error:
            raise ConnectionLost(f"its report is bad: {error}") from error

    def collect_small(self) -> dict[str, Content]:
        """The outputs that the node sends without being asked."""
        contents = {}
        for position, chunks in read_outputs(self._connection):
            device = self._document.outputs[position].device
            contents[device] = self._stores.spool.add(b"".join(chunks))
        self._connection.close()
        return contents

    def hold(self) -> Held:
        """Leave the outputs on the node until they are fetched."""
        return Held(self._connection)

    def _chunks_of(self, path: ObjectPath | None) -> Generator[bytes]:
        if path is not None:
            return self._stores.inputs.stream(path)
        if self._stores.payload is None:
            raise RuntimeError("an input has neither path nor payload")
        return self._stores.payload.content.chunks()

    def _send(self, kind: bytes, stream: int, chunks: Generator[bytes]) -> int:
        total = 0
        with closing(chunks) as source:
            for chunk in source:
                for at in range(0, len(chunk), MAX_PAYLOAD):
                    self._connection.send(
                        kind, stream, chunk[at : at + MAX_PAYLOAD]
                    )
                total += len(chunk)
        end = json.dumps({"bytes": total}).encode()
        self._connection.send(frames.END, stream, end)
        return total

    def _explained(self, error: ConnectionLost) -> Exception:
        """Why the node would not take more: its last frame, if it comes."""
        deadline = time.monotonic() + EXPLANATION_SECONDS
        try:
            while time.monotonic() < deadline:
                _checked(self._connection.read())
        except TaskRefused as refusal:
            return refusal
        except ConnectionLost:
            pass  # there is no explanation; the first error stands
        return error

    def _next(self, kind: bytes) -> Frame:
        return _next_frame(self._connection, kind)


def read_outputs(
    connection: TaskConnection,
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Outputs as (position, chunks), until the node is done."""
    while True:
        frame = _checked(connection.read())
        if frame.kind == frames.DONE:
            return
        if frame.kind == frames.OUTPUT:
            length = _length(frame.payload)
            yield frame.stream, _output(connection, frame.stream, length)
        elif frame.kind != frames.HEARTBEAT:
            raise ConnectionLost(f"frame {frame.kind!r} came out of order")


def _output(
    connection: TaskConnection, stream: int, length: int
) -> Iterator[bytes]:
    left = length
    while True:
        frame = _checked(connection.read())
        if frame.kind == frames.HEARTBEAT:
            continue
        if frame.stream != stream or left < 0:
            raise ConnectionLost("an output is not what was announced")
        if frame.kind == frames.DATA:
            left -= len(frame.payload)
            yield frame.payload
        elif frame.kind == frames.END and not left:
            return
        else:
            raise ConnectionLost("an output is not what was announced")


def _next_frame(connection: TaskConnection, kind: bytes) -> Frame:
    while True:
        frame = _checked(connection.read())
        if frame.kind == kind:
            return frame
        if frame.kind != frames.HEARTBEAT:
            raise ConnectionLost(f"frame {frame.kind!r} came out of order")


def _checked(frame: Frame) -> Frame:
    """The frame, unless it is the node's failure: then TaskRefused."""
    if frame.kind != frames.FAILED:
        return frame
    try:
        error = json.loads(frame.payload)["error"]
        code, message = str(error["code"]), str(error["message"])
        may_retry = bool(error["may_retry"])
    except (ValueError, KeyError, TypeError):
        raise ConnectionLost("its last frame is not readable") from None
    status = CODES[code].status if code in CODES else 500
    raise TaskRefused(code, message, status=status, may_retry=may_retry)


def _needed(payload: bytes) -> tuple[str, ...]:
    try:
        fields = Fields(parse_object(payload, "A", MAX_PAYLOAD), "A")
        need = fields.take("need")
        fields.done()
    except ProtocolError as error:
        raise ConnectionLost(str(error)) from None
    if not isinstance(need, list):
        raise ConnectionLost("A.need is not a list")
    return tuple(str(digest) for digest in need)


def _length(payload: bytes) -> int:
    try:
        return int(json.loads(payload)["bytes"])
    except (ValueError, KeyError, TypeError):
        raise ConnectionLost("an output's announcement is bad") from None
