"""An exported student says what the run's network says, wherever it is run, and knows what it is."""

import copy
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.artifacts import get_all_artifact_meta
from PIL import Image

from data import ImageBank, ImageSet, load_synthetic, split
from models import StudentCNN, load_checkpoint, weights_hash
from reports.collect import collect as collect_opened
from reports.markdown import render
from storage.folders import RunsFolder
from storage.open_study import open_study, read_study
from storage.study_storage import sqlite_url
from storage.trials import views
from study.evaluation import predict
from study.export import find_run, main, manifest_of, one_line_of, write_checked
from study.formats import FORMATS, ExportError, FromPixels, Predict, quantized, spread
from study.manifest import versions
from study.run import main as study_main
from study.settings import PRESETS
from tests.conftest import CPU
from tests.reports.stored import collect

ROOT = Path(__file__).parents[2]
SMALL = ["--preset", "demo", "--epochs", "1", "--train-images", "320", "--seeds", "2", "--sampler", "none"]
# A process of a user who has none of this: no torch, no code of ours.
ELSEWHERE = """
import json, sys
import numpy as np, onnxruntime
file, images, logits = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
np.save(logits, session.run(None, {"images": np.load(images)})[0])
assert not {"torch", "study", "models"} & sys.modules.keys()
print(json.dumps(session.get_modelmeta().custom_metadata_map))
"""


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real comparison of the baseline alone, which a search says is the best."""
    folder = tmp_path_factory.mktemp("export") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER_PATH", "/nowhere")
        study_main([*SMALL, "--runs-dir", str(folder)])
    with open_study(sqlite_url(folder / "study.db"), "demo") as opened:
        _, search, _ = opened.begun()
        uniform = optuna.distributions.FloatDistribution(0, 16)
        for point in PRESETS["demo"].points:
            value = 0.5 if point["alpha"] == 0 else 0.4
            search.add_trial(
                optuna.create_trial(params=point, distributions=dict.fromkeys(point, uniform), value=value)
            )
    return folder


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_synthetic()


@pytest.fixture(scope="module")
def networks(runs_dir: Path) -> dict[int, StudentCNN]:
    """The trained network of each seed, from its artifact."""
    found = {}
    with read_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
        _, _, comparison = opened.begun()
        for run in views(comparison):
            ids = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(run.trial, storage=opened.storage)}
            file = RunsFolder(runs_dir).artifacts / ids[f"student-alpha0-T1-seed{run.point['seed']:g}.pth"]
            found[int(run.point["seed"])] = StudentCNN(16)
            load_checkpoint(found[int(run.point["seed"])], file, "StudentCNN")
    return found


@pytest.fixture(scope="module")
def expected(networks: dict[int, StudentCNN], images: ImageSet) -> torch.Tensor:
    """What the network of seed 1 says of all test images, by the way on which runs are scored."""
    bank = ImageBank.of_test_images(images, CPU)
    return predict(networks[1], bank, torch.arange(len(bank)))


def export(runs_dir: Path, *options: str) -> None:
    main(["--study", "demo", "--runs-dir", str(runs_dir), *options])


def check_manifest(metadata: dict[str, str], images: ImageSet, network: StudentCNN) -> dict[str, Any]:
    assert json.loads(metadata["classes"]) == list(images.classes)
    manifest: dict[str, Any] = json.loads(metadata["manifest"])
    assert (manifest["study"], manifest["arm"], manifest["seed"]) == ("demo", "best", 1)
    assert (manifest["alpha"], manifest["temperature"]) == (0, 1)
    assert manifest["data_hash"] == images.hash
    assert manifest["teacher_hash"] is None, "nobody taught the baseline"
    assert manifest["weights_hash"] == weights_hash(network)
    assert manifest["versions"] == versions()
    return manifest


def test_the_manifest_says_which_bits_of_grey_values_a_network_takes(
    runs_dir: Path, networks: dict[int, StudentCNN]
) -> None:
    with read_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
        description, _, comparison = opened.begun()
        run = views(comparison)[0]
        for dropped, said in ((4, "; values of 16 bits as value >> 4, at most 255; normalised inside"), (0, "")):
            manifest = manifest_of("demo", "best", description, run, networks[1], (), dropped)
            assert manifest["input"].endswith(said or "red green blue; normalised inside")


def test_an_onnx_file_says_the_same_where_there_is_no_torch(
    runs_dir: Path,
    images: ImageSet,
    networks: dict[int, StudentCNN],
    expected: torch.Tensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    file = tmp_path / "student.onnx"
    export(runs_dir, "--format", "onnx", "--output", str(file))
    said = capsys.readouterr().out
    assert "same prediction for 256 of 256 test images" in said
    assert f"{file.stat().st_size:,} bytes" in said
    assert str(ROOT).encode() not in file.read_bytes(), "the paths of whoever exported it are nobody's business"
    for count in (1, 7):  # the batch is free
        np.save(tmp_path / "images.npy", images.test_images[:count].numpy())
        command = [sys.executable, "-c", ELSEWHERE, *(str(tmp_path / name) for name in (file, "images.npy", "out.npy"))]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        logits = torch.from_numpy(np.load(tmp_path / "out.npy"))
        torch.testing.assert_close(logits, expected[:count], rtol=1e-4, atol=1e-5)
    manifest = check_manifest(json.loads(done.stdout), images, networks[1])
    accuracy = (expected.argmax(1) == images.test_labels).double().mean().item()
    assert manifest["test_accuracy"] == pytest.approx(accuracy)


def test_the_program_of_the_readme_names_the_class_of_an_image(
    runs_dir: Path, images: ImageSet, expected: torch.Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    export(runs_dir, "--format", "onnx", "--output", str(tmp_path / "student.onnx"))
    (program,) = re.findall(r"```python\n(import json.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    Image.fromarray(images.test_images[0].permute(1, 2, 0).numpy()).save(tmp_path / "image.png")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == images.classes[expected[0].argmax()]


def test_a_pt2_file_says_the_same_without_our_code(
    runs_dir: Path, images: ImageSet, networks: dict[int, StudentCNN], expected: torch.Tensor, tmp_path: Path
) -> None:
    file = tmp_path / "student.pt2"
    export(runs_dir, "--format", "pt2", "--output", str(file))
    metadata = {"classes": "", "manifest": ""}
    program = torch.export.load(file, extra_files=metadata).module()
    for count in (1, 7):
        torch.testing.assert_close(program(images.test_images[:count]), expected[:count], rtol=1e-4, atol=1e-5)
    check_manifest(metadata, images, networks[1])
    assert str(ROOT).encode() not in file.read_bytes()


def test_a_safetensors_file_holds_the_weights_and_the_normalisation(
    runs_dir: Path, images: ImageSet, networks: dict[int, StudentCNN], expected: torch.Tensor, tmp_path: Path
) -> None:
    safetensors = pytest.importorskip("safetensors", reason="the extra export is not installed")
    file = tmp_path / "student.safetensors"
    export(runs_dir, "--format", "safetensors", "--output", str(file))
    student = FromPixels(StudentCNN(16), torch.zeros(3), torch.ones(3)).eval()
    with safetensors.safe_open(file, "pt") as opened:
        student.load_state_dict({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118 no dict
        metadata = opened.metadata()
    torch.testing.assert_close(student(images.test_images[:7]), expected[:7], rtol=1e-4, atol=1e-5)
    check_manifest(metadata, images, networks[1])


def test_int8_is_smaller_and_says_what_it_costs(
    runs_dir: Path,
    images: ImageSet,
    expected: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    file = tmp_path / "student.onnx"
    calibrated: list[torch.Tensor] = []

    def noted(content: bytes, shown: torch.Tensor) -> bytes:
        calibrated.append(shown)
        return quantized(content, shown)

    monkeypatch.setattr("study.export.quantized", noted)
    export(runs_dir, "--format", "onnx", "--quantize", "int8", "--output", str(file))
    session = onnxruntime.InferenceSession(file)
    predicted = session.run(None, {"images": images.test_images.numpy()})[0].argmax(1)
    accuracy = (torch.from_numpy(predicted) == images.test_labels).double().mean().item()
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["manifest"])
    assert (manifest["quantized"], manifest["quantized_test_accuracy"]) == ("int8", accuracy)
    before = (expected.argmax(1) == images.test_labels).double().mean().item()
    assert f"int8: {100 * before:.2f} % on test before, {100 * accuracy:.2f} % after; " in capsys.readouterr().out
    (shown,) = calibrated
    assert torch.equal(shown, images.train_images[split(images.train_labels, 320).train]), "test images only score"
    assert file.stat().st_size < 0.3 * 4 * sum(p.numel() for p in StudentCNN(16).parameters())


def test_the_report_has_what_was_exported(runs_dir: Path, tmp_path: Path) -> None:
    export(runs_dir, "--format", "pt2", "--seed", "2", "--output", str(tmp_path / "student.pt2"))
    results = collect(sqlite_url(runs_dir / "study.db"))
    (exported,) = (file for file in results["exports"] if file["seed"] == 2)
    assert (exported["kind"], exported["alpha"], exported["same"]) == ("pt2", 0, 256)
    assert exported["bytes"] == (tmp_path / "student.pt2").stat().st_size
    assert re.search(r"\n\| pt2 \(alpha = 0, seed 2\) .*\| 256 of 256 ", render(results))


def test_the_seed_is_the_first_one_though_another_scored_better(runs_dir: Path) -> None:
    with read_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
        first, second = (find_run(opened, "best", seed) for seed in (None, 2))
    assert (first.point["seed"], second.point["seed"]) == (1, 2)
    assert (second.value or 0) > (first.value or 0), "or this test shows nothing"


def test_a_winner_goes_by_its_pair_too(runs_dir: Path) -> None:
    with read_study(sqlite_url(runs_dir / "study.db"), "demo") as opened:
        best = find_run(opened, "best", None)
        assert find_run(opened, f"{best.pair[0]:g},{best.pair[1]:g}", None).number == best.number


def test_an_arm_is_never_its_control() -> None:
    with read_study(
        sqlite_url(ROOT / "reports" / "published" / "cifar100-ten-epochs" / "study.db"), "cifar100-ten-epochs"
    ) as opened:
        for name in ("baseline", "best"):
            arm = collect_opened(opened)["arms"][name]
            found = [find_run(opened, name, seed).value for seed in arm["seeds"]]
            assert found == arm["test_accuracy"]


def students(images: ImageSet, networks: dict[int, StudentCNN]) -> tuple[FromPixels, FromPixels]:
    """That of seed 1, and one of which a single weight is another."""
    student = FromPixels(networks[1], *images.channel_statistics).eval()
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.network.fc.bias[3] += 0.1  # type: ignore[union-attr, index, operator]
    return student, other


def test_a_file_that_says_something_else_does_not_stay(
    images: ImageSet, networks: dict[int, StudentCNN], tmp_path: Path
) -> None:
    student, other = students(images, networks)
    file, kind, metadata = tmp_path / "student.pt2", FORMATS["pt2"], {"classes": "[]", "manifest": "{}"}
    content = kind.write(student, images.test_images[:2], metadata)
    with pytest.raises(ExportError, match="not kept, since it does not say what the network says: largest difference"):
        write_checked(content, metadata, file, kind, other, images.test_images)
    with pytest.raises(ExportError, match="not kept, since its metadata"):
        write_checked(content, metadata | {"classes": "[1]"}, file, kind, student, images.test_images)
    with pytest.raises(ExportError, match="not kept, since it cannot be read back"):
        write_checked(content[:1000], metadata, file, kind, student, images.test_images)
    with torch.no_grad():
        other.network.fc.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    content_of_nan = kind.write(other, images.test_images[:2], metadata)
    with pytest.raises(ExportError, match="difference nan"):
        write_checked(content_of_nan, metadata, file, kind, other, images.test_images)
    assert list(tmp_path.iterdir()) == []
    agreement = write_checked(content, metadata, file, kind, student, images.test_images)
    assert (agreement.same, agreement.images) == (256, 256)


def test_no_file_has_its_name_before_it_was_checked(
    images: ImageSet, networks: dict[int, StudentCNN], tmp_path: Path
) -> None:
    student, _ = students(images, networks)
    file, kind, metadata = tmp_path / "student.pt2", FORMATS["pt2"], {"classes": "[]", "manifest": "{}"}
    there: list[bool] = []

    def read(path: Path, student: FromPixels) -> tuple[Predict, dict[str, str]]:
        there.append(file.exists())
        return kind.read(path, student)

    content = kind.write(student, images.test_images[:2], metadata)
    write_checked(content, metadata, file, dataclasses.replace(kind, read=read), student, images.test_images)
    assert there == [False]
    assert list(tmp_path.iterdir()) == [file]


class Shares(StudentCNN):
    """Has one bias under two names."""

    def __init__(self) -> None:
        super().__init__(16)
        self.again = self.fc.bias


class Branches(StudentCNN):
    """Asks for a value on its way, which no format can take."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images if images.sum() > 0 else -images)


