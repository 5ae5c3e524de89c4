"""What speed the product has, as ratios within one run, and what memory it takes.

    python -m tests.benchmarks --quick              in five minutes on 2 cores
    python -m tests.benchmarks --json FILE          also writes the ratios

Images are random: no speed depends on what they show. Timings of a busy machine are worth nothing: run it alone.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from tqdm import tqdm

from data import VIEWS, Draws, ImageBank, stream
from models import StudentCNN, build
from storage.claims import FileClaims
from storage.configuration import Recipe
from storage.pruner import make_pruner
from storage.rows import count_rows
from storage.study_storage import open_claims, open_storage, sqlite_url
from study.device import bfloat16_cost, pick_device, wait_for
from study.loss import distillation_loss
from study.sampler import suggest
from study.settings import PRESETS
from study.step import TrainingStep
from study.teacher_logits import TeacherLogits
from study.training import Epoch, Training

Precision = Literal["float32", "bfloat16"]

CLASSES = 100
FULL_EPOCH_IMAGES = 45_000
ALPHA, TEMPERATURE = 0.25, 4.0
TARGETS = {
    "distilled_over_plain": ("distilled epoch with warm logits / plain epoch", "at most 1.05"),
    "usual_over_ours": ("the usual way / ours, distilled, ResNet32x4", "at least 20"),
    "usual_over_ours_bfloat16": ("the usual way (float32) / ours in bfloat16", "at least 35"),
    "matrix_rate_share": ("student step, share of the matrix-product rate", "at least 0.80"),
    "matrix_rate_share_bfloat16": ("the same in bfloat16", "at least 0.80"),
    "input_share": ("input pipeline, share of an epoch", "at most 0.03"),
    "overhead_share": ("study overhead, share of a full-length epoch", "at most 0.01"),
    "views_of_study": ("views asked by a whole study / by one run", "1.0"),
    "written_over_logits": ("bytes written for teacher logits / their size", "at most 3"),
}


UNTIL_THE_FIRST_STEP = """
import os, sys
from study import recipes, run, training
train_epoch = training.Training._train_epoch
recipes.TEACHER_RECIPES["demo"] = recipes.TEACHER_RECIPES["demo"].with_epochs(1)
def until_the_first_step(training, epoch):
    if training.name.startswith("trial"):
        os._exit(0)
    return train_epoch(training, epoch)
training.Training._train_epoch = until_the_first_step
run.main(sys.argv[1:])
"""


class LiveTeacher(TeacherLogits):
    """The teacher asked anew for every view: the reference for the stored logits, not an option of the product."""

    def __init__(self, bank: ImageBank, teacher: nn.Module) -> None:
        self.bank, self.teacher = bank, teacher

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        with torch.inference_mode():
            pairs = zip(indices.split(128), views.split(128), strict=True)
            device = self.bank.device
            return torch.cat([self.teacher(self.bank.crop(i.to(device), v.to(device))).half().cpu() for i, v in pairs])


class SaysNothing(nn.Module):
    """A teacher that costs nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), CLASSES, device=images.device)


