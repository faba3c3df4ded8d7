"""The only file that talks to zvm: programs in, artefacts and reports out.

`Sandbox.compile` turns a module into an artefact, `Sandbox.start` a manifest
and descriptors into a running `Vm`, `Vm.wait` that into a `Report`.  How VMs
come to life (a process each now, a daemon later) stays behind this file.

A child gets exactly its descriptors, an empty environment, a session and
process group of its own.  Its standard input and error are files in memory, so
that nothing has to be pumped; its output is a pipe, because a session ends its
VM when the reader of its report is gone.  The event loop waits on that pipe
and on the child's pidfd: posix_spawn costs 0.17 ms of CPU per child here,
eventlet's green Popen 1.0 ms and up to 10 ms of polling for the child's end.

Invariants: every child is reaped, by `wait` or by `kill`; a child that passes
its deadline is ended, with all of its group; no error text holds a host path
(what zvm wrote to its standard error goes to our log only).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swift.common.concurrency import spawn_n, trampoline

from zerocloud.config import ExecutorSettings
from zerocloud.errors import ClusterError, ProtocolError, TaskRefused
from zerocloud.protocol.manifest import Manifest
from zerocloud.protocol.report import MAX_REPORT_BYTES, Report, parse_report
from zerocloud.protocol.strict import Fields, parse_object

REFUSED_STATUS = 65
LOG_BYTES = 4096
# A session that is told to end reaps its VM first; then there is no mercy.
TERM_SECONDS = 0.5
REAP_SECONDS = 5.0
COMPILE_GRACE_SECONDS = 10.0
# How often to look for a child that died while another holds its pipe.
CHECK_SECONDS = 0.5

Log = Callable[[str], None]


@dataclass(frozen=True)
class Artefact:
    """A compiled program: a file of this installation's cache."""

    path: str
    sha256: str
    cached: bool
    seconds: float


class _Overdue(Exception):  # noqa: N818 - an event, told as an error by callers
    """A child passed its deadline and was killed."""


class _Process:
    """A child of ours; `wait` or `kill` must be called, `kill` may always."""

    def __init__(
        self,
        program: Path,
        argv: Sequence[str],
        stdin: bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> None:
        self._held: list[int] = []
        self._reaped = True
        self._output = b""
        try:
            stdin_fd, self._stderr = self._memory("in"), self._memory("err")
            _write_all(stdin_fd, stdin)
            os.lseek(stdin_fd, 0, os.SEEK_SET)
            self._stdout, writer = os.pipe2(os.O_CLOEXEC)
            self._held.append(self._stdout)
            os.set_blocking(self._stdout, False)
            try:
                streams = (stdin_fd, writer, self._stderr)
                self.pid = _spawn(program, argv, streams, descriptors)
            finally:
                os.close(writer)
            self._reaped = False
            self._pidfd = os.pidfd_open(self.pid)
            self._held.append(self._pidfd)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        if not self._reaped:
            # No pidfd to wait on, so this blocks, for as long as a process
            # that has not done anything yet takes to die.
            self._reap()
        self._close()

    def _memory(self, name: str) -> int:
        fd = os.memfd_create(f"zvm-{name}")
        self._held.append(fd)
        return fd

    def wait(self, seconds: float) -> int:
        """The exit status (-n for signal n); `_Overdue` kills first."""
        deadline = time.monotonic() + seconds
        try:
            self._read_output(deadline)
            if not self._ended(max(0.0, deadline - time.monotonic())):
                raise _Overdue
        except _Overdue:
            self.kill()
            raise
        return self._reap()

    def output(self) -> tuple[bytes, str]:
        """What it wrote, after `wait`: standard output, end of its log."""
        return self._output, _tail(self._stderr)

    def _read_output(self, deadline: float) -> None:
        """Read to the end of the pipe, or until the child has died."""
        parts: list[bytes] = []
        died = False
        while sum(map(len, parts)) <= MAX_REPORT_BYTES:
            try:
                data = os.read(self._stdout, 65536)
            except BlockingIOError:
                if died:
                    break
                if time.monotonic() >= deadline:
                    raise _Overdue from None
                slice_seconds = min(CHECK_SECONDS, deadline - time.monotonic())
                if not _readable(self._stdout, slice_seconds):
                    # Only now look at the child: its last words come first.
                    died = self._has_died()
                continue
            parts.append(data)
            if not data:
                break
        self._output = b"".join(parts)

    def _has_died(self) -> bool:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, options) is not None
        except ChildProcessError:
            return True

    def kill(self) -> None:
        """End it and its group, and reap; harmless when it is over."""
        if not self._reaped:
            ended = False
            try:
                self._signal(signal.SIGTERM, group=False)
                ended = self._ended(TERM_SECONDS)
                if not ended:
                    self._signal(signal.SIGKILL)
                    ended = self._ended(REAP_SECONDS)
            finally:
                if not ended:
                    # Stuck in the kernel, or our caller was interrupted while
                    # it waited: someone must still end and reap it.
                    self._signal(signal.SIGKILL)
                    spawn_n(self._reap_later)
            if not ended:
                return
            self._reap()
        self._close()

    def _signal(self, number: int, *, group: bool = True) -> None:
        try:
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            # It has died, and all of its group with it.
            return

    def _ended(self, seconds: float | None) -> bool:
        return self._reaped or _readable(self._pidfd, seconds)

    def _reap(self) -> int:
        if self._reaped:
            return 0
        # The group first: a leader that died alone may leave a child behind,
        # and until it is reaped its group's number is not given away.
        self._signal(signal.SIGKILL)
        self._reaped = True
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            # Whoever reaped it for us took its status along.
            return 70
        return os.waitstatus_to_exitcode(status)

    def _reap_later(self) -> None:
        self._ended(None)
        self._reap()
        self._close()

    def _close(self) -> None:
        while self._held:
            os.close(self._held.pop())


