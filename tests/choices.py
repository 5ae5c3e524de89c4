"""What each choice in the training step brings: the time of a step without it, over the time of the step as it is.

    python -m tests.choices              a minute or two on 2 cores; run it alone
    python -m tests.choices --compile    also torch.compile, which takes a minute to compile
    python -m tests.choices --batches    instead, what even batches bring: ten epochs of CIFAR-100 with and without

Each row is measured in turns with the step as it is, in one process on one device, so that a change in the speed of
the machine falls on both.
"""

import argparse
import copy
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from data import VIEWS, ImageBank, load_images, split
from models import StudentCNN, build, fold_batch_norm, load_checkpoint, with_winograd
from models.teacher_card import SHIPPED
from models.winograd import WinogradConv2d
from storage.claims import FileClaims
from storage.configuration import Recipe
from storage.folders import RunsFolder
from study.command_line import add_machine_options
from study.device import computes_by_winograd, pick_device, wait_for
from study.progress import bar
from study.settings import PRESETS
from study.step import TrainingStep
from study.teacher_logits import batch_size
from study.training import Training

CLASSES = 100
TURNS = 8
SECONDS_A_TURN = 1.0
SECONDS_TOGETHER = 10.0
SECONDS_TO_BEGIN = 300.0
LOGITS_BATCHES = (25, 50, 100, 500)


class ReluFirst(StudentCNN):
    """The student as most would write it: ReLU before the pool, and before flattening."""

    def forward(self, images: Tensor) -> Tensor:
        """As ``StudentCNN.forward``."""
        hidden = F.max_pool2d(F.relu(self.conv1(images)), 2)
        hidden = F.max_pool2d(F.relu(self.conv2(hidden)), 2)
        hidden = F.max_pool2d(F.relu(self.conv3(hidden)), 2)
        logits: Tensor = self.fc(F.relu(self.conv4(hidden)).flatten(1))
        return logits


class Contiguous(StudentCNN):
    """The student in torch's default memory format."""

    def forward(self, images: Tensor) -> Tensor:
        """As ``StudentCNN.forward``."""
        return super().forward(images.contiguous())


class AsksEachStep(TrainingStep):
    """Reads the loss of every step."""

    def _take(self, size: int) -> None:
        super()._take(size)
        self._total_loss.item()


def random_bank(device: torch.device) -> ImageBank:
    """Random images for one step, or on a GPU, to which a step is nothing, for a hundred."""
    generator = torch.Generator().manual_seed(0)
    count = PRESETS["full"].recipe.batch_size * (1 if device.type == "cpu" else 100)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (len(images),), generator=generator)
    return ImageBank(images, labels, torch.full((3,), 0.5), torch.full((3,), 0.25), device)


def once(step: TrainingStep, said: Tensor | None = None) -> Callable[[], object]:
    """An epoch of the bank, at a learning rate that leaves the weights where they are."""
    indices = torch.arange(len(step.bank))
    alpha = 0.0 if said is None else 0.5

    def call() -> object:
        with tqdm(disable=True) as progress:
            return step.epoch(indices, indices % VIEWS, said, alpha, 4.0, 0, progress)

    return call


def seconds_of(call: Callable[[], object], device: torch.device, seconds: float = SECONDS_A_TURN) -> float:
    """Seconds a call, over so many seconds."""
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        calls += 1
    wait_for(device)
    return (time.perf_counter() - start) / calls


def in_turns(one: Callable[[], object], other: Callable[[], object], device: torch.device) -> list[float]:
    """Time of ``one`` over time of ``other``, turn by turn."""
    for call in (one, other):
        call()
    return [seconds_of(one, device) / seconds_of(other, device) for _ in range(TURNS)]


def work(device: torch.device, threads: int, ready: Barrier, result: "Queue[float]") -> None:
    """Count the images a second of one of several processes that begin together."""
    torch.set_num_threads(threads)
    bank = random_bank(device)
    call = once(TrainingStep(lambda: StudentCNN(CLASSES), recipe(), bank, CLASSES))
    call()
    ready.wait(SECONDS_TO_BEGIN)
    result.put(len(bank) / seconds_of(call, device, SECONDS_TOGETHER))


