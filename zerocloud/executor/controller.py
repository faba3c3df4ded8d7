"""One task from its request to its last frame: a method per stage.

The service checks a request and makes a `Task` (until then every refusal is an
HTTP status); `Task.run` is the story told to the proxy in frames:

    wait for a slot → say which blobs are missing → receive blobs, inputs →
    open layers and program → run the VM → the file that it read was sound →
    report → send the outputs

Everything that a task holds is in one ExitStack, emptied by `release` on every
path: descriptors, staged files, the slot, the VM.  Slot and memory are given
back when the VM has ended, before anybody waits for the proxy's decision: a
job of more nodes than slots publishes nothing until all of them have run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from zerocloud.config import ExecutorSettings
from zerocloud.errors import (
    ClusterError,
    ProtocolError,
    TaskRefused,
)
from zerocloud.executor import channels, transfer
from zerocloud.executor.accounting import (
    Ending,
    Times,
    count_task,
    task_line,
)
from zerocloud.executor.admission import Admission, Caps, Ticket
from zerocloud.executor.blobs import BlobStore
from zerocloud.executor.duplex import Exchange, PeerGone
from zerocloud.executor.images import Images, Layer, merge_env
from zerocloud.executor.localobject import LocalObject
from zerocloud.executor.machine import default_memory_bytes
from zerocloud.executor.program import OpenProgram, Programs
from zerocloud.executor.staging import Staging
from zerocloud.executor.verify import Proof, Verifier
from zerocloud.job.limits import MIB
from zerocloud.observe import NO_EXECUTOR_COUNTERS, Counters
from zerocloud.protocol import frames
from zerocloud.protocol.manifest import (
    Manifest,
    ManifestFile,
    ManifestLayer,
    ManifestLimits,
)
from zerocloud.protocol.report import ExecutorNotes, Report
from zerocloud.protocol.strict import to_json
from zerocloud.protocol.task import TaskDocument
from zerocloud.sandbox import Sandbox

# The runner keeps the wall limit itself; this is for when it does not.  Then
# it takes the digests of the outputs, at no less than so many bytes a second.
BACKSTOP_SECONDS = 5.0
DIGEST_BYTES_PER_SECOND = 100 * MIB


@dataclass(frozen=True)
class Log:
    """Where the node's lines go; `fault` is called while handling one."""

    info: Callable[[str], None]
    warning: Callable[[str], None]
    fault: Callable[[str], None]


class Node:
    """What the tasks of one storage node share."""

    def __init__(
        self,
        settings: ExecutorSettings,
        log: Log,
        counters: Counters = NO_EXECUTOR_COUNTERS,
    ) -> None:
        self.settings = settings
        self.log = log
        self.counters = counters
        self.sandbox = Sandbox(settings, log.warning)
        self.blobs = BlobStore(
            settings.cache_dir,
            settings.cache_bytes,
            settings.reserve_bytes,
            log.warning,
        )
        self.images = Images(
            settings.system_images, self.blobs, settings.blob_bytes
        )
        self.programs = Programs(
            self.sandbox,
            self.blobs,
            settings.blob_bytes,
            use_templates=settings.use_templates,
        )
        self.staging = Staging(settings.state_dir, settings.reserve_bytes)
        self.admission = Admission(
            settings.state_dir / "admission",
            Caps(
                slots=settings.slots,
                memory_bytes=settings.memory_bytes or default_memory_bytes(),
                staging_bytes=settings.staging_bytes,
                queue=settings.queue,
            ),
            log.warning,
        )
        self.verifier = Verifier(
            settings.verified_seconds, enabled=settings.verify_local_reads
        )

    def check(self, document: TaskDocument) -> None:
        """TaskRefused when this node cannot or may not run the task."""
        channels.check_devices(document)
        _check_limits(document, self.settings)
        self.images.check(document.images)


