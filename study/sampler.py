"""The search space, and who proposes its points: the grid first, then TPE or a Gaussian process."""

import hashlib
import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from storage.configuration import ALPHA_BOUNDS, TEMPERATURE_BOUNDS
from storage.optuna_internals import showing
from storage.trials import Beyond, TrialView, note_sampler

SMALLEST_ALPHA = 0.05
"""Below this a trial repeats the baseline: it would gain less than the standard error of one validation score, from
the slope of reports/published/cifar100-ten-epochs (4 points up to alpha = 0.25)."""

STARTS_AFTER = 4
"""Trials that have ended, for TPE, or are complete, for a Gaussian process. Optuna's 10 are meant for random ones; here
the grid comes before, which may be small, and of which many may be pruned."""

TRIES = 5
"""Proposals of a sampler that were tried before, until random points are; as many of those, since a space of few points
may have no other."""


def suggest(trial: Trial) -> tuple[float, float]:
    """(alpha, T) of a trial. All samplers use the same distributions, so each learns from the others' trials."""
    alpha = trial.suggest_float("alpha", *ALPHA_BOUNDS)
    return alpha, trial.suggest_float("temperature", *TEMPERATURE_BOUNDS, log=True)


class GridFirst(BaseSampler):
    """Optuna's ``GridSampler`` for the first trials of a study, one for each point, and a model-based one after them.

    Who proposes, and what, follows from the trial's number and the trials before it, not from which process asks or
    how often it was started: each trial beyond the grid has a sampler of its own, seeded by (seed, number). It is shown
    what was trained, not the copies of alpha = 0: with four of one score that was luck, nine of ten proposals of TPE
    lie beside it. ``GridSampler`` is not told of ends: it would stop ``Study.optimize`` after the last point, an error
    outside of ``optimize``.

    Args:
        grid: the values by parameter.
        seed: of the search.
        beyond: who proposes after the grid.
    """

    def __init__(self, grid: dict[str, list[float]], seed: int, beyond: Beyond = "tpe") -> None:
        self.grid, self.seed, self.beyond = GridSampler(grid, seed=seed), seed, beyond
        self.points = math.prod(len(values) for values in grid.values())

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Store who proposes the trial, and let ``GridSampler`` note in it which point it is."""
        sampler = TrialView(trial, self.points, self.beyond).sampler
        note_sampler(study, trial, sampler)
        if sampler == "grid":
            self.grid.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are proposed together."""
        return self._sampler(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Parameters that no other trial has; next to no teacher is the same as none, once that was tried."""
        others = [other.params for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        shown = _without_copies(study, trial)
        proposed = self._sampler(trial).sample_relative(shown, trial, search_space)
        for attempt in range(1, 2 * TRIES):
            if not proposed or not any(_is_same(proposed, other) for other in others):
                break
            if attempt < TRIES:
                proposed = self._sampler(trial, attempt).sample_relative(shown, trial, search_space)
            else:
                chance = RandomSampler(self._seed(trial, attempt))
                proposed = {
                    name: chance.sample_independent(shown, trial, name, distribution)
                    for name, distribution in search_space.items()
                }
        return proposed

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter: the grid's, or a random one as long as too few trials have ended."""
        sampler = self._sampler(trial, param_name)
        shown = study if sampler is self.grid else _without_copies(study, trial)
        return sampler.sample_independent(shown, trial, param_name, param_distribution)

    def _sampler(self, trial: FrozenTrial, purpose: object = 0) -> BaseSampler:
        sampler = TrialView(trial, self.points, self.beyond).sampler
        if sampler == "tpe":
            return TPESampler(seed=self._seed(trial, purpose), n_startup_trials=STARTS_AFTER, constant_liar=True)
        if sampler == "gp":
            # Two trainings of one point differ, so the noise is fitted too.
            return GPSampler(
                seed=self._seed(trial, purpose),
                n_startup_trials=STARTS_AFTER,
                deterministic_objective=False,
                warn_independent_sampling=False,
            )
        return self.grid

    def _seed(self, trial: FrozenTrial, purpose: object) -> int:
        sampler = TrialView(trial, self.points, self.beyond).sampler
        digest = hashlib.sha256(f"{sampler} {self.seed} {trial.number} {purpose}".encode()).digest()
        return int.from_bytes(digest[:4], "little")


def _without_copies(study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
    """What a trial beyond the grid learns from: the others that were trained."""
    return showing(study, lambda other: other.number != trial.number and TrialView(other).repeats is None)


def _is_same(proposed: dict[str, Any], other: dict[str, Any]) -> bool:
    if "alpha" in proposed and other.get("alpha") == 0 and proposed["alpha"] < SMALLEST_ALPHA:
        return True
    return all(value == other.get(name) for name, value in proposed.items())
