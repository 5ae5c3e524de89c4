"""A teacher is stored as it is used, found where it is shipped, and trained to the same weights when it was killed."""

import dataclasses
import json
import multiprocessing
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import models.teacher_card
import study.training
from data import ImageBank, ImageSet
from models import CheckpointError, Teacher, build, find_teacher, round_to_half, save_checkpoint, weights_hash
from models.teacher_card import SHIPPED, read_card, teachers_folder
from reports.build import PUBLISHED
from storage.claims import FileClaims
from storage.configuration import Configuration, ConfigurationError, Recipe
from storage.postgres_claims import PostgresClaims
from study.evaluation import Scores, predict, score
from study.settings import PRESETS
from study.teacher import choose_teacher, import_teacher, is_told_from_chance, teacher_at_hand, train_teacher
from study.teacher import main as teacher_main
from tests.storage.postgres import Server

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=10, batch_size=40, learning_rate=0.05, momentum=0.9)
PROCESSES = multiprocessing.get_context("spawn")


def train(image_set: ImageSet, cache: Path) -> Teacher:
    study.training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    return train_teacher("resnet8", RECIPE, 0, image_set, cache, FileClaims(cache), CPU)


@pytest.fixture(scope="module")
def trained(tiny_images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A ResNet8 that was trained without a stop."""
    return train(tiny_images, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of models/teachers."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(models.teacher_card, "SHIPPED", folder)
    return folder


def choose(cache: Path, image_set: ImageSet, file: Path | None = None, begun_with: str | None = None) -> Teacher:
    return choose_teacher(PRESETS["demo"], image_set, cache, FileClaims(cache), CPU, file, begun_with)


def variant(teacher: Teacher, path: Path, factor: float = 1.0, shift: float = 2**-13 / 3) -> str:
    """Write a checkpoint whose last layer differs from that of a teacher; its hash."""
    network = teacher.load(CPU)
    network.state_dict()["fc.weight"].mul_(factor)
    network.state_dict()["fc.bias"].mul_(factor).add_(shift)
    save_checkpoint(network, path, accuracy=0.5, epoch=1)
    return weights_hash(network)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def copy(teacher: Teacher, folder: Path) -> Path:
    """Copy a teacher to where a cache or the repository keeps it; the path of its card."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (teacher.path, teacher.path.with_suffix(".json")):
        shutil.copy(file, folder)
    return folder / f"{teacher.path.stem}.json"


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


def test_an_imported_teacher_keeps_its_weights_and_its_accuracy_is_said(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = variant(trained, tmp_path / "file.pth")
    cache = tmp_path / "cache"
    imported = import_teacher(tmp_path / "file.pth", "resnet8", tiny_images, cache, FileClaims(cache), CPU)
    assert imported.hash == digest
    assert weights_hash(imported.load(CPU)) == imported.hash
    scored = 100 * accuracy(imported, tiny_images)
    assert f"\nresnet8: {scored:.2f} % on test, as imported from file.pth\n" in capsys.readouterr().out


def test_a_teacher_that_is_given_with_its_card_is_known_as_it_was_trained_and_scored_anew(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    card = copy(trained, tmp_path / "given")
    card.write_text(json.dumps({**json.loads(card.read_text()), "test_accuracy": 1.0, "hurried": "in parts"}))
    given = card.with_suffix(".pth")
    imported = choose(tmp_path / "cache", tiny_images, given)
    scored_on = {key: value for key, value in trained.card["hardware"].items() if key != "convolutions"}
    known = {"date": imported.card["date"], "hardware": scored_on, "hurried": "in parts"}
    assert imported.card == {**trained.card, **known}
    other = variant(trained, given)
    assert choose(tmp_path / "cache", tiny_images, given).card["origin"] == f"imported from {given.name}"
    assert choose(tmp_path / "cache", tiny_images, begun_with=other).hash == other


def test_a_teacher_whose_logits_are_beyond_float16_is_refused_and_not_stored(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    variant(trained, tmp_path / "file.pth", factor=1e6)
    with pytest.raises(CheckpointError, match=r"imported from file\.pth is no teacher: its logits reach \S+e\+0"):
        choose(tmp_path / "cache", tiny_images, tmp_path / "file.pth")
    assert files(tmp_path / "cache") == []


def test_a_network_that_is_hardly_better_than_chance_is_no_teacher(tiny_images: ImageSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(build("resnet8", 8), tmp_path / "file.pth", 0.9, 1)
    said = r"has [0-9.]+ % on the tiny test images, [0-9.]+ % in the mean over classes, and is no teacher: other class"
    with pytest.raises(CheckpointError, match=said):
        choose(tmp_path / "cache", tiny_images, tmp_path / "file.pth")
    assert files(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("each", "correct", "told"), [(10, 5, False), (10, 6, True), (1000, 350, False), (1000, 400, True)]
)
def test_whether_a_teacher_knows_more_than_chance_depends_on_how_many_test_images_there_are(
    each: int, correct: int, told: bool
) -> None:
    # Of three classes: two standard errors are 17.2 points with 10 images of each, 1.7 with 1,000.
    assert is_told_from_chance(Scores(correct / each, 1.0, [correct] * 3, [each] * 3, [], "")) == told


def unbalanced(image_set: ImageSet) -> ImageSet:
    """The same images, of which nine in ten test images are of the first class."""
    first = (image_set.test_labels == 0).nonzero().flatten()
    kept = torch.cat([torch.arange(len(image_set.test_labels)), first.repeat(60)])
    return dataclasses.replace(
        image_set, test_images=image_set.test_images[kept], test_labels=image_set.test_labels[kept]
    )


def test_of_unbalanced_test_images_a_teacher_has_to_know_the_classes_and_not_the_largest_of_them(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    images, file = unbalanced(tiny_images), tmp_path / "file.pth"
    network = trained.load(CPU)
    network.state_dict()["fc.bias"][0] -= 1e3  # knows all classes but the largest
    save_checkpoint(network, file, accuracy=0.5, epoch=1)
    assert choose(tmp_path / "cache", images, file).test_accuracy < 0.2
    network.state_dict()["fc.bias"][0] += 2e3  # says the largest of every image
    save_checkpoint(network, file, accuracy=0.5, epoch=1)
    with pytest.raises(CheckpointError, match=r"has 89\.71 % on the tiny test images, 12\.50 % in the mean over"):
        choose(tmp_path / "cache", images, file)


def test_another_teacher_than_the_study_was_begun_with_is_refused_and_not_stored(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    digest = variant(trained, tmp_path / "file.pth")
    with pytest.raises(ConfigurationError, match=f"{digest[:12]}, and the study was begun with {trained.hash[:12]}"):
        choose(tmp_path / "cache", tiny_images, tmp_path / "file.pth", begun_with=trained.hash)
    assert files(tmp_path / "cache") == []
    assert choose(tmp_path / "cache", tiny_images, tmp_path / "file.pth", begun_with=digest).hash == digest


def test_of_several_teachers_none_is_guessed_nor_recommended_by_its_test_accuracy(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    variant(trained, tmp_path / "file.pth")
    imported = choose(cache, tiny_images, tmp_path / "file.pth")
    copy(trained, imported.path.parent)
    with pytest.raises(ConfigurationError) as error:
        choose(cache, tiny_images)
    message = str(error.value)
    assert f"{imported.path} (imported from file.pth)" in message
    assert f"{trained.path.name} (trained by python -m study.teacher, 10 epochs)" in message
    assert "%" not in message
    assert choose(cache, tiny_images, begun_with=trained.hash).hash == trained.hash


def test_a_teacher_that_saw_mirrored_images_is_none_for_a_study_that_has_none(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    card = copy(trained, teachers_folder(tmp_path, tiny_images.hash))
    mirrored = dataclasses.replace(PRESETS["demo"], teacher_network="resnet8")
    upright = dataclasses.replace(mirrored, recipe=dataclasses.replace(mirrored.recipe, flip=False))

    def found(configuration: Configuration) -> bool:
        return teacher_at_hand(tmp_path, tiny_images.hash, configuration, None) is not None

    assert (found(mirrored), found(upright)) == (True, False)
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "recipe": {**content["recipe"], "flip": False}}))
    assert (found(mirrored), found(upright)) == (False, True)
    del content["recipe"]
    card.write_text(json.dumps(content))
    assert (found(mirrored), found(upright)) == (True, True), "of one that was imported nobody knows"
    card.write_text(json.dumps({**content, "flip": True}))
    assert (found(mirrored), found(upright)) == (True, False), "its card says it though no recipe does"


@pytest.mark.parametrize("card", sorted(SHIPPED.rglob("*.json")), ids=lambda card: card.stem)
def test_of_each_teacher_of_the_repository_it_is_known_whether_it_saw_mirrored_images(card: Path) -> None:
    assert Teacher(card.with_suffix(".pth"), read_card(card)).flip is True


def test_a_study_finds_its_teacher_in_the_repository_whatever_the_cache_has(
    trained: Teacher, tiny_images: ImageSet, shipped: Path, tmp_path: Path
) -> None:
    copy(trained, shipped)
    variant(trained, tmp_path / "file.pth")
    imported = choose(tmp_path / "cache", tiny_images, tmp_path / "file.pth")
    assert choose(tmp_path / "cache", tiny_images, begun_with=trained.hash).path.parent == shipped
    assert choose(tmp_path / "cache", tiny_images).hash == imported.hash


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"network": "resnet8"}', "\xff"])
def test_a_damaged_card_is_one_line_that_says_what_to_do(
    content: str, trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    card = copy(trained, tmp_path / "teachers" / tiny_images.hash[:12])
    card.write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError) as error:
        choose(tmp_path, tiny_images)
    message = str(error.value)
    assert message.startswith(f"{card}: ")
    assert (
        f"delete {card.name} and {trained.path.name}, then give the teacher again with --teacher, or train" in message
    )
    assert "\n" not in message


@pytest.mark.parametrize("damage", ["flipped bit", "cut", "other weights", "missing"])
def test_weights_that_are_not_those_of_the_card_are_refused(
    damage: str, trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    card = copy(trained, tmp_path / "teachers" / tiny_images.hash[:12])
    weights = card.with_suffix(".pth")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    if damage == "other weights":
        variant(trained, weights)
    if damage == "missing":
        weights.unlink()
    with pytest.raises(CheckpointError) as error:
        choose(tmp_path, tiny_images)
    assert str(error.value).startswith(f"{weights}: ")
    assert "train it again: python -m study.teacher with the --preset or --config" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_cannot_be_reached_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = "postgresql+psycopg://x@localhost:1/kd"
    with pytest.raises(SystemExit):
        teacher_main(["--preset", "demo", "--runs-dir", str(tmp_path), "--storage", storage])
    assert "localhost:1/kd: cannot be opened (connection failed" in capsys.readouterr().err


def test_three_hosts_that_start_at_once_train_one_teacher(
    server: Server, tiny_images: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.new_database().replace("postgresql+psycopg", "postgresql")
    recipe = Recipe(epochs=3, batch_size=40, learning_rate=0.05, momentum=0.9)
    begin = threading.Barrier(3)

    def start(_: int) -> Teacher:
        claims = PostgresClaims(url)  # a session of its own, as another host has
        begin.wait()
        return train_teacher("resnet8", recipe, 0, tiny_images, tmp_path, claims, CPU)

    with ThreadPoolExecutor(3) as hosts:
        teachers = list(hosts.map(start, range(3)))
    assert len({teacher.hash for teacher in teachers}) == 1
    said = capsys.readouterr().out
    assert said.count("training resnet8 for 3 epochs") == 1
    assert said.count("waiting for another process") == 2
    assert len(files(tmp_path)) == 2


def test_a_teacher_that_diverges_ends_in_one_line(tiny_images: ImageSet, tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=40, learning_rate=1e12)
    with pytest.raises(CheckpointError, match="cannot be trained: the loss became"):
        train_teacher("resnet8", recipe, 0, tiny_images, tmp_path, FileClaims(tmp_path), CPU)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--import", "x.pth", "--epochs", "3"], "--import trains nothing: leave --epochs out"),
        (["--import", "x.pth", "--recipe", "short"], "leave --recipe out"),
        (["--import", "x.pth", "--precision", "float32"], "leave --precision out"),
        (["--import", "x.pth", "--seed", "0"], "leave --seed out"),
        (["--seed", "-1"], "--seed -1: give 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed 4294967296: give 0 to 4294967295"),
        (["--network", "resnet21"], "unknown network 'resnet21'"),
        (["--network", "resnet999998"], "unknown network"),
        (["--data-dir", "/tmp"], "--data-dir /tmp: the images of demo are drawn"),
        (["--storage", "nonsense"], "--storage"),
        (["--import", "nowhere.pth"], "nowhere.pth: no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        teacher_main(["--preset", "demo", "--device", "cpu", "--runs-dir", str(tmp_path / "runs"), *options])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert reason in said
    assert not (tmp_path / "runs").exists()


def test_a_killed_training_ends_with_the_same_teacher(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = PROCESSES.Process(target=train, args=(tiny_images, tmp_path))
    process.start()
    deadline = time.monotonic() + 180
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
    # The times of the epochs before are those of another start, perhaps of another machine.
    said = capsys.readouterr().out
    assert re.search(r"resnet8 goes on after epoch [0-9]+ of 10\n", said)
    assert "epoch 1/10" not in said
    assert "epoch 10/10" in said


def test_a_teacher_copied_into_the_repository_is_found_and_nothing_is_trained(
    trained: Teacher, tiny_images: ImageSet, shipped: Path, tmp_path: Path
) -> None:
    copy(trained, shipped)
    found = choose(tmp_path / "cache", tiny_images)
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
    card |= {"test_accuracy": 0.78, "origin": "made for this test"}
    path.with_suffix(".json").write_text(json.dumps(card))
    cache = tmp_path / "cache"
    found = choose_teacher(PRESETS["full"], tiny_images, cache, FileClaims(cache), CPU, None, None)
    assert weights_hash(found.load(CPU)) == weights_hash(network)
    assert 14e6 < path.stat().st_size < 15.5e6


def test_teachers_of_the_repository_are_what_their_cards_say(cifar100: ImageSet) -> None:
    cards = sorted(SHIPPED.rglob("*.json"))
    assert cards
    for path in cards:
        teacher = Teacher(path.with_suffix(".pth"), read_card(path))
        assert path.stem == f"{teacher.network}-{teacher.hash[:12]}"
        assert teacher.card["data_hash"] == cifar100.hash
        by_class = torch.tensor(teacher.card["correct_by_class"])
        assert by_class.sum() == round(len(cifar100.test_labels) * teacher.test_accuracy)
        # All test images would take a ResNet32x4 minutes. The last bits of sums, and with them an image on the edge,
        # differ from one processor to another.
        few = (cifar100.test_labels < 2).nonzero().flatten()
        bank = ImageBank.of_test_images(cifar100, CPU)
        right = predict(teacher.load(CPU), bank, few).argmax(dim=1) == bank.labels[few]
        assert ((bank.labels[few][right].bincount(minlength=2) - by_class[:2]).abs() <= 1).all()


def test_the_same_weights_in_other_code_are_another_teacher_that_takes_nothing_from_the_first(
    tiny_images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, module = tmp_path / "nets_of_teachers.py", "nets_of_teachers"
    code = "from models import build\n\n\ndef net(num_classes):\n    return build('resnet8', num_classes)\n"
    torch.manual_seed(0)
    save_checkpoint(build("resnet8", 8), tmp_path / "weights.pth", 0.5, 1)
    monkeypatch.setattr("study.teacher._hardly_better_than_chance", lambda classes: 0.0)
    stored = []
    for comment in ("", "# changed\n"):
        file.write_text(code + comment)
        sys.modules.pop(module, None)
        claims = FileClaims(tmp_path / "claims")
        path = tmp_path / "weights.pth"
        stored.append(import_teacher(path, f"{module}:net", tiny_images, tmp_path / "cache", claims, CPU))
    first, second = stored
    assert first.hash == second.hash
    assert first.path != second.path
    card = read_card(first.path.with_suffix(".json"))
    assert card["source"] == first.card["source"], "whoever brings the former code back finds it"
    found = find_teacher(tmp_path / "cache", tiny_images.hash, f"{module}:net", first.hash)
    assert found is not None
    assert found.path == second.path


def test_teachers_of_published_studies_are_in_the_repository() -> None:
    shipped = {json.loads(path.read_text())["hash"] for path in SHIPPED.rglob("*.json")}
    teachers = {json.loads(path.read_text())["teacher"]["hash"] for path in PUBLISHED.glob("*/results.json")}
    assert teachers - {None} <= shipped  # None: the baseline alone was trained


def test_a_stopped_training_names_the_command_that_goes_on(tmp_path: Path) -> None:
    typed = f"--preset demo --device cpu --epochs 500 --runs-dir {tmp_path}"
    process = subprocess.Popen(
        [sys.executable, "-m", "study.teacher", *typed.split()],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "training" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=180)[1]
    assert said.splitlines()[-1] == f"stopped; the same command goes on from here (python -m study.teacher {typed})"
    assert process.returncode == 130


def test_a_teacher_of_which_the_card_alone_is_left_is_said_to_be_and_comes_back_from_the_same_weights(
    trained: Teacher, tiny_images: ImageSet, tmp_path: Path
) -> None:
    copy(trained, tmp_path / "teachers" / tiny_images.hash[:12])
    kept = tmp_path / "teachers" / tiny_images.hash[:12] / trained.path.name
    kept.unlink()
    with pytest.raises(CheckpointError, match="not there, only its card is"):
        train(tiny_images, tmp_path)
    imported = import_teacher(trained.path, "resnet8", tiny_images, tmp_path, FileClaims(tmp_path), CPU)
    assert imported.path == kept
    assert imported.card == read_card(trained.path.with_suffix(".json")), "it is still the one that was trained"
    assert weights_hash(imported.load(CPU)) == trained.hash


def test_the_weights_of_a_file_of_settings_are_imported_and_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "mine.toml"
    settings.write_text('name = "a"\n[data]\ndataset = "synthetic"\n[teacher]\nnetwork = "resnet8"\nweights = "w.pth"')
    with pytest.raises(SystemExit):
        teacher_main(["--config", str(settings), "--device", "cpu", "--runs-dir", str(tmp_path / "runs")])
    assert "error: weights w.pth: no such file; give the path of a resnet8 checkpoint" in capsys.readouterr().err


def test_a_student_of_other_classes_is_no_teacher(tiny_images: ImageSet, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="the extra export is not installed")
    file = tmp_path / "student.safetensors"
    swapped = [*tiny_images.classes[1::-1], *tiny_images.classes[2:]]
    metadata = {"classes": json.dumps(swapped), "manifest": "{}"}
    weights = {key: value.contiguous() for key, value in build("resnet8", len(swapped)).state_dict().items()}
    safetensors.save_file(weights, file, metadata)
    with pytest.raises(CheckpointError, match=f"such as '{swapped[0]}' where '{swapped[1]}' is"):
        import_teacher(file, "resnet8", tiny_images, tmp_path, FileClaims(tmp_path), torch.device("cpu"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--import", "nowhere.pth"], "--import nowhere.pth: no such file; give the path of a resnet20 checkpoint"),
        (["--network", "nowhere:Teacher"], "nowhere"),
    ],
)
def test_what_is_not_there_is_said_before_images_are_fetched(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        teacher_main(["--preset", "quick", *options, "--device", "cpu", "--runs-dir", str(tmp_path)])
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