class UsualImages(Dataset[tuple[Tensor, int]]):
    """Images as most code has them: PIL images with torchvision's transforms."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = [transforms.functional.to_pil_image(image) for image in images]
        self.labels = labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.25,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


@dataclass
class Bench:
    """The things that are measured, on one device with one set of random images."""

    device: torch.device
    repeats: int
    images: int
    usual_batches: int

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(256, (self.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(CLASSES, (self.images,), generator=generator)
        self.bank = ImageBank(self.pixels, self.labels, torch.full((3,), 0.5), torch.full((3,), 0.25), self.device)
        batch_size = PRESETS["full"].recipe.batch_size
        self.recipe = Recipe(epochs=2 * self.repeats + 1, batch_size=batch_size, learning_rate=1e-3)
        self.step = self._step_in("float32")
        self.teacher = self._put(build("resnet32x4", CLASSES)).eval()
        self.folder = Path(tempfile.mkdtemp(prefix="kd-study-benchmark-"))

    def rates(self, precision: Precision) -> tuple[list[float], list[float]]:
        """Operations a second of the best matrix product and of a student's step (forward, backward, update).

        Counted are those of the usual convolutions, also where Winograd's algorithm has fewer. Both in one precision
        and in turns, so that a change in the speed of the machine falls on both. On CUDA the step here is not replayed
        from a graph, as that of a training is.
        """
        student = self._step_in(precision)
        batch = torch.arange(self.recipe.batch_size, device=self.device)
        images, labels = self.bank.crop(batch, batch % VIEWS), self.bank.labels[batch]
        said = torch.randn(len(batch), CLASSES, device=self.device).half()
        # Two factors and the place of their product: whatever is allocated between the steps would slow them down.
        dtype = getattr(torch, precision)
        squares = [torch.randn(3, size, size, device=self.device).to(dtype) for size in (1024, 2048, 3072)]

        def step() -> None:
            student.network.zero_grad(set_to_none=True)
            student._loss(images, labels, said).backward()
            student._descend()

        usual = self._put(StudentCNN(CLASSES))
        with FlopCounterMode(display=False) as counter:
            functional.cross_entropy(usual(images), labels).backward()
        operations = counter.get_total_flops()
        products, steps = [], []
        for _ in range(10 * self.repeats):
            seconds = [min(self._times(partial(torch.mm, one, other, out=out), 2)) for one, other, out in squares]
            products.append(max(2 * len(out) ** 3 / best for (*_, out), best in zip(squares, seconds, strict=True)))
            steps.append(operations / statistics.median(self._times(step, 5)))
        return products, steps

    def epochs(self, logits: TeacherLogits, precisions: Sequence[Precision]) -> list[tuple[float, ...]]:
        """Seconds of each epoch but the first, epoch by epoch in turn, of a plain training and distilled ones.

        The plain one is in float32, the distilled ones in these precisions.
        """

        def begin(name: str, alpha: float, precision: Precision) -> Iterator[Epoch]:
            return Training(
                self._step_in(precision), seed=0, train=torch.arange(self.images),
                checkpoint=self.folder / f"{name}.pt", name=name, logits=logits, alpha=alpha, temperature=TEMPERATURE,
            ).epochs()  # fmt: skip

        distilled = [begin(f"distilled in {precision}", ALPHA, precision) for precision in precisions]
        trainings = [begin("plain", 0.0, "float32"), *distilled]
        turns = list(zip(*trainings, strict=True))[1:]
        return list(zip(*(tuple(epoch.seconds for epoch in turn) for turn in turns), strict=True))

    def warm_logits(self, name: str = "resnet20") -> TeacherLogits:
        """Stored logits in which every view of the measured epochs is filled; the teacher does not matter then."""
        teacher = self._put(build(name, CLASSES)).eval()
        logits = self._logits("warm", teacher)
        for epoch in range(self.recipe.epochs):
            logits.of(*stream(torch.arange(self.images), 0, epoch))
        return logits

    def usual_seconds_an_image(self) -> list[float]:
        """The same protocol written the usual way: seconds an image of each batch but the first two."""
        network = build_contiguous(StudentCNN(CLASSES), self.device)
        teacher = build_contiguous(build("resnet32x4", CLASSES), self.device).eval()
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, weight_decay=5e-4)
        loader = DataLoader(
            UsualImages(self.pixels, self.labels), batch_size=self.recipe.batch_size, shuffle=True, num_workers=2
        )
        seconds = []
        last = time.perf_counter()
        for number, (images, labels) in enumerate(loader):
            images, labels = images.to(self.device), labels.to(self.device)
            with torch.no_grad():
                teacher_logits = teacher(images)
            loss = distillation_loss(network(images), labels, teacher_logits, ALPHA, TEMPERATURE)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            now = time.perf_counter()
            if number >= 2:
                seconds.append((now - last) / len(labels))
            last = now
            if number == self.usual_batches + 1:
                break
        return seconds

    def input_seconds(self) -> list[float]:
        """Seconds that an epoch spends on order, crops, flips and normalisation."""

        def pass_over_images() -> None:
            order, views = stream(torch.arange(self.images), 0, 0)
            order, views = order.to(self.device), views.to(self.device)
            size = self.recipe.batch_size
            for first in range(0, self.images, size):
                self.bank.crop(order[first : first + size], views[first : first + size])

        return self._times(pass_over_images, self.repeats)

    def overhead_seconds(self) -> list[float]:
        """Seconds an epoch that Optuna, its storage and the checkpoint take, in a study of 16 trials."""
        url = sqlite_url(self.folder / "overhead.db")
        study = optuna.create_study(storage=open_storage(url, open_claims(url)), direction="maximize")
        epochs = 20
        study.pruner = make_pruner("median", epochs)
        training = Training(
            self.step, seed=0, train=torch.arange(self.images), checkpoint=self.folder / "overhead.pt", name="overhead"
        )
        seconds = []
        for _ in range(16):
            start = time.perf_counter()
            trial = study.ask()
            suggest(trial)
            for epoch in range(1, epochs + 1):
                trial.report(0.5, epoch)
                trial.should_prune()
                training._save()
            trial.set_user_attr("curve", [{"train_loss": 1.0, "seconds": 1.0}] * epochs)
            study.tell(trial, 0.5)
            seconds.append((time.perf_counter() - start) / epochs)
        return seconds

    def start_seconds(self, data_dir: Path | None) -> list[float]:
        """Seconds from the command to the first step of a study that was begun before; images and teacher are there."""
        preset = ["--preset", "demo"] if data_dir is None else ["--preset", "quick", "--data-dir", str(data_dir)]
        command = [sys.executable, "-c", UNTIL_THE_FIRST_STEP, *preset, "--runs-dir", str(self.folder / "runs")]
        return self._times(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), 3)

    def views_asked(self) -> list[tuple[str, int, int]]:
        """How often the teacher is asked as trials, seeds and images grow: (what, trainings' images, views)."""
        rows = []
        for name, trials, seeds, images in (
            ("1 trial", 1, 1, 512),
            ("16 trials of one seed", 16, 1, 512),
            ("5 seeds", 1, 5, 512),
            ("twice the images", 1, 1, 1024),
        ):
            filled = torch.zeros(images, VIEWS, dtype=torch.bool)
            draws = Draws(images, epochs=10)
            shown = 0
            for seed in range(seeds):
                for _ in range(trials):
                    for epoch in range(draws.epochs):
                        filled[stream(torch.arange(images), seed, epoch, draws)] = True
                        shown += images
            rows.append((name, shown, int(filled.sum())))
        return rows

    def views_of_study(self) -> float:
        """Views that the teacher is asked for by a small study, over those that one run shows."""
        recipe = Recipe(epochs=3, batch_size=32, learning_rate=1e-3)
        every, draws = torch.arange(64), Draws(self.images, recipe.epochs)
        step = TrainingStep(lambda: StudentCNN(CLASSES), recipe, self.bank, CLASSES)
        logits = self._logits("small study", self._put(build("resnet8", CLASSES)).eval())
        runs = [(alpha, 0, every[:58]) for alpha in (0.0, 0.25, 0.5, 0.75)]
        runs += [(alpha, seed, every) for alpha in (0.0, 0.25, 0.75) for seed in (1, 2, 3, 4, 5)]
        for alpha, seed, train in runs:
            training = Training(
                step, seed=seed, train=train, checkpoint=self.folder / "small.pt", name="small", logits=logits,
                alpha=alpha, temperature=TEMPERATURE, draws=draws,
            )  # fmt: skip
            list(training.epochs())
            training.forget()
        shown = torch.zeros(len(every), VIEWS, dtype=torch.bool)
        for epoch in range(recipe.epochs):
            shown[stream(every, 0, epoch, draws)] = True
        return count_rows(logits.folder) / int(shown.sum())

    def written_over_logits(self) -> float:
        """Bytes written in an epoch of new views, over the size of their logits; 0 where the folder is in memory."""
        logits = self._logits("written", SaysNothing())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_oublock
        logits.of(*stream(torch.arange(self.images), 0, 0))
        written = 512 * (resource.getrusage(resource.RUSAGE_SELF).ru_oublock - before)
        return written / (self.images * CLASSES * 2)

    def _logits(self, name: str, teacher: nn.Module) -> TeacherLogits:
        folder = self.folder / "logits" / name
        return TeacherLogits(
            folder, self.bank, lambda: teacher, CLASSES, lambda rows: tqdm(total=rows, disable=True), FileClaims(folder)
        )

    def _step_in(self, precision: Precision) -> TrainingStep:
        recipe = replace(self.recipe, precision=precision)
        return TrainingStep(lambda: StudentCNN(CLASSES), recipe, self.bank, CLASSES)

    def _put(self, network: nn.Module) -> nn.Module:
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _times(self, call: Callable[[], object], times: int) -> list[float]:
        call()
        wait_for(self.device)
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            call()
            wait_for(self.device)
            seconds.append(time.perf_counter() - start)
        return seconds


def build_contiguous(network: nn.Module, device: torch.device) -> nn.Module:
    """A network in torch's default memory format, as the usual code has it."""
    return network.to(device)


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "minimum": min(values), "maximum": max(values)}


