"""What the trainings of a process need: images, split, teacher and what it says."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from data import ImageBank, ImageSet, Split, load_images, split
from models import Architecture, Teacher, find_teacher, fold_batch_norm
from storage.claims import Claims
from storage.configuration import Configuration, refuse_unless
from storage.description import Description
from storage.open_study import OpenStudy
from study.evaluation import HeldOut
from study.options import Request
from study.plan import Plan
from study.progress import bar
from study.teacher import choose_teacher
from study.teacher_logits import TeacherLogits, logits_folder
from study.worker import patiently


@dataclass(frozen=True)
class Materials:
    """What is trained on and scored on, and who teaches; no teacher where the baseline alone is trained.

    Attributes:
        bank: all official training images.
        on_validation, on_test: what trials and runs are scored on; the validation images in the order of ``parts``.
    """

    images: ImageSet
    parts: Split
    student: Architecture
    teacher: Teacher | None
    bank: ImageBank
    logits: TeacherLogits | None
    on_validation: HeldOut
    on_test: HeldOut


def fetch(request: Request, plan: Plan, claims: Claims, device: torch.device) -> Materials:
    """Load the images and the teacher, which is trained where none is stored.

    Args:
        plan: what is left.
        claims: of the storage.

    Raises:
        DataError, CheckpointError, ConfigurationError: where images or teacher are not what they should be.
        OSError: where the disk has no room for the logits.
    """
    configuration, cache = request.configuration, request.runs.cache
    images = patiently(lambda: load_images(configuration, cache, request.data_dir, claims, bar))
    plan.refuse_other_images(request.name, images.hash)
    bank = ImageBank.of_training_images(images, device)
    teacher = logits = None
    # One that was given is held against the study's, also where it has nothing to do.
    if plan.needs_teacher or plan.teacher_file is not None:
        teacher = choose_teacher(configuration, images, cache, claims, device, plan.teacher_file, plan.begun_with)
        logits = _logits(teacher, images, bank, request, claims)
        logits.require_room(plan.logits_to_ask)
    elif plan.begun_with is not None:
        # Where the baseline alone is left, it is scored beside the teacher if that is still there.
        teacher = find_teacher(cache, images.hash, configuration.teacher_network, plan.begun_with)
        if teacher is not None:
            teacher.load(torch.device("cpu"))  # or says now that it is damaged, and not after a training
    parts = split(images.train_labels, configuration.train_images, configuration.validation_images)
    on_validation, on_test = held_out(bank, images, parts.validation, teacher, configuration)
    return Materials(
        images=images,
        parts=parts,
        student=plan.student,
        teacher=teacher,
        bank=bank,
        logits=logits,
        on_validation=on_validation,
        on_test=on_test,
    )


def images_of(opened: OpenStudy, description: Description, cache: Path, data_dir: Path | None) -> ImageSet:
    """The images of a study that was begun.

    Raises:
        ConfigurationError: where the images at hand are other ones, or a folder is given for those that are drawn.
        DataError: where they are not there or not what they should be.
    """
    settings, known = description.settings, description.data["hash"]
    refuse_unless(
        data_dir is None or settings.dataset != "synthetic",
        f"--data-dir {data_dir}: the images of study {opened.name!r} are drawn by a program, leave it out",
    )
    images = load_images(settings, cache, data_dir, opened.claims, bar)
    refuse_unless(
        images.hash == known,
        f"study {opened.name!r} was begun with data {known[:12]}, not {images.hash[:12]}: "
        "give its images by --data-dir",
    )
    return images


def held_out(
    bank: ImageBank, images: ImageSet, validation: Tensor, teacher: Teacher | None, configuration: Configuration
) -> tuple[HeldOut, HeldOut]:
    """The validation images and the test images.

    Args:
        bank: all official training images, on the device on which networks are scored.
        validation: the indices into them of the study's validation images.
    """
    make_teacher = None if teacher is None else partial(_folded, teacher, bank.device)
    test = ImageBank.of_test_images(images, bank.device)
    precision = configuration.recipe.precision
    return (
        HeldOut(bank, validation, precision, make_teacher),
        HeldOut(test, torch.arange(len(test)), precision, make_teacher),
    )


def _folded(teacher: Teacher, device: torch.device) -> nn.Module:
    return fold_batch_norm(teacher.load(device))


def _logits(teacher: Teacher, images: ImageSet, bank: ImageBank, request: Request, claims: Claims) -> TeacherLogits:
    precision = request.configuration.recipe.precision
    source = teacher.architecture.source
    return TeacherLogits(
        logits_folder(request.runs.cache, images.hash, teacher.hash, source, bank.device, precision),
        bank,
        make_teacher=partial(teacher.load, bank.device),
        classes=len(images.classes),
        progress=lambda views: bar(views, "teacher logits", "view"),
        claims=claims,
        precision=precision,
    )
