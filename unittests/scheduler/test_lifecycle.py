"""Stages in their order, and how long each took."""

from __future__ import annotations

import pytest

from zerocloud.scheduler.lifecycle import Lifecycle, Stage

WHOLE = (
    Stage.PLAN,
    Stage.AUTHORIZE,
    Stage.RESOLVE,
    Stage.RUN,
    Stage.COMMIT,
    Stage.ANSWER,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_lifecycle_goes_through_all_stages() -> None:
    life = Lifecycle(Clock())

    for stage in WHOLE:
        life.enter(stage)

    assert life.ended
    assert life.timing() == {
        "receive": 1.0,
        "plan": 2.0,
        "authorize": 1.0,
        "run": 1.0,
        "commit": 1.0,
        "total": 7.0,
    }


def test_failed_nodes_skip_the_commit() -> None:
    life = Lifecycle(Clock())
    for stage in WHOLE[:4]:
        life.enter(stage)

    life.enter(Stage.ANSWER)

    assert life.timing()["commit"] == 0.0


@pytest.mark.parametrize("stage", [Stage.RUN, Stage.COMMIT, Stage.ANSWER])
def test_nothing_runs_before_it_is_authorized(stage: Stage) -> None:
    life = Lifecycle(Clock())
    life.enter(Stage.PLAN)

    with pytest.raises(RuntimeError, match=f"from plan to {stage.value}"):
        life.enter(stage)


def test_nothing_follows_an_end() -> None:
    life = Lifecycle(Clock())
    life.enter(Stage.FAILED)

    with pytest.raises(RuntimeError, match="from failed to plan"):
        life.enter(Stage.PLAN)
