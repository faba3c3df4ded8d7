"""The only file that talks to zvm: programs in, artefacts and reports out.

`Sandbox.compile` turns a module into an artefact, `Sandbox.start` a manifest
and descriptors into a running `Vm`, `Vm.wait` that into a `Report`.  How VMs
come to life stays behind this file: by the node's daemon when there is one
(`zvm_socket`), else as a process each.

Of the daemon: one connection per VM, because closing it ends the VM at once,
whatever state this process is in.  A daemon that is not there is waited for,
as long as a restart takes; a VM that is lost with its daemon is a lost node,
and the scheduler tries another.

No error text holds a host path (what zvm wrote to its standard error goes to
our log only).
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zerocloud.children import Overdue, Process, pause, readable, writable
from zerocloud.config import ExecutorSettings
from zerocloud.errors import ClusterError, ProtocolError, TaskRefused
from zerocloud.job.limits import Determinism
from zerocloud.protocol import daemon
from zerocloud.protocol.manifest import Manifest
from zerocloud.protocol.report import MAX_REPORT_BYTES, Report, parse_report
from zerocloud.protocol.strict import Fields, parse_object

REFUSED_STATUS = 65
COMPILE_GRACE_SECONDS = 10.0
# What a daemon may need to be there again, or for the first time.
CONNECT_SECONDS = 3.0
CONNECT_PAUSE_SECONDS = 0.02
# The executor has admitted the VM already; this bridges what it cannot see.
QUEUE_SECONDS = 5.0
# A VM that is told to end is killed at once; this is for a daemon that hangs.
CANCEL_SECONDS = 5.0
# Longest path that fits into a socket's address.
MAX_ADDRESS_BYTES = 100

Log = Callable[[str], None]


@dataclass(frozen=True)
class Artefact:
    """A compiled program: a file of this installation's cache."""

    path: str
    sha256: str
    cached: bool
    seconds: float


class Vm(Protocol):
    """One running VM; `kill` must be called in the end, on every path."""

    def wait(self, deadline_seconds: float) -> Report:
        """The report, within so many seconds from now.

        Raises TaskRefused when zvm refuses a layer or has no slot,
        ClusterError when the VM is lost or hangs.
        """

    def kill(self) -> None:
        """End it, reap it, release its files; harmless when it is over."""


class ProcessVm:
    """A VM that is a child of ours."""

    def __init__(self, process: Process, name: str, log: Log) -> None:
        self._process = process
        self._name = name
        self._log = log

    @property
    def pid(self) -> int:
        """Of the session's first process."""
        return self._process.pid

    def wait(self, deadline_seconds: float) -> Report:
        """The report, within so many seconds from now.

        Raises TaskRefused when zvm refuses a layer, ClusterError when it
        dies, hangs or writes anything but a report.
        """
        try:
            status = self._process.wait(deadline_seconds)
        except Overdue:
            self._log(f"{self._name} passed its deadline and was killed")
            raise _lost("did not end in time") from None
        output, log = self._process.output()
        if log:
            self._log(f"{self._name} says: {log}")
        if status == REFUSED_STATUS:
            raise _refused(self._name, *_parse_error(output), self._log)
        if status != 0:
            self._log(f"{self._name} ended with status {status}")
            raise _lost(f"ended with status {status}")
        try:
            return parse_report(output)
        except ProtocolError as error:
            self._log(f"{self._name} wrote no report: {error}")
            raise _lost("wrote no report") from None

    def kill(self) -> None:
        """End it, reap it, release its files; harmless when it is over."""
        self._process.kill()


class ServedVm:
    """A VM of the node's daemon."""

    def __init__(self, connection: _Connection, name: str, log: Log) -> None:
        self._connection = connection
        self._name = name
        self._log = log
        self._answered = False

    def wait(self, deadline_seconds: float) -> Report:
        """As `Vm.wait` says."""
        try:
            answer = self._connection.answer(deadline_seconds)
        except Overdue:
            self.kill()
            self._log(f"{self._name} passed its deadline and was killed")
            raise _lost("did not end in time") from None
        except (OSError, ProtocolError) as error:
            self._log(f"{self._name} was lost with its daemon: {error}")
            raise _lost("was lost") from None
        self._answered = True
        if isinstance(answer, Report):
            return answer
        raise _refused(self._name, answer.code, answer.message, self._log)

    def kill(self) -> None:
        """As `Vm.kill` says."""
        try:
            if not self._answered and self._connection.is_open:
                self._answered = True
                self._connection.cancel(CANCEL_SECONDS)
        except (Overdue, OSError, ProtocolError) as error:
            # Closing ends it too; only nobody tells when.
            self._log(
                f"{self._name} was given up: {str(error) or 'no answer'}"
            )
        finally:
            self._connection.close()


