"""How long the work that is left should take here, from measured steps."""

import dataclasses
import os
import time
from collections.abc import Callable
from functools import partial

import torch
from tqdm import tqdm

from data import VIEWS, ImageBank
from models import fold_batch_norm
from storage.configuration import Recipe
from study.device import say_if_slow
from study.evaluation import predict
from study.options import Request
from study.plan import Images, Work
from study.progress import duration, say
from study.recipes import TEACHER_RECIPES
from study.step import TrainingStep
from study.teacher_logits import BATCH_SIZE as LOGITS_BATCH

PROBE_IMAGES = 1000
PROBE_STEPS = 10
PROBE_SECONDS = 0.2


def print_plan(request: Request, work: Work, device: torch.device) -> None:
    """Say what is left to run and how long the workers should take for it on this device."""
    if work.is_done:
        say("all is trained" if request.dry_run else "all is trained: the report is made again")
        return
    images, recipe = work.images, request.configuration.recipe
    every = images.train + images.validation
    if work.train_teacher:
        teacher = TEACHER_RECIPES[request.configuration.teacher_recipe]
        say(
            f"teacher: {request.configuration.teacher_network}, none is stored: {teacher.epochs} epochs on "
            f"{images.every:,} images"
        )
    if work.trials:
        pruner = request.configuration.pruner
        pruning = "none is pruned" if pruner == "none" else f"pruning ({pruner}) may shorten them"
        say(f"search: {work.trainings} trainings of {recipe.epochs} epochs on {images.train:,} images, {pruning}")
    if work.rates:
        say(f"controls: {work.rates} trainings of {recipe.epochs} epochs on {images.train:,} images")
    say(f"comparison: {work.runs} runs of {recipe.epochs} epochs on {every:,} images")
    say(f"teacher logits: about {work.logits_to_ask:,} views, {work.logits_to_ask * images.classes * 2 / 1e9:.2f} GB")
    if device.type == "cuda" and request.workers > 1:
        return  # The GPUs are the workers': a process that measures on one keeps memory there.
    say_if_slow(recipe.precision, device)
    step, seconds = _estimate(request, work, device)
    say(
        f"on {device} a student's step takes {1000 * step:.2f} ms an image: about {duration(seconds)} in all, "
        "if nothing else runs here"
    )


def _estimate(request: Request, work: Work, device: torch.device) -> tuple[float, float]:
    """Seconds of a student's step an image, and of all that is left."""
    configuration, recipe = request.configuration, request.configuration.recipe
    threads = torch.get_num_threads()
    workers = at_once(request.workers, work, device)
    probe = Probe(work.images, device, max(PROBE_IMAGES, recipe.batch_size))
    torch.set_num_threads(max(1, threads // workers))
    step = probe.step(work.student.build, recipe)
    predict_student = probe.prediction(work.student.build, recipe.precision)
    ask = probe.prediction(lambda: fold_batch_norm(work.teacher.build().eval()), recipe.precision)
    teacher = 0.0
    if work.train_teacher:
        teacher_recipe = TEACHER_RECIPES[configuration.teacher_recipe]
        teacher = sum(teacher_recipe.work_by_epoch()) * work.images.every * probe.teacher_step(work, teacher_recipe)
    torch.set_num_threads(threads)
    train, validation = work.images.train, work.images.validation
    search = (work.trainings + work.rates) * recipe.epochs * (train * step + validation * predict_student)
    comparison = work.runs * recipe.epochs * (train + validation) * step
    return step, teacher + (search + comparison) / workers + work.logits_to_ask * ask


def at_once(workers: int, work: Work, device: torch.device) -> int:
    """How many workers train at the same time: as many as there are trainings, and cores or devices for them."""
    places = torch.cuda.device_count() if device.type == "cuda" else _cores()
    return max(1, min(workers, places, work.trainings + work.rates + work.runs))


def _cores() -> int:
    """How many this process may use."""
    # macOS does not say it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Probe:
    """Measures steps and predictions on so many random images of the shape of a study's, in seconds an image."""

    def __init__(self, shape: Images, device: torch.device, count: int) -> None:
        self.classes, self.device, self.count = shape.classes, device, count
        images = torch.randint(256, (count, shape.channels, shape.size, shape.size), dtype=torch.uint8)
        labels = torch.randint(shape.classes, (count,))
        mean, deviation = (torch.full((shape.channels,), value) for value in (0.5, 0.25))
        self.bank = ImageBank(images, labels, mean, deviation, device)

    def teacher_step(self, work: Work, recipe: Recipe) -> float:
        """One training step of the teacher on images of full size, which are those of the last epoch."""
        if self.device.type == "cpu":
            # 16 images take as long an image as 128: within 2 % for a ResNet32x4.
            recipe = dataclasses.replace(recipe, batch_size=min(16, recipe.batch_size))
        return self.step(work.teacher.build, recipe, epoch=recipe.epochs - 1)

    def step(self, make: Callable[[], torch.nn.Module], recipe: Recipe, epoch: int = 0) -> float:
        """One training step with the distillation loss, as in that epoch."""
        step = TrainingStep(make, recipe, self.bank, self.classes)
        # A step of a CPU is long enough to be timed alone.
        batches = 1 if self.device.type == "cpu" else max(1, self.count // recipe.batch_size)
        images = torch.arange(batches * recipe.batch_size)
        said = torch.zeros(len(images), self.classes, dtype=torch.float16)
        with tqdm(disable=True) as progress:
            call = partial(step.epoch, images, images % VIEWS, said, 0.5, 4.0, epoch, progress)
            return self._seconds(call, PROBE_STEPS) / len(images)

    def prediction(self, make: Callable[[], torch.nn.Module], precision: str) -> float:
        """One prediction."""
        network = self._put(make)
        # On a CPU 25 images at once take as long an image as 500, and nobody likes to wait for a plan.
        indices = torch.arange(25 if self.device.type == "cpu" else LOGITS_BATCH, device=self.device)
        return self._seconds(lambda: predict(network, self.bank, indices, precision), PROBE_STEPS) / len(indices)

    def _put(self, make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        network: torch.nn.Module = make().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
