"""zvm and zvm-compile: there, running, of one version, ours.

What they do here they do as for a task, locked down as the conf asks.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zerocloud import __version__
from zerocloud.check.finding import Finding, fail, ok
from zerocloud.config import ExecutorSettings
from zerocloud.errors import ProtocolError
from zerocloud.protocol import daemon

SECONDS = 10.0
# The smallest program: `_start`, which does nothing, and a page of memory.
PROGRAM = bytes.fromhex(
    "0061736d01000000"  # magic, version
    "010401600000"  # types: () -> ()
    "03020100"  # functions: 0
    "0503010001"  # memories: one page
    "071302065f737461727400"
    "00066d656d6f72790200"  # exports: _start, memory
    "0a040102000b"  # code: end
)


def check_runner(settings: ExecutorSettings) -> Iterator[Finding]:
    """Both binaries, then a compilation and a VM that are thrown away."""
    zvm = settings.zvm
    compiler = zvm.with_name("zvm-compile")
    versions = []
    for path in (zvm, compiler):
        said = _version(path)
        if isinstance(said, Finding):
            yield said
        else:
            versions.append(said)
    if len(versions) < 2:
        return
    yield _together(zvm, versions)
    compiled = _compiles(zvm, settings)
    yield compiled
    if compiled.level == "ok":
        yield _runs(zvm, settings)


def check_daemon(settings: ExecutorSettings) -> Iterator[Finding]:
    """The daemon's socket, when the conf names one: does anybody serve it?

    And is it locked down as the conf asks?  A connection that says no more
    than hello starts nothing.
    """
    path = settings.zvm_socket
    if path is None:
        return
    subject = f"zvm_socket {path}"
    mend = "start zvm.service as the object server's user (etc/zvm.service)"
    try:
        welcome = _greet(path)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        yield fail("runner", subject, why, mend)
        return
    except ProtocolError as error:
        yield fail("runner", subject, f"is served by no zvm: {error}", mend)
        return
    lacks = daemon.lacks_lockdown(
        welcome, settings.vm_uid, landlock=settings.require_landlock
    )
    if lacks:
        words = " ".join(settings.lockdown_words)
        yield fail(
            "runner",
            subject,
            f"{lacks}; tasks go to other servers",
            f"start it with {words} (ExecStart in zvm.service), or change "
            "vm_uid and require_landlock",
        )
    else:
        yield ok("runner", subject, "is served")


def _greet(path: Path) -> daemon.Welcome:
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(SECONDS)
            # A socket's address has 107 bytes, and folders are longer.
            client.connect(f"/proc/self/fd/{folder}/{path.name}")
            client.send(daemon.hello().data)
            piece = daemon.parse_piece(client.recv(daemon.MAX_PACKET_BYTES))
    finally:
        os.close(folder)
    if piece.kind != daemon.WELCOME:
        raise ProtocolError(repr(piece.body[:200]))
    return daemon.parse_welcome(piece.body)


def _version(path: Path) -> str | Finding:
    """Its version line without its name, or what is wrong with it."""
    mend = "install the zerocloud wheel of this version, and let zvm name its"
    mend += " runner (`zerocloud version` says where it is)"
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return fail("runner", str(path), "is no program that can run", mend)
    try:
        done = _run([str(path), "--version"])
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail("runner", str(path), f"does not run: {error}", mend)
    first = done.stdout.decode("utf-8", "replace").partition("\n")[0]
    name, _, rest = first.partition(" ")
    if done.returncode != 0 or name != path.name or not rest:
        return fail(
            "runner",
            str(path),
            f"does not say its version (status {done.returncode})",
            mend,
        )
    return rest


def _together(zvm: Path, versions: list[str]) -> Finding:
    runner, compiler = versions
    if runner != compiler:
        return fail(
            "runner",
            str(zvm.parent),
            f"zvm is {runner}, zvm-compile is {compiler}; zvm refuses what "
            "that compiler makes",
            "install both from one wheel",
        )
    if runner.partition(" ")[0] != __version__:
        return fail(
            "runner",
            str(zvm),
            f"is {runner}; the filter is {__version__}",
            "let the option zvm name the runner of this version",
        )
    return ok("runner", str(zvm), runner)


def _compiles(zvm: Path, settings: ExecutorSettings) -> Finding:
    """Compile as a task does, into a folder that is removed again."""
    subject = str(zvm.with_name("zvm-compile"))
    with tempfile.TemporaryDirectory(prefix="zerocloud-check-") as folder:
        argv = [
            *(str(zvm), "compile", "--cache", folder),
            *("--memory-bytes", str(settings.compile_memory_bytes)),
            *("--seconds", f"{settings.compile_seconds:g}"),
            *settings.lockdown_words,
            "-",
        ]
        try:
            done = _run(argv, PROGRAM)
        except (OSError, subprocess.TimeoutExpired) as error:
            said = f"does not compile: {error}"
        else:
            if done.returncode == 0:
                return ok("runner", subject, "compiles")
            text = (done.stdout + done.stderr).decode("utf-8", "replace")
            said = f"does not compile (status {done.returncode}): "
            said += " ".join(text.split())[:300]
    return fail(
        "runner",
        subject,
        said,
        "raise compile_memory_bytes, and the limits that the object server "
        "is started with; vm_uid and require_landlock hold for it, too",
    )


def _runs(zvm: Path, settings: ExecutorSettings) -> Finding:
    """Run a program to its end, as a process of its own."""
    with tempfile.TemporaryDirectory(prefix="zerocloud-check-") as folder:
        program = Path(folder, "nothing.wasm")
        program.write_bytes(PROGRAM)
        argv = [str(zvm), "run", *settings.lockdown_words, str(program)]
        try:
            done = _run(argv, cache=folder)
        except (OSError, subprocess.TimeoutExpired) as error:
            said = f"runs no VM: {error}"
        else:
            if done.returncode == 0:
                return ok("runner", str(zvm), "runs a VM")
            text = (done.stdout + done.stderr).decode("utf-8", "replace")
            said = f"runs no VM (status {done.returncode}): "
            said += " ".join(text.split())[:300]
    return fail(
        "runner",
        str(zvm),
        said,
        "let the container or unit of the object server allow it; vm_uid "
        "needs root and ids of its user namespace, require_landlock a kernel "
        "that has it (zvm version)",
    )


def _run(
    argv: list[str], stdin: bytes = b"", cache: str = ""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env={"ZEROCLOUD_CACHE": cache} if cache else {},
    )
