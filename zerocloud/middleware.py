"""The proxy's WSGI filter: takes jobs, passes everything else on untouched.

A job is `POST /v1/ACCOUNT` with `X-Zerovm-Execute: 1.0` (docs/http-api.md).
In the proxy's pipeline the filter stands right of authentication and left of
`copy dlo slo versioned_writes symlink encryption`, all of which must be named
there, as Swift would insert missing ones left of this filter:

    [pipeline:main]
    pipeline = catch_errors gatekeeper … tempauth zerocloud copy … proxy-server

    [filter:zerocloud]
    use = egg:zerocloud#zerocloud
    cluster_key = …

Options: etc/proxy-server.conf.sample.  This file knows WSGI, statuses and
texts; zerocloud/scheduler/controller.py knows jobs.  An exception that nobody
foresaw is logged with its traceback and answered with 500 and the transaction
id, never with anything of this host.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from http.client import responses
from typing import Any

from swift.common.constraints import valid_api_version
from swift.common.registry import register_swift_info
from swift.common.swob import Request as SwobRequest
from swift.common.swob import Response, wsgi_to_str
from swift.common.utils import get_logger
from swift.common.wsgi import ConfigFileError

from zerocloud import __version__
from zerocloud import headers as names
from zerocloud.config import ProxySettings, check_names, read_proxy_settings
from zerocloud.errors import (
    ClusterError,
    ConfigError,
    JobError,
    ZeroCloudError,
)
from zerocloud.job.description import job_schema
from zerocloud.observe import (
    NO_PROXY_COUNTERS,
    PROXY_COUNTERS,
    PROXY_PREFIX,
    Counters,
)
from zerocloud.scheduler.accounting import count_error
from zerocloud.scheduler.clientwatch import close_when_reset
from zerocloud.scheduler.concurrency import Timeout
from zerocloud.scheduler.controller import (
    JobController,
    Request,
    Service,
    wants_report,
)
from zerocloud.scheduler.ring import Rings, check_policies
from zerocloud.scheduler.subrequest import Pipeline

SCHEMA_PATH = "/zerocloud/job.schema.json"
SCHEMA_TYPE = "application/schema+json"
MODE = "1.0"
LATER_MODES = ("open/1.0", "api/1.0")
JOB_VERSIONS = (1, 2)

StartResponse = Callable[..., Any]


class ZeroCloudMiddleware:
    """The filter; one per proxy process."""

    def __init__(
        self,
        app: Any,
        settings: ProxySettings,
        logger: Any,
        counters: Counters = NO_PROXY_COUNTERS,
    ) -> None:
        self._app = app
        self._settings = settings
        self._logger = logger
        self._counters = counters
        self._service: Service | None = None

    def __call__(
        self, env: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """WSGI: answer a job, or pass the request on."""
        if env.get("PATH_INFO") == SCHEMA_PATH:
            return _schema(env)(env, start_response)  # type: ignore[no-any-return] # WSGI
        mode = env.get("HTTP_X_ZEROVM_EXECUTE")
        path = _split(env.get("PATH_INFO", ""))
        if mode is None or path is None or env["REQUEST_METHOD"] == "OPTIONS":
            return self._app(env, start_response)  # type: ignore[no-any-return] # WSGI
        close_when_reset(env)
        self._counters.add("jobs")
        request = SwobRequest(env)
        report = wants_report(request.headers.get("Accept", ""))
        try:
            check_mode(mode.strip(), request.method, path)
            response = self._run(request, path, report)
        except ZeroCloudError as error:
            response = self._error(error, as_json=report)
        except (Exception, Timeout):
            # Swift's timeouts are no Exceptions.
            self._logger.exception("job failed unexpectedly")
            text = f"internal error; transaction {_transaction(env)}"
            response = self._error(
                ClusterError("internal", text), as_json=report
            )
        response.request = request
        return response(env, start_response)  # type: ignore[no-any-return] # WSGI

    def _error(self, error: ZeroCloudError, *, as_json: bool) -> Response:
        count_error(self._counters, error)
        return error_response(error, as_json=as_json)

    def _run(
        self, request: Any, path: tuple[str, ...], report: bool
    ) -> Response:
        pipeline = Pipeline(self._app, request.environ, path[0])
        controller = JobController(
            self._get_service(),
            Request(
                env=request.environ,
                account=path[1],
                wants_report=report,
                transaction=_transaction(request.environ),
            ),
            pipeline,
        )
        answer = controller.run()
        response = Response(
            status=200,
            headers=dict(answer.headers),
            app_iter=_Body(answer.body, controller.close),
        )
        response.content_length = answer.length
        return response

    def _get_service(self) -> Service:
        """Made with the first job: the pipeline is not complete before."""
        if self._service is None:
            rings = Rings(self._app._pipeline_final_app)
            self._service = Service(
                self._settings, rings, self._logger, self._counters
            )
        return self._service


class _Body:
    """An answer's body; the job ends when it has been sent or given up.

    It is its own iterator: filters left of us take `iter(body)` and close
    that, as Swift's `reiterate` does.
    """

    def __init__(
        self, chunks: Iterator[bytes], close: Callable[[], None]
    ) -> None:
        self._chunks = chunks
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Called by the server in any case (PEP 3333)."""
        self._close()


