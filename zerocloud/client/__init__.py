"""The SDK: submit a job to a ZeroCloud endpoint and read its result.

    from zerocloud import Client, make_job

    client = Client.from_environment()
    job = make_job("count.py", each="swift://~/texts/*")
    for node in client.submit(job).raise_for_failure().nodes:
        print(node.name, node.outputs[0].text)

Public are the names listed in `__all__` (a unit test holds the list).  The
SDK knows HTTP and the documents of docs/http-api.md only; it imports no Swift
and retries nothing by itself: whether another try can help stands in
`may_retry` of every error.
"""

from __future__ import annotations

from zerocloud.client.build import make_job
from zerocloud.client.envfile import read_env_file
from zerocloud.client.errors import (
    AnswerError,
    ClientError,
    ClusterFailedError,
    ConnectError,
    FilterMissingError,
    JobFailedError,
    LoginError,
    RefusedError,
    UsageError,
)
from zerocloud.client.login import Login, log_in
from zerocloud.client.result import (
    ChannelUse,
    JobResult,
    NodeResult,
    Outcome,
    OutputBytes,
    StoredOutput,
)
from zerocloud.client.session import Client
from zerocloud.client.streams import ByteStream, ObjectStream, RawAnswer

__all__ = [
    "AnswerError",
    "ByteStream",
    "ChannelUse",
    "Client",
    "ClientError",
    "ClusterFailedError",
    "ConnectError",
    "FilterMissingError",
    "JobFailedError",
    "JobResult",
    "Login",
    "LoginError",
    "NodeResult",
    "ObjectStream",
    "Outcome",
    "OutputBytes",
    "RawAnswer",
    "RefusedError",
    "StoredOutput",
    "UsageError",
    "log_in",
    "make_job",
    "read_env_file",
]
