"""How long the work that is left should take here, from measured steps."""

import dataclasses
import os
from functools import partial

import torch

from models import teachers_folder, teachers_of_other_sources
from models.architecture import file_name
from study.device import say_if_slow, torch_threads
from study.options import Request
from study.plan import Plan
from study.probe import PROBE_IMAGES, Probe, teacher_seconds
from study.processes import threads_each
from study.progress import duration, say
from study.recipes import teacher_recipe
from study.teacher_logits import as_asked


def print_plan(request: Request, plan: Plan, device: torch.device) -> None:
    """Say what is left to run and how long the workers should take for it on this device."""
    if plan.is_done:
        say("all is trained" if request.dry_run else "all is trained: the report is made again")
        return
    images, recipe = plan.images, request.configuration.recipe
    every = images.train + images.validation
    if plan.train_teacher:
        teacher = teacher_recipe(request.configuration)
        done = f", {plan.teacher_epochs_done} of them are done" if plan.teacher_epochs_done else ""
        say(
            f"teacher: {request.configuration.teacher_network}, none is stored: {teacher.epochs} epochs on "
            f"{images.every:,} images{done}"
        )
        folder = teachers_folder(request.runs.cache, images.hash)
        begun = [] if plan.teacher_epochs_done else folder.glob(f"{file_name(plan.teacher.name)}-*.training.pt")
        for file in begun:
            say(
                f"{file}: not gone on from, since its recipe, its seed or the source of its network is another, or it "
                "is damaged"
            )
        for other in teachers_of_other_sources(request.runs.cache, images.hash, plan.teacher.name):
            say(f"the file of its network has changed since {other.path} was trained: --teacher {other.path} takes it")
    if plan.stored_teacher is not None:
        say(f"teacher: {plan.stored_teacher.path}, {plan.stored_teacher.origin}")
    if plan.trials:
        pruner = request.configuration.pruner
        pruning = "none is pruned" if pruner == "none" else f"pruning ({pruner}) may shorten them"
        trainings = _count(plan.trainings, "training")
        say(f"search: {trainings} of {recipe.epochs} epochs on {images.train:,} images, {pruning}")
        if images.not_validated:
            have = "has" if images.not_validated == 1 else "have"
            say(
                f"{images.not_validated} of {images.classes} classes {have} none of its {images.validation:,} "
                "validation images"
            )
    if plan.rates:
        say(f"controls: {_count(plan.rates, 'training')} of {recipe.epochs} epochs on {images.train:,} images")
    say(f"comparison: {_count(plan.runs, 'run')} of {recipe.epochs} epochs on {every:,} images")
    say(f"teacher logits: about {plan.logits_to_ask:,} views, {plan.logits_to_ask * images.classes * 2 / 1e9:.2f} GB")
    if device.type == "cuda" and request.workers > 1:
        return  # The GPUs are the workers': a process that measures on one keeps memory there.
    say_if_slow(recipe.precision, device)
    step, seconds = _estimate(request, plan, device)
    say(
        f"on {device} a student's step takes {1000 * step:.2g} ms an image: about {duration(seconds)} in all, "
        "if nothing else runs here"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _estimate(request: Request, plan: Plan, device: torch.device) -> tuple[float, float]:
    """Seconds of a student's step an image, and of all that is left."""
    configuration, recipe = request.configuration, request.configuration.recipe
    workers = at_once(request.workers, plan, device)
    # A batch of more images than there are is one of those.
    recipe = dataclasses.replace(recipe, batch_size=min(recipe.batch_size, plan.images.train + plan.images.validation))
    probe = Probe(plan.student, device, max(PROBE_IMAGES, recipe.batch_size))
    with torch_threads(threads_each(request.workers, device)):
        step = probe.step(plan.student.build, recipe)
        predict_student = probe.prediction(plan.student.build, recipe.precision)
        make_teacher = partial(as_asked, plan.teacher.build().eval(), device, recipe.precision)
        ask = probe.prediction(make_teacher, recipe.precision)
    teacher = 0.0
    if plan.train_teacher:  # on all cores
        every, done = plan.images.every, plan.teacher_epochs_done
        teacher = teacher_seconds(plan.teacher, teacher_recipe(configuration), device, every, done)
    train, validation = plan.images.train, plan.images.validation
    search = (plan.trainings + plan.rates) * recipe.epochs * (train * step + validation * predict_student)
    comparison = plan.runs * recipe.epochs * (train + validation) * step
    return step, teacher + (search + comparison + plan.logits_to_ask * ask) / workers


def at_once(workers: int, plan: Plan, device: torch.device) -> int:
    """How many workers train at the same time: as many as there are trainings, and cores or devices for them."""
    places = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type) or _cores()
    return max(1, min(workers, places, plan.trainings + plan.rates + plan.runs))


def _cores() -> int:
    """How many this process may use."""
    # macOS does not say it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
