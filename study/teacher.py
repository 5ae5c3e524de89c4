"""The teacher: trained or imported, evaluated on the test images at its end, stored with its hash and accuracy.

The parameters of a teacher that is trained here are rounded to float16, which halves its file; those are what its hash
and accuracy are of, and what a study uses. An imported one stays as it is.

python -m study.teacher --preset quick
python -m study.teacher --config mine.toml
python -m study.teacher --network resnet32x4 --recipe simkd
python -m study.teacher --network resnet32x4 --recipe large-batch    for a GPU
python -m study.teacher --network resnet32x4 --import resnet32x4_best.pth
"""

import argparse
import dataclasses
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import nn

from data import ImageBank, ImageSet, load_images
from models import (
    Architecture,
    CheckpointError,
    Normalisation,
    Teacher,
    TeacherCard,
    check_network,
    classes_of,
    count_parameters,
    find_teacher,
    find_teachers,
    is_own,
    load_checkpoint,
    round_to_half,
    save_checkpoint,
    stored_teachers,
    teachers_folder,
    weights_hash,
)
from models.architecture import file_name, source_of
from models.teacher_card import Origin, read_card
from storage.claims import Claims
from storage.configuration import LARGEST_SEED, PRECISIONS, Configuration, ConfigurationError, Recipe, refuse_unless
from storage.errors import in_one_line, is_out_of_memory, one_line_errors
from storage.files import write_whole
from storage.folders import RunsFolder
from storage.study_storage import command_of, is_there, open_claims
from study.command_line import add_machine_options, add_settings_options, settings_of
from study.device import pick_device, say_if_slow
from study.evaluation import Scores, predict, score
from study.manifest import hardware, versions
from study.networks import check_trainable
from study.probe import teacher_seconds
from study.progress import bar, duration, say
from study.recipes import TEACHER_RECIPES, teacher_recipe
from study.settings import Settings
from study.step import TrainingStep
from study.training import DivergedError, Training
from study.worker import patiently

# Teacher logits are stored as float16.
LARGEST_LOGIT = torch.finfo(torch.float16).max
ANOTHER_TEACHER = "give another recipe (--recipe of python -m study.teacher, recipe of [teacher] in a file)"
HOW_TO_TRAIN = ("recipe", "epochs", "precision", "seed")


def import_teacher(
    file: Path,
    network: str,
    image_set: ImageSet,
    cache: Path,
    claims: Claims,
    device: torch.device,
    begun_with: str | None = None,
) -> Teacher:
    """Check and evaluate a checkpoint, then store it; one process at a time does that.

    Args:
        begun_with: hash of the teacher with which the study was begun: another is refused, and not stored.

    Raises:
        CheckpointError: where it is no checkpoint of that network, classifies hardly better than chance, or gives
            logits that cannot be stored.
        ConfigurationError: where it is not the teacher with which the study was begun.
    """
    imported = architecture(network, image_set).build()
    load_checkpoint(imported, file, network)
    if (classes := classes_of(file)) is not None:
        apart = [pair for pair in zip(classes, image_set.classes, strict=True) if pair[0] != pair[1]]
        if apart:
            raise CheckpointError(
                f"{file}: its classes are others than those of {image_set.name}, such as {apart[0][0]!r} where "
                f"{apart[0][1]!r} is: export the student of a study of these images"
            )
    digest = weights_hash(imported)
    refuse_unless(
        begun_with in (None, digest),
        f"{file}: is {network} {digest[:12]}, and the study was begun with {str(begun_with)[:12]}: "
        "leave it out (--teacher, or weights of [teacher] in a file), or begin another study with it, --study NAME",
    )

    def evaluate_and_store() -> Teacher:
        with _only_one(claims, image_set, f"{file_name(network)}-{digest[:12]}"):
            stored = find_teacher(cache, image_set.hash, network, digest)
            if stored is not None:
                try:
                    stored.load(torch.device("cpu"))
                    return stored
                except CheckpointError:  # the card alone is left, or other weights are beside it
                    if stored.path.parent == teachers_folder(cache, image_set.hash):  # nothing else is written to
                        save_checkpoint(imported, stored.path, stored.test_accuracy, stored.card.get("epochs", 0))
                        return stored
            say(f"evaluating {file.name} on the test images")
            origin = _origin_of(file, digest, image_set.hash)
            teacher = _store(imported, network, image_set, cache, device, origin, trained_in=None)
            say(f"{network}: {100 * teacher.test_accuracy:.2f} % on test, as imported from {file.name}")
            return teacher

    return patiently(evaluate_and_store)