def _spawn(
    program: Path,
    argv: Sequence[str],
    streams: Sequence[int],
    descriptors: Sequence[int],
) -> int:
    # Numbers above all that are in use, so that no dup2 hits another's source.
    base = max((*streams, *descriptors)) + 1
    pairs = [
        *((fd, number) for number, fd in enumerate(streams)),
        *((fd, base + index) for index, fd in enumerate(descriptors)),
    ]
    words = list(argv)
    if descriptors:
        numbers = (str(number) for _, number in pairs[len(streams) :])
        words += ["--descriptors", ",".join(numbers)]
    return os.posix_spawn(
        str(program),
        words,
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, *pair) for pair in pairs],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD),
    )


def _readable(fd: int, seconds: float | None) -> bool:
    """Wait in the event loop; whether there is news within so many seconds."""
    try:
        trampoline(fd, read=True, timeout=seconds, timeout_exc=_Overdue)
    except _Overdue:
        return False
    return True


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    data = os.pread(fd, LOG_BYTES, max(0, size - LOG_BYTES))
    return data.decode("utf-8", "replace")


class Vm:
    """One running VM; `kill` must be called in the end, on every path."""

    def __init__(self, process: _Process, name: str, log: Log) -> None:
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
        except _Overdue:
            self._log(f"{self._name} passed its deadline and was killed")
            raise _lost("did not end in time") from None
        output, log = self._process.output()
        if log:
            self._log(f"{self._name} says: {log}")
        if status == REFUSED_STATUS:
            raise self._refused(output)
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

    def _refused(self, output: bytes) -> Exception:
        code, message = _parse_error(output)
        if code == "bad_layer":
            return TaskRefused(
                "image_invalid", message, status=422, may_retry=False
            )
        self._log(f"{self._name} was refused: {code}: {message}")
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

    def compile(self, program_path: str, name: str) -> Artefact:
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
            program_path,
        ]
        process = self._start(argv)
        try:
            status = process.wait(
                settings.compile_seconds + COMPILE_GRACE_SECONDS
            )
            output, log = process.output()
        except _Overdue:
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
        process = self._start(
            [name, "session"], manifest.to_json(), descriptors
        )
        return Vm(process, name, self._log)

    def _start(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> _Process:
        try:
            return _Process(self._settings.zvm, argv, stdin, descriptors)
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
