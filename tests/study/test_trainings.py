"""What a point is trained on, and with what: the images, the views, the teacher's word, the learning rate."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from data import CROPS, VIEWS, ImageBank, split
from models import Architecture
from storage.configuration import Point
from storage.folders import RunsFolder
from study.materials import Materials
from study.recipes import teacher_recipe
from study.settings import PRESETS
from study.teacher_logits import ShuffledLogits, SmoothLabels
from study.trainings import Trainings

PAIR: Point = {"alpha": 0.5, "temperature": 4.0, "seed": 3}


UNIT = 64
"""Of a word: numbers of images and views are told in parts of it, which float16 holds without rounding."""


class Word:
    """A teacher's word without a teacher: of an image in a view its number and that of the view."""

    identity, classes = "word", 8

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.views: list[Tensor] = []

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        self.images.append(indices)
        self.views.append(views)
        said = torch.zeros(len(indices), 8, dtype=torch.float16)
        said[:, 0], said[:, 1] = indices / UNIT, views / UNIT
        return said


@pytest.fixture
def trainings(tiny_bank: ImageBank, tmp_path: Path) -> Trainings:
    known: Any = SimpleNamespace(
        bank=tiny_bank,
        parts=split(tiny_bank.labels, 80, 40),
        images=SimpleNamespace(classes=range(8), hash="of the images"),
        student=Architecture("StudentCNN", 8),
        logits=Word(),
    )
    return Trainings(PRESETS["demo"], cast(Materials, known), RunsFolder(tmp_path), "demo")


def test_the_search_never_trains_on_what_it_is_scored_on(trainings: Trainings) -> None:
    parts = trainings.materials.parts
    for training in (trainings.of_trial(PAIR, ""), trainings.of_rate({**PAIR, "learning_rate": 0.01}, "")):
        assert torch.equal(training.train, parts.train)
        assert training.validation is not None
        assert torch.equal(training.validation, parts.validation)


def test_a_run_trains_on_both_parts_and_is_scored_on_neither(trainings: Trainings) -> None:
    parts, run = trainings.materials.parts, trainings.of_run(PAIR, "")
    assert run.validation is None
    assert set(run.train.tolist()) == {*parts.train.tolist(), *parts.validation.tolist()}
    assert len(run.train) == 120


def test_a_training_is_of_its_point(trainings: Trainings) -> None:
    for make in (trainings.of_trial, trainings.of_run):
        training = make(PAIR, "")
        assert (training.alpha, training.temperature, training.seed) == (0.5, 4.0, 3)
        assert training.rate_factor == 1
        assert training.data_hash == "of the images"
    protocol = PRESETS["demo"].recipe.learning_rate
    assert trainings.of_rate({**PAIR, "learning_rate": 2 * protocol}, "").rate_factor == 2
    assert trainings.of_run({**PAIR, "learning_rate": protocol / 2}, "").rate_factor == 0.5


def test_images_that_may_not_be_mirrored_are_not_in_any_training(trainings: Trainings) -> None:
    recipe = dataclasses.replace(trainings.configuration.recipe, flip=False, epochs=1)
    upright = dataclasses.replace(trainings, configuration=dataclasses.replace(trainings.configuration, recipe=recipe))
    word = cast(Word, trainings.materials.logits)
    for training in (upright.of_trial(PAIR, ""), upright.of_run(PAIR, "")):
        list(training.epochs())
    upright.of_run({**PAIR, "smoothing": 1}, "")
    assert len(word.views) == 3
    assert max(int(views.max()) for views in word.views) < CROPS
    assert teacher_recipe(upright.configuration).flip is False


def test_no_two_trainings_share_a_checkpoint(trainings: Trainings) -> None:
    others: list[Point] = [{"alpha": 0.25}, {"temperature": 2.0}, {"seed": 4}, {"learning_rate": 0.01}, {"shuffled": 1}]
    files = [trainings.of_run(point, "").checkpoint for point in (PAIR, *({**PAIR, **other} for other in others))]
    files += [trainings.of_trial(PAIR, "").checkpoint, trainings.of_rate(PAIR, "").checkpoint]
    assert len(set(files)) == len(files)


def test_all_trainings_of_a_study_share_their_draws_unless_it_was_begun_before_there_were_any(
    trainings: Trainings,
) -> None:
    draws = trainings.of_trial(PAIR, "").draws
    assert draws is not None
    assert (draws.images, draws.epochs) == (200, PRESETS["demo"].recipe.epochs)
    assert trainings.of_run(PAIR, "").draws == trainings.of_rate(PAIR, "").draws == draws
    of_then = dataclasses.replace(trainings.configuration, draws="independent")
    assert dataclasses.replace(trainings, configuration=of_then).of_run(PAIR, "").draws is None


def test_the_teacher_is_listened_to_where_alpha_is_not_0_and_in_the_controls_it_is_not(trainings: Trainings) -> None:
    assert trainings.of_run({**PAIR, "alpha": 0.0}, "").logits is None
    assert trainings.of_run(PAIR, "").logits is trainings.materials.logits
    assert isinstance(trainings.of_run({**PAIR, "shuffled": 1}, "").logits, ShuffledLogits)
    assert isinstance(trainings.of_run({**PAIR, "smoothing": 1}, "").logits, SmoothLabels)


def test_shuffled_logits_are_of_images_that_are_trained_on_in_the_view_of_their_own(
    trainings: Trainings, tiny_bank: ImageBank
) -> None:
    for make in (trainings.of_trial, trainings.of_run):
        training = make({**PAIR, "shuffled": 1}, "")
        images = training.train
        assert training.logits is not None
        views = torch.arange(len(images)) % VIEWS
        said = (training.logits.of(images, views)[:, :2] * UNIT).long()
        assert torch.equal(said[:, 0].sort().values, images), "each image's once"
        assert not (said[:, 0] == images).any()
        assert torch.equal(tiny_bank.labels[said[:, 0]], tiny_bank.labels[images])
        shown = dict(zip(images.tolist(), views.tolist(), strict=True))
        assert said[:, 1].tolist() == [shown[image] for image in said[:, 0].tolist()]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_virtual_teacher_is_as_sure_as_the_teacher_is_at_the_temperature_of_the_point(
    temperature: float, trainings: Trainings, tiny_bank: ImageBank
) -> None:
    point = {**PAIR, "temperature": temperature, "smoothing": 1}
    run, other = trainings.of_run(point, ""), trainings.of_run({**point, "seed": 4}, "")
    word = cast(Word, trainings.materials.logits)
    assert torch.equal(word.images[0].sort().values, run.train)
    assert word.views[0].unique().numel() > 20, "as they are trained on"
    assert torch.equal(word.views[0], word.views[1]), "the teacher is asked for the same views for every seed"
    sure = (word.of(word.images[0], word.views[0]).float() / temperature).softmax(1).amax(1).mean().item()
    assert isinstance(run.logits, SmoothLabels)
    assert isinstance(other.logits, SmoothLabels)
    own = (run.logits.of(run.train, torch.zeros_like(run.train)).float() / temperature).softmax(1)
    on_label = own.gather(1, tiny_bank.labels[run.train, None]).flatten()
    assert on_label.tolist() == pytest.approx([sure] * len(run.train), abs=1e-3)
    assert other.logits.strength == run.logits.strength
