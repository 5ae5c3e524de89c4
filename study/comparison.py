"""The final comparison: every arm over the same seeds, on training and validation images, tested once at the end."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import Trial

from storage.arms import Arms
from storage.claims import Claims
from storage.configuration import Configuration, Point
from storage.exactly_once import TrialClaims
from storage.trials import MadeBy, TrialRecord, run_pair, views
from study.evaluation import HeldOut
from study.progress import bar, say
from study.record import is_worth_trying_again, store_training
from study.sampler import suggest
from study.training import Training
from study.work import name_of, note_epoch, work_together

MakeTraining = Callable[[float, float, int, str], Training]


@dataclass
class Comparison:
    """Runs the final trainings in this process, together with any other process that does the same.

    They are the trials of an Optuna study of their own, so they are claimed and continued as those of the search.

    Args:
        study: that study; its value is test accuracy.
        claims: of its storage.
        configuration: what the study is.
        make_training: gives the training for (alpha, temperature, seed, name), resumed where it was stopped.
        test: the test images that each run is scored on.
        artifacts: where each run's curve and weights are kept.
        made_by: this process.
    """

    study: optuna.Study
    claims: Claims
    configuration: Configuration
    make_training: MakeTraining
    test: HeldOut
    artifacts: FileSystemArtifactStore
    made_by: MadeBy

    def __post_init__(self) -> None:
        self.trials = TrialClaims(self.study, self.claims)

    def run(self, arms: Arms) -> None:
        """Work until every run of every arm has ended, whoever ended it.

        Args:
            arms: (alpha, T) by name; two arms of the same pair share their runs.
        """
        points = points_of(arms, self.configuration.final_seeds)
        with bar(len(points), self.study.study_name, "run", initial=self._ended(points)) as progress:
            work_together(
                self.trials,
                ask=lambda: self.trials.ask_for(points, lambda failed: is_worth_trying_again(failed, self.made_by)),
                suggest=_suggest,
                run=self._run,
                progress=progress,
                ended=lambda: self._ended(points),
            )

    def _ended(self, points: list[Point]) -> int:
        done = [trial.point for trial in views(self.study) if trial.has_ended]
        return sum(point in done for point in points)

    def _run(self, trial: Trial) -> None:
        alpha, temperature, seed = _suggest(trial)
        name, record = name_of(trial), TrialRecord(trial, self.trials)
        record.began(self.configuration.recipe.as_json(), self.made_by)
        training = self.make_training(alpha, temperature, seed, name)
        known = len(training.curve)
        for number, _ in enumerate(training.epochs(lambda: self.trials.check_held(trial)), start=1):
            self.trials.check_held(trial)
            if number > known:
                note_epoch(trial, number)
        scores = self.test.score(training.network)
        store_training(trial, record, training, training.curve, self.artifacts, scores.accuracy)
        record.tested(asdict(scores))
        self.trials.tell(trial, scores.accuracy)
        training.forget()
        say(f"{name}: {100 * scores.accuracy:.2f} % on test, {sum(epoch.seconds for epoch in training.curve):.0f} s")


def _suggest(trial: Trial) -> tuple[float, float, int]:
    return *suggest(trial), trial.suggest_int("seed", 0, 2**31 - 1)


def points_of(arms: Arms, seeds: tuple[int, ...]) -> list[Point]:
    """Every run as parameters, seed by seed, so that pairs are complete as early as can be.

    Args:
        arms: (alpha, T) by name; two arms of the same pair share their runs.
    """
    pairs = dict.fromkeys(run_pair(*pair) for pair in arms.values())
    return [
        {"alpha": alpha, "temperature": temperature, "seed": seed} for seed in seeds for alpha, temperature in pairs
    ]
