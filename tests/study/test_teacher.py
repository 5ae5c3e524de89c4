"""A teacher is stored as it is used, found where it is shipped, and trained to the same weights when it was killed."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path

import pytest
import torch

import study.teacher
import study.training
from data import ImageBank, ImageSet
from models import build, round_to_half, save_checkpoint, weights_hash
from reports.build import PUBLISHED
from storage.configuration import Recipe
from study.evaluation import predict, score
from study.presets import PRESETS
from study.teacher import SHIPPED, Teacher, choose_teacher, import_teacher, train_teacher

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=10, batch_size=40, learning_rate=0.05, momentum=0.9)
PROCESSES = multiprocessing.get_context("spawn")


def train(image_set: ImageSet, cache: Path) -> Teacher:
    study.training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    return train_teacher("resnet8", RECIPE, 0, image_set, cache, CPU)


@pytest.fixture(scope="module")
def trained(tiny_images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A ResNet8 that was trained without a stop."""
    return train(tiny_images, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of models/teachers."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(study.teacher, "SHIPPED", folder)
    return folder


def accuracy(teacher: Teacher, image_set: ImageSet) -> float:
    test = ImageBank.of_test_images(image_set, CPU)
    return score(predict(teacher.load(CPU), test, torch.arange(len(test))), test.labels).accuracy


def test_a_trained_teacher_is_stored_rounded_and_its_hash_and_accuracy_are_of_that(
    trained: Teacher, tiny_images: ImageSet
) -> None:
    network = trained.load(CPU)
    weights = torch.load(trained.path, weights_only=True)["model"]
    parameters = dict(network.named_parameters())
    assert {weights[key].dtype for key in parameters} == {torch.float16}
    assert all(value.dtype == torch.float32 for key, value in weights.items() if "running" in key)
    assert weights_hash(network) == trained.hash
    assert accuracy(trained, tiny_images) == trained.test_accuracy
    before = trained.card["before_rounding"]
    assert before["hash"] != trained.hash
    assert before["test_accuracy"] == pytest.approx(trained.test_accuracy, abs=0.05)
    assert before["test_loss"] == pytest.approx(trained.card["test_loss"], rel=0.01)
    assert before["test_loss"] != trained.card["test_loss"]


def test_an_imported_teacher_keeps_its_weights(trained: Teacher, tiny_images: ImageSet, tmp_path: Path) -> None:
    network = trained.load(CPU)
    network.state_dict()["fc.bias"] += 2**-13 / 3
    save_checkpoint(network, tmp_path / "file.pth", accuracy=0.5, epoch=1)
    imported = import_teacher(tmp_path / "file.pth", "resnet8", tiny_images, tmp_path / "cache", CPU)
    assert imported.hash == weights_hash(network)
    assert weights_hash(imported.load(CPU)) == imported.hash


def test_a_killed_training_ends_with_the_same_teacher(trained: Teacher, tiny_images: ImageSet, tmp_path: Path) -> None:
    process = PROCESSES.Process(target=train, args=(tiny_images, tmp_path))
    process.start()
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.training.pt")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not list(tmp_path.rglob("*.json")), "it ended before it was killed"
    again = train(tiny_images, tmp_path)
    assert again.hash == trained.hash
    assert again.card["train_loss"] == trained.card["train_loss"]
    assert not list(tmp_path.rglob("*.training.pt"))


def test_a_teacher_copied_into_the_repository_is_found_and_nothing_is_trained(
    trained: Teacher, tiny_images: ImageSet, shipped: Path, tmp_path: Path
) -> None:
    for file in (trained.path, trained.path.with_suffix(".json")):
        shutil.copy(file, shipped)
    found = choose_teacher(PRESETS["demo"], tiny_images, tmp_path / "cache", CPU, None, None)
    assert found.path.parent == shipped
    assert found.hash == weights_hash(found.load(CPU)) == trained.hash


def test_the_full_preset_finds_a_shipped_resnet32x4_of_15_megabytes(
    tiny_images: ImageSet, shipped: Path, tmp_path: Path
) -> None:
    network = build("resnet32x4", 8)
    round_to_half(network)
    path = shipped / f"resnet32x4-{weights_hash(network)[:12]}.pth"
    save_checkpoint(network, path, accuracy=0.78, epoch=100)
    card = {"network": "resnet32x4", "hash": weights_hash(network), "data_hash": tiny_images.hash, "classes": 8}
    path.with_suffix(".json").write_text(json.dumps(card))
    found = choose_teacher(PRESETS["full"], tiny_images, tmp_path / "cache", CPU, None, None)
    assert weights_hash(found.load(CPU)) == weights_hash(network)
    assert 14e6 < path.stat().st_size < 15.5e6


def test_teachers_of_the_repository_are_what_their_cards_say(cifar100: ImageSet) -> None:
    cards = sorted(SHIPPED.glob("*.json"))
    assert cards
    for path in cards:
        teacher = Teacher(path.with_suffix(".pth"), json.loads(path.read_text()))
        assert path.stem == f"{teacher.network}-{teacher.hash[:12]}"
        assert teacher.card["data_hash"] == cifar100.hash
        # The last bits of the sums, and with them an image on the edge, differ from one processor to another.
        assert accuracy(teacher, cifar100) == pytest.approx(teacher.test_accuracy, abs=5e-4)


def test_teachers_of_published_studies_are_in_the_repository() -> None:
    shipped = {json.loads(path.read_text())["hash"] for path in SHIPPED.glob("*.json")}
    for path in PUBLISHED.glob("*/results.json"):
        assert json.loads(path.read_text())["teacher"]["hash"] in shipped