def _check_limits(document: TaskDocument, settings: ExecutorSettings) -> None:
    caps = settings.caps
    asked: list[tuple[str, float, float]] = [
        (name, value, getattr(caps, name))
        for name, value in document.limits.as_dict().items()
    ]
    asked += [
        (f"output_bytes of {o.device}", o.limit_bytes, caps.output_bytes)
        for o in document.outputs
    ]
    for name, value, cap in asked:
        if value > cap:
            raise TaskRefused(
                "job_limit",
                f"limit {name} is {value:g}; the storage node's cap is "
                f"{cap:g}",
                status=400,
                may_retry=False,
            )
    streamed = sum(i.bytes or 0 for i in document.inputs)
    if streamed > settings.input_bytes:
        raise TaskRefused(
            "input_too_large",
            f"the inputs have {streamed} bytes; the storage node takes "
            f"{settings.input_bytes} (max_input_bytes)",
            status=413,
            may_retry=False,
        )


class Task:
    """One accepted task; `release` must be called in the end."""

    def __init__(
        self,
        node: Node,
        document: TaskDocument,
        ticket: Ticket,
        transaction: str,
    ) -> None:
        self._node = node
        self._document = document
        self._transaction = transaction
        self._held = ExitStack()
        self._vm_files = self._held.enter_context(ExitStack())
        self._local: LocalObject | None = None
        self._times = Times()
        self._outcome = "cancelled"
        self._report: Report | None = None
        self._began = time.monotonic()
        self._ticket = ticket
        self._held.callback(ticket.release)

    def hold_local(self, found: LocalObject) -> None:
        """Take over the local object and its descriptor."""
        self._vm_files.callback(os.close, found.fd)
        self._local = found

    def release(self) -> None:
        """Give up everything; harmless the second time."""
        self._held.close()

    def run(self, exchange: Exchange) -> None:
        """Tell the whole story, whatever happens; never raises."""
        try:
            self._story(exchange)
        except (TaskRefused, ClusterError) as error:
            self._fail(exchange, error.code, error.as_dict())
        except (ProtocolError, PeerGone) as error:
            message = f"the proxy's frames are wrong: {error}"
            self._fail(exchange, "bad_request", _error(message, retry=False))
        except Exception:  # noqa: BLE001 - told to the proxy, and logged whole
            self._node.log.fault(f"task {self._label()} failed")
            message = "the storage node failed"
            self._fail(exchange, "internal", _error(message, retry=True))
        finally:
            self._account(exchange)

    def _fail(
        self, exchange: Exchange, outcome: str, error: dict[str, Any]
    ) -> None:
        self._outcome = outcome
        self.release()
        exchange.detach()
        exchange.send(frames.FAILED, 0, to_json({"error": error}))

    def _story(self, exchange: Exchange) -> None:
        self._wait_for_slot()
        proof = self._begin_proof()
        program, blobs, need = self._look_around()
        exchange.send(frames.ACCEPTED, 0, to_json({"need": need}))
        if need:
            blobs |= self._receive_blobs(exchange, need)
        inputs = self._receive_inputs(exchange)
        exchange.no_more_data()
        layers = self._open_layers(blobs)
        if program is None:
            program = self._open_program(layers)
        outputs = self._open_outputs()
        report = self._run_vm(program, layers, inputs, outputs)
        self._wait_for(proof)
        self._vm_files.close()
        exchange.send(
            frames.REPORT, 0, report.to_json(limit=frames.MAX_PAYLOAD)
        )
        self._send_outputs(exchange, report, outputs)

    # Stages.

    def _wait_for_slot(self) -> None:
        self._ticket.wait(self._node.settings.queue_seconds)
        self._times.queued = time.monotonic() - self._ticket.since

    def _begin_proof(self) -> Proof:
        """Look whether the local object is sound, while all else goes on."""
        if self._local is None:
            return Proof()
        proof = self._node.verifier.begin(self._local)
        self._held.callback(proof.cancel)
        return proof

    def _wait_for(self, proof: Proof) -> None:
        """No word of what the VM did, if it has read damaged bytes."""
        since = time.monotonic()
        proof.wait()
        self._times.verified = time.monotonic() - since

    def _look_around(
        self,
    ) -> tuple[OpenProgram | None, dict[str, int], list[str]]:
        """What is here already, held open: the program, raw blobs; what not.

        The blob of a program that is compiled is not needed.
        """
        self._times.began = time.monotonic()
        node, wanted = self._node, self._document.program.sha256
        mode = self._document.determinism
        program = node.programs.open_known(wanted, mode) if wanted else None
        if program is not None:
            self._vm_files.callback(os.close, program.fd)
        digests = [wanted] if wanted and program is None else []
        digests += [
            i.sha256 for i in self._document.images if i.kind == "blob"
        ]
        here: dict[str, int] = {}
        for digest in dict.fromkeys(digests):
            fd = node.blobs.open(digest)
            if fd is not None:
                here[digest] = self._keep(fd)
        need = [d for d in dict.fromkeys(digests) if d not in here]
        node.counters.add("blobs.cached", len(here))
        node.counters.add("blobs.needed", len(need))
        return program, here, need

    def _receive_blobs(
        self, exchange: Exchange, need: list[str]
    ) -> dict[str, int]:
        """What was missing, held open: from here on nothing can evict it."""
        node, received = self._node, {}
        for stream, digest in enumerate(need):
            writer = node.blobs.write(digest, node.settings.blob_bytes)
            fd = transfer.receive_blob(
                exchange, stream, writer, node.settings.idle_timeout
            )
            received[digest] = self._keep(fd)
        # Other tasks for this node wait for the word that the blobs are here.
        exchange.send(frames.HEARTBEAT)
        return received

    def _receive_inputs(self, exchange: Exchange) -> list[int]:
        """Descriptors of the inputs, each with an offset of its own."""
        found = []
        for stream, source in enumerate(self._document.inputs):
            if source.source == "local" and self._local is not None:
                fd = _reopen(self._local.fd)
            elif source.source == "empty":
                fd = os.memfd_create("empty")
            else:
                fd = self._receive_input(exchange, stream, source.bytes or 0)
            found.append(self._keep(fd))
        return found

    def _receive_input(
        self, exchange: Exchange, stream: int, size: int
    ) -> int:
        spool = self._node.staging.open(size)
        try:
            transfer.receive_input(
                exchange,
                stream,
                spool,
                size,
                self._node.settings.idle_timeout,
            )
            return _reopen(spool)
        finally:
            os.close(spool)

    def _open_layers(self, blobs: dict[str, int]) -> list[Layer]:
        layers = []
        for image in self._document.images:
            if image.kind == "blob":
                raw = _reopen(blobs[image.sha256])
            else:
                raw = self._node.images.open_system(image)
            layer = self._node.images.open_layer(image, raw)
            self._keep(layer.fd)
            layers.append(layer)
        return layers

    def _open_program(self, layers: list[Layer]) -> OpenProgram:
        program, programs = self._document.program, self._node.programs
        mode = self._document.determinism
        if program.sha256 is not None:
            opened = programs.open_blob(program, program.sha256, mode)
        else:
            env = dict(merge_env(layers, self._document.env))
            args = self._document.args
            opened = programs.open_member(program, layers, args, env, mode)
        self._keep(opened.fd)
        self._times.compiled = opened.compile_seconds
        return opened

    def _open_outputs(self) -> list[int]:
        outputs = []
        for output in self._document.outputs:
            fd = self._node.staging.open(output.limit_bytes)
            self._held.callback(os.close, fd)
            outputs.append(fd)
        return outputs

    def _run_vm(
        self,
        program: OpenProgram,
        layers: list[Layer],
        inputs: list[int],
        outputs: list[int],
    ) -> Report:
        manifest = _manifest(self._document, program, layers)
        descriptors = [
            program.fd,
            *(layer.fd for layer in layers),
            *inputs,
            *outputs,
        ]
        began = time.monotonic()
        self._times.prepared = began - self._times.began
        vm = self._node.sandbox.start(manifest, descriptors)
        self._vm_files.callback(vm.kill)
        report = vm.wait(_deadline_seconds(self._document))
        vm.kill()
        self._times.ran = time.monotonic() - began
        self._ticket.settle(sum(os.fstat(fd).st_size for fd in outputs))
        self._outcome = f"{report.outcome.kind}:{report.outcome.code}"
        self._report = self._noted(report)
        return self._report

    def _send_outputs(
        self, exchange: Exchange, report: Report, outputs: list[int]
    ) -> None:
        task = self._document
        staged = transfer.staged_outputs(task, report, outputs)
        total = sum(output.size for output in staged)
        if (
            report.outcome.succeeded(task.ok_exit)
            and total <= task.inline_bytes
        ):
            exchange.detach()
        else:
            idle = self._node.settings.idle_timeout
            staged = transfer.wait_for_go(exchange, staged, idle)
            exchange.detach()
        for output in staged:
            transfer.send_output(exchange, output)
        exchange.send(frames.DONE)

    # Small parts.

    @property
    def _local_bytes(self) -> int:
        return self._local.bytes if self._local is not None else 0

    def _keep(self, fd: int) -> int:
        """Hold a descriptor until the VM has ended."""
        self._vm_files.callback(os.close, fd)
        return fd

    def _noted(self, report: Report) -> Report:
        inputs, times = self._document.inputs, self._times
        notes = ExecutorNotes(
            queue_seconds=times.queued,
            prepare_seconds=times.prepared,
            compile_seconds=times.compiled,
            run_seconds=times.ran,
            local_bytes=self._local_bytes
            * sum(i.source == "local" for i in inputs),
            streamed_bytes=sum(i.bytes or 0 for i in inputs),
        )
        named = tuple(
            replace(channel, device=channels.DEVICES.get(channel.path, ""))
            for channel in report.channels
        )
        return replace(report, channels=named, executor=notes)

    def _label(self) -> str:
        task = self._document
        return f"{task.job}/{task.node}/{task.attempt}"

    def _account(self, exchange: Exchange) -> None:
        node = self._node
        self._times.total = time.monotonic() - self._began
        ending = Ending(self._outcome, self._report, exchange.cancelled)
        node.log.info(
            task_line(self._document, self._transaction, self._times, ending)
        )
        count_task(node.counters, self._times, ending)


