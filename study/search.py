"""The search: every grid point once, TPE or a Gaussian process from what the grid found, more seeds of the best."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.arms import finalist_points
from storage.configuration import LARGEST_SEED, Point
from storage.exactly_once import TrialClaims, point_of
from storage.optuna_internals import as_stored
from storage.pruner import make_pruner
from storage.trials import Beyond, Sampler, TrialRecord, TrialView, views
from study.evaluation import HeldOut
from study.progress import bar, say
from study.record import store_training
from study.sampler import GridFirst, suggest
from study.training import Epoch, Training
from study.worker import MakeTraining, Worker, name_of, with_lines, work_together

ORDER: dict[Sampler, int] = {"grid": 0, "tpe": 1, "gp": 1, "finalist": 2}


@dataclass
class Search:
    """Runs the trials of one study in this process, together with any other process that does the same.

    Args:
        worker: this process.
        study: the Optuna study.
        make_training: gives the training of a trial.
        validation: the images that a trial which completes is scored on once more, for which of them it got right.
        beyond: who proposes points after the grid.
        has_teacher: whether what is distilled can be trained here; a trial of it is left to another worker where not.
    """

    worker: Worker
    study: optuna.Study
    make_training: MakeTraining
    validation: HeldOut
    beyond: Beyond = "tpe"
    has_teacher: bool = True

    def __post_init__(self) -> None:
        self.study.sampler = GridFirst(self.worker.configuration.grid, self.worker.configuration.seed, self.beyond)
        self.study.pruner = make_pruner(self.worker.configuration.pruner, self.worker.configuration.recipe.epochs)
        self.trials = TrialClaims(self.study, self.worker.claims)
        self.points = self.worker.configuration.points

    def run_grid(self) -> None:
        """Work until every grid point has ended, whoever ended it."""
        self._work(self._ask_grid, len(self.points), "grid")

    def run_beyond(self, trials: int) -> None:
        """Work until the study has that many trials of the sampler beyond the grid, whoever ended them."""
        # A grid point that failed may be tried again by a worker that came later, and left by it.
        self._work(lambda: self._ask_grid() or self._ask_beyond(trials), trials, self.beyond)

    def run_finalists(self) -> None:
        """Work until every finalist has every seed, whoever trained it; once the rest of the search has ended."""
        points = finalist_points(self._views(), self.worker.configuration)
        if points:
            self._work(lambda: self.trials.ask_for(points, self.worker.is_worth_trying_again), len(points), "finalist")

    def _ask_grid(self) -> Trial | None:
        # GridSampler gives trial number n the n-th point of its shuffled list: asked one at a time, the first trials
        # are the points, one each. It counts a failed point as visited, so what has to be tried again is named.
        if len(self.study.get_trials(deepcopy=False)) < len(self.points):
            return self.study.ask()
        return self.trials.ask_for(self.points, self.worker.is_worth_trying_again)

    def _ask_beyond(self, trials: int) -> Trial | None:
        if sum(trial.sampler == self.beyond for trial in self._views()) >= trials:
            return None
        return self.study.ask()

    def _work(self, ask: Callable[[], Trial | None], total: int, sampler: Sampler) -> None:
        with bar(total, f"{self.study.study_name} {sampler}", "trial", initial=self._ended(sampler)) as progress:
            work_together(
                self.trials,
                ask,
                self._suggest,
                self._run,
                progress,
                ended=lambda: self._ended(sampler),
                ready=self._ready,
                # A worker that has nothing left of the grid takes part in what comes after it, which another may have
                # begun; so on with the finalists. The comparison begins when nothing of the search is left.
                awaited=lambda trial: ORDER[self._view(trial).sampler] <= ORDER[sampler] and self._can_train(trial),
            )

    def _ended(self, sampler: Sampler) -> int:
        return sum(trial.has_ended and trial.sampler == sampler for trial in self._views())

    def _ready(self, trial: FrozenTrial) -> bool:
        """A trial that repeats one which still runs has to wait for it."""
        source = self._repeated(trial)
        return self._can_train(trial) and (source is None or source.state != TrialState.RUNNING)

    def _can_train(self, trial: FrozenTrial) -> bool:
        return self.has_teacher or point_of(trial).get("alpha") == 0

    def _repeated(self, trial: FrozenTrial) -> FrozenTrial | None:
        """The trial that this one repeats: at alpha = 0 every T means the same, so only the first is trained."""
        if trial.params.get("alpha") != 0 or "seed" in trial.params:
            return None
        trials, known = self.study.get_trials(deepcopy=False), self._view(trial).repeats
        if known is not None:  # whoever was about to tell it died
            return trials[known]
        for other in trials:
            same = other.params.get("alpha") == 0 and "seed" not in other.params
            if same and other.number < trial.number and not self._may_end_otherwise(other):
                return other
        return None

    def _may_end_otherwise(self, trial: FrozenTrial) -> bool:
        return trial.state == TrialState.FAIL and self.worker.is_worth_trying_again(trial)

    def _run(self, trial: Trial) -> None:
        source = self._repeated(self._frozen(trial))
        if source is None:
            self._train(trial)
        else:
            TrialRecord(trial, self.trials).repeated(self._view(source))
            self._tell_as(trial, source)

    def _tell_as(self, trial: Trial, source: FrozenTrial) -> None:
        if source.state == TrialState.COMPLETE:
            self.trials.tell(trial, source.value)
        else:
            self.trials.tell(trial, state=source.state)
        state = source.state.name.lower()
        say(f"{name_of(trial)}: {state}, repeats trial {source.number} (alpha = 0: T means nothing)")

    def _train(self, trial: Trial) -> None:
        record = TrialRecord(trial, self.trials)
        point = self._suggest(trial)
        record.began(self._settings(trial, int(point["seed"])), self.worker.made_by)
        training = self.make_training(point, name_of(trial))
        state, curve = self._follow(trial, training, record)
        accuracy = curve[-1].validation_accuracy if state == TrialState.COMPLETE else None
        store_training(trial, record, training, curve, self.worker.artifacts, accuracy)
        if accuracy is not None:
            record.scored("validation", asdict(self.validation.score(training.network)))
            self.trials.tell(trial, accuracy)
            outcome = f"{100 * accuracy:.2f} %"
        else:
            self.trials.tell(trial, state=state)
            outcome = f"pruned after epoch {len(curve)}"
        training.forget()
        say(f"{name_of(trial)}: {outcome}, {sum(epoch.seconds for epoch in curve):.0f} s")

    def _follow(self, trial: Trial, training: Training, record: TrialRecord) -> tuple[TrialState, list[Epoch]]:
        """Train to the end or until pruned, reporting each epoch that the storage does not know yet."""
        known = self._view(self._frozen(trial)).last_epoch
        total, is_spared = self.worker.configuration.recipe.epochs, self._is_spared(trial)
        trained = len(training.curve)
        epochs = training.epochs(lambda: self.trials.check_held(trial))
        for number, epoch in enumerate(with_lines(epochs, total, name_of(trial)), start=1):
            assert epoch.validation_accuracy is not None
            if number > known:
                record.reached(epoch.validation_accuracy, number)
            if number > trained:
                record.learned(number)
            # The pruner judges the last epoch reported, so it is asked again only from there on.
            if known <= number < total and not is_spared and trial.should_prune():
                return TrialState.PRUNED, training.curve[:number]
        return TrialState.COMPLETE, training.curve

    def _suggest(self, trial: Trial) -> Point:
        """alpha, T and seed of a trial; a finalist was enqueued with a seed of its own."""
        alpha, temperature = suggest(trial)
        seed = self.worker.configuration.seed
        if self._is_finalist(trial):
            seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        return {"alpha": alpha, "temperature": temperature, "seed": seed}

    def _is_finalist(self, trial: Trial) -> bool:
        return self._view(self._frozen(trial)).sampler == "finalist"

    def _is_spared(self, trial: Trial) -> bool:
        """Whether nothing prunes it: a finalist, or a point that was begun without a pruner, failed and runs again."""
        view = self._view(self._frozen(trial))
        before = [other for other in self._views() if other.number != view.number and other.point == view.point]
        return view.sampler == "finalist" or any(other.pruner == "none" for other in before)

    def _settings(self, trial: Trial, seed: int) -> dict[str, Any]:
        """What a trial was trained with, beside its pair."""
        recipe = self.worker.configuration.recipe.as_json()
        threads = self.worker.made_by["threads"]  # sums of floats depend on their number
        pruner = "none" if self._is_spared(trial) else self.worker.configuration.pruner
        return {"seed": seed, "pruner": pruner, "threads": threads, **recipe}

    def _views(self) -> list[TrialView]:
        return views(self.study, len(self.points))

    def _view(self, trial: FrozenTrial) -> TrialView:
        return TrialView(trial, len(self.points), self.beyond)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return as_stored(self.study, trial)
