"""What a trial is: one class to read it, one to write it, so that every stored key is spelled here alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.configuration import Point
from storage.exactly_once import TrialClaims, point_of
from storage.optuna_internals import enqueued_parameters, set_user_attribute

Beyond = Literal["tpe", "gp"]
"""Who proposes points after the grid."""

Sampler = Literal["grid", "finalist"] | Beyond
"""A finalist is a point of another sampler, trained with one more seed."""

Part = Literal["validation", "test"]
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
DIVERGED = "the loss became"
"""How the reason begins why a training failed that diverged."""
EXPORT = "export of "


class EpochFacts(TypedDict):
    """One point of a curve, as ``study.training.Epoch`` has it."""

    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


class MadeBy(TypedDict):
    """Where and with what a training ran last; ``threads`` is of torch, ``process`` its number on the host.

    ``convolutions`` is ``Winograd`` or ``torch``, and is not there of versions that had the latter alone.
    """

    commit: str
    versions: dict[str, str]
    device: str
    host: str
    process: int
    threads: int
    precision: str
    convolutions: NotRequired[str]


def convolutions_of(made_by: MadeBy) -> str:
    """Whose convolutions a training had."""
    return made_by.get("convolutions", "torch")


class ScoreFacts(TypedDict):
    """``study.evaluation.Scores``; without the last three in trials of earlier versions."""

    accuracy: float
    loss: float
    correct_by_class: list[int]
    images_by_class: list[int]
    calibration: list[list[float]]
    hits: NotRequired[str]
    agreement: NotRequired[float | None]
    divergence: NotRequired[dict[str, float] | None]


class ExportFacts(TypedDict):
    """A run's student as a file, as it was measured where it was exported, on one thread of the CPU.

    Attributes:
        kind: the format, and to what it was quantized.
        bytes: of the file.
        latency_seconds, network_latency_seconds: shortest of one image, of the file and of the network it was made of.
        same: of so many ``images`` of the test set both predict the same class.
        test_accuracy, exact_test_accuracy: of a quantized file and of the one before it; None of others, which say
            what the network says.
    """

    alpha: float
    temperature: float
    seed: int
    kind: str
    bytes: int
    latency_seconds: float
    network_latency_seconds: float
    same: int
    images: int
    test_accuracy: float | None
    exact_test_accuracy: float | None


@dataclass(frozen=True)
class TrialView:
    """One trial of search or comparison at one moment.

    Attributes:
        grid_size: how many points the grid has, which are the first trials of a search.
        beyond: who proposes those after them, where that is not stored.
        later: scores that were found after it had ended.
    """

    trial: FrozenTrial
    grid_size: int = 0
    beyond: Beyond = "tpe"
    later: Mapping[str, Any] | None = None

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def state(self) -> TrialState:
        return self.trial.state

    @property
    def point(self) -> Point:
        """Its parameters, also of one that was enqueued and has not started; empty where it has none yet."""
        return point_of(self.trial)

    @property
    def pair(self) -> tuple[float, float]:
        """(alpha, T) under which a run is stored."""
        return run_pair(self.point["alpha"], self.point["temperature"])

    @property
    def setting(self) -> Point:
        """What the runs of one arm have in common: the parameters of a run without its seed."""
        return {name: value for name, value in self.point.items() if name != "seed"}

    @property
    def smoothing(self) -> float | None:
        """The strength of the label smoothing that replaced its teacher; None where none did."""
        strength: float | None = (self._stored("configuration") or {}).get("smoothing")
        return strength

    @property
    def value(self) -> float | None:
        """Its accuracy as a share 0 to 1, where it is COMPLETE: a pruned value is no result."""
        return self.trial.value if self.state == TrialState.COMPLETE else None

    @property
    def has_ended(self) -> bool:
        """Whether it is complete or pruned."""
        return self.state in ENDED

    @property
    def sampler(self) -> Sampler:
        """Who proposed it: the grid's trials come first; a point tried again was enqueued with its parameters."""
        if "seed" in self.point:
            return "finalist"
        if self.number < self.grid_size or enqueued_parameters(self.trial) is not None:
            return "grid"
        stored: Beyond | None = self._stored("sampler")
        return stored or self.beyond

    @property
    def is_beyond_grid(self) -> bool:
        """Whether TPE or a Gaussian process proposed it."""
        return self.sampler in get_args(Beyond)

    @property
    def last_epoch(self) -> int:
        """The last epoch that was reported, from 1; 0 where none was."""
        return max(self.trial.intermediate_values, default=0)

    @property
    def repeats(self) -> int | None:
        """The number of the trial whose state and value it took; None where it was trained."""
        stored: int | None = self._stored("repeats")
        return stored

    @property
    def curve(self) -> list[EpochFacts]:
        """The epochs that count; empty until it has ended, and for a repeat."""
        return self._stored("curve") or []

    @property
    def seconds(self) -> float:
        """Of its training."""
        return self._stored("seconds") or 0.0

    @property
    def reason(self) -> str | None:
        """Why it failed."""
        stored: str | None = self._stored("reason")
        return stored

    @property
    def has_diverged(self) -> bool:
        """Whether it failed because its loss was no longer finite."""
        return self.state == TrialState.FAIL and (self.reason or "").startswith(DIVERGED)

    @property
    def pruner(self) -> str | None:
        """The pruner it ran under; None where it was not trained, or before that was stored."""
        return (self._stored("configuration") or {}).get("pruner")

    @property
    def made_by(self) -> MadeBy | None:
        """Where and with what it was trained last; None where it was not, or before that was stored."""
        stored: MadeBy | None = self._stored("made_by")
        return stored

    @property
    def validation(self) -> ScoreFacts | None:
        """The scores of a complete trial on the validation images; None for a repeat, or before that was stored."""
        return self._scores("validation")

    @property
    def test(self) -> ScoreFacts | None:
        """The scores of a run on the test images."""
        return self._scores("test")

    def _scores(self, key: Part) -> ScoreFacts | None:
        """What was stored with the trial, and what was found later where that has nothing."""
        stored = {name: value for name, value in (self._stored(key) or {}).items() if value is not None}
        return cast(ScoreFacts | None, {**(self.later or {}), **stored} or None)

    def _stored(self, key: str) -> Any:
        return self.trial.user_attrs.get(key)


