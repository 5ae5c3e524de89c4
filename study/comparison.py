"""The final comparison: every arm over the same seeds, on training and validation images, tested once at the end."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import Trial, TrialState

from data import ImageBank
from storage.claims import Claims
from storage.configuration import Configuration
from storage.exactly_once import Point, TrialClaims
from study.evaluation import predict, score
from study.progress import bar, say
from study.record import store_training
from study.search import winner
from study.space import grid_points, suggest
from study.training import Training
from study.work import name_of, note_epoch, work_together

MakeTraining = Callable[[float, float, int, str], Training]
Arms = dict[str, tuple[float, float]]


@dataclass
class Comparison:
    """Runs the final trainings in this process, together with any other process that does the same.

    They are the trials of an Optuna study of their own, so they are claimed and continued as those of the search.

    Args:
        study: that study; its value is test accuracy.
        claims: of its storage.
        seeds: of the runs of each arm.
        make_training: gives the training for (alpha, temperature, seed, name), resumed where it was stopped.
        test: the test images.
        artifacts: where each run's curve and weights are kept.
    """

    study: optuna.Study
    claims: Claims
    seeds: tuple[int, ...]
    make_training: MakeTraining
    test: ImageBank
    artifacts: FileSystemArtifactStore

    def run(self, arms: Arms) -> None:
        """Work until every run of every arm has ended, whoever ended it.

        Args:
            arms: (alpha, T) by name; two arms of the same pair share their runs.
        """
        worker = TrialClaims(self.study, self.claims)
        points = self.points(arms)
        with bar(len(points), f"{self.study.study_name}", "run", initial=self._ended(points)) as progress:
            work_together(
                worker,
                ask=lambda: worker.ask_for(points),
                suggest=_suggest,
                run=lambda trial: self._run(trial, worker),
                progress=progress,
                ended=lambda: self._ended(points),
            )

    def points(self, arms: Arms) -> list[Point]:
        """Every run as parameters, seed by seed, so that pairs are complete as early as can be."""
        pairs = dict.fromkeys(run_pair(*pair) for pair in arms.values())
        return [
            {"alpha": alpha, "temperature": temperature, "seed": seed}
            for seed in self.seeds
            for alpha, temperature in pairs
        ]

    def _ended(self, points: list[Point]) -> int:
        done = [trial.params for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
        return sum(point in done for point in points)

    def _run(self, trial: Trial, worker: TrialClaims) -> None:
        alpha, temperature, seed = _suggest(trial)
        name = name_of(trial)
        training = self.make_training(alpha, temperature, seed, name)
        known = len(training.curve)
        for number, _ in enumerate(training.epochs(lambda: worker.check_held(trial)), start=1):
            worker.check_held(trial)
            if number > known:
                note_epoch(trial, number)
        every = torch.arange(len(self.test), device=self.test.device)
        scores = score(predict(training.network, self.test, every), self.test.labels)
        worker.check_held(trial)
        store_training(trial, training, training.curve, self.artifacts, scores.accuracy)
        trial.set_user_attr("test", asdict(scores))
        worker.tell(trial, scores.accuracy)
        training.forget()
        say(f"{name}: {100 * scores.accuracy:.2f} % on test, {sum(epoch.seconds for epoch in training.curve):.0f} s")


def _suggest(trial: Trial) -> tuple[float, float, int]:
    return *suggest(trial), trial.suggest_int("seed", 0, 2**31 - 1)


def run_pair(alpha: float, temperature: float) -> tuple[float, float]:
    """The pair under which a run is stored: at alpha = 0 the temperature means nothing and is written as 1."""
    return (alpha, temperature if alpha != 0 else 1.0)


def choose_arms(study: optuna.Study, configuration: Configuration, added: list[tuple[float, float]]) -> Arms:
    """The arms of the comparison: no distillation, the grid's winner, TPE's winner if any, and those asked for."""
    arms: Arms = {"baseline": (0.0, 1.0)}
    for name, sampler in (("best", "grid"), ("tpe", "tpe")):
        trial = winner(study, len(grid_points(configuration)), sampler)
        if trial is not None:
            arms[name] = run_pair(trial.params["alpha"], trial.params["temperature"])
    for alpha, temperature in added:
        arms[f"{alpha:g},{temperature:g}"] = run_pair(alpha, temperature)
    return arms
