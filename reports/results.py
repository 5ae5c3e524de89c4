"""What ``results.json`` holds, key by key: what ``reports.collect`` writes and everything else in this room reads.

Accuracies are shares 0 to 1, losses nats, times seconds. Every key is there unless it says when not. Results that an
earlier version stored are brought to this form when they are read, by ``lifted`` alone.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

from reports.calibration import Bins, calibration_error
from storage.description import CostFacts, DataFacts, Start, TeacherFacts
from storage.errors import PlainError
from storage.trials import DIVERGED, ExportFacts, MadeBy, run_pair

FORMAT = 2
"""Of ``results.json``; stored results that name none are of format 1."""

State = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING", "MISSING"]
"""Of a trial as Optuna has it; MISSING where no trial has begun at a point of the grid."""


class ResultsError(PlainError):
    """Stored results that this version cannot read; the message is one line."""


class Epoch(TypedDict):
    """One point of the curve of a trial; the training loss is that which is trained on."""

    train_loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


class RunEpoch(TypedDict):
    """One point of the curve of a run of the comparison, which has no validation images."""

    train_loss: float
    validation_loss: None
    validation_accuracy: None
    seconds: float


class ImageScores(TypedDict):
    """What a trained network says of single images; None where a study stored none.

    Attributes:
        hits: which images it got right: ``numpy.packbits`` in hexadecimal, images in their order.
        agreement: share of images of which the teacher says the same class.
        divergence: mean KL(teacher || student) in nats, by temperature, ``"1"`` and ``"4"``.
    """

    hits: str | None
    agreement: float | None
    divergence: dict[str, float] | None


UNKNOWN: ImageScores = {"hits": None, "agreement": None, "divergence": None}


class Trial(ImageScores):
    """One trial of the search, or a point of the grid without one.

    Attributes:
        sampler: ``grid``, ``tpe`` or ``gp``, who proposed it.
        number: None where the state is MISSING.
        value: validation accuracy; None unless the state is COMPLETE.
        epochs: that it trained; 0 where it repeats another.
        repeats: the number of the trial whose state and value it took, at alpha = 0.
        reason: why it failed.
        pruner: ``median`` or ``none``; None where it trained nothing.
        curve: empty while it runs, and where it repeats another.
        made_by: None where it trained nothing, and in studies that were begun before format 2.
        hits, agreement, divergence: on the validation images; None unless the state is COMPLETE, and for a repeat.
    """

    alpha: float
    temperature: float
    sampler: str
    number: int | None
    state: State
    value: float | None
    epochs: int
    repeats: int | None
    seconds: float
    reason: str | None
    pruner: str | None
    curve: list[Epoch]
    made_by: MadeBy | None


class Rate(TypedDict):
    """A learning rate that was tried for a control, with the search seed on the images of the search.

    Attributes:
        control: ``rate`` or ``best-rate``, whose learning rate it may become.
        value: validation accuracy; None unless the state is COMPLETE.
        reason: why it failed.
    """

    control: str
    alpha: float
    temperature: float
    learning_rate: float
    state: State
    value: float | None
    reason: str | None


class FailedRun(TypedDict):
    """A run of the comparison that failed and was not run again."""

    seed: int
    reason: str | None


class Arm(TypedDict):
    """The runs of one pair that ended, in the order of their seeds: lists have one entry a seed.

    Attributes:
        learning_rate: of the recipe, as its runs had it.
        control: by what its runs differ from plain ones of that pair: ``shuffled`` or ``smoothing``, which is taught in
            the teacher's place, or ``rate``, their learning rate; None where they are plain.
        smoothing: strength of the label smoothing; None where there is none.
        correct_by_class: test images of each class that a network classified correctly.
        images_by_class: test images of each class; empty where no run has ended.
        calibration_error: expected calibration error, from ``calibration``.
        made_by: None in studies that were begun before format 2.
        hits, agreement, divergence: on the test images.
    """

    alpha: float
    temperature: float
    learning_rate: float
    control: str | None
    smoothing: float | None
    seeds: list[int]
    test_accuracy: list[float]
    test_loss: list[float]
    correct_by_class: list[list[int]]
    images_by_class: list[int]
    calibration: list[Bins]
    calibration_error: list[float]
    hits: list[str | None]
    agreement: list[float | None]
    divergence: list[dict[str, float] | None]
    seconds: list[float]
    curves: list[list[RunEpoch]]
    made_by: list[MadeBy | None]
    failed: list[FailedRun]


class Finalist(TypedDict):
    """A point that was trained with more seeds than that of the search, which is the first; values on validation."""

    alpha: float
    temperature: float
    seeds: list[int]
    values: list[float]


class FailedFinalist(TypedDict):
    """A training of a finalist that failed; ``number`` is its trial's."""

    number: int
    alpha: float
    temperature: float
    seed: int
    reason: str | None


