"""What the tests share: CIFAR-100 where it lies beside the repository, small made-up images, a PostgreSQL server."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is loaded, for the processes that tests start too: two threads each on two cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Each of those processes would compile the code anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
import torch

from data import ImageBank, ImageSet, load_cifar100
from storage.claims import FileClaims, hold
from storage.study_storage import sqlite_url
from study.run import main as study_main
from study.teacher import main as teacher_main
from tests.reports.stored import refresh
from tests.storage.postgres import Server, running_server

SHARED = Path(__file__).parents[2] / "shared"
CPU = torch.device("cpu")
SMALL = ["--device", "cpu", "--preset", "demo", "--epochs", "2", "--train-images", "320", "--seeds", "1"]
# By this seed the search chooses (0.5, 4) by ten images, so that no rounding makes it another.
SMALL += ["--alphas", "0,0.5", "--temperatures", "1,4", "--seed", "1"]


@pytest.fixture(scope="session", autouse=True)
def short_measurements() -> Iterator[None]:
    """Seconds that are measured for a plan or a report are those of one step or a few: no test asks how many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.cost.LATENCY_SECONDS", 0.0)
        patch.setattr("study.probe.PROBE_STEPS", 1)
        yield


@pytest.fixture(scope="session")
def cifar100_folder() -> Path:
    """Real CIFAR-100 as class folders, unpacked once and kept between test sessions."""
    source = SHARED / "cifar100"
    if not (source / "unpack").exists():
        pytest.skip("no shared/cifar100 beside the repository")
    version = hashlib.sha256((source / "SHA256SUMS").read_bytes()).hexdigest()[:12]
    kept = Path(tempfile.gettempdir()) / f"kd-study-tests-{os.getuid()}-{version}"
    folder = kept / "folders"
    with hold(FileClaims(kept), "unpack"):
        if not (folder / ".complete").exists():
            subprocess.run([source / "unpack", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def cifar100(cifar100_folder: Path) -> ImageSet:
    """Real CIFAR-100, from a cache kept between test sessions."""
    cache = cifar100_folder.parent / "cache"
    with hold(FileClaims(cache.parent), "cache"):
        return load_cifar100(cache, cifar100_folder, FileClaims(cache))


@pytest.fixture(scope="session")
def resnet20_checkpoint() -> Path:
    """A ResNet20 for CIFAR-100 that SimKD's own code wrote."""
    path = SHARED / "teachers" / "resnet20_best.pth"
    if not path.exists():
        pytest.skip("no shared/teachers/resnet20_best.pth beside the repository")
    return path


@pytest.fixture(scope="session")
def tiny_images() -> ImageSet:
    """200 training and 40 test images of 8 classes that can be learned: noise around one colour for each class."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randint(40, 216, (8, 3, 1, 1), generator=generator)

    def draw(images: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(images) % 8
        noise = torch.randint(-40, 40, (images, 3, 32, 32), generator=generator)
        return (colours[labels] + noise).to(torch.uint8), labels

    classes = tuple(f"class {label}" for label in range(8))
    return ImageSet("tiny", *draw(200), *draw(40), classes=classes, groups=("all",) * 8, synthetic=True)


@pytest.fixture(scope="session")
def tiny_bank(tiny_images: ImageSet) -> ImageBank:
    """The training images of ``tiny_images`` on the CPU."""
    return ImageBank.of_training_images(tiny_images, CPU)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real PostgreSQL server."""
    try:
        running = running_server()
        started = running.__enter__()
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"no PostgreSQL server could be started: {error!r}")
    yield started
    running.__exit__(None, None, None)


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that one of the processes of a test session builds; not to be changed, since all of them read it."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, built = root / name, root / f"{name}.built"
    with hold(FileClaims(root), name):
        if not built.exists():
            shutil.rmtree(folder, ignore_errors=True)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("BROWSER_PATH", "/nowhere")  # no PNG figures
                build(folder)
            built.touch()
    return folder


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a small real study, with what the dashboard shows of it."""

    def build(folder: Path) -> None:
        teacher_main(["--device", "cpu", "--preset", "demo", "--epochs", "1", "--runs-dir", str(folder)])
        study_main([*SMALL, "--runs-dir", str(folder)])
        refresh(sqlite_url(folder / "study.db"), "demo")

    return built_once(tmp_path_factory, "studied", build)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder that holds a teacher and nothing else."""
    options = ["--device", "cpu", "--preset", "demo", "--epochs", "4"]
    return built_once(tmp_path_factory, "cache", lambda folder: teacher_main([*options, "--runs-dir", str(folder)]))


@pytest.fixture
def runs_dir(cache: Path, tmp_path: Path) -> Path:
    """A copy of it to run studies in."""
    return shutil.copytree(cache, tmp_path / "runs")
