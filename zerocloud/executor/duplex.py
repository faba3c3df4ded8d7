"""The exchange with the proxy: two streams of frames over one HTTP request.

The only module of the executor that knows green threads and the WSGI server.
Three run per task: the server's own takes frames to send from `Exchange` (an
iterator: `H` after each idle second), the reader takes frames from the proxy,
the worker runs the task's story from top to bottom and may block.

When the proxy is gone, gives up or sends garbage, the worker is interrupted
with `Cancelled` wherever it waits; its clean-up runs, then the response ends.
Eventlet tells of a vanished peer only to who reads or writes, so that the
reader must never stop reading while a VM runs (`no_more_data`), and the
iterator writes every second.

Invariants: what was given to `start` as `release` is called exactly once, also
when the worker never ran; one green thread reads the socket at a time, and
when `close` returns, the reader has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from swift.common.concurrency import (
    ChunkReadError,
    Empty,
    Event,
    GreenletExit,
    LightQueue,
    Semaphore,
    Timeout,
    shutdown_safe,
    sleep,
    socket,
    spawn,
    tpool,
    trampoline,
)

from zerocloud.errors import ProtocolError
from zerocloud.protocol import frames
from zerocloud.protocol.frames import Frame, FrameOpener, StreamEnded
from zerocloud.protocol.strict import to_json

T = TypeVar("T")

HEARTBEAT_SECONDS = 1.0
LINGER_SECONDS = 1.0
# A proxy's machine that acknowledges nothing for so long is dead.
DEAD_SECONDS = 30
BATCH_BYTES = 256 * 1024
QUEUED_FRAMES = 8
_DATA_KINDS = (frames.BLOB, frames.DATA, frames.END)


class PeerGone(Exception):  # noqa: N818 - an event of the other side
    """The proxy went away, or was silent for too long."""


# Thrown into a green thread that nobody waits for any more.  It is no
# Exception, so that no handler for faults of the task takes it, and the only
# one that may end a green thread without a word in the server's log.
Cancelled = GreenletExit


class Gate:
    """Opens once; any number may wait."""

    def __init__(self) -> None:
        self._event = Event()

    def open(self) -> None:
        """Let all through, now and later."""
        if not self._event.ready():
            self._event.send(True)

    def wait(self, seconds: float) -> bool:
        """Whether it opened within so many seconds."""
        return bool(self._event.wait(seconds))


class Turns:
    """A context that so many may be in at once; the others wait in line."""

    def __init__(self, at_once: int) -> None:
        self._free = Semaphore(at_once)

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *_: object) -> None:
        self._free.release()


class Background(Generic[T]):
    """A green thread of ours, its end told to all who `wait`."""

    def __init__(self, function: Callable[..., T], *args: Any) -> None:
        self.done = False
        self._error: BaseException | None = None
        self._thread = spawn(self._run, function, args)

    def _run(self, function: Callable[..., T], args: tuple[Any, ...]) -> None:
        try:
            self._result = function(*args)
        except (Exception, Cancelled, Timeout) as error:  # noqa: BLE001
            # All of it goes to those who wait; else the server prints it.
            self._error = error
        finally:
            self.done = True

    def wait(self) -> T:
        """The function's result, or its exception."""
        self._thread.wait()
        if isinstance(self._error, Cancelled):
            raise PeerGone("what this waited for was cancelled")
        if self._error is not None:
            raise self._error
        return self._result

    def join(self) -> None:
        """Wait for its end, whatever that is."""
        try:
            self._thread.wait()
        except Cancelled:
            if not self._thread.dead:
                # Not its end but ours.
                raise

    def interrupt(self) -> None:
        """Throw Cancelled into it; it may take a while to clean up."""
        self._thread.kill()

    def cancel(self) -> None:
        """Interrupt it, and wait for its end."""
        self.interrupt()
        self.join()


