"""One job, from request to answer: a method per stage.

    receive ▶ plan ▶ authorize ▶ resolve ▶ run ▶ commit ▶ answer

The table of contents of the scheduler.  Each stage is one or two calls into
the file that knows it; what a stage leaves to the next is a local here.  An
error of any stage ends the job: JobError and ClusterError reach the client,
and nothing was published (commit.py says what that means for its own).

`Service` lives as long as the proxy and holds what jobs share; `JobController`
is one job.  Its `close` must be called when the answer's body has been sent,
or was given up: until then outputs may wait on storage nodes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zerocloud import headers as names
from zerocloud.config import ProxySettings
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.expand import PlanContext, build_plan, check_images
from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Plan
from zerocloud.observe import NO_PROXY_COUNTERS, Counters, fields
from zerocloud.scheduler.accounting import count_job, totals
from zerocloud.scheduler.authorize import Rights, check_identity
from zerocloud.scheduler.blobs import BlobCache, Blobs, Wanted
from zerocloud.scheduler.clientwatch import ClientWatch
from zerocloud.scheduler.commit import Commit
from zerocloud.scheduler.concurrency import gather
from zerocloud.scheduler.content import Spool
from zerocloud.scheduler.dispatch import Dispatch
from zerocloud.scheduler.exchange import Finished, Stores
from zerocloud.scheduler.inputs import Inputs
from zerocloud.scheduler.intake import Intake, IntakeLimits, Submission
from zerocloud.scheduler.lifecycle import Lifecycle, Stage
from zerocloud.scheduler.noderun import Cluster, Setting
from zerocloud.scheduler.placement import by_server, shared_server
from zerocloud.scheduler.planner import Planner
from zerocloud.scheduler.response import (
    Answer,
    JobEnd,
    plain_answer,
    report_answer,
)
from zerocloud.scheduler.taskdoc import Materials
from zerocloud.scheduler.transport import (
    Connect,
    TransportSettings,
    connect,
)
from zerocloud.scheduler.uploads import KnownBlobs, Uploads


@dataclass
class Service:
    """What all jobs of a proxy process share."""

    settings: ProxySettings
    rings: Any
    logger: Any
    counters: Counters = NO_PROXY_COUNTERS
    connect: Connect = connect
    cache: BlobCache = field(default_factory=BlobCache)
    known: KnownBlobs = field(default_factory=KnownBlobs)

    @property
    def system_images(self) -> dict[str, str]:
        """Digests of the system images by name."""
        return {i.name: i.sha256 for i in self.settings.system_images}


@dataclass(frozen=True)
class Request:
    """The parts of the HTTP request that the controller looks at."""

    env: Mapping[str, Any]
    account: str
    wants_report: bool
    transaction: str


class JobController:
    """Runs one job."""

    def __init__(
        self, service: Service, request: Request, pipeline: Any
    ) -> None:
        settings = service.settings
        self._service = service
        self._settings = settings
        self._request = request
        self._pipeline = pipeline
        self.job_id = secrets.token_hex(16)
        self._life = Lifecycle(time.monotonic)
        self._rights = Rights(pipeline)
        self._inputs = Inputs(
            pipeline,
            self._readable_in_place,
            planned_at=f"{time.time():016.5f}",
            limit_bytes=settings.input_bytes,
            newest=settings.newest_inputs,
        )
        self._blobs = Blobs(pipeline, service.cache, settings.blob_bytes)
        self._spool = Spool()
        self._watch = ClientWatch(request.env)
        self._dispatch: Dispatch | None = None
        self._asked: Submission | None = None
        self._results: list[Finished] = []

    def run(self) -> Answer:
        """Run the job to its answer; raises JobError and ClusterError."""
        try:
            asked = self._asked = self._receive()
            self._life.enter(Stage.PLAN)
            plan = self._plan(asked)
            self._life.enter(Stage.AUTHORIZE)
            self._authorize(plan)
            self._life.enter(Stage.RESOLVE)
            self._resolve(plan, asked)
            self._life.enter(Stage.RUN)
            self._results = self._run(plan, asked)
            commit = self._commit()
            self._life.enter(Stage.ANSWER)
            return self._answer(commit)
        except BaseException as error:
            self._failed(error)
            self.close()
            raise

    def close(self) -> None:
        """Let go of everything; nothing of the job runs after this."""
        self._watch.stop()
        if self._dispatch is not None:
            self._dispatch.close()
        self._spool.close()
        self._blobs.close()
        if self._asked is not None:
            self._asked.close()

    def _receive(self) -> Submission:
        """Who asks, may they, and what do they ask."""
        settings = self._settings
        check_identity(self._request.env)
        self._rights.check_job(self._request.account)
        limits = IntakeLimits(
            caps=settings.job_caps,
            image_bytes=settings.blob_bytes,
            payload_bytes=settings.input_bytes,
            upload_timeout=settings.upload_timeout,
        )
        intake = Intake(
            self._request.env, self._request.account, self._pipeline, limits
        )
        return intake.read()

    def _plan(self, asked: Submission) -> Plan:
        """Wildcards → names → the frozen plan."""
        settings = self._settings
        context = PlanContext(
            account=self._request.account,
            caps=settings.job_caps,
            posted_image=asked.image is not None,
            payload=asked.payload is not None,
            default_content_type=settings.default_content_type,
            system_images=self._service.system_images,
        )
        # Said before anything is listed for a job that cannot run.
        check_images(asked.job, context)
        planner = Planner(
            self._pipeline,
            self._inputs,
            page=settings.listing_limit,
            most=settings.job_caps.nodes,
            check=self._check_client,
        )
        matches = planner.matches(asked.job.patterns)
        return build_plan(asked.job, matches, context=context)

    def _authorize(self, plan: Plan) -> None:
        """Every name, before anything is opened or revealed."""
        self._rights.check_reads(plan.reads())
        self._rights.check_writes(plan.writes())

    def _resolve(self, plan: Plan, asked: Submission) -> None:
        """Versions of all inputs; programs and images in hand."""
        self._check_client()
        paths = dict.fromkeys(
            item.path
            for node in plan.nodes
            for item in node.inputs
            if item.path is not None
        )
        steps: tuple[Callable[[], None], ...] = (
            lambda: self._inputs.resolve(paths),
            lambda: self._blobs.fetch(_wanted_blobs(plan)),
        )
        gather(lambda step: step(), steps, len(steps))
        if asked.image is not None:
            self._blobs.add(asked.image)

    def _run(self, plan: Plan, asked: Submission) -> list[Finished]:
        """Every node to its report; the client is watched meanwhile."""
        dispatch = Dispatch(
            self._setting(plan, asked), plan.nodes, self._settings.concurrency
        )
        self._dispatch = dispatch
        self._check_client()
        self._watch.start(lambda: dispatch.cancel(client_gone()))
        results = dispatch.run()
        self._watch.stop()
        self._check_client()
        return results

    def _commit(self) -> Commit:
        """All outputs of all nodes, or none when any node failed."""
        commit = Commit(
            self._pipeline, self.job_id, self._policy_name, self._log
        )
        if all(result.succeeded for result in self._results):
            self._life.enter(Stage.COMMIT)
            commit.publish(self._results)
        return commit

    def _answer(self, commit: Commit) -> Answer:
        settings = self._settings
        indexes = {result.policy_index for result in self._results}
        end = JobEnd(
            job_id=self.job_id,
            results=self._results,
            published=commit.published,
            timing=self._life.timing(),
            key=settings.cluster_key,
            policy_names={
                index: self._service.rings.policy_name(index)
                for index in indexes
            },
        )
        self._log_end(end)
        if self._request.wants_report:
            return report_answer(
                end, settings.report_immediate_bytes, self._spool
            )
        return plain_answer(end, settings.header_bytes)

    def _setting(self, plan: Plan, asked: Submission) -> Setting:
        service, settings = self._service, self._settings
        return Setting(
            materials=Materials(
                job_id=self.job_id,
                plan=plan,
                program_digest=self._blobs.digest,
                image_digest=lambda path: self._blobs.digest(path, image=True),
                system_images=service.system_images,
                posted_image=asked.image.sha256 if asked.image else None,
                payload=asked.payload,
                inline_bytes=settings.inline_bytes,
            ),
            stores=Stores(
                inputs=self._inputs,
                blobs=self._blobs,
                uploads=Uploads(service.known),
                spool=self._spool,
                payload=asked.payload,
            ),
            cluster=self._cluster(plan),
            transport=TransportSettings(
                key=settings.cluster_key,
                connect_timeout=settings.connect_timeout,
                node_timeout=settings.node_timeout,
                transaction=self._request.transaction,
            ),
            connect=service.connect,
            task_attempts=settings.task_attempts,
            log=self._warn,
            counters=service.counters,
        )

    def _cluster(self, plan: Plan) -> Cluster:
        rings = self._service.rings
        disks = rings.everywhere(self._settings.standalone_policies)
        cluster = Cluster(
            servers=by_server(disks),
            primaries=self._primaries,
            unreachable=lambda target: rings.report_failure(
                target, "EXECUTE: no connection"
            ),
            suspects={d.server for d in disks if rings.is_suspect(d)},
        )
        groups: dict[str, list[list[str]]] = {}
        for node in plan.nodes:
            if node.location is not None:
                holders = self._primaries(node.attach) if node.attach else ()
                groups.setdefault(node.location, []).append(
                    [target.server for target in holders]
                )
        every = [server.server for server in cluster.servers]
        for location, holders_of in groups.items():
            cluster.locations[location] = shared_server(
                holders_of, every, f"{self.job_id}/{location}"
            )
        return cluster

    def _primaries(self, path: ObjectPath) -> Any:
        info = self._rights.container(path.account, path.container)
        return self._service.rings.primaries(info.policy_index, path)

    def _policy_name(self, path: ObjectPath) -> str:
        info = self._rights.container(path.account, path.container)
        return str(self._service.rings.policy_name(info.policy_index))

    def _readable_in_place(self, path: ObjectPath) -> bool:
        info = self._rights.container(path.account, path.container)
        replicated = self._service.rings.is_replicated(info.policy_index)
        return self._settings.local_reads and bool(replicated)

    def _check_client(self) -> None:
        if self._watch.look():
            raise client_gone()

    def _log(self, text: str) -> None:
        self._service.logger.info("%s", self._line("job", text))

    def _warn(self, text: str) -> None:
        self._service.logger.warning("%s", self._line("try", text))

    def _line(self, kind: str, text: str) -> str:
        return f"{kind} {fields(txn=self._request.transaction)} {text}"

    def _log_end(self, end: JobEnd) -> None:
        sums = totals(end.results)
        count_job(self._service.counters, end.status, sums, end.timing)
        self._log(
            fields(
                job=self.job_id,
                account=self._request.account,
                status=end.status,
                nodes=sums.nodes,
                failed=sums.failed,
                attempts=sums.attempts,
                in_place_bytes=sums.in_place_bytes,
                streamed_bytes=sums.streamed_bytes,
                output_bytes=sums.output_bytes,
                cpu_seconds=sums.cpu_seconds,
                **{f"{k}_seconds": v for k, v in end.timing.items()},
            )
        )

    def _failed(self, error: BaseException) -> None:
        """Log the end of a job that has no answer."""
        where = self._life.stage.value
        if not self._life.ended:
            gone = isinstance(error, JobError) and (
                error.code == "client_disconnect"
            )
            self._life.enter(Stage.ABANDONED if gone else Stage.FAILED)
        self._log(
            fields(
                job=self.job_id,
                account=self._request.account,
                status=self._life.stage.value,
                stage=where,
                code=getattr(error, "code", "internal"),
                where=getattr(error, "where", None) or None,
                reason=_reason(error),
                total_seconds=self._life.timing()["total"],
            )
        )


def _reason(error: BaseException) -> str | None:
    """What the log says of an error; a job's own words are not for it."""
    if isinstance(error, JobError):
        return None
    known = isinstance(error, ClusterError)
    return str(error) if known else type(error).__name__


def client_gone() -> JobError:
    """The error that nobody will read."""
    return JobError("client_disconnect", "the client went away")


def _wanted_blobs(plan: Plan) -> Iterator[Wanted]:
    for node in plan.nodes:
        if node.program.path is not None:
            yield Wanted(node.program.path, image=False)
        for image in node.images:
            if image.path is not None:
                yield Wanted(image.path, image=True)


def wants_report(accept: str) -> bool:
    """Whether an Accept header asks for JSON rather than the outputs."""
    for item in accept.split(","):
        kind, _, parameters = item.partition(";")
        refused = parameters.replace(" ", "") in ("q=0", "q=0.0")
        if kind.strip().lower() in (names.JSON_TYPE, names.REPORT_TYPE):
            return not refused
    return False
