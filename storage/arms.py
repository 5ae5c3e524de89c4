"""Which configurations the final comparison has, read from the search."""

import itertools
import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import get_args

import optuna

from storage.configuration import Configuration, Point
from storage.description import Start
from storage.trials import Beyond, Sampler, TrialView, run_pair, views

Arms = dict[str, tuple[float, float]]

BASELINE = (0.0, 1.0)
"""The pair of the baseline, as ``run_pair`` has it."""


def winner(trials: Sequence[TrialView], *samplers: Sampler) -> TrialView | None:
    """The COMPLETE trial of these samplers at the point with the highest validation accuracy; None without one.

    A point that was trained with several seeds counts by its mean, and before all that have one: it is a finalist.
    The first of equals.
    """
    candidates = [trial for trial in trials if trial.value is not None and trial.sampler in samplers]

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
    arms: Arms = {"baseline": BASELINE}
    trials = views(search, len(configuration.points))
    winners: list[tuple[str, Sampler]] = [("best", "grid"), *((name, name) for name in get_args(Beyond))]
    for name, sampler in winners:
        trial = winner(trials, sampler)
        if trial is not None:
            arms[name] = trial.pair
    return arms | {name_of_pair(pair): run_pair(*pair) for pair in added}


def grid_has_ended(trials: Iterable[TrialView], configuration: Configuration) -> bool:
    """Whether every point of the grid has a trial that ended, also by failing."""
    ended = [trial.point for trial in trials if trial.state.is_finished()]
    return all(point in ended for point in configuration.points)


def arms_to_train(
    search: optuna.Study, configuration: Configuration, trials_beyond: int, added: Iterable[tuple[float, float]] = ()
) -> Arms:
    """``choose_arms`` without the winners that may still change: of a part of the search that has not ended.

    Args:
        trials_beyond: how many trials after the grid the study was asked for, whoever proposes them.
    """
    trials = views(search, len(configuration.points))
    ended = [trial.point for trial in trials if trial.state.is_finished()]
    beyond = sum(trial.is_beyond_grid and trial.state.is_finished() for trial in trials)
    open_parts: set[str] = set()
    if not grid_has_ended(trials, configuration):
        open_parts |= {"best"}
    if beyond < trials_beyond:
        open_parts |= {*get_args(Beyond)}
    if any(point not in ended for point in finalist_points(trials, configuration)):
        open_parts |= {"best", *get_args(Beyond)}
    arms = choose_arms(search, configuration, added)
    return {name: pair for name, pair in arms.items() if name not in open_parts}


def arms_asked_for(starts: Iterable[Start]) -> list[tuple[float, float]]:
    """The pairs that commands named with ``--arm``, also those of which no run has begun."""
    named = []
    for start in starts:
        words = shlex.split(start["command"].replace("--arm=", "--arm "))
        named += [pair.split(",") for word, pair in itertools.pairwise(words) if word == "--arm"]
    return [*dict.fromkeys(run_pair(float(alpha), float(temperature)) for alpha, temperature in named)]


def name_of_pair(pair: tuple[float, float]) -> str:
    """What an arm that was asked for is called."""
    return f"{pair[0]:g},{pair[1]:g}"