class Best(TypedDict):
    """The best point of the grid so far, by its mean where there are finalists; number and value of its search seed."""

    alpha: float
    temperature: float
    number: int
    value: float
    sampler: str


class Recipe(TypedDict):
    """How the student is trained: ``storage.configuration.Recipe``."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: str
    step_epochs: list[int]
    step_factor: float
    precision: str
    batches: str
    flip: NotRequired[bool]
    optimizer: NotRequired[str]


class Configuration(TypedDict):
    """``storage.configuration.Configuration`` as last given, with what follows from it.

    Attributes:
        seeds: how many runs each arm of the comparison is to have.
        pruner: of the last command; that of a trial is its own.
        draws: ``shared`` by all runs, or ``independent`` as in studies begun before format 2.
        epochs: of the recipe.
        train_images: that the search trains on.
        final_seeds: of the last command; those of an arm are its own.
    """

    preset: str
    dataset: str
    teacher_network: str
    teacher_recipe: str
    recipe: Recipe
    train_images: int
    alphas: list[float]
    temperatures: list[float]
    seed: int
    seeds: int
    pruner: str
    finalists: int
    finalist_seeds: int
    draws: str
    epochs: int
    final_seeds: list[int]


class Student(CostFacts):
    """The student; ``test_accuracy`` is the best arm's mean, None before its first run has ended."""

    test_accuracy: float | None


class Search(TypedDict):
    """What the search took.

    Attributes:
        tpe_trials: asked for, after the grid.
        epochs_trained: by the points that a pruner may stop, so without the finalists' other seeds.
        epochs_full: that the trials of ``epochs_trained`` would have trained without a pruner.
        seconds: of all trainings, those of finalists too.
        started, finished: of the first and the last trial, as ISO dates; None where there is none.
        workers: how many trials ran at the same time at most; None in results of format 1.
    """

    tpe_trials: int
    epochs_trained: int
    epochs_full: int
    seconds: float
    started: str | None
    finished: str | None
    workers: int | None


class Manifest(TypedDict):
    """What repeats the study; ``final_seeds`` are those of the last command."""

    data_hash: str
    teacher_hash: str
    search_seed: int
    final_seeds: list[int]
    starts: list[Start]


class Results(TypedDict):
    """Everything a report needs of one study; lists may be incomplete while it runs.

    Attributes:
        format: of these results.
        grid: one entry a point, in the order of the grid.
        tpe: the trials after the grid, by whoever proposed them.
        finalists: those that have more than one seed so far.
        best: None before a trial of the grid is complete.
        arms: by name; an arm is there once a run of it has begun, a winner of the search once it can change no more. A
            control whose best learning rate is that of the protocol has the runs of the plain arm.
        rates: empty where no controls were asked for.
        failed_finalists: absent where none failed.
        exports: absent where none was exported.
    """

    format: int
    study: str
    configuration: Configuration
    data: DataFacts
    teacher: TeacherFacts
    student: Student
    grid: list[Trial]
    tpe: list[Trial]
    finalists: list[Finalist]
    best: Best | None
    arms: dict[str, Arm]
    rates: list[Rate]
    search: Search
    manifest: Manifest
    failed_finalists: NotRequired[list[FailedFinalist]]
    exports: NotRequired[list[ExportFacts]]


