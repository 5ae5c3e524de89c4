"""What a report takes from stored trials: the last word on a point, one entry a seed, how many ran at once."""

from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from reports.collect import _at_once, _cell, _runs_of
from storage.trials import TrialView, views

SPACE: dict[str, BaseDistribution] = {
    "alpha": FloatDistribution(0, 1),
    "temperature": FloatDistribution(1, 16),
    "seed": IntDistribution(0, 10),
}
PAIR = {"alpha": 0.5, "temperature": 4.0}
BEGAN = datetime(2026, 1, 1)


def stored(*trials: dict[str, Any]) -> list[TrialView]:
    """Trials in their order, each as ``create_trial`` takes it."""
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        params = trial.get("params", PAIR)
        study.add_trial(
            create_trial(**{"params": params, "distributions": {key: SPACE[key] for key in params}, **trial})
        )
    return views(study, 2)


def failed(reason: str, **more: Any) -> dict[str, Any]:
    return {"state": TrialState.FAIL, "user_attrs": {"reason": reason}, **more}


def test_a_point_that_was_tried_again_is_what_it_was_the_last_time() -> None:
    cell = _cell(PAIR, stored(failed("the loss became nan"), {"value": 0.4}))
    assert (cell["number"], cell["state"], cell["value"], cell["reason"]) == (1, "COMPLETE", 0.4, None)
    cell = _cell(PAIR, stored(failed("out of memory"), failed("the loss became nan")))
    assert (cell["number"], cell["reason"]) == (1, "the loss became nan")


def test_a_run_that_failed_and_was_run_again_is_no_failed_one() -> None:
    test = {"loss": 1.0, "correct_by_class": [1], "images_by_class": [2], "calibration": [[2, 1.0, 1]]}
    done = {"value": 0.5, "params": {**PAIR, "seed": 1}, "user_attrs": {"test": test}}
    of_one, of_two = (failed(f"seed {seed}", params={**PAIR, "seed": seed}) for seed in (1, 2))
    arm = _runs_of(PAIR, stored(of_one, of_two, done), 0.1)
    assert arm["seeds"] == [1]
    assert arm["failed"] == [{"seed": 2, "reason": "seed 2"}]


def test_a_run_that_failed_twice_is_one_and_one_that_runs_again_is_none() -> None:
    of_one, again, of_two = (
        failed(reason, params={**PAIR, "seed": seed}) for reason, seed in (("memory", 1), ("nan", 1), ("memory", 2))
    )
    arm = _runs_of(PAIR, stored(of_one, again, of_two), 0.1)
    assert arm["failed"] == [{"seed": 1, "reason": "nan"}, {"seed": 2, "reason": "memory"}]
    runs = {"state": TrialState.RUNNING, "value": None, "params": {**PAIR, "seed": 2}}
    arm = _runs_of(PAIR, stored(of_one, again, of_two, runs), 0.1)
    assert arm["failed"] == [{"seed": 1, "reason": "nan"}]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([(0, 2), (2, 4), (4, 6)], 1),
        ([(0, 3), (2, 5), (4, 6)], 2),
        ([(0, 9), (1, 3), (2, None)], 3),
        ([], 0),
    ],
    ids=["one after another", "two", "three of which one runs", "none"],
)
def test_workers_are_counted_by_what_ran_at_once(times: list[tuple[int, int | None]], expected: int) -> None:
    trials = [
        {
            "state": TrialState.RUNNING if end is None else TrialState.COMPLETE,
            "value": None if end is None else 0.5,
        }
        for _, end in times
    ]
    found = stored(*trials)
    for view, (start, end) in zip(found, times, strict=True):
        view.trial.datetime_start = BEGAN + timedelta(hours=start)
        view.trial.datetime_complete = None if end is None else BEGAN + timedelta(hours=end)
    assert _at_once(found) == expected


def test_a_copy_that_waits_for_what_it_repeats_is_no_worker() -> None:
    found = stored({"value": 0.5}, {"value": 0.5, "user_attrs": {"repeats": 0}})
    for view in found:
        view.trial.datetime_start, view.trial.datetime_complete = BEGAN, BEGAN + timedelta(hours=1)
    assert _at_once(found) == 1
