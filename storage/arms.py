"""Which configurations the final comparison has, read from the search."""

import statistics
from collections.abc import Iterable, Sequence

import optuna

from storage.configuration import Configuration, Point
from storage.trials import Sampler, TrialView, run_pair, views

Arms = dict[str, tuple[float, float]]


def winner(trials: Sequence[TrialView], sampler: Sampler) -> TrialView | None:
    """The COMPLETE trial of a sampler at the point with the highest validation accuracy; None without one.

    A point that was trained with several seeds counts by its mean, and before all that have one: it is a finalist.
    The first of equals.
    """
    candidates = [trial for trial in trials if trial.value is not None and trial.sampler == sampler]

    def rank(trial: TrialView) -> tuple[bool, float, int]:
        values = values_by_seed(trial.pair, trials).values()
        return len(values) > 1, statistics.fmean(values), -trial.number

    return max(candidates, key=rank, default=None)


def values_by_seed(pair: tuple[float, float], trials: Iterable[TrialView]) -> dict[float | None, float]:
    """The validation accuracies of the trainings of a point by seed; that of the search, under None, first."""
    known = {
        trial.point.get("seed"): trial.value
        for trial in trials
        if trial.value is not None and trial.repeats is None and trial.pair == pair
    }
    return dict(sorted(known.items(), key=lambda entry: entry[0] or -1))


def finalists(trials: Iterable[TrialView], configuration: Configuration) -> list[tuple[float, float]]:
    """(alpha, T) of the best points that ran to their end with the search seed, whoever proposed them, best first."""
    complete = [(trial.value, trial) for trial in trials if trial.value is not None and trial.repeats is None]
    ranked = sorted(
        ((value, trial) for value, trial in complete if trial.sampler != "finalist"),
        key=lambda ended: (-ended[0], ended[1].number),
    )
    return [trial.pair for _, trial in ranked[: configuration.finalists]]


def finalist_points(trials: Iterable[TrialView], configuration: Configuration) -> list[Point]:
    """What the finalists are trained with beside the search seed, seed by seed, once the rest of the search is done."""
    pairs = finalists(trials, configuration)
    return [
        {"alpha": alpha, "temperature": temperature, "seed": seed}
        for seed in configuration.more_search_seeds
        for alpha, temperature in pairs
    ]


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