def rate_of_processes(device: torch.device, processes: int, threads: int) -> float:
    """Images a second that so many processes of so many threads each train on together."""
    context = multiprocessing.get_context("spawn")
    result: Queue[float] = context.Queue()
    ready = context.Barrier(processes)
    workers = [context.Process(target=work, args=(device, threads, ready, result)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    rate = sum(result.get(timeout=SECONDS_TO_BEGIN + 6 * SECONDS_TOGETHER) for _ in workers)
    for worker in workers:
        worker.join()
    return rate


def recipe(**changes: object) -> Recipe:
    """The student's, at a learning rate that leaves the weights where they are."""
    return replace(PRESETS["full"].recipe, learning_rate=1e-9, **changes)  # type: ignore[arg-type]


def by_torch(step: TrainingStep) -> TrainingStep:
    """The step, its convolutions torch's own."""
    for module in step.network.modules():
        if isinstance(module, WinogradConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    return step


def show(name: str, ratios: list[float]) -> None:
    """One row of the table."""
    print(f"{name:<58} {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


@torch.inference_mode()
def show_winograd(bank: ImageBank) -> None:
    """What Winograd's algorithm brings where a CPU asks a teacher, and what it does to what is kept."""
    print("\nteacher logits by torch's convolutions / by Winograd's algorithm, and float16 logits that differ\n")
    views = torch.arange(batch_size(bank.device))
    shown = bank.crop(views % len(bank), views % VIEWS)
    for file in sorted(SHIPPED.glob("*.pth")):
        name = file.name.split("-")[0]
        network = build(name, CLASSES)
        load_checkpoint(network, file, name)
        usual = fold_batch_norm(network.eval()).to(memory_format=torch.channels_last)
        fast = with_winograd(copy.deepcopy(usual), frozen=True)
        show(name, in_turns(lambda: usual(shown), lambda: fast(shown), bank.device))  # noqa: B023
        one, other = usual(shown).half(), fast(shown).half()
        print(f"  differ: {100 * (one != other).float().mean():.2f} %, at most by {(one - other).abs().max():.1e}")


def show_batches(runs: Path, data_dir: Path | None, device: torch.device) -> None:
    """What an epoch of 45,000 images comes to that ends with a batch of 8, and one of even batches of 64.

    The baseline of the preset ``quick`` over all training images; loss in nats and accuracy on its validation images.
    """
    cache = RunsFolder(runs).cache
    configuration = replace(PRESETS["quick"], train_images=None)
    images = load_images(configuration, cache, data_dir, FileClaims(cache), bar)
    parts, bank = split(images.train_labels, None, None), ImageBank.of_training_images(images, device)
    for batches in ("remainder", "even"):
        taught = replace(configuration.recipe, batches=batches)
        with TemporaryDirectory() as folder:
            training = Training(
                TrainingStep(lambda: StudentCNN(CLASSES), taught, bank, CLASSES),
                seed=0,
                train=parts.train,
                validation=parts.validation,
                checkpoint=Path(folder) / "checkpoint.pt",
                name=batches,
            )
            sizes = taught.batch_sizes(len(parts.train))
            print(f"{batches}: {len(sizes)} steps an epoch, of {sizes[0]} to {sizes[-1]} images", flush=True)
            for number, epoch in enumerate(training.epochs(), start=1):
                print(
                    f"  epoch {number}: training loss {epoch.train_loss:.2f}, validation loss "
                    f"{epoch.validation_loss:.2f}, validation accuracy {100 * (epoch.validation_accuracy or 0):.2f} %",
                    flush=True,
                )


def main() -> None:
    """Measure every choice and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.choices", description=__doc__.split("\n")[0])
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--batches", action="store_true", help="what even batches bring, and nothing else")
    add_machine_options(parser)
    options = parser.parse_args()
    device = pick_device(options.device)
    if options.batches:
        show_batches(options.runs_dir, options.data_dir, device)
        return
    bank = random_bank(device)
    said = torch.zeros(len(bank), CLASSES, dtype=torch.float16)

    def step_of(network: type[nn.Module] = StudentCNN, **changes: object) -> TrainingStep:
        return TrainingStep(lambda: network(CLASSES), recipe(**changes), bank, CLASSES)

    step = step_of()
    ours = once(step)
    usual = by_torch(step_of())
    contiguous = by_torch(step_of(Contiguous))
    contiguous.network.to(memory_format=torch.contiguous_format)
    for_each = step_of()
    optimizer = torch.optim.SGD(for_each.network.parameters(), lr=1e-9, weight_decay=5e-4)
    for_each._descend = optimizer.step  # type: ignore[method-assign]
    asks = AsksEachStep(lambda: StudentCNN(CLASSES), recipe(), bank, CLASSES)
    print(f"on {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"as it is: {1000 * seconds_of(ours, device) / len(bank):.3f} ms an image\n")
    print("time of a step / time of the step as it is, median (min to max)\n")
    show("channels first (both by torch's convolutions)", in_turns(once(contiguous), once(usual), device))
    show("ReLU before the pool", in_turns(once(step_of(ReluFirst)), ours, device))
    show("SGD tensor by tensor, not fused", in_turns(once(for_each), ours, device))
    show("reading the loss of every step", in_turns(once(asks), ours, device))
    show("distilled (teacher's part of the loss is always there)", in_turns(once(step, said), ours, device))
    show("torch's convolutions, on a CPU not by Winograd's algorithm", in_turns(once(usual), ours, device))
    show("bfloat16", in_turns(once(step_of(precision="bfloat16")), ours, device))
    if options.compile:
        compiled = by_torch(step_of())
        compiled._loss = torch.compile(compiled._forward, dynamic=False)
        show("compiled (both by torch's convolutions)", in_turns(once(compiled), once(usual), device))

    if computes_by_winograd(device, "float32"):
        show_winograd(bank)
    teacher = build("resnet20", CLASSES).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    predictions = []
    with torch.inference_mode():
        for size in LOGITS_BATCHES:
            images = bank.crop(torch.arange(size, device=device) % len(bank), torch.arange(size, device=device) % 162)
            teacher(images)
            predictions.append(min(seconds_of(lambda: teacher(images), device) / size for _ in range(3)))  # noqa: B023
    print("\nteacher logits, ResNet20, ms an image:", end=" ")
    print(", ".join(f"{1000 * s:.2f} in batches of {n}" for n, s in zip(LOGITS_BATCHES, predictions, strict=True)))
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    print("images a second of several trainings at once:", end=" ")
    for processes in sorted({1, threads}) if device.type == "cpu" else (1, 2, 4, 8):
        each = max(1, threads // processes)
        rate = rate_of_processes(device, processes, each)
        print(f"{rate:,.0f} of {processes} x {each} threads;", end=" ", flush=True)
    print()


if __name__ == "__main__":
    main()
