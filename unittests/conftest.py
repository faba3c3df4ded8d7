"""Property tests draw the same examples every time, at their own pace.

A test that fails must fail again on the next run, and a machine that is busy
must not fail one: so the examples are derived from the test itself, and no
example has a deadline (pytest's timeout ends what hangs).
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