def test_a_network_that_a_format_does_not_take_gets_one_line(images: ImageSet, tmp_path: Path) -> None:
    metadata, two = {"classes": "[]", "manifest": "{}"}, images.test_images[:2]
    student = FromPixels(Branches(16), *images.channel_statistics).eval()
    for kind in ("pt2", "onnx"):
        line = rf"--format {kind} does not take this network \(.*data-dependent"
        with pytest.raises(ExportError, match=line) as refused, one_line_of(kind):
            FORMATS[kind].write(student, two, metadata)
        assert "\n" not in str(refused.value)
    shares = FromPixels(Shares(), *images.channel_statistics).eval()
    content = FORMATS["safetensors"].write(shares, two, metadata)
    write_checked(content, metadata, tmp_path / "file", FORMATS["safetensors"], shares, images.test_images)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--study", "other"), "no study 'other'"),
        (("--arm", "0.5,4"), "study 'demo' has no arm '0.5,4': give --arm with one of baseline, best, 0,1"),
        (("--seed", "7"), "--seed 7: no run of arm best has ended with it; there: 1, 2"),
        (("--quantize", "int8"), "--quantize int8: is for --format onnx, not pt2"),
        (("--data-dir", "images"), "--data-dir images: the images of study 'demo' are drawn by a program"),
        (("--output", "there"), "there: is there already"),
        (("--output", "student"), "student: torch reads it where its name ends in .pt2"),
        (("--storage", "sqlite:///nowhere.db"), "nowhere.db: not there"),
        (("--runs-dir", "elsewhere", "--storage", "{storage}"), "elsewhere/artifacts: has no weights of run 0"),
        (("--format", "onnx"), "pip install -c constraints.txt -e '.[export]'"),
    ],
)
def test_what_cannot_be_exported_gets_one_line(
    options: tuple[str, ...],
    line: str,
    runs_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # Python's way to say that it cannot be imported
    Path("there").write_bytes(b"mine")
    filled = [option.format(storage=sqlite_url(runs_dir / "study.db")) for option in options]
    with pytest.raises(SystemExit) as ended:
        export(runs_dir, "--format", "pt2", "--output", "student.pt2", *filled)
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert line in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"there": b"mine"}


def test_images_are_taken_from_the_first_to_the_last() -> None:
    assert spread(torch.arange(100), 4).tolist() == [0, 33, 66, 99]
    assert spread(torch.arange(3), 256).tolist() == [0, 1, 2]