def _origin_of(file: Path, digest: str, data_hash: str) -> Origin:
    """How a checkpoint was trained, where a card of these weights and images lies beside it; else where it is from."""
    try:
        card = read_card(file.with_suffix(".json"))
    except (OSError, CheckpointError):  # none, or another file of that name
        card = None
    if card is None or (card["hash"], card["data_hash"]) != (digest, data_hash):
        return {"origin": f"imported from {file.name}"}
    measured = TeacherCard.__annotations__.keys() - Origin.__annotations__.keys()
    return cast(Origin, {key: value for key, value in card.items() if key not in measured})


def train_teacher(
    network: str, recipe: Recipe, seed: int, image_set: ImageSet, cache: Path, claims: Claims, device: torch.device
) -> Teacher:
    """Train a teacher on all training images, or go on with one that was stopped, then evaluate and store it.

    One process at a time trains a given teacher; others, also those of other hosts, wait and then find it.

    Raises:
        CheckpointError: where it diverges, or is no teacher in the end.
    """
    made = architecture(network, image_set)
    checkpoint = training_checkpoint(cache, image_set.hash, made, recipe, seed)

    def train_and_store() -> Teacher:
        with _only_one(claims, image_set, checkpoint.name.removesuffix(".training.pt")) as claim:
            for teacher in stored_teachers(cache, image_set.hash, network):
                if teacher.card.get("recipe") == recipe.as_json() and teacher.card.get("seed") == seed:
                    teacher.load(torch.device("cpu"))  # or says that its weights are not there or not its own
                    return teacher
            bank = ImageBank.of_training_images(image_set, device)
            training = Training(
                TrainingStep(made.build, recipe, bank, made.classes),
                seed=seed,
                train=torch.arange(len(bank)),
                checkpoint=checkpoint,
                name=network,
                source=made.source,
                data_hash=image_set.hash,
                bit_for_bit=False,  # days of it go on with what another machine has
            )
            say(f"training {network} for {recipe.epochs} epochs on {len(bank)} images ({image_set.name})")
            say_if_slow(recipe.precision, device)
            _say_how_long(training, made, device)
            _train(training, claims, claim)
            teacher = _round_and_store(training, image_set, cache, device)
            training.forget()
            return teacher

    return patiently(train_and_store)


def training_checkpoint(cache: Path, data_hash: str, network: Architecture, recipe: Recipe, seed: int) -> Path:
    """The file of a teacher's training while it is not finished."""
    key = f"{file_name(network.name)}-{_short(repr((recipe, seed)) + network.source)}"
    return teachers_folder(cache, data_hash) / f"{key}.training.pt"


@contextmanager
def _only_one(claims: Claims, image_set: ImageSet, key: str) -> Iterator[str]:
    """Wait until this process alone makes the teacher of that key, whose claim is given, and says so where it waits."""
    # Named as the cache folder, which no study may be: the claims of trials begin with the name of their study.
    claim = f"cache-{image_set.hash[:12]}-{key}"
    if not claims.try_claim(claim):
        say(f"waiting for another process that makes the teacher {key}")
        claims.wait_for(claim)
    try:
        yield claim
    finally:
        claims.release(claim)


def _say_how_long(training: Training, made: Architecture, device: torch.device) -> None:
    """How much of it there is, and on a CPU how long the rest should take: of a GPU the first epoch soon says it."""
    recipe, done = training.step.recipe, len(training.curve)
    if done:
        say(f"{training.name} goes on after epoch {done} of {recipe.epochs}")
    if device.type == "cpu" and done < recipe.epochs:
        left = teacher_seconds(made, recipe, device, len(training.train), done)
        say(f"about {duration(left)} left on {device}, if nothing else runs here")


