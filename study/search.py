"""The search: every grid point once, then TPE from what the grid found."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import optuna
import torch
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import GridSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.claims import Claims
from storage.exactly_once import Worker
from study.configuration import Configuration
from study.progress import bar, say
from study.space import grid, grid_points, suggest
from study.training import DivergedError, Epoch, Training

SECONDS_BETWEEN_LOOKS = 1.0
OUT_OF_MEMORY_TRIES = 3

MakeTraining = Callable[[float, float, str], Training]


class GridInTurn(GridSampler):
    """Optuna's ``GridSampler`` for ask-and-tell.

    Its ``after_trial`` stops ``Study.optimize`` after the last point, which is an error outside of ``optimize``.
    """

    def after_trial(self, *_: object) -> None:
        """Nothing: the search knows when the grid is done."""


@dataclass
class Search:
    """Runs the trials of one study in this process, together with any other process that does the same.

    Args:
        study: the Optuna study.
        configuration: what the study is.
        claims: of its storage.
        make_training: gives the training for (alpha, temperature, name), resumed where it was stopped.
        pruner: ``median`` or ``none``.
    """

    study: optuna.Study
    configuration: Configuration
    claims: Claims
    make_training: MakeTraining
    pruner: str

    def __post_init__(self) -> None:
        self.study.pruner = make_pruner(self.pruner, self.configuration.recipe.epochs)
        self.worker = Worker(self.study, self.claims)
        self.points = grid_points(self.configuration)

    def run_grid(self) -> None:
        """Work until every grid point has ended, whoever ended it."""
        self.study.sampler = GridInTurn(grid(self.configuration), seed=self.configuration.seed)
        self._work(self._ask_grid, len(self.points), "grid")

    def run_tpe(self, trials: int) -> None:
        """Work until the study has that many TPE trials, whoever ended them."""
        self._seed_tpe(len(self.study.get_trials(deepcopy=False)))
        self._work(lambda: self._ask_tpe(trials), trials, "tpe")

    def _ask_grid(self) -> Trial | None:
        # GridSampler gives trial number n the n-th point of its shuffled list: asked one at a time, the first 16
        # trials are the 16 points.
        if len(self.study.get_trials(deepcopy=False)) < len(self.points):
            return self.study.ask()
        return self.worker.ask_for(self.points)

    def _ask_tpe(self, trials: int) -> Trial | None:
        existing = self.study.get_trials(deepcopy=False)
        if sum(sampler_of(trial, len(self.points)) == "tpe" for trial in existing) >= trials:
            return None
        self._seed_tpe(len(existing))
        return self.study.ask()

    def _seed_tpe(self, number: int) -> None:
        # A sampler for each trial, so that what it proposes follows from (seed, trial number) and the trials before,
        # not from how often the command was started.
        digest = hashlib.sha256(f"tpe {self.configuration.seed} {number}".encode()).digest()
        self.study.sampler = TPESampler(seed=int.from_bytes(digest[:4], "little"), constant_liar=True)

    def _work(self, ask: Callable[[], Trial | None], total: int, sampler: str) -> None:
        waiting = False
        with bar(total, f"{self.study.study_name} {sampler}", "trial", initial=self._ended(sampler)) as progress:
            while True:
                trial = self.worker.take(ask, self._ready)
                if trial is not None:
                    waiting = False
                    self._run(trial)
                elif self.worker.unfinished() == 0:
                    return
                else:
                    if not waiting:
                        say(f"waiting for {self.worker.unfinished()} trials of other workers")
                    waiting = True
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                progress.update(self._ended(sampler) - progress.n)

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
        sampler = sampler_of(self._frozen(trial), len(self.points))
        if sampler == "tpe":
            self._seed_tpe(trial.number)
        alpha, temperature = suggest(trial)
        source = self._repeated(self._frozen(trial))
        if source is not None and source.state == TrialState.RUNNING:
            self.worker.give_back(trial)
            return
        trial.set_user_attr("sampler", sampler)
        if source is not None:
            self._repeat(trial, source)
        else:
            trial.set_user_attr("pruner", self.pruner)
            self._train(trial, alpha, temperature)
        self.worker.give_back(trial)

    def _repeat(self, trial: Trial, source: FrozenTrial) -> None:
        trial.set_user_attr("repeats", source.number)
        if source.state == TrialState.COMPLETE:
            self.study.tell(trial, source.value)
        else:
            self.study.tell(trial, state=source.state)
        say(f"{_name(trial)}: {source.state.name.lower()}, repeats trial {source.number} (alpha = 0: T means nothing)")

    def _train(self, trial: Trial, alpha: float, temperature: float) -> None:
        try:
            training = self.make_training(alpha, temperature, _name(trial))
            state = self._follow(trial, training)
        except DivergedError as error:
            self._fail(trial, str(error))
            return
        except torch.OutOfMemoryError as error:
            tries = trial.user_attrs.get("out_of_memory", 0) + 1
            trial.set_user_attr("out_of_memory", tries)
            if tries >= OUT_OF_MEMORY_TRIES:
                self._fail(trial, f"out of memory {tries} times: {str(error).splitlines()[0]}")
            return
        self.worker.require(trial)
        store_curve(trial, training.curve)
        last = training.curve[-1]
        assert last.validation_accuracy is not None
        if state == TrialState.COMPLETE:
            self.study.tell(trial, last.validation_accuracy)
            outcome = f"{100 * last.validation_accuracy:.2f} %"
        else:
            self.study.tell(trial, state=state)
            outcome = f"pruned after epoch {len(training.curve)}"
        training.forget()
        say(f"{_name(trial)}: {outcome}, {sum(epoch.seconds for epoch in training.curve):.0f} s")

    def _follow(self, trial: Trial, training: Training) -> TrialState:
        """Train to the end or until pruned, reporting each epoch that the storage does not know yet."""
        reported = self._frozen(trial).intermediate_values
        epochs = self.configuration.recipe.epochs
        for number, epoch in enumerate(training.epochs(), start=1):
            assert epoch.validation_accuracy is not None
            if number not in reported:
                self.worker.require(trial)
                trial.report(epoch.validation_accuracy, number)
            if number < epochs and trial.should_prune():
                return TrialState.PRUNED
        return TrialState.COMPLETE

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study._storage.get_trial(trial._trial_id)

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)
        say(f"{_name(trial)}: failed: {reason}")


def make_pruner(name: str, epochs: int) -> BasePruner:
    """``median``: prune below the median of the trials completed so far, once half the epochs are over.

    The start-up of 4 trials and the warm-up of half the epochs are meant for 16 points: simulated on curves of equal
    speed, of random speed, and on curves on which the better points start slower, the best point was pruned in 0, 15
    and 70 % of the runs and 22 to 27 % of the epochs were saved, against 28, 36 and 69 % of the runs with Optuna's
    defaults. A repeated trial has no curve, so it does not count.
    """
    if name == "none":
        return NopPruner()
    return MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, epochs // 2))


def sampler_of(trial: FrozenTrial, grid_size: int) -> str:
    """``grid`` or ``tpe``: the grid's trials come first; a point tried again was enqueued with its parameters."""
    return "grid" if trial.number < grid_size or "fixed_params" in trial.system_attrs else "tpe"


def store_curve(trial: Trial, curve: list[Epoch]) -> None:
    """Store a training curve with its trial, one entry an epoch."""
    trial.set_user_attr("curve", [asdict(epoch) for epoch in curve])
    trial.set_user_attr("seconds", round(sum(epoch.seconds for epoch in curve), 3))


def winner(study: optuna.Study, grid_size: int, sampler: str) -> FrozenTrial | None:
    """The COMPLETE trial of a sampler with the highest validation accuracy; the first of equals; None without one."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    candidates = [trial for trial in trials if sampler_of(trial, grid_size) == sampler]
    return max(candidates, key=lambda trial: (trial.value, -trial.number), default=None)


def _name(trial: Trial) -> str:
    return f"trial {trial.number} (alpha {trial.params['alpha']:.4g}, T {trial.params['temperature']:.4g})"