def pairs(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios in the order in which both were measured."""
    return [a / b for a, b in zip(above, below, strict=False)]


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Say on stderr what is measured and how long it took."""
    start = time.perf_counter()
    print(f"{name} ...", end="", file=sys.stderr, flush=True)
    yield
    print(f" {time.perf_counter() - start:.0f} s", file=sys.stderr)


def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats: five minutes on 2 cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="CIFAR-100, for the second start")
    options = parser.parse_args()
    device = pick_device(options.device)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bench = Bench(device, repeats=3 if options.quick else 7, images=2560 if options.quick else 10_240,
                  usual_batches=6 if options.quick else 20)  # fmt: skip

    precisions: list[Precision] = ["float32"]
    if bfloat16_cost(device) < 1:
        precisions.append("bfloat16")
    else:
        print("bfloat16 is slower than float32 here, and is left out")
    rates = {}
    for precision in precisions:
        with stage(f"matrix products and student steps in {precision}, in turn"):
            rates[precision] = bench.rates(precision)
    with stage("teacher logits, filled once"):
        logits = bench.warm_logits()
    with stage("plain and distilled epochs, in turn"):
        plain, *distilled = bench.epochs(logits, precisions)
    with stage("a small study"):
        views_of_study = bench.views_of_study()
    with stage("teacher logits of an epoch of new views"):
        written = bench.written_over_logits()
    with stage("input pipeline"):
        inputs = bench.input_seconds()
    with stage("study overhead"):
        overheads = bench.overhead_seconds()
    with stage("second start"):
        starts = bench.start_seconds(options.data_dir)
    with stage("the usual way, live ResNet32x4"):
        usual = bench.usual_seconds_an_image()
    with stage("ours with a live ResNet32x4"):
        live_images = bench.recipe.batch_size * 4
        order, views = stream(torch.arange(bench.images), 0, 0)
        start = time.perf_counter()
        LiveTeacher(bench.bank, bench.teacher).of(order[:live_images], views[:live_images])
        live = (time.perf_counter() - start) / live_images

    plain_image = statistics.median(plain) / bench.images
    distilled_images = [statistics.median(seconds) / bench.images for seconds in distilled]
    ratios = {"distilled_over_plain": spread(pairs(distilled[0], plain))}
    for precision, of_image in zip(precisions, distilled_images, strict=True):
        suffix = "" if precision == "float32" else f"_{precision}"
        products, steps = rates[precision]
        ratios[f"usual_over_ours{suffix}"] = spread([seconds / of_image for seconds in usual])
        ratios[f"matrix_rate_share{suffix}"] = spread(pairs(steps, products))
    ratios |= {
        "input_share": spread([seconds / statistics.median(plain) for seconds in inputs]),
        "overhead_share": spread([seconds / (plain_image * FULL_EPOCH_IMAGES) for seconds in overheads]),
        "views_of_study": spread([views_of_study]),
        "written_over_logits": spread([written]),
    }
    print(f"\non {device}, {torch.get_num_threads()} threads, torch {torch.__version__}; 1 row = median (min to max)\n")
    for key, values in ratios.items():
        what, target = TARGETS[key]
        figures = f"{values['median']:.4g} ({values['minimum']:.4g} to {values['maximum']:.4g})"
        print(f"{what:<50} {figures:<34} target {target}")
    print()
    for precision, of_precision in rates.items():
        matrix_rate, step_rate = (statistics.median(each) / 1e9 for each in of_precision)
        print(
            f"\nin {precision}: matrix products {matrix_rate:.0f} GFLOPS, student step {step_rate:.0f} GFLOPS", end=""
        )
    print("\n")
    for name, seconds in (
        ("plain", plain_image),
        *((f"distilled, warm logits, {name}", each) for name, each in zip(precisions, distilled_images, strict=True)),
        ("distilled, live ResNet32x4", plain_image + live),
        ("the usual way, live ResNet32x4", statistics.median(usual)),
    ):
        print(f"{name:<36} {1000 * seconds:8.2f} ms an image, {FULL_EPOCH_IMAGES * seconds:7.0f} s a full-length epoch")
    print(
        f"second start until the first step, {'quick' if options.data_dir else 'demo'} preset: "
        f"{statistics.median(starts):.1f} s ({min(starts):.1f} to {max(starts):.1f}), target at most 4"
    )
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    print("\nthe teacher is asked once for each view:")
    for name, shown, asked in bench.views_asked():
        print(f"{name:<24} {shown:8,} images shown, {asked:7,} views asked")
    if options.json is not None:
        options.json.write_text(json.dumps(ratios, indent=1) + "\n")


if __name__ == "__main__":
    main()