def _train(training: Training, claims: Claims, claim: str) -> None:
    recipe, name = training.step.recipe, training.name
    work, done = recipe.work_by_epoch(), len(training.curve)
    try:
        for number, epoch in enumerate(training.epochs(lambda: claims.check_held(claim)), start=1):
            if number <= done:
                continue
            left = epoch.seconds * sum(work[number:]) / work[number - 1]
            say(
                f"{name} epoch {number}/{recipe.epochs}: loss {epoch.train_loss:.3f}, "
                f"{epoch.seconds:.0f} s, {duration(left)} left"
            )
    except DivergedError as error:
        raise CheckpointError(f"the teacher {name} cannot be trained: {error}; {ANOTHER_TEACHER}") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"the teacher {name} cannot be trained in batches of {recipe.batch_size}: out of memory "
            f"({in_one_line(error)})"
        ) from None


def _round_and_store(training: Training, image_set: ImageSet, cache: Path, device: torch.device) -> Teacher:
    recipe, network, name = training.step.recipe, training.network, training.name
    unrounded = _score(network, f"the {name} as trained", image_set, device)
    origin: Origin = {
        "origin": "trained by python -m study.teacher",
        "weights": "parameters rounded to float16, batch-norm statistics float32; computed in float32",
        "before_rounding": {
            "hash": weights_hash(network),
            "test_accuracy": unrounded.accuracy,
            "test_loss": unrounded.loss,
        },
        "recipe": recipe.as_json(),
        "seed": training.seed,
        "epochs": recipe.epochs,
        "training_seconds": round(sum(epoch.seconds for epoch in training.curve), 1),
        "train_loss": [round(epoch.train_loss, 4) for epoch in training.curve],
    }
    round_to_half(network)
    teacher = _store(network, name, image_set, cache, device, origin, recipe.precision)
    say(
        f"{name}: {100 * unrounded.accuracy:.2f} % on test as trained, {100 * teacher.test_accuracy:.2f} % "
        "rounded to float16"
    )
    return teacher


def choose_teacher(
    configuration: Configuration,
    image_set: ImageSet,
    cache: Path,
    claims: Claims,
    device: torch.device,
    file: Path | None,
    begun_with: str | None,
) -> Teacher:
    """The teacher of a study: ``file`` where given, else the stored one, else one trained now.

    Args:
        claims: of the study's storage.
        begun_with: hash of the teacher with which the study was begun, None for a new study.

    Raises:
        CheckpointError: as ``import_teacher`` and ``train_teacher``, or where the stored weights are damaged.
        ConfigurationError: where several are stored: none of them is guessed.
    """
    network = configuration.teacher_network
    if file is not None:
        return import_teacher(file, network, image_set, cache, claims, device, begun_with)
    teacher = teacher_at_hand(cache, image_set.hash, configuration, begun_with)
    if teacher is None:
        recipe = teacher_recipe(configuration)
        return train_teacher(network, recipe, 0, image_set, cache, claims, device)
    teacher.load(torch.device("cpu"))  # so that damaged weights are refused before anything is written
    return teacher


def teacher_at_hand(
    cache: Path, data_hash: str, configuration: Configuration, begun_with: str | None
) -> Teacher | None:
    """The one stored teacher that a study may take; None for a new study where none is stored.

    Args:
        begun_with: hash of the teacher with which the study was begun, None for a new study.

    Raises:
        CheckpointError: where a card is damaged.
        ConfigurationError: where the study's is not stored, or several are: none of them is guessed.
    """
    network = configuration.teacher_network
    if begun_with is not None:
        teacher = find_teacher(cache, data_hash, network, begun_with)
        if teacher is None:
            raise ConfigurationError(
                f"the study was begun with {network} {begun_with[:12]}, which is not stored here: "
                "give it with --teacher, or, where it was trained here, train it again: python -m study.teacher with "
                "the --preset or --config, the recipe and the seed that it had gives the same weights"
            )
        return teacher
    found = find_teachers(cache, data_hash, network, configuration.recipe.flip)
    if len(found) > 1:
        # Without their accuracies on test images, which are no ground for a choice.
        listed = ", ".join(f"{teacher.path} ({teacher.origin})" for teacher in found)
        raise ConfigurationError(f"several {network} teachers are stored, choose one with --teacher FILE: {listed}")
    return found[0] if found else None