def _manifest(
    task: TaskDocument, program: OpenProgram, layers: list[Layer]
) -> Manifest:
    limits = task.limits
    return Manifest(
        job=task.job,
        node=task.node,
        program=ManifestFile(
            0, program.sha256, task.program.name, program.template_of
        ),
        args=task.args,
        env=merge_env(layers, task.env),
        layers=tuple(
            ManifestLayer(
                1 + index,
                layer.image.sha256,
                layer.image.device,
                system=layer.image.kind == "system",
            )
            for index, layer in enumerate(layers)
        ),
        channels=channels.build(task, 1 + len(layers)),
        limits=ManifestLimits(
            memory_bytes=limits.memory_bytes,
            wall_seconds=limits.wall_seconds,
            cpu_seconds=limits.cpu_seconds,
            stderr_bytes=limits.stderr_bytes,
            fuel=limits.fuel,
        ),
        clock_nanoseconds=task.clock_nanoseconds,
        seed=task.seed,
        determinism=task.determinism,
    )


def _deadline_seconds(task: TaskDocument) -> float:
    staged = sum(output.limit_bytes for output in task.outputs)
    digests = staged / DIGEST_BYTES_PER_SECOND
    return task.limits.wall_seconds + BACKSTOP_SECONDS + digests


def _reopen(fd: int) -> int:
    """The same file, to read, with an offset of its own."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def _error(message: str, *, retry: bool) -> dict[str, Any]:
    code = "internal" if retry else "bad_request"
    return {"code": code, "message": message, "may_retry": retry}