class TrialRecord:
    """Writes what a trial is into the trial, as long as this process owns it.

    Every method raises ``ClaimLostError`` where it does not.
    """

    def __init__(self, trial: Trial, claims: TrialClaims) -> None:
        self._trial, self._claims = trial, claims

    def began(self, settings: dict[str, Any], made_by: MadeBy) -> None:
        """Before its training; again where it goes on, maybe elsewhere."""
        before: MadeBy = self._trial.user_attrs.get("made_by", made_by)
        there, here = ((by["host"], by["device"], convolutions_of(by)) for by in (before, made_by))
        if there != here:
            # Where it may begin anew, so that epochs which were trained there are learned again.
            self.started(self.starts[0], 0)
        self._set("configuration", settings)
        self._set("made_by", made_by)

    def reached(self, accuracy: float, epoch: int) -> None:
        """After an epoch, counted from 1, of a trial of the search."""
        self._claims.check_held(self._trial)
        self._trial.report(accuracy, epoch)

    def trained(self, curve: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """After its training."""
        self._set("curve", list(curve))
        self._set("seconds", seconds)

    def repeated(self, source: TrialView) -> None:
        """Instead of a training; why that one failed, and what made it, says whether both are tried again."""
        self._set("repeats", source.number)
        if source.state == TrialState.FAIL:
            self._set("made_by", source.made_by)
            self._set("reason", source.reason)

    def scored(self, part: Part, scores: Mapping[str, Any]) -> None:
        """After a network that was trained to its end was scored: a trial on validation, a run on test images."""
        self._set(part, scores)

    @property
    def starts(self) -> tuple[int, int]:
        """How many processes began or went on with it since an epoch was noted, and which epoch that was."""
        stored = self._trial.user_attrs.get("starts", {"without_epoch": 0, "epoch": 0})
        return stored["without_epoch"], stored["epoch"]

    def started(self, without_epoch: int, epoch: int) -> None:
        """Store ``starts``."""
        self._set("starts", {"without_epoch": without_epoch, "epoch": epoch})

    def learned(self, epoch: int) -> None:
        """After an epoch, counted from 1, was trained for the first time as far as is known.

        Only the first one of each start is written.
        """
        starts, before = self.starts
        if starts and epoch > before:
            self.started(0, epoch)

    def ran_out_of_memory(self) -> int:
        """How often it did so, with this time."""
        tries: int = self._trial.user_attrs.get("out_of_memory", 0) + 1
        self._set("out_of_memory", tries)
        return tries

    def failed(self, reason: str) -> None:
        """Before it is told to have failed."""
        self._set("reason", reason)

    def _set(self, key: str, value: Any) -> None:
        self._claims.check_held(self._trial)
        self._trial.set_user_attr(key, value)


def note_sampler(study: optuna.Study, trial: FrozenTrial, sampler: Sampler) -> None:
    """Store who proposes a trial, where it is asked for; one that goes on keeps what was stored."""
    if "sampler" not in trial.user_attrs:
        set_user_attribute(study, trial, "sampler", sampler)


def views(study: optuna.Study, grid_size: int = 0) -> list[TrialView]:
    """All trials of a study as they are now."""
    later = study.user_attrs
    return [
        TrialView(trial, grid_size, later=later.get(_later(trial.number))) for trial in study.get_trials(deepcopy=False)
    ]


def store_later(study: optuna.Study, number: int, scores: Mapping[str, Any]) -> None:
    """Store scores of a trial that has ended, to which Optuna lets nothing be added: with its study."""
    study.set_user_attr(_later(number), scores)


def store_export(comparison: optuna.Study, facts: ExportFacts) -> None:
    """Store what was exported of a run that has ended: as ``store_later``; the last of a kind stays."""
    comparison.set_user_attr(f"{EXPORT}{facts['alpha']},{facts['temperature']},{facts['seed']},{facts['kind']}", facts)


def exports(comparison: optuna.Study) -> list[ExportFacts]:
    """What was exported of the runs of a comparison, by pair, seed and kind."""
    stored = [facts for key, facts in comparison.user_attrs.items() if key.startswith(EXPORT)]
    return sorted(stored, key=lambda facts: (facts["alpha"], facts["temperature"], facts["seed"], facts["kind"]))


def _later(number: int) -> str:
    return f"scores of trial {number}"


def run_pair(alpha: float, temperature: float) -> tuple[float, float]:
    """The pair under which a run is stored: at alpha = 0 the temperature means nothing and is written as 1."""
    return (alpha, temperature if alpha != 0 else 1.0)