def _store(
    network: nn.Module,
    name: str,
    image_set: ImageSet,
    cache: Path,
    device: torch.device,
    origin: Origin,
    trained_in: str | None,
) -> Teacher:
    """Score a teacher and store it with its card.

    Args:
        trained_in: the precision, where it was trained here.
    """
    made = architecture(name, image_set)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    who = f"the {name} {origin['origin']}"
    scores = _score(network, who, image_set, device)
    if scores.balanced_accuracy < _hardly_better_than_chance(made.classes):
        raise CheckpointError(
            f"{who} has {100 * scores.accuracy:.2f} % on the {image_set.name} test images, "
            f"{100 * scores.balanced_accuracy:.2f} % in the mean over classes, and is no teacher: "
            + (
                f"{ANOTHER_TEACHER}, more of its epochs or more images"
                if "recipe" in origin
                else "other class order, other normalisation or other data?"
            )
        )
    if not is_told_from_chance(scores):
        say(f"{who} cannot be told from chance by so few test images: {100 * scores.balanced_accuracy:.2f} %")
    digest = weights_hash(network)
    card: TeacherCard = {
        "network": name,
        "parameters": count_parameters(network),
        "hash": digest,
        "data": image_set.name,
        "data_hash": image_set.hash,
        "classes": made.classes,
        "channels": made.channels,
        "image_size": made.image_size,
        "normalisation": made.normalisation,
        "source": made.source,
        "test_accuracy": scores.accuracy,
        "test_loss": scores.loss,
        "calibration": scores.calibration,
        "correct_by_class": scores.correct_by_class,
        "versions": versions(),
        "hardware": hardware(device, trained_in),
        "date": time.strftime("%Y-%m-%d"),
        **origin,
    }
    # The same weights in other code are another teacher.
    of_code = f"-{made.source[:8]}" if made.source else ""
    path = teachers_folder(cache, image_set.hash) / f"{file_name(name)}-{digest[:12]}{of_code}.pth"
    save_checkpoint(network, path, scores.accuracy, origin.get("epochs", 0))
    # The card last: a teacher is there once its card is.
    write_whole((json.dumps(card, indent=1) + "\n").encode(), path.with_suffix(".json"))
    return Teacher(path, card)


def _hardly_better_than_chance(classes: int) -> float:
    """Of the mean over classes: twice what a constant answer gets, or a tenth of the way from there to 1 if less."""
    chance = 1 / classes
    return chance + min(chance, (1 - chance) / 10)


def is_told_from_chance(scores: Scores) -> bool:
    """Whether the mean over classes is two standard errors above that of guesses, on so many images of each class."""
    images = [number for number in scores.images_by_class if number]
    chance = 1 / len(scores.images_by_class)
    error = math.sqrt(chance * (1 - chance) * sum(1 / number for number in images)) / len(images)
    return scores.balanced_accuracy >= chance + 2 * error


def _score(network: nn.Module, who: str, image_set: ImageSet, device: torch.device) -> Scores:
    """Scores on the test images.

    Raises:
        CheckpointError: where a logit is beyond what is stored of a teacher.
    """
    test = ImageBank.of_test_images(image_set, device)
    logits = predict(network, test, torch.arange(len(test), device=device))
    largest = logits.abs().max().item()
    if not largest <= LARGEST_LOGIT:
        raise CheckpointError(
            f"{who} is no teacher: its logits reach {largest:.3g} on the test images, and are stored as float16, "
            f"up to {LARGEST_LOGIT:.0f}"
        )
    return score(logits, test.labels)