def _schema(env: dict[str, Any]) -> Response:
    """The JSON Schema of jobs: the same for everybody, so without a token."""
    if env["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return Response(status=405, headers={"Allow": "GET, HEAD"})
    body = json.dumps(job_schema(), indent=1).encode()
    return Response(
        body=body, content_type=SCHEMA_TYPE, request=SwobRequest(env)
    )


def _split(path: str) -> tuple[str, ...] | None:
    """(version, account, rest) of a path that has an account."""
    parts = path.split("/", 3)
    if len(parts) < 3 or parts[0] or not parts[2]:
        return None
    if not valid_api_version(parts[1]):
        return None
    rest = parts[3] if len(parts) > 3 else ""
    return parts[1], wsgi_to_str(parts[2]), rest


def check_mode(mode: str, method: str, path: tuple[str, ...]) -> None:
    """JobError unless this is a request that starts a job."""
    if mode in LATER_MODES:
        raise JobError(
            "not_implemented", f"mode {mode} is not offered yet; {MODE} is"
        )
    if mode != MODE:
        raise JobError(
            "bad_mode",
            f"{names.EXECUTE} is {mode!r:.60}; allowed is {MODE}",
        )
    if method != "POST":
        raise JobError(
            "method_not_supported",
            f"method {method} is not offered in mode {MODE}; POST is",
        )
    if path[2]:
        raise JobError(
            "bad_path",
            f"the path names a container; a job is POSTed to /{path[0]}/"
            f"{path[1]}",
        )


def error_response(error: ZeroCloudError, *, as_json: bool) -> Response:
    """An error as the client sees it."""
    if as_json:
        body = json.dumps({"error": error.as_dict()}, ensure_ascii=False)
        kind = names.JSON_TYPE
    else:
        body, kind = error.message, "text/plain; charset=utf-8"
    return Response(
        # swob lacks names for some statuses that we use.
        status=f"{error.status} {_reason(error.status)}",
        body=(body + "\n").encode("utf-8"),
        content_type=kind,
    )


def _reason(status: int) -> str:
    return responses.get(status, "Client Disconnect")


def _transaction(env: dict[str, Any]) -> str:
    return str(env.get("swift.trans_id") or "-")


def swift_info(settings: ProxySettings) -> dict[str, Any]:
    """ZeroCloud's part of /info; a key must not hold a dot."""
    caps = settings.job_caps
    return {
        "version": __version__,
        "modes": [MODE],
        "job_versions": list(JOB_VERSIONS),
        "job_schema": SCHEMA_PATH,
        "system_images": [asdict(i) for i in settings.system_images],
        "local_reads": settings.local_reads,
        "determinism": {
            "default": caps.determinism,
            "allowed": list(caps.allowed_determinism),
        },
        "limits": {
            "defaults": asdict(caps.defaults),
            "caps": asdict(caps.caps),
            "max_job_bytes": caps.job_bytes,
            "max_stored_job_bytes": caps.stored_job_bytes,
            "max_nodes": caps.nodes,
            "max_blob_bytes": settings.blob_bytes,
            "max_input_bytes": settings.input_bytes,
            "report_immediate_bytes": settings.report_immediate_bytes,
        },
    }


class ProxyConfigError(ConfigError, ConfigFileError):  # type: ignore[misc] # Swift has no types
    """A bad option, which Swift's servers print in one line and stop."""


def _read(conf: dict[str, str], own: dict[str, str]) -> ProxySettings:
    try:
        check_names("proxy", own)
        settings = read_proxy_settings(conf)
        check_policies(settings.standalone_policies)
    except ConfigError as error:
        name = own.get("__name__", "zerocloud")
        raise ProxyConfigError(f"[filter:{name}] {error}") from None
    return settings


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[Any], ZeroCloudMiddleware]:
    """paste.deploy's entry point; ConfigError for a bad option."""
    conf = {**global_conf, **local_conf}
    settings = _read(conf, local_conf)
    register_swift_info("zerocloud", **swift_info(settings))
    logger = get_logger(
        conf, log_route="zerocloud", statsd_tail_prefix=PROXY_PREFIX
    )
    counters = Counters(PROXY_COUNTERS, logger)

    def factory(app: Any) -> ZeroCloudMiddleware:
        return ZeroCloudMiddleware(app, settings, logger, counters)

    return factory
