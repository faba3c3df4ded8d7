"""The SDK: submit a job to a ZeroCloud endpoint and read its result.

    from zerocloud.client import Client

    client = Client.from_environment()
    result = client.submit(b"#!file://python3:python\\nprint('hello')\\n")
    print(result.succeeded, result.outputs[0].data)

Public are the names listed in `__all__` (a unit test holds the list).  The
SDK knows HTTP and the documents of docs/http-api.md only; it imports no Swift
and retries nothing by itself: whether another try can help stands in
`may_retry` of every error.
"""

from __future__ import annotations

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
    "read_env_file",
]
