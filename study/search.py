"""The search: every grid point once, then TPE from what the grid found."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.claims import Claims
from storage.configuration import Configuration
from storage.exactly_once import TrialClaims
from study.progress import bar, say
from study.record import store_training
from study.space import grid, grid_points, suggest
from study.training import Epoch, Training
from study.work import name_of, note_epoch, work_together

MakeTraining = Callable[[float, float, str], Training]


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
        if sampler_of(trial, self.points) == "grid":
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
        if sampler_of(trial, self.points) == "grid":
            return self.grid
        digest = hashlib.sha256(f"tpe {self.seed} {trial.number} {purpose}".encode()).digest()
        return TPESampler(seed=int.from_bytes(digest[:4], "little"), constant_liar=True)


def _is_same(proposed: dict[str, Any], other: dict[str, Any]) -> bool:
    return proposed == other or proposed.get("alpha") == other.get("alpha") == 0


@dataclass
class Search:
    """Runs the trials of one study in this process, together with any other process that does the same.

    Args:
        study: the Optuna study.
        configuration: what the study is.
        claims: of its storage.
        make_training: gives the training for (alpha, temperature, name), resumed where it was stopped.
        pruner: ``median`` or ``none``.
        artifacts: where each trial's curve is kept, and its weights if it completes.
    """

    study: optuna.Study
    configuration: Configuration
    claims: Claims
    make_training: MakeTraining
    pruner: str
    artifacts: FileSystemArtifactStore

    def __post_init__(self) -> None:
        self.study.sampler = GridThenTPE(grid(self.configuration), self.configuration.seed)
        self.study.pruner = make_pruner(self.pruner, self.configuration.recipe.epochs)
        self.worker = TrialClaims(self.study, self.claims)
        self.points = grid_points(self.configuration)

    def run_grid(self) -> None:
        """Work until every grid point has ended, whoever ended it."""
        self._work(self._ask_grid, len(self.points), "grid")

    def run_tpe(self, trials: int) -> None:
        """Work until the study has that many TPE trials, whoever ended them."""
        # A grid point that failed may be tried again by a worker that came later, and left by it.
        self._work(lambda: self._ask_grid() or self._ask_tpe(trials), trials, "tpe")

    def _ask_grid(self) -> Trial | None:
        # GridSampler gives trial number n the n-th point of its shuffled list: asked one at a time, the first 16
        # trials are the 16 points. It counts a failed point as visited, so what has to be tried again is named.
        if len(self.study.get_trials(deepcopy=False)) < len(self.points):
            return self.study.ask()
        return self.worker.ask_for(self.points)

    def _ask_tpe(self, trials: int) -> Trial | None:
        existing = self.study.get_trials(deepcopy=False)
        if sum(sampler_of(trial, len(self.points)) == "tpe" for trial in existing) >= trials:
            return None
        return self.study.ask()

    def _work(self, ask: Callable[[], Trial | None], total: int, sampler: str) -> None:
        with bar(total, f"{self.study.study_name} {sampler}", "trial", initial=self._ended(sampler)) as progress:
            work_together(
                self.worker,
                ask,
                suggest,
                self._run,
                progress,
                ended=lambda: self._ended(sampler),
                ready=self._ready,
                # A worker that has nothing left of the grid takes part in TPE, which another may have begun. The
                # comparison begins when nothing of the search is left.
                awaited=lambda trial: sampler == "tpe" or sampler_of(trial, len(self.points)) == "grid",
            )

    def _ended(self, sampler: str) -> int:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return sum(sampler_of(trial, len(self.points)) == sampler for trial in trials)

    def _ready(self, left: FrozenTrial) -> bool:
        """A trial that repeats one which still runs has to wait for it."""
        source = self._repeated(left)
        return source is None or source.state != TrialState.RUNNING

    def _repeated(self, trial: FrozenTrial) -> FrozenTrial | None:
        """The trial that this one repeats: at alpha = 0 every T means the same, so only the first is trained."""
        if trial.params.get("alpha") != 0:
            return None
        for other in self.study.get_trials(deepcopy=False):
            if other.number < trial.number and other.params.get("alpha") == 0 and other.state != TrialState.FAIL:
                return other
        return None

    def _run(self, trial: Trial) -> None:
        source = self._repeated(self._frozen(trial))
        if source is not None and source.state == TrialState.RUNNING:
            return
        trial.set_user_attr("sampler", sampler_of(self._frozen(trial), len(self.points)))
        if source is not None:
            self._repeat(trial, source)
        else:
            trial.set_user_attr("configuration", self._describe())
            self._train(trial)

    def _repeat(self, trial: Trial, source: FrozenTrial) -> None:
        self.worker.check_held(trial)
        trial.set_user_attr("repeats", source.number)
        if source.state == TrialState.COMPLETE:
            self.worker.tell(trial, source.value)
        else:
            self.worker.tell(trial, state=source.state)
        state = source.state.name.lower()
        say(f"{name_of(trial)}: {state}, repeats trial {source.number} (alpha = 0: T means nothing)")

    def _train(self, trial: Trial) -> None:
        training = self.make_training(*suggest(trial), name_of(trial))
        state, curve = self._follow(trial, training)
        self.worker.check_held(trial)
        accuracy = curve[-1].validation_accuracy if state == TrialState.COMPLETE else None
        store_training(trial, training, curve, self.artifacts, accuracy)
        if accuracy is not None:
            self.worker.tell(trial, accuracy)
            outcome = f"{100 * accuracy:.2f} %"
        else:
            self.worker.tell(trial, state=state)
            outcome = f"pruned after epoch {len(curve)}"
        training.forget()
        say(f"{name_of(trial)}: {outcome}, {sum(epoch.seconds for epoch in curve):.0f} s")

    def _follow(self, trial: Trial, training: Training) -> tuple[TrialState, list[Epoch]]:
        """Train to the end or until pruned, reporting each epoch that the storage does not know yet."""
        known = max(self._frozen(trial).intermediate_values, default=0)
        epochs = self.configuration.recipe.epochs
        for number, epoch in enumerate(training.epochs(lambda: self.worker.check_held(trial)), start=1):
            assert epoch.validation_accuracy is not None
            if number > known:
                self.worker.check_held(trial)
                trial.report(epoch.validation_accuracy, number)
                note_epoch(trial, number)
            # The pruner judges the last epoch reported, so it is asked again only from there on.
            if known <= number < epochs and trial.should_prune():
                return TrialState.PRUNED, training.curve[:number]
        return TrialState.COMPLETE, training.curve

    def _describe(self) -> dict[str, Any]:
        """What a trial was trained with, beside its pair; sums of floats depend on the number of threads."""
        recipe = asdict(self.configuration.recipe)
        return {"seed": self.configuration.seed, "pruner": self.pruner, "threads": torch.get_num_threads(), **recipe}

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study._storage.get_trial(trial._trial_id)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """``median``: prune below the median of the trials completed so far, once half the epochs are over.

    The start-up of 4 trials and the warm-up of half the epochs are meant for 16 points. On the 13 full curves of
    reports/published/cifar100-ten-epochs, replayed in 20 orders by ``python -m reports.pruning_study``, they save 22 %
    of the epochs and never prune the best point; Optuna's defaults save 52 % and prune it in 45 % of the orders. On
    simulated curves of which the better points start slower, both prune it in 70 % of the runs. A repeated trial counts
    for the start-up, but has no curve to be compared with. Only trials that have completed are compared with, so
    several workers prune less: https://github.com/optuna/optuna/issues/2441.
    """
    if name == "none":
        return NopPruner()
    return MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, epochs // 2))


def sampler_of(trial: FrozenTrial, grid_size: int) -> str:
    """``grid`` or ``tpe``: the grid's trials come first; a point tried again was enqueued with its parameters."""
    return "grid" if trial.number < grid_size or "fixed_params" in trial.system_attrs else "tpe"


def winner(study: optuna.Study, grid_size: int, sampler: str) -> FrozenTrial | None:
    """The COMPLETE trial of a sampler with the highest validation accuracy; the first of equals; None without one."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    candidates = [trial for trial in trials if sampler_of(trial, grid_size) == sampler]
    return max(candidates, key=lambda trial: (trial.value, -trial.number), default=None)
