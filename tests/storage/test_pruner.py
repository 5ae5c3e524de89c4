"""The median pruner stops what is worse than half of the points, not before half-time nor before four are complete."""

import optuna
import pytest
from optuna.pruners import NopPruner

from storage.pruner import make_pruner


def is_pruned(epochs: int, complete: int, at: int, accuracy: float) -> bool:
    """Whether a trial is pruned that reached an accuracy at an epoch, after so many of 0.5 in every epoch."""
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", epochs))
    for _ in range(complete):
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            trial.report(0.5, epoch)
        study.tell(trial, 0.5)
    trial = study.ask()
    trial.report(accuracy, at)
    return trial.should_prune()


@pytest.mark.parametrize(("epochs", "first"), [(4, 2), (5, 3), (10, 5), (100, 50)])
def test_the_first_look_is_at_half_time(epochs: int, first: int) -> None:
    assert is_pruned(epochs, 4, first, 0.4)
    assert not is_pruned(epochs, 4, first - 1, 0.4)


def test_four_have_to_be_complete() -> None:
    assert is_pruned(4, 4, 2, 0.4)
    assert not is_pruned(4, 3, 2, 0.4)


def test_who_is_as_good_as_the_median_stays() -> None:
    assert not is_pruned(4, 4, 2, 0.5)


def test_without_a_pruner_nothing_is_pruned() -> None:
    assert isinstance(make_pruner("none", 4), NopPruner)
