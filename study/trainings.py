"""Makes the training of a trial and of a run: the same network, step and teacher; other images and seeds."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data import Draws
from storage.configuration import Configuration
from storage.folders import RunsFolder, comparison_name
from study.materials import Materials
from study.step import TrainingStep
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

    def of_trial(self, alpha: float, temperature: float, label: str) -> Training:
        """A trial of the search: trained on the training images, scored on the validation images."""
        parts, seed = self.materials.parts, self.configuration.seed
        return self._training(self.name, alpha, temperature, seed, label, parts.train, parts.validation)

    def of_run(self, alpha: float, temperature: float, seed: int, label: str) -> Training:
        """A run of the comparison: trained on both, and scored on the test images by whoever asked for it."""
        parts = self.materials.parts
        train = torch.cat([parts.train, parts.validation]).sort().values
        return self._training(comparison_name(self.name), alpha, temperature, seed, label, train, None)

    def _training(
        self,
        optuna_name: str,
        alpha: float,
        temperature: float,
        seed: int,
        label: str,
        train: Tensor,
        validation: Tensor | None,
    ) -> Training:
        return Training(
            self._step,
            seed=seed,
            train=train,
            validation=validation,
            # Nothing of the teacher is part of a training without it, its checkpoint included.
            logits=self.materials.logits if alpha else None,
            draws=self._draws,
            alpha=alpha,
            temperature=temperature,
            checkpoint=self.runs.checkpoint(optuna_name, alpha, temperature, seed),
            name=label,
            source=self.materials.student.source,
        )

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
