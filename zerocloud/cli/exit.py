"""The exit statuses of the `zerocloud` command: all of them, in one place.

| status | meaning |
|---|---|
| 0 | done; for `run`: the job succeeded |
| 1 | the job ran, and at least one node failed (the table says which) |
| 2 | the command line, or a file named on it, is at fault; nothing was sent |
| 3 | refused (HTTP 4xx, or 501): the request or the job is at fault |
| 4 | the cluster failed (HTTP 5xx), or answered what it must not |
| 5 | no connection, or no login |
| 6 | the job succeeded, but an output was too long for a report (--raw) |
| 130 | interrupted (Ctrl-C) |
| 141 | the reader of the output went away (as after SIGPIPE in a shell) |
"""

from __future__ import annotations

from zerocloud.client import (
    ClientError,
    ConnectError,
    FilterMissingError,
    LoginError,
    RefusedError,
    UsageError,
)

SUCCESS = 0
JOB_FAILED = 1
USAGE = 2
REFUSED = 3
CLUSTER_FAILED = 4
NO_CONNECTION = 5
OUTPUT_TOO_LONG = 6
INTERRUPTED = 130
OUTPUT_CLOSED = 141


def status_of(error: ClientError) -> int:
    """The exit status that an error of the SDK stands for."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, RefusedError | FilterMissingError):
        return REFUSED
    if isinstance(error, LoginError | ConnectError):
        return NO_CONNECTION
    return CLUSTER_FAILED