def architecture(network: str, image_set: ImageSet) -> Architecture:
    """The network of that name, for these images."""
    _, channels, size, _ = image_set.train_images.shape
    return Architecture(network, len(image_set.classes), channels, size, Normalisation.of(image_set.channel_statistics))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def main(arguments: list[str] | None = None) -> None:
    """Train or import one teacher and say where it is and how good."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m study.teacher",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings_options(parser)
    parser.add_argument(
        "--network", help="resnet20, resnet32x4, ..., module:callable (default: the preset's or file's)"
    )
    parser.add_argument("--recipe", choices=TEACHER_RECIPES, help="how it is trained (default: the preset's or file's)")
    parser.add_argument("--epochs", type=int, help="override the recipe; its learning-rate steps move in proportion")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the forward pass (default: the recipe's)")
    parser.add_argument("--seed", type=int, help="of its weights and images (default: 0)")
    parser.add_argument(
        "--import", dest="file", type=Path, metavar="FILE", help="a state dict: plain, in SimKD's form, or safetensors"
    )
    parser.add_argument("--storage", metavar="URL", help="whose claims are used (default: sqlite:///RUNS_DIR/study.db)")
    add_machine_options(parser)
    options = parser.parse_args(typed)
    with one_line_errors(command_of("study.teacher", typed)):
        print(make_teacher(options))


def make_teacher(options: argparse.Namespace) -> str:
    """Train or import the teacher that the command line describes; where it is and how good, in one line."""
    settings = settings_of(options)
    configuration = settings.configuration
    network, drawn = options.network or configuration.teacher_network, configuration.dataset == "synthetic"
    refuse_unless(
        options.data_dir is None or not drawn,
        f"--data-dir {options.data_dir}: the images of {configuration.preset} are drawn, leave it out",
    )
    # What is not there is said before images are fetched.
    if is_own(network):
        source_of(network)
    else:
        Architecture(network, classes=100).build()
    file = _file_of(options, settings)
    recipe, seed = _recipe_and_seed(options, configuration)
    refuse_unless(
        file is None or file.is_file(),
        f"{'weights' if options.file is None else '--import'} {file}: no such file; give the path of a {network} "
        "checkpoint",
    )
    device = pick_device(options.device)
    runs = RunsFolder(options.runs_dir)
    url = options.storage or runs.url
    with open_claims(url) as claims:
        is_there(url)  # or says that the server cannot be reached
        image_set = load_images(configuration, runs.cache, options.data_dir or settings.folder, claims, bar)
        check_network(architecture(network, image_set))
        if file is not None:
            teacher = import_teacher(file, network, image_set, runs.cache, claims, device)
        else:
            check_trainable(architecture(network, image_set), recipe, [len(image_set.train_labels)])
            teacher = train_teacher(network, recipe, seed, image_set, runs.cache, claims, device)
    return (
        f"{teacher.network}: {100 * teacher.test_accuracy:.2f} % on the {image_set.name} test images, "
        f"{teacher.path}, weights {teacher.hash[:12]}"
    )


def _file_of(options: argparse.Namespace, settings: Settings) -> Path | None:
    """What is imported: the file given, or the weights of the settings where nothing says how to train."""
    given: Path | None = options.file
    trains = any(getattr(options, name) is not None for name in HOW_TO_TRAIN)
    another = options.network not in (None, settings.configuration.teacher_network)
    return settings.weights if given is None and not trains and not another else given


def _recipe_and_seed(options: argparse.Namespace, configuration: Configuration) -> tuple[Recipe, int]:
    """How it is trained; an option that says how, beside one to import, is refused."""
    if options.file is not None:
        for name in HOW_TO_TRAIN:
            refuse_unless(getattr(options, name) is None, f"--import trains nothing: leave --{name} out")
    recipe = teacher_recipe(configuration, options.recipe)
    if options.epochs is not None:
        recipe = recipe.with_epochs(options.epochs)
    if options.precision is not None:
        recipe = dataclasses.replace(recipe, precision=options.precision)
    seed = options.seed or 0
    refuse_unless(0 <= seed <= LARGEST_SEED, f"--seed {seed}: give 0 to {LARGEST_SEED}")
    return recipe, seed


if __name__ == "__main__":
    main()
