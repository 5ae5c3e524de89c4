"""Measured steps and predictions: what says how long something will take here."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial

import torch
from tqdm import tqdm

from data import VIEWS, ImageBank
from models import Architecture
from storage.configuration import Recipe
from study.device import wait_for
from study.evaluation import predict
from study.step import TrainingStep
from study.teacher_logits import batch_size

PROBE_IMAGES = 1000
PROBE_STEPS = 10
PROBE_SECONDS = 0.2


class Probe:
    """Measures steps and predictions on so many random images, shaped as a network takes them; in seconds an image."""

    def __init__(self, shape: Architecture, device: torch.device, count: int) -> None:
        self.classes, self.device, self.count = shape.classes, device, count
        images = torch.randint(256, (count, shape.channels, shape.image_size, shape.image_size), dtype=torch.uint8)
        labels = torch.randint(shape.classes, (count,))
        mean, deviation = (torch.full((shape.channels,), value) for value in (0.5, 0.25))
        self.bank = ImageBank(images, labels, mean, deviation, device)

    def step(self, make: Callable[[], torch.nn.Module], recipe: Recipe, epoch: int = 0) -> float:
        """One training step with the distillation loss, as in that epoch."""
        step = TrainingStep(make, recipe, self.bank, self.classes)
        # A step of a CPU is long enough to be timed alone.
        batches = 1 if self.device.type == "cpu" else max(1, self.count // recipe.batch_size)
        images = torch.arange(batches * recipe.batch_size)
        said = torch.zeros(len(images), self.classes, dtype=torch.float16)
        with tqdm(disable=True) as progress:
            call = partial(step.epoch, images, images % VIEWS, said, 0.5, 4.0, epoch, progress)
            return self._seconds(call) / len(images)

    def prediction(self, make: Callable[[], torch.nn.Module], precision: str) -> float:
        """One prediction."""
        network: torch.nn.Module = make().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        indices = torch.arange(batch_size(self.device), device=self.device)
        return self._seconds(lambda: predict(network, self.bank, indices, precision)) / len(indices)

    def _seconds(self, call: Callable[[], object]) -> float:
        call()
        wait_for(self.device)
        times: list[float] = []
        while len(times) < PROBE_STEPS and sum(times) < PROBE_SECONDS:
            start = time.perf_counter()
            call()
            wait_for(self.device)
            times.append(time.perf_counter() - start)
        return min(times)  # whatever else runs here interrupts some of them


def teacher_seconds(teacher: Architecture, recipe: Recipe, device: torch.device, images: int, done: int = 0) -> float:
    """How long a teacher should take for the epochs that are left after ``done`` of them, on so many images each."""
    probe_recipe = recipe
    if device.type == "cpu":
        # 16 images take as long an image as 128: within 2 % for a ResNet32x4.
        probe_recipe = dataclasses.replace(recipe, batch_size=min(16, recipe.batch_size))
    probe = Probe(teacher, device, max(PROBE_IMAGES, probe_recipe.batch_size))
    # The last epoch is one of full size.
    step = probe.step(teacher.build, probe_recipe, epoch=recipe.epochs - 1)
    return sum(recipe.work_by_epoch()[done:]) * images * step
