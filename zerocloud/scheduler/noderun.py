"""One node until it has ended: which server next, and what a failure means.

    next place ▶ exchange ▶ Finished
        ▲            │
        └── judge ◀──┘  refused, lost, or another version of an input

* Retried elsewhere: a server that cannot be reached, falls silent, has no
  filter, no room, no disk or another version of the protocol; a task that
  failed for the node's reasons.  At most `task_attempts` failures.
* Not a failure: "another version is here" and "not the object's bytes" are
  findings about the input; inputs.py looks again and the node goes on.  A
  replica that lags, is missing or is damaged is passed over for the next
  one, and the server is as good as before for all else.
* Never retried: a guest's outcome (it is a report, not an error), and what
  the user must mend (JobError).

First the object's own servers, reading in place; when those are used up, any
server, with the object streamed to it.  No two tries of a node are ever under
way at once: each ends, and its server is told so, before the next begins.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from zerocloud.errors import (
    CODES,
    ClusterError,
    JobError,
    ProtocolError,
    TaskRefused,
)
from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Node
from zerocloud.observe import Counters, fields
from zerocloud.protocol.signing import TaskId, TaskRequest
from zerocloud.protocol.task import TaskDocument, digest
from zerocloud.scheduler.concurrency import sleep
from zerocloud.scheduler.exchange import Exchange, Finished, Stores
from zerocloud.scheduler.inputs import Damaged, VersionChanged
from zerocloud.scheduler.placement import (
    Conditions,
    Server,
    Target,
    order,
)
from zerocloud.scheduler.taskdoc import (
    Materials,
    node_blobs,
    pin_of,
    task_document,
)
from zerocloud.scheduler.transport import (
    Connect,
    ConnectionLost,
    TaskConnection,
    TransportSettings,
    open_task,
)

EXPIRES_SECONDS = 240
FINDINGS_PER_NODE = 8
BACKOFF_SECONDS = 0.2
NOT_LOCAL = "not_local"
DAMAGED = "object_damaged"

# Refusals that say nothing against a server as a place for other tasks.
_NO_FAULTS = frozenset(("busy", "job_limit"))

# Refusals before the task was taken that speak of the server, not the task.
_SERVER_STATUSES = frozenset((403, 404, 405, 412, 500, 502, 503, 504, 507))


@dataclass
class Cluster:
    """What one job knows of the storage servers, shared by its nodes."""

    servers: Sequence[Server]
    primaries: Callable[[ObjectPath], Sequence[Target]]
    unreachable: Callable[[Target], None]
    load: Counter[str] = field(default_factory=Counter)
    suspects: set[str] = field(default_factory=set)
    locations: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What all node runs of a job share."""

    materials: Materials
    stores: Stores
    cluster: Cluster
    transport: TransportSettings
    connect: Connect
    task_attempts: int
    log: Callable[[str], None]
    counters: Counters


@dataclass(frozen=True)
class Choice:
    """Where the next try goes; `local` is the object read in place."""

    target: Target
    local: ObjectPath | None


