"""The executor: a WSGI filter in the object server's pipeline.

It answers the verb EXECUTE (docs/protocol.md section 4) and passes everything
else on, untouched and at once.  Put it right before the object server:

    [pipeline:main]
    pipeline = healthcheck recon executor object-server

    [filter:executor]
    use = egg:zerocloud#executor
    cluster_key = the same on every proxy and storage node

etc/object-server.conf.sample lists every option.

Order of the checks, from what a stranger can see to what only a signed task
can: version → signature and expiry → replay → document → queue → object.
Whatever fails before the exchange is an HTTP status with a JSON body;
afterwards it is a frame `F`.

Swift loads a pipeline more than once, and before it forks: nothing here may
start threads, children or sockets, or touch a disk, before the first task.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from swift.common.utils import get_logger
from swift.common.wsgi import ConfigFileError

from zerocloud import headers
from zerocloud.config import (
    ExecutorSettings,
    check_names,
    read_executor_settings,
)
from zerocloud.errors import ConfigError, ProtocolError, TaskRefused
from zerocloud.executor import localobject
from zerocloud.executor.admission import need_of
from zerocloud.executor.controller import Log, Node, Task
from zerocloud.executor.duplex import Exchange, PeerGone, Refusal, Upstream
from zerocloud.executor.replay import ReplayGuard
from zerocloud.observe import (
    EXECUTOR_COUNTERS,
    EXECUTOR_PREFIX,
    NO_EXECUTOR_COUNTERS,
    Counters,
    fields,
)
from zerocloud.protocol import frames, signing, task
from zerocloud.protocol.signing import TaskRequest
from zerocloud.protocol.strict import to_json

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_SIGNED = (
    headers.TASK_VERSION,
    headers.TASK_ID,
    headers.TASK_DIGEST,
    headers.TASK_EXPIRES,
    headers.TASK_PIN,
)
# swob, and with it Swift's status texts, stays out of the way of a task.
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


def _header(environ: Environ, name: str) -> str:
    return str(environ.get("HTTP_" + name.upper().replace("-", "_"), ""))


class ExecutorFilter:
    """Answers EXECUTE; Swift sets `_pipeline_final_app` on it."""

    _pipeline_final_app: Any = None

    def __init__(
        self,
        app: Any,
        settings: ExecutorSettings,
        log: Log,
        counters: Counters = NO_EXECUTOR_COUNTERS,
    ) -> None:
        self._app = app
        self._counters = counters
        self._settings = settings
        self._log = log
        self._keys = tuple(
            key
            for key in (settings.cluster_key, settings.previous_cluster_key)
            if key
        )
        self._node = Node(settings, log, counters)
        self._replay = ReplayGuard(settings.state_dir)

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != headers.TASK_VERB:
            return self._app(environ, start_response)  # type: ignore[no-any-return] # WSGI
        try:
            return self._execute(environ, start_response)
        except TaskRefused as refused:
            return self._refuse(environ, start_response, refused)
        except Exception:  # noqa: BLE001 - answered with 500, logged whole
            self._log.fault("a task request failed")
            fault = TaskRefused(
                "internal",
                "the storage node failed",
                status=500,
                may_retry=True,
            )
            return self._refuse(environ, start_response, fault)

    def _execute(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        request, cluster_key = self._verified(environ)
        signature = _header(environ, headers.TASK_SIGNATURE)
        self._replay.claim(signature, request.expires, time.time())
        upstream = Upstream(environ, frames.frame_key(cluster_key, signature))
        document = self._read_document(upstream, request)
        self._node.check(document)
        accepted = Task(
            self._node,
            document,
            self._node.admission.enter(need_of(document)),
            _header(environ, "X-Trans-Id"),
        )
        exchange = Exchange(upstream)
        try:
            self._open_object(accepted, document, request)
            environ["eventlet.minimum_write_chunk_size"] = 0
            start_response(
                "200 OK", [("Content-Type", "application/octet-stream")]
            )
            exchange.start(accepted.run, accepted.release)
        except BaseException:
            accepted.release()
            raise
        return exchange

    def _verified(self, environ: Environ) -> tuple[TaskRequest, bytes]:
        version = _header(environ, headers.TASK_VERSION)
        if version not in signing.VERSIONS:
            raise TaskRefused(
                "version_unknown",
                f"{headers.TASK_VERSION} is {version!r:.40}; known here is "
                f"{' and '.join(signing.VERSIONS)}",
                status=412,
                may_retry=True,
            )
        try:
            request = signing.parse_request(
                environ["PATH_INFO"],
                _header(environ, headers.POLICY_INDEX) or "0",
                {name: _header(environ, name) for name in _SIGNED},
            )
        except ProtocolError as error:
            raise _bad_request(str(error)) from None
        signature = _header(environ, headers.TASK_SIGNATURE)
        key = signing.verify(self._keys, request, signature, time.time())
        return request, key

    def _read_document(
        self, upstream: Upstream, request: TaskRequest
    ) -> task.TaskDocument:
        try:
            frame = upstream.read_frame(self._settings.idle_timeout)
            if frame.kind != frames.TASK:
                raise ProtocolError(f"the first frame is {frame.kind!r}")
            if task.digest(frame.payload) != request.digest:
                raise ProtocolError(f"the task is not what {_DIGEST} says")
            document = task.parse_task(frame.payload)
        except PeerGone as gone:
            raise TaskRefused(
                "upload_timeout", str(gone), status=408, may_retry=True
            ) from gone
        except ProtocolError as error:
            raise _bad_request(str(error)) from None
        named = signing.TaskId(document.job, document.node, document.attempt)
        if str(document.version) != request.version:
            raise _bad_request(
                f"the task is not of the version that {headers.TASK_VERSION} "
                "says"
            )
        if named != request.task:
            raise _bad_request(f"the task is not what {headers.TASK_ID} says")
        return document

    def _open_object(
        self,
        accepted: Task,
        document: task.TaskDocument,
        request: TaskRequest,
    ) -> None:
        if not document.reads_local:
            return
        name = localobject.parse_path(request.path)
        if name is None:
            raise _bad_request("a local input, but no object in the path")
        if not self._settings.local_reads:
            raise localobject.not_local("local_reads is off here")
        found = localobject.open_local(
            self._pipeline_final_app, name, request.policy_index, request.pin
        )
        accepted.hold_local(found)
        for source in document.inputs:
            known = source.identity
            if (
                source.source == "local"
                and known is not None
                and known.bytes != found.bytes
            ):
                raise localobject.not_local(
                    f"it has {found.bytes} bytes on the disk, not "
                    f"{known.bytes}"
                )

    def _refuse(
        self,
        environ: Environ,
        start_response: StartResponse,
        refused: TaskRefused,
    ) -> Iterable[bytes]:
        if _is_probe(environ, refused):
            self._log.info(f"probe {fields(peer=environ.get('REMOTE_ADDR'))}")
        else:
            self._note_refusal(environ, refused)
        body = to_json({"error": refused.as_dict()})
        reason = _REASONS.get(refused.status, "Refused")
        start_response(
            f"{refused.status} {reason}",
            [
                ("Content-Type", headers.JSON_TYPE),
                ("Content-Length", str(len(body))),
            ],
        )
        return Refusal(body, environ)

    def _note_refusal(self, environ: Environ, refused: TaskRefused) -> None:
        self._counters.add_word("tasks.refused", refused.code)
        if refused.status == 403:
            peer = environ.get("REMOTE_ADDR")
            line = fields(peer=peer, code=refused.code, reason=refused.message)
            self._log.warning(f"refused {line}")


_DIGEST = headers.TASK_DIGEST


def _is_probe(environ: Environ, refused: TaskRefused) -> bool:
    """Whether zerocloud-check asks.

    An expiry is judged after the signature: whoever gets that far has the
    key, so that no stranger can keep out of the log this way.
    """
    job = _header(environ, headers.TASK_ID).partition("/")[0]
    return refused.code == "expired" and job == headers.PROBE_JOB


def _bad_request(message: str) -> TaskRefused:
    return TaskRefused("bad_request", message, status=400, may_retry=False)


def _check_files(settings: ExecutorSettings) -> None:
    """ConfigError when what the conf names is not there."""
    if not os.access(settings.zvm, os.X_OK):
        raise ConfigError(
            f"zvm is {str(settings.zvm)!r}; allowed is the path of the runner "
            "(make build makes it)"
        )
    for name, path in settings.system_images:
        if not path.is_file():
            raise ConfigError(
                f"system_images names {name}={path}; there is no such file"
            )


class ExecutorConfigError(ConfigError, ConfigFileError):  # type: ignore[misc] # Swift has no types
    """A bad option, which Swift's servers print in one line and stop."""


def _read(conf: Mapping[str, str], own: Mapping[str, str]) -> ExecutorSettings:
    try:
        check_names("executor", own)
        settings = read_executor_settings(conf)
        _check_files(settings)
    except ConfigError as error:
        name = own.get("__name__", "executor")
        raise ExecutorConfigError(f"[filter:{name}] {error}") from None
    return settings


def filter_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> Callable[[Any], ExecutorFilter]:
    """Paste's entry point; a bad option raises ConfigError at once."""
    conf = {**global_conf, **local_conf}
    settings = _read(conf, local_conf)
    logger = get_logger(
        conf,
        log_route="zerocloud-executor",
        statsd_tail_prefix=EXECUTOR_PREFIX,
    )
    counters = Counters(EXECUTOR_COUNTERS, logger)
    log = Log(logger.info, logger.warning, logger.exception)

    def make(app: Any) -> ExecutorFilter:
        return ExecutorFilter(app, settings, log, counters)

    return make
