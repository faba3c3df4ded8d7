"""The WSGI filter: what is a job, what passes on, how errors look."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from swift.common.registry import get_swift_info
from swift.common.utils import reiterate

from unittests.scheduler.node_fake import KEY
from zerocloud import middleware
from zerocloud.config import read_proxy_settings
from zerocloud.errors import ClusterError, ConfigError, JobError
from zerocloud.middleware import (
    ZeroCloudMiddleware,
    filter_factory,
    swift_info,
)
from zerocloud.scheduler.response import Answer

CONF = {"cluster_key": KEY.decode()}


class App:
    """What is right of the filter: says 200 and remembers."""

    _pipeline_final_app = None

    def __init__(self) -> None:
        self.passed: list[str] = []

    def __call__(self, env: dict[str, Any], start: Any) -> list[bytes]:
        self.passed.append(f"{env['REQUEST_METHOD']} {env['PATH_INFO']}")
        start("200 OK", [("Content-Length", "5")])
        return [b"swift"]


class Logger:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def exception(self, text: str) -> None:
        self.faults.append(text)


class Got:
    """One request through the filter."""

    def __init__(
        self,
        method: str = "POST",
        path: str = "/v1/AUTH_a",
        app: App | None = None,
        logger: Logger | None = None,
        **env: Any,
    ) -> None:
        self.app = app or App()
        self.logger = logger or Logger()
        self.status = ""
        self.headers: dict[str, str] = {}
        whole = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(b""),
            "HTTP_X_ZEROVM_EXECUTE": "1.0",
            "swift.trans_id": "tx123",
            **env,
        }
        whole = {k: v for k, v in whole.items() if v is not None}
        filtered = ZeroCloudMiddleware(
            self.app, read_proxy_settings(CONF), self.logger
        )
        body = filtered(whole, self.start)
        self.body = b"".join(body)
        if hasattr(body, "close"):
            body.close()

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = dict(headers)

    @property
    def code(self) -> str:
        """The code of a JSON error."""
        error = json.loads(self.body)["error"]
        assert set(error) <= {"code", "message", "may_retry", "where"}
        return str(error["code"])


class FakeController:
    """Stands for the scheduler: answers, or raises."""

    raises: Exception | None = None
    closed = 0

    def __init__(self, service: Any, request: Any, pipeline: Any) -> None:
        self.request = request

    def run(self) -> Answer:
        if self.raises is not None:
            raise self.raises
        body = f"job of {self.request.account}".encode()
        headers = [("Content-Type", "text/plain"), ("X-Zerovm-Job-Id", "j")]
        return Answer(headers, len(body), iter([body]))

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(autouse=True)
def controller(monkeypatch: pytest.MonkeyPatch) -> type[FakeController]:
    made = type("Controller", (FakeController,), {"closed": 0})
    monkeypatch.setattr(middleware, "JobController", made)
    return made


@pytest.mark.parametrize(
    ("method", "path", "env"),
    [
        ("POST", "/v1/AUTH_a", {"HTTP_X_ZEROVM_EXECUTE": None}),
        ("GET", "/v1/AUTH_a/c/o", {"HTTP_X_ZEROVM_EXECUTE": None}),
        ("OPTIONS", "/v1/AUTH_a", {}),
        ("POST", "/info", {}),
        ("POST", "/v1", {}),
        ("POST", "/v1/", {}),
        ("POST", "/auth/v1.0", {}),
        ("POST", "", {}),
    ],
)
def test_request_that_is_no_job_passes_untouched(
    method: str, path: str, env: dict[str, Any]
) -> None:
    got = Got(method, path, **env)

    assert (got.status, got.body) == ("200 OK", b"swift")
    assert got.app.passed == [f"{method} {path}"]


def test_schema_of_jobs_is_served_to_everybody() -> None:
    got = Got("GET", "/zerocloud/job.schema.json", HTTP_X_ZEROVM_EXECUTE=None)

    assert got.status == "200 OK"
    assert got.headers["Content-Type"] == "application/schema+json"
    assert json.loads(got.body)["$schema"].startswith("http")
    assert got.app.passed == []


def test_schema_of_jobs_is_only_read() -> None:
    got = Got("PUT", "/zerocloud/job.schema.json")

    assert got.status == "405 Method Not Allowed"


@pytest.mark.parametrize("path", ["/v1/AUTH_a", "/v1.0/AUTH_a", "/v1/AUTH_a/"])
def test_job_is_run_and_closed(
    path: str, controller: type[FakeController]
) -> None:
    got = Got(path=path)

    assert (got.status, got.body) == ("200 OK", b"job of AUTH_a")
    assert got.headers["Content-Length"] == "13"
    assert got.headers["X-Zerovm-Job-Id"] == "j"
    assert got.app.passed == []
    assert controller.closed == 1


def test_job_is_closed_by_filters_that_wrap_its_body(
    controller: type[FakeController],
) -> None:
    got = Got(method="OPTIONS")
    filtered = ZeroCloudMiddleware(
        got.app, read_proxy_settings(CONF), got.logger
    )
    env = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/AUTH_a",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "HTTP_X_ZEROVM_EXECUTE": "1.0",
    }

    reiterate(filtered(env, got.start)).close()

    assert controller.closed == 1


def test_account_is_read_as_utf8() -> None:
    got = Got(path="/v1/" + "AUTH_ä".encode().decode("latin-1"))

    assert got.body == "job of AUTH_ä".encode()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "COPY", "BREW"])
def test_other_methods_are_not_supported(method: str) -> None:
    got = Got(method)

    assert got.status.startswith("501 ")
    assert f"method {method} is not offered".encode() in got.body
    assert got.app.passed == []


@pytest.mark.parametrize("mode", ["open/1.0", "api/1.0"])
def test_later_modes_say_that_they_are_not_offered(mode: str) -> None:
    got = Got(HTTP_X_ZEROVM_EXECUTE=mode, HTTP_ACCEPT="application/json")

    assert got.status.startswith("501 ")
    assert got.code == "not_implemented"


@pytest.mark.parametrize("mode", ["9.9", "", "1", "1.0.0"])
def test_unknown_modes_are_refused(mode: str) -> None:
    got = Got(HTTP_X_ZEROVM_EXECUTE=mode, HTTP_ACCEPT="application/json")

    assert got.status == "412 Precondition Failed"
    assert got.code == "bad_mode"


def test_job_posted_to_a_container_is_refused() -> None:
    got = Got(path="/v1/AUTH_a/c/o")

    assert got.status == "412 Precondition Failed"
    assert b"POSTed to /v1/AUTH_a" in got.body


def test_error_is_plain_text(controller: type[FakeController]) -> None:
    controller.raises = JobError("not_found", "object ä is missing")

    got = Got()

    assert got.status == "404 Not Found"
    assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert got.body == "object ä is missing\n".encode()
    assert "X-Zerovm-Job-Status" not in got.headers


def test_error_is_json_for_who_asks(controller: type[FakeController]) -> None:
    controller.raises = JobError("job_rule", "no", where="/0/name")

    got = Got(HTTP_ACCEPT="application/vnd.zerocloud.report+json")

    assert got.status == "400 Bad Request"
    assert got.headers["Content-Type"] == "application/json"
    assert json.loads(got.body) == {
        "error": {
            "code": "job_rule",
            "message": "no",
            "may_retry": False,
            "where": "/0/name",
        }
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [("busy", "503"), ("disk_full", "507"), ("node_lost", "503")],
)
def test_our_failures_are_5xx(
    code: str, status: str, controller: type[FakeController]
) -> None:
    controller.raises = ClusterError(code, "no")

    assert Got().status.startswith(status)


def test_refused_login_says_how_to_log_in(
    controller: type[FakeController],
) -> None:
    controller.raises = JobError("auth_required", "a job needs a token")

    got = Got()

    assert got.status == "401 Unauthorized"
    assert "www-authenticate" in {name.lower() for name in got.headers}


def test_disconnect_has_a_status_of_its_own(
    controller: type[FakeController],
) -> None:
    controller.raises = JobError("client_disconnect", "gone")

    assert Got().status == "499 Client Disconnect"


def test_fault_is_logged_and_tells_the_client_nothing(
    controller: type[FakeController],
) -> None:
    controller.raises = RuntimeError("/etc/secret at 10.0.0.1")

    got = Got(HTTP_ACCEPT="application/json")

    assert got.status == "500 Internal Server Error"
    assert got.code == "internal"
    assert b"secret" not in got.body
    assert b"10.0.0.1" not in got.body
    assert b"tx123" in got.body
    assert got.logger.faults == ["job failed unexpectedly"]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html, application/json", True),
        ("Application/JSON; q=0.5", True),
        ("application/json;q=0", False),
        ("application/vnd.zerocloud.report+json", True),
    ],
)
def test_report_is_for_who_accepts_json(accept: str, wanted: bool) -> None:
    assert middleware.wants_report(accept) is wanted


def test_factory_registers_info_and_makes_the_filter() -> None:
    made = filter_factory(dict(CONF), max_nodes="7")(App())

    assert isinstance(made, ZeroCloudMiddleware)
    assert get_swift_info()["zerocloud"]["limits"]["max_nodes"] == 7


def test_factory_stops_the_server_for_a_bad_option() -> None:
    with pytest.raises(ConfigError, match="max_nodes is 'x'"):
        filter_factory(dict(CONF), max_nodes="x")


def test_factory_stops_the_server_for_an_unknown_policy() -> None:
    with pytest.raises(ConfigError, match="standalone_policies has 'tin'"):
        filter_factory(dict(CONF), standalone_policies="tin")


def test_info_names_images_and_limits_but_no_key() -> None:
    settings = read_proxy_settings(
        CONF | {"system_images": f"python3={'ab' * 32}"}
    )

    info = swift_info(settings)

    assert info["system_images"] == [{"name": "python3", "sha256": "ab" * 32}]
    assert info["limits"]["defaults"]["memory_bytes"] == 512 * 1024 * 1024
    assert info["determinism"] == {
        "default": "default",
        "allowed": ["default", "strict"],
    }
    assert KEY.decode() not in json.dumps(info)
