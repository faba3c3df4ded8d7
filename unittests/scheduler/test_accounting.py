"""Jobs that end in an error: which counter each is."""

from __future__ import annotations

import pytest

from unittests.fakes.statsd import FakeStatsd
from zerocloud.errors import CODES, ClusterError, JobError, ZeroCloudError
from zerocloud.observe import PROXY_COUNTERS, Counters
from zerocloud.scheduler.accounting import count_error


@pytest.mark.parametrize("code", sorted(CODES))
def test_error_of_every_code_is_counted_by_its_kind(code: str) -> None:
    statsd = FakeStatsd()
    theirs = CODES[code].status < 500 or code.endswith(
        ("_implemented", "_supported")
    )
    error: ZeroCloudError = (JobError if theirs else ClusterError)(code, "x")

    count_error(Counters(PROXY_COUNTERS, statsd), error)

    [name] = statsd.counts
    if code == "client_disconnect":
        assert name == "jobs.abandoned"
    else:
        assert name == f"jobs.{'refused' if theirs else 'error'}.{code}"
