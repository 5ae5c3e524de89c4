"""The teacher: trained or imported, evaluated on the test images at its end, stored with its hash and accuracy.

The parameters of a teacher that is trained here are rounded to float16, which halves its file; those are what its hash
and accuracy are of, and what a study uses. An imported one stays as it is.

python -m study.teacher --preset quick
python -m study.teacher --network resnet32x4 --recipe simkd
python -m study.teacher --network resnet32x4 --recipe large-batch    for a GPU
python -m study.teacher --network resnet32x4 --import resnet32x4_best.pth
"""

import argparse
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import models
from data import ImageBank, ImageSet
from models import CheckpointError, build, load_checkpoint, round_to_half, save_checkpoint, weights_hash
from storage.claims import FileClaims, hold
from storage.configuration import PRECISIONS, Configuration, ConfigurationError, Recipe, require
from storage.errors import one_line_errors
from storage.files import write_whole
from study.command_line import add_machine_options, cache_folder, load_images
from study.device import pick_device
from study.evaluation import Scores, predict, score
from study.manifest import hardware, versions
from study.presets import PRESETS, TEACHER_RECIPES
from study.progress import say
from study.step import TrainingStep
from study.training import Training

SHIPPED = Path(models.__file__).parent / "teachers"


@dataclass(frozen=True)
class Teacher:
    """A stored teacher: weights at ``path``, ``card`` beside it in JSON."""

    path: Path
    card: dict[str, Any]

    @property
    def network(self) -> str:
        return str(self.card["network"])

    @property
    def hash(self) -> str:
        return str(self.card["hash"])

    @property
    def test_accuracy(self) -> float:
        return float(self.card["test_accuracy"])

    def load(self, device: torch.device) -> nn.Module:
        """The network in evaluation mode.

        Raises:
            CheckpointError: where the weights are not those of the card.
        """
        network = build(self.network, self.card["classes"])
        load_checkpoint(network, self.path, self.network)
        if weights_hash(network) != self.hash:
            raise CheckpointError(f"{self.path}: not the weights that its card describes; delete both and start again")
        return network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def find_teachers(cache: Path, data_hash: str, network: str) -> list[Teacher]:
    """All stored teachers of that network and data; those of the repository only where the cache has none."""
    for folder in (_folder(cache, data_hash), SHIPPED):
        cards = {path: json.loads(path.read_text()) for path in sorted(folder.glob(f"{network}-*.json"))}
        found = [
            Teacher(path.with_suffix(".pth"), card)
            for path, card in cards.items()
            if card["data_hash"] == data_hash and card["network"] == network
        ]
        if found:
            return found
    return []


def import_teacher(file: Path, network: str, image_set: ImageSet, cache: Path, device: torch.device) -> Teacher:
    """Check and evaluate a checkpoint, then store it.

    Raises:
        CheckpointError: where it is no checkpoint of that network, or classifies hardly better than chance.
    """
    imported = build(network, len(image_set.classes))
    load_checkpoint(imported, file, network)
    stored = _stored(cache, image_set, network, weights_hash(imported))
    if stored is not None:
        return stored
    say(f"evaluating {file.name} on the test images")
    return _store(imported, network, image_set, cache, device, {"origin": f"imported from {file.name}"})


def train_teacher(
    network: str, recipe: Recipe, seed: int, image_set: ImageSet, cache: Path, device: torch.device
) -> Teacher:
    """Train a teacher on all training images, or go on with one that was stopped, then evaluate and store it.

    One process at a time trains a given teacher; others wait and then find it.
    """
    key = f"{network}-{_short(repr((recipe, seed)))}"
    folder = _folder(cache, image_set.hash)
    with hold(FileClaims(folder), key):
        for teacher in find_teachers(cache, image_set.hash, network):
            if teacher.card.get("recipe") == recipe.as_json() and teacher.card.get("seed") == seed:
                return teacher
        bank = ImageBank.of_training_images(image_set, device)
        classes = len(image_set.classes)
        training = Training(
            TrainingStep(lambda: build(network, classes), recipe, bank, classes),
            seed=seed,
            train=torch.arange(len(bank)),
            checkpoint=folder / f"{key}.training.pt",
            name=network,
        )
        say(f"training {network} for {recipe.epochs} epochs on {len(bank)} images ({image_set.name})")
        for number, epoch in enumerate(training.epochs(), start=1):
            left = (recipe.epochs - number) * epoch.seconds / 60
            say(
                f"{network} epoch {number}/{recipe.epochs}: loss {epoch.train_loss:.3f}, "
                f"{epoch.seconds:.0f} s, {left:.0f} min left"
            )
        unrounded = _score(training.network, image_set, device)
        description = {
            "origin": "trained by python -m study.teacher",
            "weights": "parameters rounded to float16, batch-norm statistics float32; computed in float32",
            "before_rounding": {
                "hash": weights_hash(training.network),
                "test_accuracy": unrounded.accuracy,
                "test_loss": unrounded.loss,
            },
            "recipe": recipe.as_json(),
            "seed": seed,
            "epochs": recipe.epochs,
            "training_seconds": round(sum(epoch.seconds for epoch in training.curve), 1),
            "train_loss": [round(epoch.train_loss, 4) for epoch in training.curve],
        }
        round_to_half(training.network)
        teacher = _store(training.network, network, image_set, cache, device, description)
        say(
            f"{network}: {100 * unrounded.accuracy:.2f} % on test as trained, {100 * teacher.test_accuracy:.2f} % "
            "rounded to float16"
        )
        training.forget()
        return teacher