def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run something that blocks on a disk or a CPU in a thread.

    When the caller is cancelled, it still waits for the thread before the
    interruption goes on: its descriptors must not be closed, and given to
    another, under a thread that reads them.
    """
    running: Background[T] = Background(tpool.execute, function, *args)
    try:
        return running.wait()
    except Cancelled:
        running.join()
        raise


def breathe() -> None:
    """Let the other green threads run."""
    sleep(0)


def pause(seconds: float) -> None:
    """Block this green thread only."""
    sleep(seconds)


def readable(fd: int, seconds: float) -> bool:
    """Whether there is something to read within so many seconds."""
    try:
        trampoline(fd, read=True, timeout=seconds, timeout_exc=_TooLong)
    except _TooLong:
        return False
    return True


class _TooLong(Exception):  # noqa: N818 - an answer, not a fault
    """Nothing came in time."""


def failed_frame(code: str, message: str, *, may_retry: bool = False) -> bytes:
    """A frame `F`."""
    error = {"code": code, "message": message, "may_retry": may_retry}
    return frames.encode_frame(frames.FAILED, 0, to_json({"error": error}))


class Upstream:
    """Authenticated frames from a request's body."""

    def __init__(self, environ: dict[str, Any], key: bytes) -> None:
        self._input = environ["wsgi.input"]
        self._opener = FrameOpener(key)
        self.at_end = False

    def read_frame(self, seconds: float | None) -> Frame:
        """The next frame; PeerGone, or ProtocolError for garbage.

        StreamEnded (a ProtocolError) is the proxy's clean end.
        """
        if not _has_length(self._input):
            raise PeerGone("the request has no body")
        timer = Timeout(seconds)
        try:
            return self._opener.read_frame(self._input.read)
        except StreamEnded:
            self.at_end = True
            raise
        except (OSError, ChunkReadError) as error:
            raise PeerGone("the proxy went away") from error
        except Timeout as fired:
            if fired is not timer:
                raise
            raise PeerGone(f"no frame within {seconds:g} seconds") from None
        finally:
            timer.cancel()

    def be_patient(self, seconds: int) -> None:
        """Let the proxy be silent, but not be gone, for longer than that.

        The server's own limit (client_timeout, 60 s) is for uploads; a proxy
        says nothing while a VM runs.  The kernel tells a silent peer from a
        dead one: our heartbeats must be acknowledged (0 seconds: within the
        system's own time).
        """
        peer = _socket_of(self._input)
        if peer is not None:
            peer.settimeout(None)
            peer.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds
            )

    def hang_up(self) -> None:
        """End the connection: what else comes in it is not worth reading."""
        if not self.at_end:
            _hang_up(self._input)


class Refusal:
    """A whole answer that is not an exchange; hangs up on strangers.

    The server would read the rest of a request's body to keep the
    connection, as much as its sender likes to send.
    """

    def __init__(self, body: bytes, environ: dict[str, Any]) -> None:
        self._body = body
        self._input = environ["wsgi.input"]

    def __iter__(self) -> Iterator[bytes]:
        return iter((self._body,))

    def close(self) -> None:
        """Called by the server when the answer is out."""
        if _socket_of(self._input) is None or not _has_length(self._input):
            return
        timer = Timeout(LINGER_SECONDS)
        at_end = False
        try:
            # Unread bytes would make the kernel reset the connection, and
            # the proxy might miss the answer.
            rest = self._input.read(frames.MAX_PAYLOAD)
            at_end = len(rest) < frames.MAX_PAYLOAD
        except (OSError, ChunkReadError):
            return
        except Timeout as fired:
            if fired is not timer:
                raise
        finally:
            timer.cancel()
            if not at_end:
                _hang_up(self._input)


def _socket_of(body: Any) -> Any:
    """The socket below a request's body; None on a server without that."""
    get_socket = getattr(body, "get_socket", None)
    return None if get_socket is None else get_socket()


def _has_length(body: Any) -> bool:
    """Whether a body was announced; the server's own read fails if not."""
    chunked = getattr(body, "chunked_input", True)
    return chunked or body.content_length is not None


def _hang_up(body: Any) -> None:
    """End the connection below a request's body."""
    peer = _socket_of(body)
    if peer is None:
        return
    shutdown_safe(peer)
    # The server would read what is left of the body, from a closed file: so
    # nothing is left.
    body.content_length, body.chunk_length = body.position, 0
    # The server closes its reading file after its writing file; closing that
    # fails when the proxy is gone, and the descriptor would stay open until
    # the garbage collector comes by.
    body.rfile.close()


