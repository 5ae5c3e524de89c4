"""The final comparison: every arm over the same seeds, on training and validation images, tested once at the end.

The controls try their learning rates in the same way, on the images of the search.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial

from storage.arms import Arms
from storage.configuration import LARGEST_SEED, Point
from storage.controls import KNOWLEDGE, point_of_pair
from storage.exactly_once import TrialClaims, point_of
from storage.optuna_internals import as_stored
from storage.trials import DIVERGED, Part, TrialRecord, views
from study.evaluation import HeldOut
from study.progress import bar, say
from study.record import store_training
from study.sampler import suggest
from study.teacher_logits import SmoothLabels
from study.training import DivergedError, Training
from study.worker import MakeTraining, Worker, name_of, with_lines, work_together

LARGEST_LEARNING_RATE = 1000.0  # a bound that Optuna asks for


@dataclass
class Comparison:
    """Runs the final trainings in this process, together with any other process that does the same.

    They are the trials of an Optuna study of their own, so they are claimed and continued as those of the search.

    Args:
        worker: this process.
        study: that study; its value is the accuracy.
        make_training: gives the training of a run.
        held_out: the images that each run is scored on at its end.
        part: what those images are.
        has_teacher: whether what is distilled can be trained here; a run of it is left to another worker where not.
        retry: whether what failed is tried again; as the worker has it where None.
    """

    worker: Worker
    study: optuna.Study
    make_training: MakeTraining
    held_out: HeldOut
    part: Part = "test"
    has_teacher: bool = True
    retry: Callable[[FrozenTrial], bool] | None = None

    def __post_init__(self) -> None:
        self.trials = TrialClaims(self.study, self.worker.claims)

    def run(self, points: list[Point]) -> None:
        """Work until each of these runs that can be trained here has ended, whoever ended it."""
        points = [point for point in points if self.has_teacher or point["alpha"] == 0]
        with bar(len(points), self.study.study_name, "run", initial=self._ended(points)) as progress:
            work_together(
                self.trials,
                ask=lambda: self.trials.ask_for(points, self.retry or self.worker.is_worth_trying_again),
                suggest=self._suggest,
                run=self._run,
                progress=progress,
                ended=lambda: self._ended(points),
                ready=lambda trial: self.has_teacher or point_of(trial)["alpha"] == 0,
                # Others may be at runs that this worker is to be asked for later, the controls'.
                awaited=lambda trial: point_of(trial) in points,
            )

    def _ended(self, points: list[Point]) -> int:
        done = [trial.point for trial in views(self.study) if trial.has_ended]
        return sum(point in done for point in points)

    def _run(self, trial: Trial) -> None:
        point = self._suggest(trial)
        name, record = name_of(trial), TrialRecord(trial, self.trials)
        training = self.make_training(point, name)
        record.began(self._settings(point, training), self.worker.made_by)
        trained = len(training.curve)
        epochs = training.epochs(lambda: self.trials.check_held(trial))
        for number, _ in enumerate(with_lines(epochs, self.worker.configuration.recipe.epochs, name), start=1):
            self.trials.check_held(trial)
            if number > trained:
                record.learned(number)
        scores = self.held_out.score(training.network)
        if not math.isfinite(scores.loss):  # the very last step made weights of which nothing was asked before
            training.forget()
            raise DivergedError(f"{DIVERGED} {scores.loss} on {self.part}")
        store_training(trial, record, training, training.curve, self.worker.artifacts, scores.accuracy)
        record.scored(self.part, asdict(scores))
        self.trials.tell(trial, scores.accuracy)
        training.forget()
        seconds = sum(epoch.seconds for epoch in training.curve)
        say(f"{name}: {100 * scores.accuracy:.2f} % on {self.part}, {seconds:.0f} s")

    def _suggest(self, trial: Trial) -> Point:
        """The parameters with which it was enqueued, given to it as such."""
        point = point_of(as_stored(self.study, trial))
        suggest(trial)
        trial.suggest_int("seed", 0, LARGEST_SEED)
        for control in KNOWLEDGE:
            if control in point:
                trial.suggest_int(control, 0, 1)
        if "learning_rate" in point:
            trial.suggest_float("learning_rate", 0.0, LARGEST_LEARNING_RATE)
        return point

    def _settings(self, point: Point, training: Training) -> dict[str, Any]:
        """What a run was trained with, beside its parameters."""
        settings = self.worker.configuration.recipe.as_json()
        if "learning_rate" in point:
            settings["learning_rate"] = point["learning_rate"]
        if isinstance(training.logits, SmoothLabels):
            settings["smoothing"] = training.logits.strength
        return settings


def points_of(arms: Arms, seeds: tuple[int, ...], controls: Mapping[str, Point] | None = None) -> list[Point]:
    """Every run as parameters, seed by seed, so that pairs are complete as early as can be.

    Args:
        arms: (alpha, T) by name; two arms of the same pair share their runs.
        controls: by name, each as its runs' parameters without the seed.
    """
    settings: list[Point] = []
    for setting in [*map(point_of_pair, arms.values()), *(controls or {}).values()]:
        if setting not in settings:
            settings.append(setting)
    return [{**setting, "seed": seed} for seed in seeds for setting in settings]