def read_results(file: Path) -> Results:
    """Stored results in today's form.

    Raises:
        OSError: where the file cannot be read.
        ResultsError: where it holds no results, or those of a later version.
    """
    try:
        return lifted(json.loads(file.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{file}: holds no results ({type(error).__name__}: {error})") from None


def all_trials(results: Results) -> list[Trial]:
    """The grid, point by point, and what came after it."""
    return results["grid"] + results["tpe"]


def without_repeats(trials: Iterable[Trial]) -> list[Trial]:
    """Those that took no state and value of another: one a training, or a point that waits for one."""
    return [trial for trial in trials if trial["repeats"] is None]


def failed_trials(results: Results) -> list[Trial]:
    """The trials of the search that failed, without those that repeat a failed one."""
    return [trial for trial in without_repeats(all_trials(results)) if trial["state"] == "FAIL"]


def count_failed(results: Results) -> int:
    """How many trainings failed; a learning rate at which the loss diverges is an answer."""
    failed = len(failed_trials(results)) + len(results.get("failed_finalists", []))
    rates = [rate["reason"] or "" for rate in results["rates"] if rate["state"] == "FAIL"]
    failed += sum(not reason.startswith(DIVERGED) for reason in rates)
    return failed + sum(len(arm["failed"]) for arm in distinct(results["arms"]).values())


def is_searched(results: Results) -> bool:
    """Whether the search has begun a trial: arms may be compared without one."""
    return any(cell["state"] != "MISSING" for cell in results["grid"])


def images_of_comparison(data: DataFacts) -> int:
    """How many images the runs of the comparison train on: those of the search and the validation images."""
    return data["train_images"] + data["validation_images"]


def distinct(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """The arms without those whose runs are the runs of an arm before them."""
    found: dict[object, str] = {}
    for name, arm in arms.items():
        found.setdefault((run_pair(arm["alpha"], arm["temperature"]), arm["control"], arm["learning_rate"]), name)
    return {name: arms[name] for name in found.values()}


def lifted(stored: dict[str, Any]) -> Results:
    """Results of any earlier version in today's form; a key that it had not gets what was so then.

    Raises:
        ResultsError: where a later version stored them.
    """
    if stored.get("format", 1) > FORMAT:
        raise ResultsError(f"results of format {stored['format']}, this version reads up to {FORMAT}: update it")
    # The first studies had no TPE, one pruner for all of their trials, draws of each run alone, and uneven batches.
    pruner = stored["configuration"]["pruner"]

    def trials(part: str) -> list[dict[str, Any]]:
        known = stored[part]
        return [
            {
                "sampler": part,
                "pruner": None if trial["repeats"] is not None else pruner,
                "made_by": None,
                **UNKNOWN,
                **trial,
            }
            for trial in known
        ]

    def arm(known: dict[str, Any]) -> dict[str, Any]:
        nothing: dict[str, Any] = {key: [None] * len(known["seeds"]) for key in ("made_by", *UNKNOWN)}
        nothing |= {"control": None, "smoothing": None}
        nothing["learning_rate"] = stored["configuration"]["recipe"]["learning_rate"]
        return {**nothing, "calibration_error": [calibration_error(bins) for bins in known["calibration"]], **known}

    configuration = {"draws": "independent", "finalists": 0, "finalist_seeds": 3, **stored["configuration"]}
    recipe = configuration["recipe"]
    configuration["recipe"] = {**recipe, "batches": recipe.get("batches", "remainder")}
    brought = {
        "format": 1,
        "finalists": [],
        "rates": [],
        **stored,
        "configuration": configuration,
        "grid": trials("grid"),
        "tpe": trials("tpe"),
        "arms": {name: arm(known) for name, known in stored["arms"].items()},
        "search": {"tpe_trials": 0, "workers": None, **stored["search"]},
    }
    return cast(Results, brought)