class NodeRun:
    """One node of a job and all its tries."""

    def __init__(self, setting: Setting, node: Node) -> None:
        self._setting = setting
        self.node = node
        self.attempts = 0
        self._salt = f"{setting.materials.job_id}/{node.name}"
        self._blobs = node_blobs(setting.materials, node)
        self._failures: list[tuple[str, str]] = []
        self._findings = 0
        self._avoid: set[Choice] = set()
        self._damaged = False

    def finish(self) -> Finished:
        """Run the node to its end.

        Raises JobError and ClusterError when that is not possible.
        """
        while True:
            choice = self._next()
            load = self._setting.cluster.load
            server = choice.target.server
            load[server] += 1
            try:
                return self._try(choice)
            except VersionChanged as changed:
                self._find(self._setting.stores.inputs.renew, changed.path)
            except TaskRefused as refusal:
                self._judge(refusal, choice)
            except ConnectionLost as lost:
                self._setting.cluster.suspects.add(server)
                self._failed(choice, "node_lost", str(lost))
            except ClusterError as error:
                if error.code != "input_failed":
                    raise
                self._damaged = self._damaged or isinstance(error, Damaged)
                self._failed(choice, error.code, error.message)
            except JobError as error:
                raise self._lost(error) from error
            finally:
                load[server] -= 1

    def outputs_lost(self, finished: Finished) -> None:
        """The server went away with what the node had written."""
        self._setting.cluster.suspects.add(finished.server)
        self._failures.append(("node_lost", "its outputs were lost"))

    def _next(self) -> Choice:
        if len(self._failures) >= self._setting.task_attempts:
            raise self._exhausted()
        choices = self._choices()
        if not choices and self._too_large():
            # Nowhere is there so much memory, nor will there be.
            raise self._exhausted()
        if not choices and self._avoid:
            # Every place has failed, and there are tries left: perhaps it
            # was a moment's trouble.
            sleep(BACKOFF_SECONDS * len(self._failures))
            self._avoid.clear()
            choices = self._choices()
        if not choices:
            raise ClusterError(
                "no_node", "there is no storage server to run tasks on"
            )
        return choices[0]

    def _choices(self) -> list[Choice]:
        """What is left to try, best first: beside the object, then anywhere.

        A location that is none of the object's servers comes before both.
        """
        cluster = self._setting.cluster
        beside, local = self._beside()
        wish = cluster.locations.get(self.node.location or "")
        conditions = Conditions(cluster.load, cluster.suspects, wish)
        placed = order(beside, conditions, self._salt)
        first = self._untried(Choice(t, local) for t in placed)
        if first and (wish is None or first[0].target.server == wish):
            return first
        servers = order(cluster.servers, conditions, self._salt)
        then = self._untried(
            Choice(server.disk(self._salt), None) for server in servers
        )
        if then and then[0].target.server == wish:
            return then
        return first or then

    def _untried(self, choices: Iterable[Choice]) -> list[Choice]:
        return [choice for choice in choices if choice not in self._avoid]

    def _beside(self) -> tuple[Sequence[Target], ObjectPath | None]:
        """The servers of the attached object, and it when it is local."""
        path = self.node.attach
        if path is None:
            return (), None
        if not any(item.path == path for item in self.node.inputs):
            # An image: it is sent as a blob, but likely to be there already.
            return self._setting.cluster.primaries(path), None
        if not self._setting.stores.inputs.version(path).local:
            return (), None
        return self._setting.cluster.primaries(path), path

    def _try(self, choice: Choice) -> Finished:
        setting, server = self._setting, choice.target.server
        self.attempts += 1
        connection = None
        try:
            with setting.stores.uploads.turn(server, self._blobs):
                document = self._document(choice)
                connection = self._open(choice, document)
                exchange = Exchange(
                    connection, self.node, document, setting.stores
                )
                exchange.accept(server, self._blobs)
            # The storage node has checked the pin before it accepted.
            if choice.local is not None:
                setting.stores.inputs.confirm(choice.local, in_place=True)
            exchange.send_inputs()
            finished = self._finished(exchange, choice, document)
            if finished.held is not None:
                connection = None
        finally:
            if connection is not None:
                connection.give_up()
        setting.cluster.suspects.discard(server)
        return finished

    def _document(self, choice: Choice) -> TaskDocument:
        inputs = self._setting.stores.inputs
        for item in self.node.inputs:
            if item.path is not None and item.path != choice.local:
                inputs.check_size(inputs.version(item.path))
        return task_document(
            self._setting.materials,
            self.node,
            self.attempts,
            inputs.version,
            choice.local,
        )

    def _open(self, choice: Choice, document: TaskDocument) -> TaskConnection:
        setting, target = self._setting, choice.target
        encoded = self._encoded(document)
        path = f"/{target.device}/{target.partition}"
        request = TaskRequest(
            path=path + (choice.local.wsgi if choice.local else ""),
            policy_index=target.policy_index,
            task=TaskId(document.job, document.node, document.attempt),
            digest=digest(encoded),
            expires=int(time.time()) + EXPIRES_SECONDS,
            pin=pin_of(document),
            version=str(document.version),
        )
        try:
            peer = setting.connect(
                target.ip, target.port, setting.transport.connect_timeout
            )
        except OSError as error:
            setting.cluster.unreachable(target)
            raise ConnectionLost(
                f"no connection: {type(error).__name__}"
            ) from error
        try:
            return open_task(
                peer, setting.transport, target.server, request, encoded
            )
        except TaskRefused as refusal:
            if refusal.status in _SERVER_STATUSES:
                refusal.may_retry = True
            raise

    def _encoded(self, document: TaskDocument) -> bytes:
        try:
            return document.to_json()
        except ProtocolError as error:
            raise JobError(
                "job_too_large",
                f"node {self.node.name}: its arguments and environment make "
                f"a task that is too long: {error}",
                where=self.node.name,
            ) from None

    def _finished(
        self, exchange: Exchange, choice: Choice, document: TaskDocument
    ) -> Finished:
        """The report, and the outputs that come with it or are held."""
        report = exchange.report()
        finished = Finished(
            node=self.node,
            report=report,
            server=choice.target.server,
            policy_index=choice.target.policy_index,
            attempts=self.attempts,
            succeeded=report.outcome.succeeded(self.node.ok_exit),
            in_place_bytes=_input_bytes(document, "local"),
            streamed_bytes=_input_bytes(document, "stream"),
            inputs={item.device: item for item in document.inputs},
        )
        channels = [finished.channel(o.device) for o in self.node.outputs]
        staged = sum(c.size for c in channels if c is not None)
        if finished.succeeded and staged <= document.inline_bytes:
            finished.contents = exchange.collect_small()
        elif finished.wanted():
            finished.held = exchange.hold()
        return finished

    def _judge(self, refusal: TaskRefused, choice: Choice) -> None:
        """Go on after a refusal, or raise what the user gets."""
        inputs, path = self._setting.stores.inputs, choice.local
        if path is not None and refusal.code == NOT_LOCAL:
            self._find(inputs.make_streamed, path)
        elif path is not None and refusal.status == 409:
            before = inputs.version(path)
            self._find(inputs.renew, path)
            if inputs.version(path) == before:
                self._pass_over(choice, "it has another version")
        elif path is not None and refusal.code == DAMAGED:
            self._damaged = True
            self._pass_over(choice, refusal.message)
        elif path is not None and refusal.status == 404:
            self._pass_over(choice, refusal.message)
        elif refusal.may_retry:
            if refusal.code not in _NO_FAULTS:
                self._setting.cluster.suspects.add(choice.target.server)
            self._failed(choice, refusal.code, refusal.message)
        else:
            raise self._error(refusal)

    def _find(
        self, look: Callable[[ObjectPath], None], path: ObjectPath
    ) -> None:
        """Look again at an input; an endless change is an error."""
        self._findings += 1
        if self._findings > FINDINGS_PER_NODE:
            raise ClusterError(
                "input_failed", f"object {path} is different on each read"
            )
        look(path)

    def _failed(self, choice: Choice, code: str, reason: str) -> None:
        self._avoid.add(choice)
        self._failures.append((code, reason))
        self._setting.counters.add_word("tasks.failed", code)
        self._log(choice, code, reason)

    def _pass_over(self, choice: Choice, reason: str) -> None:
        """This replica is of no use; there are only so many of them."""
        self._avoid.add(choice)
        self._setting.counters.add_word("tasks.failed", "replica")
        self._log(choice, "replica", reason)

    def _log(self, choice: Choice, code: str, reason: str) -> None:
        self._setting.log(
            fields(
                job=self._setting.materials.job_id,
                node=self.node.name,
                attempt=self.attempts,
                server=choice.target.server,
                failed=code,
                reason=reason,
            )
        )

    def _lost(self, error: JobError) -> JobError | ClusterError:
        """The error, or the truth about an object that rot has taken.

        When every replica is in quarantine, Swift knows of no object.
        """
        if error.code != "object_changed" or not self._damaged:
            return error
        name = self.node.name
        return ClusterError(
            "input_failed",
            f"node {name}: an input is damaged on every storage server that "
            f"has it ({error.message})",
            where=name,
        )

    def _error(self, refusal: TaskRefused) -> JobError | ClusterError:
        """A refusal that no other server would answer differently."""
        name = self.node.name
        if refusal.code not in CODES:
            return ClusterError(
                "internal",
                f"node {name}: a storage node refused the task "
                f"({refusal.code})",
                where=name,
            )
        kind = JobError if CODES[refusal.code].status < 500 else ClusterError
        return kind(
            refusal.code, f"node {name}: {refusal.message}", where=name
        )

    def _too_large(self) -> bool:
        """Whether each server that was asked has less than the task needs."""
        return {code for code, _ in self._failures} == {"job_limit"}

    def _exhausted(self) -> JobError | ClusterError:
        codes = {code for code, _ in self._failures}
        if self._too_large():
            # The user can mend it.
            return JobError(
                "job_limit",
                f"node {self.node.name}: {self._failures[-1][1]}",
                where=self.node.name,
            )
        codes.discard("job_limit")
        code = "node_lost" if "node_lost" in codes else "no_node"
        if len(codes) == 1 and codes <= {"busy", "disk_full", "input_failed"}:
            code = codes.pop()
        return ClusterError(
            code,
            f"node {self.node.name} could not be run: "
            f"{len(self._failures)} tries failed, the last one because "
            f"{self._failures[-1][1]}",
            where=self.node.name,
        )


def _input_bytes(document: TaskDocument, source: str) -> int:
    return sum(
        item.identity.bytes
        for item in document.inputs
        if item.source == source and item.identity is not None
    )
