"""A study of one's own images and networks: a folder, a file of networks, a file of settings, the same commands."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from PIL import Image

from data import load_own_images
from storage.claims import FileClaims
from study import worker
from study.export import main as export_main
from study.progress import bar
from study.rescore import main as rescore_main
from study.run import main
from study.teacher import main as teacher_main
from tests.test_run import count, environment, interrupt, results, without_times

ROOT = Path(__file__).parent.parent
CLASSES = {"orange": "fruit", "sea": "water"}  # of CIFAR-100, and what they are called here
NETWORKS = """
from torch import nn

class TinyNet(nn.Sequential):
    def __init__(self, num_classes, in_channels=3):
        super().__init__(
            nn.Conv2d(in_channels, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes),
        )
"""
SETTINGS = """
name = "pictures"
[data]
folder = "pictures"
image_size = 28
validation_images = 10
[student]
network = "own_study_networks:TinyNet"
[teacher]
network = "resnet8"
recipe = "demo"
[training]
epochs = 2
batch_size = 16
learning_rate = 0.05
momentum = 0.9
[search]
alphas = [0.0, 0.5]
temperatures = [4]
seeds = 2
"""
MACHINE = ["--device", "cpu"]


def cut(source: Path, folder: Path, mode: str) -> None:
    """Photographs of two classes as a user has them: of another size and format."""
    for part, images in (("train", 40), ("test", 20)):
        for name, own in CLASSES.items():
            (folder / part / own).mkdir(parents=True)
            for number, file in enumerate(sorted((source / part / name).iterdir())[:images]):
                image = Image.open(file).convert(mode).resize((64, 48 + number % 9))
                image.save(folder / part / own / f"{number}.{('jpg', 'png')[number % 2]}")


@pytest.fixture
def folder(cifar100_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder as a user has it."""
    cut(cifar100_folder, tmp_path / "pictures", "RGB")
    (tmp_path / "own_study_networks.py").write_text(NETWORKS)
    (tmp_path / "mine.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    yield tmp_path
    sys.modules.pop("own_study_networks", None)


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*MACHINE, *options])
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_study_of_ones_own_killed_and_resumed_ends_with_the_same_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy("pictures/train/fruit/0.jpg", "pictures/test/fruit/again.jpg")
    teacher_main(["--config", "mine.toml", *MACHINE])
    shutil.copytree("runs", "again")
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_LINES", 0.0)
    main(["--config", "mine.toml", *MACHINE])
    lines = capsys.readouterr().out
    told = re.findall(r"^(trial|run) 0 \((.*?)\): epoch 1 of 2, loss \d\.\d+, \d+ s left$", lines, flags=re.MULTILINE)
    assert [(what, "seed" in name) for what, name in told] == [("trial", False), ("run", True)]
    whole = results(folder / "runs", "pictures")
    assert whole["data"]["copies"] == {"test": 1, "validation": 0}
    assert "pictures: test images that are training images too, pixel by pixel: 1 of 41; validation" in lines
    report = (folder / "runs" / "pictures" / "report.md").read_text()
    assert report.startswith("# Knowledge distillation on pictures: study `pictures`\n")
    assert "own_study_networks:TinyNet" in report
    assert (whole["data"]["image_size"], whole["data"]["channels"], whole["data"]["classes"]) == (
        28, 3, ["fruit", "water"],
    )  # fmt: skip
    assert (whole["data"]["train_images"], whole["data"]["validation_images"]) == (70, 10)
    for cell in whole["grid"]:
        hits = bytes.fromhex(cell["hits"])
        assert (len(hits), int.from_bytes(hits).bit_count()) == (2, round(10 * cell["value"])), "of these 10 images"

    command = [sys.executable, "-m", "study.run", "--config", "mine.toml", *MACHINE, "--runs-dir", "again"]
    process = subprocess.Popen(
        command,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    complete = optuna.trial.TrialState.COMPLETE
    assert interrupt(process, lambda: count(folder / "again", "pictures", complete) >= 1, signal.SIGKILL)
    main(["--config", "mine.toml", *MACHINE, "--runs-dir", "again"])
    assert without_times(results(folder / "again", "pictures")) == without_times(whole)

    refuse_what_is_another_study(folder, capsys)


def refuse_what_is_another_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a study of two seeds: where there would be more to do, and where all is done."""
    done = ["--config", "mine.toml"]
    more = [*done, "--seeds", "3"]
    with (folder / "own_study_networks.py").open("a") as file:
        file.write("# changed\n")
    del sys.modules["own_study_networks"]
    for command in (more, done):
        assert "begun with another source of own_study_networks:TinyNet: bring that back" in refusal(capsys, *command)
    (folder / "own_study_networks.py").write_text(NETWORKS)
    del sys.modules["own_study_networks"]
    shutil.copy("pictures/train/fruit/0.jpg", "pictures/train/water/more.jpg")
    for command in (more, [*more, "--dry-run"], done, [*done, "--dry-run"]):
        assert "was begun with data" in refusal(capsys, *command)
    (folder / "pictures" / "train" / "water" / "more.jpg").unlink()
    # Where all is done, what is not there is not another one: a study on another machine has its report.
    (folder / "pictures").rename(folder / "away")
    main([*MACHINE, *done])
    assert "all done: " in capsys.readouterr().out
    assert "no such folder" in refusal(capsys, *more)
    (folder / "away").rename(folder / "pictures")
    assert "nosuch.pth: no such file" in refusal(capsys, *more, "--teacher", "nosuch.pth", "--dry-run")
    assert "was begun with image_size 28, not 32" in refusal(capsys, *_with("image_size = 28", "", folder))


def test_a_wrapper_as_the_readme_has_it_is_told_how_images_are_normalised_wherever_it_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (wrapper,) = re.findall(
        r"```python\n(.*?class Pretrained.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL
    )
    networks = NETWORKS + wrapper.replace("resnet18(num_classes=num_classes)", "TinyNet(num_classes)")
    (folder / "own_study_networks.py").write_text(networks)
    content = SETTINGS.replace("TinyNet", "Pretrained").replace("seeds = 2", "seeds = 1")
    (folder / "mine.toml").write_text(content)
    teacher_main(["--config", "mine.toml", *MACHINE, "--network", "own_study_networks:Pretrained"])
    (trained,) = Path("runs/cache/teachers").rglob("*.pth")
    weights = torch.load(trained, weights_only=True)["model"]
    torch.save({key.removeprefix("model."): value for key, value in weights.items()}, "given.pth")
    shutil.rmtree("runs")
    content = content.replace('"resnet8"', '"own_study_networks:Pretrained"')
    (folder / "mine.toml").write_text(content.replace('recipe = "demo"', 'weights = "given.pth"'))
    arm = ["--arm", "0.5,4"]
    main(["--config", "mine.toml", *MACHINE, *arm])
    said = re.search(r"Pretrained: (\d+\.\d+) % on test, as imported from given\.pth", capsys.readouterr().out)
    assert said is not None
    main(["--config", "mine.toml", *MACHINE, *arm, "--seeds", "2"])
    found: dict[str, Any] = json.loads(Path("runs/pictures/results.json").read_text())
    assert f"{100 * found['teacher']['test_accuracy']:.2f}" == said[1]
    images = load_own_images(Path("pictures"), 28, None, FileClaims(folder), bar)
    statistics = [values.tolist() for values in images.channel_statistics]
    assert found["data"]["normalisation"] == found["teacher"]["normalisation"] == statistics
    assert re.search(r"run \d+ \(alpha 0\.5, T 4, seed 2\)", capsys.readouterr().out)
    options = ["--study", "pictures", "--data-dir", "pictures", "--format", "safetensors"]
    export_main([*options, "--output", "student.safetensors"])
    assert "same prediction for 40 of 40 test images" in capsys.readouterr().out
    (folder / "own_study_networks.py").write_text(networks.replace("0.2", "0.3"))
    del sys.modules["own_study_networks"]
    with pytest.raises(SystemExit):
        rescore_main(["pictures", "--data-dir", "pictures", *MACHINE])
    assert "begun with another source of own_study_networks:Pretrained" in capsys.readouterr().err


def test_on_a_terminal_a_bar_shows_that_images_are_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.progress.draws_bars", lambda: True)
    main([*MACHINE, "--config", "mine.toml", "--dry-run"])
    assert "reading images: " in capsys.readouterr().err


def _with(old: str, new: str, folder: Path) -> list[str]:
    (folder / "other.toml").write_text(SETTINGS.replace(old, new))
    return ["--config", "other.toml"]


def test_grey_images_a_network_of_torchvision_and_a_teacher_that_is_given(
    cifar100_folder: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("pictures")
    cut(cifar100_folder, folder / "pictures", "L")
    grey = _with("own_study_networks:TinyNet", "torchvision.models:shufflenet_v2_x0_5", folder)
    assert "grey images have one channel: give it a parameter in_channels" in refusal(capsys, *grey)
    with (folder / "own_study_networks.py").open("a") as file:
        file.write("""
def Shuffle(num_classes, in_channels):
    import torch
    from torchvision.models import shufflenet_v2_x0_5
    torch.manual_seed(3)
    network = shufflenet_v2_x0_5(num_classes=num_classes)
    network.conv1[0] = nn.Conv2d(in_channels, 24, 3, stride=2, padding=1, bias=False)
    return network
""")
    teacher_main(["--config", "mine.toml", *MACHINE])
    (weights,) = Path("runs/cache/teachers").rglob("*.pth")
    shutil.copy(weights, "given.pth")
    shutil.rmtree("runs")
    content = SETTINGS.replace("TinyNet", "Shuffle").replace('recipe = "demo"', 'weights = "given.pth"')
    (folder / "mine.toml").write_text(content.replace("epochs = 2", "epochs = 1").replace("seeds = 2", "seeds = 1"))
    main(["--config", "mine.toml", *MACHINE])
    found: dict[str, Any] = json.loads(Path("runs/pictures/results.json").read_text())
    assert found["data"]["channels"] == 1
    assert found["student"]["fixed_weights"] is True
    assert "first weights of own_study_networks:Shuffle are the same" in Path("runs/pictures/report.md").read_text()
    assert found["teacher"]["origin"] == "imported from given.pth"
    assert {cell["state"] for cell in found["grid"]} == {"COMPLETE"}
