"""What would run and how long it should take here, from measured steps."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
import torch
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from tqdm import tqdm

from data import VIEWS, ImageBank, Split, load_synthetic, split
from data.cifar100 import CIFAR100_HASH
from models import StudentCNN, build, fold_batch_norm
from storage.configuration import Configuration, Recipe
from storage.exactly_once import point_of
from storage.study_storage import open_claims, open_storage
from study.comparison import choose_arms, run_pair
from study.evaluation import predict
from study.presets import TEACHER_RECIPES
from study.progress import say
from study.record import comparison_name, count_ended
from study.search import sampler_of
from study.space import grid_points
from study.step import TrainingStep
from study.teacher import find_teachers
from study.teacher_logits import BATCH_SIZE as LOGITS_BATCH
from study.teacher_logits import count_filled, logits_folder

PROBE_IMAGES = 1000
PROBE_STEPS = 10
PROBE_SECONDS = 0.2


@dataclass(frozen=True)
class Work:
    """What is left of a study.

    Attributes:
        trials: of the search.
        trainings: of those, in full length; alpha = 0 once.
        runs: of the comparison.
        views: (image, view) pairs that the teacher is expected to be asked for the first time.
        train_images, validation_images: of the search.
        classes: of the data set.
        train_teacher: whether the teacher has to be trained before.
        teacher_images: that the teacher is trained on.
        begun_with: hash of the teacher with which the study was begun; None where it was not begun.
    """

    trials: int
    trainings: int
    runs: int
    views: int
    train_images: int
    validation_images: int
    classes: int
    train_teacher: bool = False
    teacher_images: int = 0
    begun_with: str | None = None


def work_left(
    configuration: Configuration,
    study: optuna.Study | None,
    compared: optuna.Study | None,
    parts: Split,
    added: list[tuple[float, float]],
    tpe_trials: int,
    views_filled: int,
) -> Work:
    """Count what is left of a study.

    Args:
        study, compared: of search and comparison; None where they were not begun.
        parts: what the search trains and is scored on.
        added: pairs that are compared beside the baseline and the winners.
        tpe_trials: how many TPE trials the search is to have.
        views_filled: (image, view) pairs whose teacher logits are stored.
    """
    points = grid_points(configuration)
    ended = [] if study is None else study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    ended_points = [point_of(trial) for trial in ended]
    left = {run_pair(point["alpha"], point["temperature"]) for point in points if point not in ended_points}
    left -= {run_pair(point["alpha"], point["temperature"]) for point in ended_points}
    tpe_left = max(0, tpe_trials - sum(sampler_of(trial, len(points)) == "tpe" for trial in ended))
    trials_left = sum(point not in ended_points for point in points) + tpe_left
    arms, runs_ended = 2 + len(added) + (1 if tpe_trials else 0), 0 if compared is None else count_ended(compared)
    if study is not None and trials_left == 0:
        arms = len(set(choose_arms(study, configuration, added).values()))
    train_images, validation_images = len(parts.train), len(parts.validation)
    epochs, seeds = configuration.recipe.epochs, configuration.seeds
    views = expected_views(train_images, epochs * (1 + seeds)) + expected_views(validation_images, epochs * seeds)
    nothing_left = trials_left == 0 and runs_ended >= arms * seeds
    return Work(
        classes=parts.classes,
        trials=trials_left,
        trainings=len(left) + tpe_left,
        runs=max(0, arms * seeds - runs_ended),
        views=0 if nothing_left else max(0, views - views_filled),
        train_images=train_images,
        validation_images=validation_images,
    )


def plan(
    name: str,
    configuration: Configuration,
    cache: Path,
    url: str,
    added: list[tuple[float, float]],
    tpe_trials: int,
    teacher_given: bool,
    device: torch.device,
) -> Work:
    """What is left to run, found without training or writing anything and without CIFAR-100 at hand."""
    if configuration.dataset == "synthetic":
        images = load_synthetic()
        labels, data_hash = images.train_labels, images.hash
    else:
        labels, data_hash = torch.arange(100).repeat_interleave(500), CIFAR100_HASH
    parts = split(labels, configuration.train_images)
    stored = find_teachers(cache, data_hash, configuration.teacher_network)
    precision = configuration.recipe.precision
    folders = [logits_folder(cache, data_hash, teacher.hash, device, precision) for teacher in stored]
    filled = max((count_filled(folder) for folder in folders), default=0)
    study, compared = stored_studies(url, name)
    work = work_left(configuration, study, compared, parts, added, tpe_trials, filled)
    return dataclasses.replace(
        work,
        train_teacher=not (stored or teacher_given),
        teacher_images=len(labels),
        begun_with=None if study is None else study.user_attrs.get("teacher", {}).get("hash"),
    )


def stored_studies(url: str, name: str) -> tuple[optuna.Study | None, optuna.Study | None]:
    """Search and comparison as they are stored; None where there is none, and then nothing is created."""
    database = make_url(url).database
    if make_url(url).get_backend_name() == "sqlite" and not Path(str(database)).exists():
        return None, None
    storage = open_storage(url, open_claims(url))
    stored = optuna.get_all_study_names(storage)
    study, compared = (
        optuna.load_study(study_name=each, storage=storage) if each in stored else None
        for each in (name, comparison_name(name))
    )
    return study, compared


def expected_views(images: int, draws: int) -> int:
    """How many different (image, view) pairs are expected when every image is shown ``draws`` times."""
    return round(images * VIEWS * (1 - (1 - 1 / VIEWS) ** draws))


def print_plan(configuration: Configuration, work: Work, device: torch.device, workers: int) -> None:
    """Say what is left to run and how long so many workers should take for it on this device."""
    if work.trainings + work.runs == 0:
        say("all is trained: the report is made again")
        return
    recipe, classes = configuration.recipe, work.classes
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // workers))
    probe = Probe(classes, device)
    step, predict_student = probe.step(StudentCNN, recipe), probe.prediction(StudentCNN)
    predict_teacher = probe.prediction(
        lambda classes: fold_batch_norm(build(configuration.teacher_network, classes).eval())
    )
    every = work.train_images + work.validation_images
    search = work.trainings * recipe.epochs * (work.train_images * step + work.validation_images * predict_student)
    comparison = work.runs * recipe.epochs * every * step
    logits = work.views * predict_teacher
    teacher = 0.0
    if work.train_teacher:
        teacher_recipe = TEACHER_RECIPES[configuration.teacher_recipe]
        teacher_step = probe.step(lambda classes: build(configuration.teacher_network, classes), teacher_recipe)
        teacher = teacher_recipe.epochs * work.teacher_images * teacher_step
        say(
            f"teacher: {configuration.teacher_network}, none is stored: {teacher_recipe.epochs} epochs on "
            f"{work.teacher_images:,} images, about {duration(teacher)}"
        )
    torch.set_num_threads(threads)
    say(
        f"search: {work.trainings} trainings of {recipe.epochs} epochs on {work.train_images:,} images, "
        f"pruning ({configuration.pruner}) may shorten them"
    )
    say(f"comparison: {work.runs} runs of {recipe.epochs} epochs on {every:,} images")
    say(f"teacher logits: about {work.views:,} views, {work.views * classes * 2 / 1e9:.2f} GB")
    say(
        f"on {device} a student's step takes {1000 * step:.2f} ms an image: "
        f"about {duration(teacher + (search + comparison) / workers + logits)} in all, if nothing else runs here"
    )


class Probe:
    """Measures steps and predictions on random images, in seconds an image."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes, self.device = classes, device
        images = torch.randint(256, (PROBE_IMAGES, 3, 32, 32), dtype=torch.uint8)
        labels = torch.randint(classes, (PROBE_IMAGES,))
        self.bank = ImageBank(images, labels, torch.full((3,), 0.5), torch.full((3,), 0.25), device)

    def step(self, make: Callable[[int], torch.nn.Module], recipe: Recipe) -> float:
        """One training step with the distillation loss."""
        step = TrainingStep(lambda: make(self.classes), recipe, self.bank, self.classes)
        # A step of a CPU is long enough to be timed alone.
        batches = 1 if self.device.type == "cpu" else max(1, PROBE_IMAGES // recipe.batch_size)
        images = torch.arange(batches * recipe.batch_size) % PROBE_IMAGES
        said = torch.zeros(len(images), self.classes, dtype=torch.float16)
        with tqdm(disable=True) as progress:
            call = partial(step.epoch, images, images % VIEWS, said, 0.5, 4.0, 0, progress)
            return self._seconds(call, PROBE_STEPS) / len(images)

    def prediction(self, make: Callable[[int], torch.nn.Module]) -> float:
        """One prediction."""
        network = self._put(make)
        # On a CPU 25 images at once take as long an image as 500, and nobody likes to wait for a plan.
        indices = torch.arange(25 if self.device.type == "cpu" else LOGITS_BATCH, device=self.device)
        return self._seconds(lambda: predict(network, self.bank, indices), PROBE_STEPS) / len(indices)

    def _put(self, make: Callable[[int], torch.nn.Module]) -> torch.nn.Module:
        network: torch.nn.Module = make(self.classes).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def _seconds(self, call: Callable[[], object], times: int) -> float:
        call()
        self._wait()
        start = time.perf_counter()
        done = 0
        while done < times and time.perf_counter() - start < PROBE_SECONDS:
            call()
            done += 1
        self._wait()
        return (time.perf_counter() - start) / done

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min`` or ``2.5 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 60 / 24:.1f} days"
