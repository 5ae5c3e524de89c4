"""Which configurations the final comparison has, read from the search."""

from collections.abc import Iterable

import optuna

from storage.configuration import Configuration
from storage.trials import Sampler, TrialView, run_pair, views

Arms = dict[str, tuple[float, float]]


def winner(trials: Iterable[TrialView], sampler: Sampler) -> TrialView | None:
    """The COMPLETE trial of a sampler with the highest validation accuracy; the first of equals; None without one."""
    candidates = [trial for trial in trials if trial.value is not None and trial.sampler == sampler]
    return max(candidates, key=lambda trial: (trial.value, -trial.number), default=None)


def choose_arms(search: optuna.Study, configuration: Configuration, added: Iterable[tuple[float, float]] = ()) -> Arms:
    """(alpha, T) by name: no distillation, the winner of the grid and of each other sampler, and those asked for."""
    arms: Arms = {"baseline": (0.0, 1.0)}
    trials = views(search, len(configuration.points))
    winners: tuple[tuple[str, Sampler], ...] = (("best", "grid"), ("tpe", "tpe"), ("gp", "gp"))
    for name, sampler in winners:
        trial = winner(trials, sampler)
        if trial is not None:
            arms[name] = trial.pair
    return arms | {name_of_pair(pair): run_pair(*pair) for pair in added}


def name_of_pair(pair: tuple[float, float]) -> str:
    """What an arm that was asked for is called."""
    return f"{pair[0]:g},{pair[1]:g}"
