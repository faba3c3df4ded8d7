"""A cluster of fakes, and a way to run a job on it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from unittests.fakes.statsd import FakeStatsd
from unittests.scheduler.node_fake import KEY, FakeNodes
from unittests.scheduler.swift_fake import (
    ACCOUNT,
    OWNER,
    FakePipeline,
    FakeSwift,
)
from zerocloud.config import read_proxy_settings
from zerocloud.observe import PROXY_COUNTERS, Counters
from zerocloud.scheduler.controller import (
    JobController,
    Request,
    Service,
)

PYTHON = "ab" * 32


class Log:
    """Remembers what was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, form: str, *args: Any) -> None:
        self.lines.append(form % args)

    def warning(self, form: str, *args: Any) -> None:
        self.lines.append(form % args)


@dataclass
class Done:
    """An answer, read to its end."""

    headers: dict[str, str]
    length: int
    body: bytes

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Cluster:
    """Fakes that belong together."""

    swift: FakeSwift = field(default_factory=FakeSwift)
    user: str = OWNER
    owns: str = ACCOUNT
    log: Log = field(default_factory=Log)
    statsd: FakeStatsd = field(default_factory=FakeStatsd)
    options: dict[str, str] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = FakeNodes(self.swift)
        self._service: Service | None = None
        self.swift.put("bin/prog.wasm", b"\0asm program")

    @property
    def service(self) -> Service:
        if self._service is None:
            conf = {
                "cluster_key": KEY.decode(),
                "system_images": f"python3={PYTHON}",
                "node_timeout": "1",
                **self.options,
            }
            self._service = Service(
                settings=read_proxy_settings(conf),
                rings=self.nodes,
                logger=self.log,
                counters=Counters(PROXY_COUNTERS, self.statsd),
                connect=self.nodes.connect,
            )
        return self._service

    def controller(
        self,
        body: bytes,
        content_type: str = "application/json",
        *,
        report: bool = False,
        **env: Any,
    ) -> JobController:
        """A controller for a request with this body."""
        whole = {
            "swift.authorize": lambda req: None,
            "REMOTE_USER": self.user,
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            **self.env,
            **env,
        }
        return JobController(
            self.service,
            Request(whole, ACCOUNT, report, "tx-unit"),
            FakePipeline(self.swift, self.user, self.owns),
        )

    def run(self, job: Any, *, report: bool = False, **env: Any) -> Done:
        """Run a job and read its whole answer."""
        body = job if isinstance(job, bytes) else json.dumps(job).encode()
        controller = self.controller(body, report=report, **env)
        answer = controller.run()
        data = b"".join(answer.body)
        controller.close()
        return Done(dict(answer.headers), answer.length, data)

    def ended(self) -> list[str]:
        """How each task that a node took has ended."""
        return [ran.ended for ran in self.nodes.ran]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def group(
    program: str = "cat", name: str = "n", **more: Any
) -> dict[str, Any]:
    """A group that runs one of the fake programs."""
    words = program.split(" ")
    devices = more.pop("devices", [{"name": "stdout"}])
    return {
        "name": name,
        "exec": {
            "path": "swift://~/bin/prog.wasm",
            "name": words[0],
            "args": words[1:],
        },
        "devices": devices,
        **more,
    }
