"""The search space, and who proposes its points: the grid first, then TPE."""

import hashlib
import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GridSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from storage.trials import TrialView


def suggest(trial: Trial) -> tuple[float, float]:
    """(alpha, T) of a trial. Grid and TPE use the same distributions, so TPE learns from the grid's trials."""
    return trial.suggest_float("alpha", 0.0, 1.0), trial.suggest_float("temperature", 1.0, 16.0, log=True)


class GridThenTPE(BaseSampler):
    """Optuna's ``GridSampler`` for the first trials of a study, one for each point, and its ``TPESampler`` after them.

    Who proposes, and what, follows from the trial's number and the trials before it, not from which process asks or
    how often it was started: each TPE trial has a sampler of its own, seeded by (seed, number). ``GridSampler`` is
    not told of ends: it would stop ``Study.optimize`` after the last point, an error outside of ``optimize``.

    Args:
        grid: the values by parameter.
        seed: of the search.
    """

    def __init__(self, grid: dict[str, list[float]], seed: int) -> None:
        self.grid, self.seed = GridSampler(grid, seed=seed), seed
        self.points = math.prod(len(values) for values in grid.values())

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Let ``GridSampler`` note in the trial which point it is."""
        if TrialView(trial, self.points).sampler == "grid":
            self.grid.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are proposed together."""
        return self._sampler(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Parameters that no other trial has; the same for every T once alpha = 0 was tried."""
        others = [other.params for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        attempt, proposed = 0, self._sampler(trial).sample_relative(study, trial, search_space)
        while proposed and any(_is_same(proposed, other) for other in others):
            attempt += 1
            proposed = self._sampler(trial, attempt).sample_relative(study, trial, search_space)
        return proposed

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter: the grid's, or TPE's as long as fewer than 10 trials have ended."""
        sampler = self._sampler(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, trial: FrozenTrial, purpose: object = 0) -> BaseSampler:
        if TrialView(trial, self.points).sampler == "grid":
            return self.grid
        digest = hashlib.sha256(f"tpe {self.seed} {trial.number} {purpose}".encode()).digest()
        return TPESampler(seed=int.from_bytes(digest[:4], "little"), constant_liar=True)


def _is_same(proposed: dict[str, Any], other: dict[str, Any]) -> bool:
    return proposed == other or proposed.get("alpha") == other.get("alpha") == 0
