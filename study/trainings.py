"""Makes the training of a trial and of a run: the same network, step and teacher; other images and seeds."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data import Draws, stream
from storage.configuration import Configuration, Point
from storage.controls import words_of
from storage.folders import RunsFolder, comparison_name, rates_name
from study.materials import Materials
from study.step import TrainingStep
from study.teacher_logits import ShuffledLogits, SmoothLabels, SoftTargets, matching_strength
from study.training import Training


@dataclass(frozen=True)
class Trainings:
    """The trainings of one study in this process; one at a time, since they share one network.

    Args:
        name: of the study.
        runs: where checkpoints are kept.
    """

    configuration: Configuration
    materials: Materials
    runs: RunsFolder
    name: str

    def of_trial(self, point: Point, label: str) -> Training:
        """A trial of the search: trained on the training images, scored on the validation images."""
        return self._on_train(self.name, point, label)

    def of_run(self, point: Point, label: str) -> Training:
        """A run of the comparison: trained on both, and scored on the test images by whoever asked for it."""
        parts = self.materials.parts
        train = torch.cat([parts.train, parts.validation]).sort().values
        return self._training(comparison_name(self.name), point, label, train, None)

    def of_rate(self, point: Point, label: str) -> Training:
        """A trial with a learning rate of its own, on the images of the search."""
        return self._on_train(rates_name(self.name), point, label)

    def _on_train(self, optuna_name: str, point: Point, label: str) -> Training:
        parts = self.materials.parts
        return self._training(optuna_name, point, label, parts.train, parts.validation)

    def _training(
        self, optuna_name: str, point: Point, label: str, train: Tensor, validation: Tensor | None
    ) -> Training:
        alpha, temperature, seed = point["alpha"], point["temperature"], int(point["seed"])
        protocol = self.configuration.recipe.learning_rate
        return Training(
            self._step,
            seed=seed,
            train=train,
            validation=validation,
            logits=self._taught(point, train),
            draws=self._draws,
            alpha=alpha,
            temperature=temperature,
            rate_factor=point.get("learning_rate", protocol) / protocol,
            checkpoint=self.runs.checkpoint(optuna_name, alpha, temperature, seed, words_of(point)),
            name=label,
            source=self.materials.student.source,
            data_hash=self.materials.images.hash,
        )

    def _taught(self, point: Point, train: Tensor) -> SoftTargets | None:
        """What a training is taught beside the labels; nothing of the teacher is part of one without it."""
        logits, labels = self.materials.logits, self.materials.bank.labels
        if not point["alpha"]:
            return None
        assert logits is not None, "alpha is not 0, so teacher logits are needed"
        if "shuffled" in point:
            return ShuffledLogits(logits, train, labels)
        if "smoothing" in point:
            # Views that the teacher is asked for anyway; the same ones for every seed.
            shown = stream(train, self.configuration.seed, 0, self._draws, self.configuration.recipe.flip)
            said = logits.of(*shown)
            strength = matching_strength(said, point["temperature"])
            return SmoothLabels(labels, logits.classes, strength, point["temperature"], said.device)
        return logits

    @cached_property
    def _draws(self) -> Draws | None:
        """Of every image, by its number in the bank, so that search and comparison share them."""
        if self.configuration.draws == "independent":
            return None
        return Draws(len(self.materials.bank), self.configuration.recipe.epochs)

    @cached_property
    def _step(self) -> TrainingStep:
        """One network and its step, reset for every training."""
        classes = len(self.materials.images.classes)
        return TrainingStep(self.materials.student.build, self.configuration.recipe, self.materials.bank, classes)
