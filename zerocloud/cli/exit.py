"""The exit statuses of the `zerocloud` command: all of them, in one place."""

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

MEANINGS = {
    SUCCESS: "done; for run: the job succeeded",
    JOB_FAILED: "the job ran, and at least one node failed",
    USAGE: "the command line or a file on it is at fault; nothing was sent",
    REFUSED: "refused (HTTP 4xx or 501): the request or the job is at fault",
    CLUSTER_FAILED: "the cluster failed (HTTP 5xx), or answered nonsense",
    NO_CONNECTION: "no connection, or no login",
    OUTPUT_TOO_LONG: "the job succeeded; an output is too long for a report",
    INTERRUPTED: "interrupted (Ctrl-C); the job was ended",
    OUTPUT_CLOSED: "the reader of the output went away (as with | head)",
}


def statuses_help(*shown: int) -> str:
    """The exit statuses for a command's help; all without `shown`."""
    rows = [f"  {n:<4} {MEANINGS[n]}" for n in shown or MEANINGS]
    return "\n".join(["exit status:", *rows]) + "\n"


def status_of(error: ClientError) -> int:
    """The exit status that an error of the SDK stands for."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, RefusedError | FilterMissingError):
        return REFUSED
    if isinstance(error, LoginError | ConnectError):
        return NO_CONNECTION
    return CLUSTER_FAILED