class _Connection:
    """A connection to the daemon, with one request on it.

    Never blocks but its greenthread; raises OSError when the daemon has gone.
    """

    def __init__(self, path: Path) -> None:
        self._socket = _connect(path)
        self._pieces: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """False after `close`."""
        return self._socket.fileno() >= 0

    def send(self, packets: Sequence[daemon.Packet]) -> None:
        """Send, with the descriptors, which stay the caller's."""
        deadline = time.monotonic() + CONNECT_SECONDS
        for packet in packets:
            rights = array.array("i", packet.descriptors)
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            while True:
                try:
                    self._socket.sendmsg(
                        [packet.data], beside if rights else []
                    )
                    break
                except BlockingIOError:
                    left = deadline - time.monotonic()
                    if left <= 0 or not writable(self._socket, left):
                        raise TimeoutError("it takes nothing") from None

    def welcome(self, seconds: float) -> daemon.Welcome:
        """The answer to the hello; Overdue after so many seconds."""
        piece = daemon.parse_piece(self._receive(time.monotonic() + seconds))
        if piece.kind != daemon.WELCOME:
            raise ProtocolError(f"it hung up: {piece.body[:200]!r}")
        return daemon.parse_welcome(piece.body)

    def answer(self, seconds: float) -> Report | daemon.Refused:
        """The answer to the request; Overdue after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            piece = daemon.parse_piece(self._receive(deadline))
            if piece.kind == daemon.WELCOME:
                continue
            self._pieces.append(piece.body)
            if sum(map(len, self._pieces)) > daemon.MAX_ANSWER_BYTES:
                raise ProtocolError("an answer of the daemon is too long")
            if not piece.more:
                answer = daemon.parse_answer(b"".join(self._pieces))
                if piece.kind == daemon.LAST_WORD:
                    raise ProtocolError(f"it hung up: {answer}")
                return answer

    def _receive(self, deadline: float) -> bytes:
        while True:
            try:
                packet = self._socket.recv(daemon.MAX_PACKET_BYTES)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not readable(self._socket, left):
                    raise Overdue from None
                continue
            except ConnectionResetError:
                # It closed with something of ours unread: its last word, if
                # there is one, comes next.
                continue
            if not packet:
                raise ConnectionError("the daemon has gone")
            return packet

    def cancel(self, seconds: float) -> None:
        """Take the request back, and wait until its VM is gone."""
        self.send([daemon.cancel(_REQUEST)])
        self.answer(seconds)

    def close(self) -> None:
        """Close; what still runs is killed by the daemon."""
        self._socket.close()


# The only request of its connection.
_REQUEST = 1


def _connect(path: Path) -> socket.socket:
    """Connect; wait a moment for a daemon that is just being restarted."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.setblocking(False)
            with _address(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            # Not there, or so many connect that its backlog is full.
            connection.close()
            if time.monotonic() > deadline:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
        pause(CONNECT_PAUSE_SECONDS)


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as a socket's address, however long it is."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


_TRY_AGAIN = ("busy", "draining")


def _refused(name: str, code: str, message: str, log: Log) -> Exception:
    """What zvm's refusal of a VM means for its task."""
    if code == "bad_layer":
        return TaskRefused(
            "image_invalid", message, status=422, may_retry=False
        )
    log(f"{name} was refused: {code}: {message}")
    if code in _TRY_AGAIN:
        return TaskRefused(
            "busy",
            f"the runner of the storage node takes no VM ({code})",
            status=503,
            may_retry=True,
        )
    if code == "failure":
        return _lost("failed")
    return ClusterError(
        "internal", f"the runner refused its manifest ({code})"
    )


def _lost(what: str) -> ClusterError:
    return ClusterError("node_lost", f"the runner of the VM {what}")


def _parse_error(output: bytes) -> tuple[str, str]:
    try:
        fields = Fields(parse_object(output, "error", 65536), "answer")
        error = Fields(fields.take("error"), "error")
        return error.text("code", 100), error.text("message", 8192)
    except ProtocolError as problem:
        return "unreadable", str(problem)


class Sandbox:
    """This storage node's runner."""

    def __init__(self, settings: ExecutorSettings, log: Log) -> None:
        self._settings = settings
        self._cache = settings.cache_dir / "programs"
        self._log = log

    def compile(
        self,
        program_path: str,
        name: str,
        determinism: Determinism = "default",
    ) -> Artefact:
        """The artefact of a module, from the cache if it is there.

        Blocks its greenthread only.  `name` stands for the program in
        errors: TaskRefused `program_invalid` when the module is at fault,
        ClusterError when zvm is.
        """
        settings = self._settings
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = [
            "zvm-compile",
            "compile",
            "--cache",
            str(self._cache),
            "--cache-bytes",
            str(settings.artefact_bytes),
            "--reserve-bytes",
            str(settings.reserve_bytes),
            "--memory-bytes",
            str(settings.compile_memory_bytes),
            "--seconds",
            f"{settings.compile_seconds:g}",
            *settings.lockdown_words,
            *(["--strict"] if determinism == "strict" else []),
            program_path,
        ]
        process = self._start(argv)
        try:
            status = process.wait(
                settings.compile_seconds + COMPILE_GRACE_SECONDS
            )
            output, log = process.output()
        except Overdue:
            status, output, log = -signal.SIGKILL, b"", "deadline passed"
        finally:
            process.kill()
        if log:
            self._log(f"zvm compile says: {log}")
        if status == 0:
            return self._artefact(output, name)
        if status != REFUSED_STATUS:
            raise self._compile_failed(name, f"status {status}")
        code, message = _parse_error(output)
        message = message.replace(program_path, name)
        if code == "no_room":
            raise TaskRefused(
                "disk_full",
                f"program {name} cannot be kept: {message} (artefact_bytes, "
                "reserve_bytes)",
                status=507,
                may_retry=True,
            )
        raise TaskRefused(
            "program_invalid",
            f"program {name} cannot run here: {message} ({code})",
            status=422,
            may_retry=False,
        )

    def start(self, manifest: Manifest, descriptors: Sequence[int]) -> Vm:
        """A VM that runs from now on; `descriptors` stay the caller's."""
        name = f"zvm:{manifest.job}:{manifest.node}"
        text = manifest.to_json()
        path = self._settings.zvm_socket
        if path is not None:
            return self._serve(path, name, text, descriptors)
        argv = [name, "session", *self._settings.lockdown_words]
        process = self._start(argv, text, descriptors)
        return ProcessVm(process, name, self._log)

    def _serve(
        self, path: Path, name: str, text: bytes, descriptors: Sequence[int]
    ) -> Vm:
        request = daemon.request(_REQUEST, text, descriptors, QUEUE_SECONDS)
        try:
            connection = _Connection(path)
        except OSError as error:
            self._log(f"the daemon cannot be reached: {error}")
            raise _lost("is not there") from error
        try:
            if self._settings.lockdown_words:
                self._check_lockdown(connection)
                connection.send(request)
            else:
                connection.send([daemon.hello(), *request])
        except OSError as error:
            # Why it hung up comes with the answer.
            self._log(f"{name} was not taken: {error}")
        except BaseException:
            connection.close()
            raise
        return ServedVm(connection, name, self._log)

    def _check_lockdown(self, connection: _Connection) -> None:
        """Only what the settings ask for runs anything: ask the daemon first.

        ClusterError when it holds its VMs in another way.
        """
        settings = self._settings
        connection.send([daemon.hello()])
        try:
            welcome = connection.welcome(CONNECT_SECONDS)
        except (Overdue, ProtocolError) as error:
            self._log(f"the daemon does not say what it is: {error}")
            raise _lost("does not answer") from None
        lacks = daemon.lacks_lockdown(
            welcome, settings.vm_uid, landlock=settings.require_landlock
        )
        if lacks:
            self._log(f"the daemon is not used: {lacks}")
            raise _lost("is not locked down as this node asks")

    def _start(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> Process:
        try:
            return Process(
                self._settings.zvm,
                argv,
                stdin,
                descriptors,
                MAX_REPORT_BYTES,
            )
        except OSError as error:
            self._log(f"{argv[0]} cannot be started: {error}")
            raise ClusterError(
                "internal", "the runner of the storage node cannot be started"
            ) from error

    def _artefact(self, output: bytes, name: str) -> Artefact:
        try:
            fields = Fields(parse_object(output, "artefact", 65536), "answer")
            artefact = Artefact(
                path=fields.text("artefact", 4096),
                sha256=fields.hexadecimal("sha256", 64),
                cached=fields.flag("cached"),
                seconds=fields.number("seconds", 0, 1e6),
            )
            fields.done()
        except ProtocolError as error:
            raise self._compile_failed(name, str(error)) from error
        return artefact

    def _compile_failed(self, name: str, why: str) -> ClusterError:
        self._log(f"program {name} was not compiled: {why}")
        return ClusterError(
            "internal", f"the storage node could not compile program {name}"
        )
