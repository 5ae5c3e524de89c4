"""Whoever proposes after the grid learns from trainings alone, and proposes no training twice."""

import optuna
import pytest
import torch
from optuna.trial import TrialState

from storage.optuna_internals import showing
from storage.trials import Beyond, TrialView
from study.sampler import SMALLEST_ALPHA, GridFirst, suggest

GRID = {"alpha": [0.0, 0.25, 0.5, 0.75], "temperature": [1.0, 2.0, 4.0, 8.0]}


def searched(
    beyond: Beyond, baseline: float, trials: int = 0, seed: int = 0, copies: bool = True, alphas: int = 4
) -> optuna.Study:
    """A study with its grid, in which the accuracy of alpha = 0 is given and others are a tenth, and trials beyond."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = {**GRID, "alpha": GRID["alpha"][:alphas]}
    study = optuna.create_study(direction="maximize", sampler=GridFirst(grid, seed, beyond))
    for _ in range(4 * alphas + trials):
        trial = study.ask()
        alpha, temperature = suggest(trial)
        first = next((other for other in study.get_trials(deepcopy=False) if other.params.get("alpha") == 0), None)
        if alpha == 0 and first is not None and first.number != trial.number:
            if copies:
                trial.set_user_attr("repeats", first.number)
                study.tell(trial, first.value)
            else:
                study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, baseline if alpha == 0 else 0.1 + 0.001 * alpha * temperature)
    return study


def beyond_the_grid(study: optuna.Study) -> list[dict[str, float]]:
    return [trial.params for trial in study.get_trials()[16:]]


@pytest.mark.parametrize("beyond", ["tpe", "gp"])
def test_copies_of_a_training_say_nothing_to_who_proposes(beyond: Beyond) -> None:
    with_copies, without = (searched(beyond, baseline=0.2, trials=1, copies=copies) for copies in (True, False))
    assert sum(TrialView(trial).repeats is not None for trial in with_copies.get_trials()) == 3
    assert beyond_the_grid(with_copies) == beyond_the_grid(without)


def test_tpe_learns_from_a_small_grid_too() -> None:
    with_copies, without = (
        searched("tpe", baseline=0.5, trials=8, copies=copies, alphas=3).get_trials()[12:] for copies in (True, False)
    )
    assert [trial.params for trial in with_copies] == [trial.params for trial in without]
    assert min(trial.params["alpha"] for trial in with_copies) >= SMALLEST_ALPHA


@pytest.mark.parametrize("beyond", ["tpe", "gp"])
def test_next_to_no_teacher_is_not_trained_once_no_teacher_was(beyond: Beyond) -> None:
    # The baseline wins by far, so everything draws towards it.
    study = searched(beyond, baseline=0.5, trials=8 if beyond == "tpe" else 1)
    assert min(point["alpha"] for point in beyond_the_grid(study)) >= SMALLEST_ALPHA


@pytest.mark.parametrize("beyond", ["tpe", "gp"])
def test_proposals_follow_from_seed_and_number(beyond: Beyond) -> None:
    again, other = (beyond_the_grid(searched(beyond, 0.1, trials=1, seed=seed)) for seed in (0, 1))
    once = beyond_the_grid(searched(beyond, 0.1, trials=2))
    assert once[:1] == again != other
    assert once[0] != once[1]


def test_who_proposed_a_trial_is_stored_with_it() -> None:
    study = searched("gp", 0.1, trials=2)
    study.sampler = GridFirst(GRID, 0, "tpe")
    suggest(study.ask())
    assert [TrialView(trial, 16).sampler for trial in study.get_trials()] == ["grid"] * 16 + ["gp", "gp", "tpe"]
    assert [trial.user_attrs["sampler"] for trial in study.get_trials()[15:]] == ["grid", "gp", "gp", "tpe"]


def test_one_that_goes_on_is_proposed_by_whom_it_was_asked_of() -> None:
    study = searched("gp", 0.1)
    left = study.ask()
    study.sampler = GridFirst(GRID, 0, "tpe")
    continued = optuna.Trial(study, left._trial_id)
    suggest(continued)
    assert TrialView(study.get_trials()[16], 16).sampler == "gp"
    assert beyond_the_grid(study) == beyond_the_grid(searched("gp", 0.1, trials=1))


def test_the_gaussian_process_gives_the_threads_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        searched("gp", 0.1, trials=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_study_that_shows_a_part_leaves_the_study_whole() -> None:
    study = searched("tpe", 0.1)
    shown = showing(study, lambda trial: trial.number < 3)
    assert [trial.number for trial in shown.get_trials()] == [0, 1, 2]
    assert len(study.get_trials()) == 16