class Exchange:
    """The two streams after the response's head: an iterable for WSGI."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._up = LightQueue(QUEUED_FRAMES)
        self._down = LightQueue(QUEUED_FRAMES)
        self._worker: Background[None] | None = None
        self._reader: Background[None] | None = None
        self._release: Callable[[], None] | None = None
        self._finishing = False
        self._finished = False
        self._detached = False
        self._data_allowed = True
        self._heard = time.monotonic()
        self._last_words = b""
        self.cancelled = ""

    # The worker's side.

    def start(
        self,
        story: Callable[[Exchange], None],
        release: Callable[[], None],
    ) -> None:
        """Run `story(self)` in the worker, then `release()`."""
        self._release = release
        self._upstream.be_patient(DEAD_SECONDS)
        self._worker = Background(self._work, story)
        self._reader = Background(self._read)

    def send(self, kind: bytes, stream: int = 0, payload: bytes = b"") -> None:
        """Queue a frame; blocks while the proxy is slow."""
        self._down.put(frames.encode_frame(kind, stream, payload))

    def receive(self, idle_seconds: float) -> Frame:
        """The next frame but pings; PeerGone after so much silence."""
        self._heard = time.monotonic()
        while True:
            silent = time.monotonic() - self._heard
            try:
                frame: Frame = self._up.get(
                    timeout=max(0.01, idle_seconds - silent)
                )
            except Empty:
                if time.monotonic() - self._heard < idle_seconds:
                    continue
                raise PeerGone(
                    f"no frame within {idle_seconds:g} seconds"
                ) from None
            return frame

    def no_more_data(self) -> None:
        """Blobs and inputs are complete: more of them is garbage."""
        self._data_allowed = False
        if not self._up.empty():
            kind = self._up.get_nowait().kind
            raise ProtocolError(f"frame {kind!r} when none was due")

    def detach(self) -> None:
        """From here on the proxy may end its stream: it has said all.

        It may also be slow, as its client is: a window that stays shut is no
        sign of death any more, and the system's own timeouts must do.
        """
        self._detached = True
        self._upstream.be_patient(0)

    def _work(self, story: Callable[[Exchange], None]) -> None:
        try:
            story(self)
        finally:
            self._finish()

    def _finish(self) -> None:
        # From here on no interruption: the clean-up may wait, for a VM's end.
        self._finishing = True
        release, self._release = self._release, None
        try:
            if release is not None:
                release()
        finally:
            self._finished = True
            if not self._down.full():
                # Also wakes the iterator; a full queue keeps it awake.
                self._down.put_nowait(self._last_words)

    # The reader.

    def _read(self) -> None:
        try:
            while self._take(self._upstream.read_frame(None)):
                pass
        except StreamEnded:
            self._cancel("the proxy ended its stream early")
        except PeerGone as gone:
            self._cancel(str(gone))
        except ProtocolError as error:
            reason = f"the proxy sent garbage: {error}"
            self._cancel(reason, failed_frame("bad_request", reason))

    def _take(self, frame: Frame) -> bool:
        self._heard = time.monotonic()
        if frame.kind == frames.PING:
            return True
        if frame.kind == frames.GIVE_UP:
            done = frames.encode_frame(frames.DONE)
            self._cancel("the proxy gave up", done)
            return True
        if frame.kind in _DATA_KINDS and not self._data_allowed:
            raise ProtocolError(f"frame {frame.kind!r} when none was due")
        self._up.put(frame)
        return True

    def _cancel(self, reason: str, last_words: bytes = b"") -> None:
        if self._finishing or self._detached or self.cancelled:
            return
        self.cancelled = reason
        self._last_words = last_words
        if self._worker is not None:
            self._worker.interrupt()

    # The server's side.

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while True:
            if self._finished and self._down.empty():
                raise StopIteration
            try:
                data: bytes = self._down.get(timeout=HEARTBEAT_SECONDS)
            except Empty:
                return frames.encode_frame(frames.HEARTBEAT)
            data = self._batch(data)
            if data:
                return data

    def _batch(self, first: bytes) -> bytes:
        """`first` and what else waits, in one write."""
        if self._down.empty():
            return first
        parts, size = [first], len(first)
        while size < BATCH_BYTES and not self._down.empty():
            parts.append(self._down.get_nowait())
            size += len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        """Called by the server at the end of the response, however it ends.

        Returns when the worker and the reader have stopped and everything
        they held is released.
        """
        self._detached = False
        self._cancel("the proxy went away")
        if self._worker is not None:
            self._worker.join()
        if not self._finished:
            # Killed before its first step: it had no chance to do this.
            self._finish()
        self._linger()

    def _linger(self) -> None:
        """Let the proxy end its stream, so that the connection can stay."""
        if self._reader is None:
            return
        timer = Timeout(LINGER_SECONDS)
        try:
            self._reader.join()
        except Timeout as fired:
            if fired is not timer:
                raise
            self._reader.cancel()
        finally:
            timer.cancel()
        self._upstream.hang_up()
