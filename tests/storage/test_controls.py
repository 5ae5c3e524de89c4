"""Which controls a study has, read from what was tried."""

import dataclasses

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from storage.configuration import Point
from storage.controls import (
    best_rate,
    control_arms,
    control_of,
    is_no_answer,
    name_of_point,
    rate_points,
    unanswered_rates,
)
from storage.trials import DIVERGED, views
from study.settings import PRESETS

CONFIGURATION = dataclasses.replace(PRESETS["full"], alphas=(0.0, 0.5), temperatures=(4.0,))
BASELINE, BEST = (0.0, 1.0), (0.5, 4.0)
ARMS = {"baseline": BASELINE, "best": BEST}


def study_of(*trials: tuple[Point, float | None]) -> optuna.Study:
    """A study whose trials have these values; those without one failed."""
    study = optuna.create_study(direction="maximize")
    for point, value in trials:
        distributions: dict[str, BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(0, 1000) for name in point
        }
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.add_trial(create_trial(params=point, distributions=distributions, value=value, state=state))
    return study


SEARCH = study_of(({"alpha": 0.0, "temperature": 4.0}, 0.4), ({"alpha": 0.5, "temperature": 4.0}, 0.5))


def rates_of(baseline: dict[float, float | None], best: dict[float, float | None]) -> optuna.Study:
    tried = [
        ({"alpha": alpha, "temperature": temperature, "learning_rate": rate, "seed": 0}, value)
        for (alpha, temperature), values in ((BASELINE, baseline), (BEST, best))
        for rate, value in values.items()
    ]
    return study_of(*tried)


def test_the_search_has_tried_the_protocol_s_rate_already() -> None:
    tried = [(point["alpha"], point["learning_rate"]) for point in rate_points(ARMS, SEARCH, CONFIGURATION)]
    assert sorted(tried) == [(alpha, rate) for alpha in (0.0, 0.5) for rate in (0.05, 0.2, 0.4)]
    pruned_by_luck = study_of(({"alpha": 0.5, "temperature": 4.0}, 0.5))
    assert (0.0, 0.1) in [
        (point["alpha"], point["learning_rate"]) for point in rate_points(ARMS, pruned_by_luck, CONFIGURATION)
    ]


def test_without_a_distilled_best_only_the_baseline_is_tuned() -> None:
    arms = {"baseline": BASELINE, "best": BASELINE}
    assert {point["alpha"] for point in rate_points(arms, SEARCH, CONFIGURATION)} == {0.0}
    assert control_arms(arms, SEARCH, None, CONFIGURATION) == {}


def test_each_side_has_its_own_best_rate_and_the_protocol_s_runs_are_those_of_its_arm() -> None:
    rates = rates_of({0.05: 0.3, 0.2: 0.45, 0.4: None}, {0.05: 0.2, 0.2: 0.3, 0.4: 0.1})
    assert control_arms(ARMS, SEARCH, rates, CONFIGURATION) == {
        "shuffled": {"alpha": 0.5, "temperature": 4.0, "shuffled": 1},
        "smoothing": {"alpha": 0.5, "temperature": 4.0, "smoothing": 1},
        "rate": {"alpha": 0.0, "temperature": 1.0, "learning_rate": 0.2},
        "best-rate": {"alpha": 0.5, "temperature": 4.0},
    }


def test_no_rate_is_chosen_before_all_were_tried() -> None:
    rates = rates_of({0.05: 0.3, 0.2: 0.45, 0.4: None}, {0.05: 0.2, 0.2: 0.3})
    assert list(control_arms(ARMS, SEARCH, rates, CONFIGURATION)) == ["shuffled", "smoothing"]


@pytest.mark.parametrize(
    ("tried", "best"), [({0.1: 0.5, 0.2: 0.5}, 0.1), ({0.4: 0.5, 0.2: 0.5, 0.1: 0.4}, 0.2), ({}, None)]
)
def test_of_equal_rates_the_nearest_to_the_protocol_s_is_best(tried: dict[float, float], best: float | None) -> None:
    assert best_rate(tried, 0.1) == best


def test_a_point_says_which_control_it_is() -> None:
    plain: Point = {"alpha": 0.5, "temperature": 4.0}
    assert (control_of(plain), name_of_point(plain)) == (None, "0.5,4")
    assert name_of_point({**plain, "shuffled": 1}) == "0.5,4 shuffled"
    assert name_of_point({**plain, "learning_rate": 0.2}) == "0.5,4 rate0.2"
    run = views(study_of(({**plain, "smoothing": 1.0, "seed": 3.0}, 0.5)))[0]
    assert run.setting == {**plain, "smoothing": 1}


def test_a_rate_that_failed_and_did_not_diverge_is_to_be_tried_again() -> None:
    rates = rates_of({0.05: 0.3, 0.2: 0.45}, {0.05: 0.2, 0.2: 0.3, 0.4: 0.1})
    (missing,) = unanswered_rates(ARMS, SEARCH, rates, CONFIGURATION)
    assert (missing["alpha"], missing["learning_rate"]) == (0.0, 0.4)
    for reason, left in (("out of memory", [missing]), (f"{DIVERGED} nan in epoch 3", [])):
        failed = create_trial(
            params=missing,
            distributions={name: optuna.distributions.FloatDistribution(0, 1000) for name in missing},
            state=TrialState.FAIL,
            user_attrs={"reason": reason},
        )
        tried = rates_of({0.05: 0.3, 0.2: 0.45}, {0.05: 0.2, 0.2: 0.3, 0.4: 0.1})
        tried.add_trial(failed)
        assert unanswered_rates(ARMS, SEARCH, tried, CONFIGURATION) == left
    assert len(unanswered_rates(ARMS, SEARCH, None, CONFIGURATION)) == 6


def test_that_the_loss_diverges_is_an_answer_of_a_learning_rate() -> None:
    for reason, again in ((f"{DIVERGED} nan in epoch 3", False), ("out of memory 3 times", True)):
        failed = create_trial(state=TrialState.FAIL, user_attrs={"reason": reason})
        assert is_no_answer(failed) is again
