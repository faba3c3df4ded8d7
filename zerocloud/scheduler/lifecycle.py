"""The stages of a job, which may follow which, and how long each took.

A job goes through its stages in one direction; `Lifecycle.enter` refuses any
other step, so that for instance nothing can run before it was authorized and
nothing can be committed twice.  The clock is passed in.

    receive → plan → authorize → resolve → run → commit → answer

and each but the last may end in failed or abandoned.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Stage(Enum):
    """Where a job is; the value is the word in logs."""

    RECEIVE = "receive"
    PLAN = "plan"
    AUTHORIZE = "authorize"
    RESOLVE = "resolve"
    RUN = "run"
    COMMIT = "commit"
    ANSWER = "answer"
    FAILED = "failed"
    ABANDONED = "abandoned"


_ENDS = (Stage.ANSWER, Stage.FAILED, Stage.ABANDONED)
_BROKEN = (Stage.FAILED, Stage.ABANDONED)
_NEXT: dict[Stage, tuple[Stage, ...]] = {
    Stage.RECEIVE: (Stage.PLAN, *_BROKEN),
    Stage.PLAN: (Stage.AUTHORIZE, *_BROKEN),
    Stage.AUTHORIZE: (Stage.RESOLVE, *_BROKEN),
    Stage.RESOLVE: (Stage.RUN, *_BROKEN),
    # A job with a failed node has nothing to commit.
    Stage.RUN: (Stage.COMMIT, Stage.ANSWER, *_BROKEN),
    Stage.COMMIT: (Stage.ANSWER, *_BROKEN),
    **dict.fromkeys(_ENDS, ()),
}


class Lifecycle:
    """One job's way through its stages."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = self._entered = clock()
        self.stage = Stage.RECEIVE
        self.seconds: dict[Stage, float] = {}

    def enter(self, stage: Stage) -> None:
        """Leave the stage and begin the next; RuntimeError when illegal."""
        if stage not in _NEXT[self.stage]:
            raise RuntimeError(
                f"a job cannot go from {self.stage.value} to {stage.value}"
            )
        now = self._clock()
        self.seconds[self.stage] = now - self._entered
        self._entered, self.stage = now, stage

    @property
    def ended(self) -> bool:
        """Whether no further stage can follow."""
        return self.stage in _ENDS

    def timing(self) -> dict[str, float]:
        """Seconds per part of the report's `timing`."""
        spent = self.seconds
        return {
            "receive": round(spent.get(Stage.RECEIVE, 0.0), 6),
            "plan": round(
                spent.get(Stage.PLAN, 0.0) + spent.get(Stage.RESOLVE, 0.0), 6
            ),
            "authorize": round(spent.get(Stage.AUTHORIZE, 0.0), 6),
            "run": round(spent.get(Stage.RUN, 0.0), 6),
            "commit": round(spent.get(Stage.COMMIT, 0.0), 6),
            "total": round(self._clock() - self._begun, 6),
        }