def choose_teacher(
    configuration: Configuration,
    image_set: ImageSet,
    cache: Path,
    device: torch.device,
    file: Path | None,
    begun_with: str | None,
) -> Teacher:
    """The teacher of a study: ``file`` where given, else the stored one, else one trained now.

    Args:
        begun_with: hash of the teacher with which the study was begun, None for a new study.

    Raises:
        CheckpointError: as ``import_teacher``.
        ConfigurationError: where several are stored: none of them is guessed.
    """
    network = configuration.teacher_network
    if file is not None:
        return import_teacher(file, network, image_set, cache, device)
    found = find_teachers(cache, image_set.hash, network)
    if begun_with is not None:
        found = [teacher for teacher in found if teacher.hash == begun_with]
        require(
            len(found) == 1,
            f"the study was begun with {network} {begun_with[:12]}, which is not stored here: give it with --teacher",
        )
    if len(found) > 1:
        listed = ", ".join(f"{teacher.path} ({100 * teacher.test_accuracy:.2f} %)" for teacher in found)
        raise ConfigurationError(f"several {network} teachers are stored, choose one with --teacher FILE: {listed}")
    if found:
        return found[0]
    return train_teacher(network, TEACHER_RECIPES[configuration.teacher_recipe], 0, image_set, cache, device)


def _store(
    network: nn.Module,
    name: str,
    image_set: ImageSet,
    cache: Path,
    device: torch.device,
    description: dict[str, Any],
) -> Teacher:
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scores = _score(network, image_set, device)
    if scores.accuracy < 2 / len(image_set.classes):
        raise CheckpointError(
            f"a {name} with {100 * scores.accuracy:.2f} % on the {image_set.name} test images is no teacher: "
            "other class order, other normalisation or other data?"
        )
    digest = weights_hash(network)
    card = {
        "network": name,
        "parameters": models.count_parameters(network),
        "hash": digest,
        "data": image_set.name,
        "data_hash": image_set.hash,
        "classes": len(image_set.classes),
        "test_accuracy": scores.accuracy,
        "test_loss": scores.loss,
        "calibration": scores.calibration,
        "correct_by_class": scores.correct_by_class,
        "versions": versions(),
        "hardware": hardware(device),
        "date": time.strftime("%Y-%m-%d"),
        **description,
    }
    path = _folder(cache, image_set.hash) / f"{name}-{digest[:12]}.pth"
    save_checkpoint(network, path, scores.accuracy, int(description.get("epochs", 0)))
    # The card last: a teacher is there once its card is.
    write_whole((json.dumps(card, indent=1) + "\n").encode(), path.with_suffix(".json"))
    return Teacher(path, card)


def _score(network: nn.Module, image_set: ImageSet, device: torch.device) -> Scores:
    test = ImageBank.of_test_images(image_set, device)
    return score(predict(network, test, torch.arange(len(test), device=device)), test.labels)


def _stored(cache: Path, image_set: ImageSet, network: str, digest: str) -> Teacher | None:
    return next((t for t in find_teachers(cache, image_set.hash, network) if t.hash == digest), None)


def _folder(cache: Path, data_hash: str) -> Path:
    return cache / "teachers" / data_hash[:12]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def main(arguments: list[str] | None = None) -> None:
    """Train or import one teacher and say where it is and how good."""
    parser = argparse.ArgumentParser(
        prog="python -m study.teacher", description="Train a teacher, or import and evaluate a checkpoint."
    )
    parser.add_argument("--preset", choices=PRESETS, default="full", help="gives data, network and recipe")
    parser.add_argument("--network", help="resnet20, resnet32x4, ... (default: the preset's)")
    parser.add_argument("--recipe", choices=TEACHER_RECIPES, help="how it is trained (default: the preset's)")
    parser.add_argument("--epochs", type=int, help="override the recipe; its learning-rate steps move in proportion")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the forward pass (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--import", dest="file", type=Path, metavar="FILE", help="a checkpoint in SimKD's form")
    add_machine_options(parser)
    options = parser.parse_args(arguments)
    with one_line_errors("python -m study.teacher"):
        preset = PRESETS[options.preset]
        network = options.network or preset.teacher_network
        recipe = TEACHER_RECIPES[options.recipe or preset.teacher_recipe]
        if options.epochs is not None:
            recipe = recipe.with_epochs(options.epochs)
        if options.precision is not None:
            recipe = dataclasses.replace(recipe, precision=options.precision)
        device = pick_device(options.device)
        try:
            build(network)
        except ValueError as error:
            raise ConfigurationError(f"--network: {error}") from None
        image_set = load_images(preset.dataset, options.runs_dir, options.data_dir)
        cache = cache_folder(options.runs_dir)
        if options.file is not None:
            require(options.epochs is None, "--import trains nothing: leave --epochs out")
            teacher = import_teacher(options.file, network, image_set, cache, device)
        else:
            teacher = train_teacher(network, recipe, options.seed, image_set, cache, device)
        print(
            f"{teacher.network}: {100 * teacher.test_accuracy:.2f} % on the {image_set.name} test images, "
            f"{teacher.path}, weights {teacher.hash[:12]}"
        )


if __name__ == "__main__":
    main()
