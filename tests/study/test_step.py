"""The training step: what a plain loop does, for every training in turn, without waiting for the device."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.functional import resize
from tqdm import tqdm

from data import ImageBank, stream
from models import StudentCNN
from storage.configuration import Recipe
from study.loss import distillation_loss
from study.step import CompilerError, TrainingStep, compiled, compiler_at_hand

CLASSES = 8
IMAGES = 91
PLAIN = Recipe(epochs=2, batch_size=32, learning_rate=0.05, step_epochs=(1,), step_factor=0.2)
MOMENTUM = Recipe(epochs=2, batch_size=32, learning_rate=0.05, momentum=0.9, nesterov=True, schedule="one-cycle")
SAID = torch.randn(IMAGES, CLASSES, generator=torch.Generator().manual_seed(3)).half()


class Normalised(nn.Sequential):
    """Has running statistics, which a recorded step must not have changed when it is first replayed."""

    def __init__(self) -> None:
        # A bias would be taken away again: of its gradient, which is rounding alone, AdamW makes whole steps.
        convolution = nn.Conv2d(3, 16, 3, stride=4, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 8))


def bank_on(device: str) -> ImageBank:
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    statistics = (torch.full((3,), 0.5), torch.full((3,), 0.25))
    return ImageBank(images, torch.arange(IMAGES) % CLASSES, *statistics, torch.device(device))


def step_of(recipe: Recipe, device: str = "cpu") -> TrainingStep:
    return TrainingStep(Normalised, recipe, bank_on(device), CLASSES)


class LeavesOut(nn.Module):
    """Leaves a layer out of every second step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, CLASSES), nn.Linear(3, CLASSES), nn.Linear(3, CLASSES)])
        self.steps = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        taken = [layer for index, layer in enumerate(self.layers) if index != 1 or self.steps % 2]
        return torch.stack([layer(images.mean(dim=(2, 3))) for layer in taken]).sum(dim=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_layer_that_a_step_left_out_stays_as_it_is_and_keeps_its_momenta(optimizer: Any) -> None:
    momentum = 0.9 if optimizer == "sgd" else 0.0
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.01, momentum=momentum, optimizer=optimizer)
    trained = train(TrainingStep(LeavesOut, recipe, bank_on("cpu"), CLASSES))
    by_loop = train_by_a_plain_loop(recipe, bank_on("cpu"), 0.0, 1.0, LeavesOut)
    assert trained[0] == pytest.approx(by_loop[0], rel=1e-5)
    for name, weight in trained[1].items():
        torch.testing.assert_close(weight, by_loop[1][name], rtol=1e-4, atol=1e-6)


class Frozen(LeavesOut):
    """Keeps the weights of a layer that it uses."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[0].requires_grad_(False)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_frozen_layer_stays_as_it_is(optimizer: Any) -> None:
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.1, weight_decay=0.1, optimizer=optimizer)
    torch.manual_seed(0)
    first = Frozen().state_dict()
    _, weights = train(TrainingStep(Frozen, recipe, bank_on("cpu"), CLASSES))
    same = {name for name in weights if torch.equal(weights[name], first[name])}
    assert same == {"layers.0.weight", "layers.0.bias"}


def train(step: TrainingStep, seed: int = 0, alpha: float = 0.0, temperature: float = 1.0, images: int = IMAGES) -> Any:
    """Mean loss of each epoch and all weights, as numbers."""
    step.reset(seed)
    losses = []
    for epoch in range(step.recipe.epochs):
        order, views = stream(torch.arange(images), seed, epoch)
        said = None if alpha == 0 else SAID[order]
        with tqdm(disable=True) as progress:
            losses.append(step.epoch(order, views, said, alpha, temperature, epoch, progress).item())
    return losses, {name: value.cpu().clone() for name, value in step.network.state_dict().items()}


def train_by_a_plain_loop(
    recipe: Recipe, bank: ImageBank, alpha: float, temperature: float, make: type[nn.Module] = Normalised
) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make().to(bank.device)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(
        network.parameters(), lr=1.0, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=5e-4
    )
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(network.parameters(), lr=1.0, weight_decay=recipe.weight_decay)
    losses = []
    for epoch in range(recipe.epochs):
        order, views = (part.to(bank.device) for part in stream(torch.arange(IMAGES), 0, epoch))
        total, first = 0.0, 0
        cut: Any = torch.tensor_split if recipe.batches == "even" else torch.split
        how = 3 if recipe.batches == "even" else 32
        for batch, of_batch in zip(cut(order, how), cut(views, how), strict=True):
            with torch.autocast(bank.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                logits = network(bank.crop(batch, of_batch)).float()
            said = SAID.to(bank.device)[batch]
            loss = distillation_loss(logits, bank.labels[batch], said, alpha, temperature)
            optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch, first / IMAGES)
            first += len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(logits)
        losses.append(total / IMAGES)
    return losses, {name: value.cpu() for name, value in network.state_dict().items()}


def assert_same(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


def assert_close(one: Any, other: Any) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-4)
    for name in one[1]:
        torch.testing.assert_close(one[1][name], other[1][name], rtol=1e-3, atol=1e-4)


DEVICES = pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"))],
)
REMAINDER = replace(PLAIN, batches="remainder")
ADAMW = Recipe(epochs=2, batch_size=32, learning_rate=0.01, weight_decay=0.1, schedule="one-cycle", optimizer="adamw")
RECIPES = pytest.mark.parametrize(
    "recipe", [PLAIN, MOMENTUM, REMAINDER, ADAMW], ids=["plain", "momentum", "remainder", "adamw"]
)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Without TF32, which on a GPU rounds more than the tests allow."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@DEVICES
@RECIPES
@pytest.mark.parametrize(("alpha", "temperature"), [(0.0, 1.0), (0.25, 4.0), (1.0, 2.0)])
def test_it_trains_as_a_plain_loop_does(recipe: Recipe, alpha: float, temperature: float, device: str) -> None:
    by_step = train(step_of(recipe, device), alpha=alpha, temperature=temperature)
    assert_close(by_step, train_by_a_plain_loop(recipe, bank_on(device), alpha, temperature))


@DEVICES
def test_in_bfloat16_it_trains_as_a_plain_loop_does(device: str) -> None:
    recipe = replace(MOMENTUM, precision="bfloat16")
    by_step, by_loop = (
        train(step_of(recipe, device), alpha=0.25, temperature=4.0),
        train_by_a_plain_loop(recipe, bank_on(device), 0.25, 4.0),
    )
    assert by_step[0] == pytest.approx(by_loop[0], rel=1e-2)
    exact = train(step_of(MOMENTUM, device), alpha=0.25, temperature=4.0)
    assert by_step[0] != pytest.approx(exact[0], rel=1e-6), "or it was float32"


class Dropped(Normalised):
    """Draws in each step."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.nn.functional.dropout(super().forward(images), 0.5, self.training)  # type: ignore[no-untyped-call]


@DEVICES
def test_what_a_network_draws_is_drawn_anew_in_each_step_and_alike_in_each_training(device: str) -> None:
    step = TrainingStep(Dropped, replace(PLAIN, learning_rate=1e-9, weight_decay=0.0), bank_on(device), CLASSES)
    order, views = stream(torch.arange(IMAGES), 0, 0)

    def two_epochs(generator: int) -> list[float]:
        step.reset(0)
        torch.manual_seed(generator)
        with tqdm(disable=True) as progress:
            return [step.epoch(order, views, None, 0.0, 1.0, 0, progress).item() for _ in range(2)]

    first, again, other = map(two_epochs, (1, 1, 2))  # on a GPU the first records the step, the others replay it
    assert first == pytest.approx(again)
    assert first != pytest.approx(other, rel=1e-3)
    assert first[0] != pytest.approx(first[1], rel=1e-3), "of the same images in the same order"


@DEVICES
@RECIPES
def test_one_step_serves_every_training_in_turn(recipe: Recipe, device: str) -> None:
    fresh = train(step_of(recipe, device), seed=2, alpha=0.5, temperature=2.0)
    step = step_of(recipe, device)
    train(step, seed=1, alpha=0.75, temperature=8.0)
    train(step, seed=1, images=IMAGES - 20)
    again = train(step, seed=2, alpha=0.5, temperature=2.0)
    if device == "cpu":
        assert_same(again, fresh)
    else:
        assert_close(again, fresh)


@pytest.mark.parametrize("left", [float("inf"), float("nan")])
def test_nothing_that_another_training_left_reaches_the_next(left: float) -> None:
    fresh = train(step_of(PLAIN))
    step = step_of(PLAIN)
    step.reset(1)
    with tqdm(disable=True) as progress:
        step.epoch(*stream(torch.arange(IMAGES), 1, 0), torch.full_like(SAID, left), 0.5, 1.0, 0, progress)
    assert_same(train(step), fresh)


@RECIPES
def test_a_loaded_state_goes_on_to_the_same_numbers(recipe: Recipe) -> None:
    whole = train(step_of(recipe))
    step, other = step_of(recipe), step_of(recipe)
    step.reset(0)
    with tqdm(disable=True) as progress:
        order, views = stream(torch.arange(IMAGES), 0, 0)
        step.epoch(order, views, None, 0.0, 1.0, 0, progress)
        other.load(step.state())
        order, views = stream(torch.arange(IMAGES), 0, 1)
        loss = other.epoch(order, views, None, 0.0, 1.0, 1, progress).item()
    assert loss == whole[0][1]
    assert_same(([], other.network.state_dict()), ([], whole[1]))


def test_distillation_without_teacher_logits_is_a_bug_that_shows() -> None:
    with pytest.raises(AssertionError, match="teacher logits are needed"), tqdm(disable=True) as progress:
        step_of(PLAIN).epoch(*stream(torch.arange(IMAGES), 0, 0), None, 0.5, 1.0, 0, progress)


class NeverAsks(TorchDispatchMode):
    """Refuses whatever makes the host wait for a device: to read a value, or to count what a mask selects."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        selects = function is torch.ops.aten.index.Tensor
        by_mask = selects and any(index is not None and index.dtype == torch.bool for index in arguments[1])
        if by_mask or function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise AssertionError("the host waits for the device")
        return function(*arguments, **(options or {}))


class Asks(nn.Module):
    """A network that asks the device for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits * float(logits.detach().abs().max())


@RECIPES
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_epoch_never_asks_the_device_for_a_value(recipe: Recipe, precision: Any) -> None:
    recipe = replace(recipe, precision=precision)
    order, views = stream(torch.arange(IMAGES), 0, 0)
    with tqdm(disable=True) as progress:
        step = TrainingStep(lambda: StudentCNN(CLASSES), recipe, bank_on("cpu"), CLASSES)
        with NeverAsks():  # type: ignore[no-untyped-call]
            step.epoch(order, views, SAID, 0.5, 4.0, 0, progress)
        asks = TrainingStep(Asks, recipe, bank_on("cpu"), CLASSES)
        with NeverAsks(), pytest.raises(AssertionError, match="the host waits"):  # type: ignore[no-untyped-call]
            asks.epoch(order, views, SAID, 0.5, 4.0, 0, progress)


def test_compiled_it_is_one_graph_for_every_alpha_temperature_and_learning_rate() -> None:
    pairs = ((0.25, 4.0), (1.0, 8.0))
    eager = [train(step_of(PLAIN), alpha=alpha, temperature=temperature) for alpha, temperature in pairs]
    torch._dynamo.reset()
    counters.clear()
    step = step_of(PLAIN)
    step._loss = torch.compile(step._forward, dynamic=False, fullgraph=True, backend="aot_eager")
    compiled = [train(step, alpha=alpha, temperature=temperature) for alpha, temperature in pairs]
    # One for the batches of 31 images and one for those of 30.
    assert counters["stats"]["unique_graphs"] == 2
    for one, other in zip(compiled, eager, strict=True):
        assert_close(one, other)


WITHOUT_COMPILER = """
import torch
from study.step import CompilerError, compiled, compiler_at_hand
from triton.runtime.build import _find_compiler

def said(call):
    try:
        with compiler_at_hand():
            call()
    except CompilerError as error:
        print(error)

said(lambda: compiled(lambda x: x.sin() + 1)(torch.ones(7)))
said(lambda: _find_compiler("c"))
"""


def test_without_a_c_compiler_it_says_so_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "PATH": str(tmp_path), "CXX": "g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER], check=True, capture_output=True, text=True, env=environment
    )
    line = "torch.compile finds no C compiler, or that does not find Python.h: install gcc and python3-dev, or set "
    line += "TORCHDYNAMO_DISABLE=1 for a slower step"
    assert process.stdout.splitlines() == [line, line]


SLOWER = "import torch; from study.step import compiled; print(compiled(lambda x: x + 1)(torch.ones(1)).item())"


def test_without_a_c_compiler_there_is_a_slower_step(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "TORCHDYNAMO_DISABLE": "1"}
    process = subprocess.run(
        [sys.executable, "-c", SLOWER], check=True, capture_output=True, text=True, env=environment
    )
    assert process.stdout.strip() == "2.0"


def test_a_network_that_cannot_be_compiled_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    fast = compiled(lambda tensor: tensor + 1 if torch.rand(()) < 0.5 else tensor - 1)
    line = "does not take this network .*: choose with tensors and not with if"
    with pytest.raises(CompilerError, match=line) as said, compiler_at_hand():
        fast(torch.ones(1))
    assert "\n" not in str(said.value)


def test_many_shapes_are_compiled_and_one_too_many_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    fast = compiled(lambda tensor: tensor.sin() + 1)
    for size in range(2, 14):
        fast(torch.ones(size))
    assert counters["stats"]["unique_graphs"] == 12
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 12)
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        fast(torch.ones(14))


def train_resized(step: TrainingStep) -> list[tuple[int, ...]]:
    """The shapes that the network of a step sees in each epoch."""
    shapes: list[tuple[int, ...]] = []
    if step.bank.device.type == "cpu":  # a list that grows would have torch compile each step anew
        step.network.register_forward_pre_hook(lambda _, images: shapes.append(tuple(images[0].shape)))
    step.reset(0)
    with tqdm(disable=True) as progress:
        for epoch in range(step.recipe.epochs):
            step.epoch(*stream(torch.arange(IMAGES), 0, epoch), None, 0.0, 1.0, epoch, progress)
    return shapes


class Pooled(nn.Sequential):
    """Takes images of any size."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


class Replaces(Pooled):
    """Puts a new tensor in the place of its buffer."""

    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.centre = 0.9 * self.centre + 0.1 * images.mean()
        logits: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return logits


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_network_that_replaces_a_buffer_is_refused_where_it_would_be_recorded() -> None:
    with pytest.raises(CompilerError, match="puts another tensor in the place of 'centre' in each step"):
        train(TrainingStep(Replaces, PLAIN, bank_on("cuda"), CLASSES))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_recording_leaves_the_generator_of_the_device_where_it_was() -> None:
    step = TrainingStep(Pooled, PLAIN, bank_on("cuda"), CLASSES)
    step.reset(0)
    before = torch.cuda.get_rng_state()
    step._record(31)
    assert torch.equal(torch.cuda.get_rng_state(), before)


@DEVICES
def test_each_epoch_shows_images_of_its_size(device: str) -> None:
    recipe = replace(PLAIN, epochs=4, batch_size=64, image_sizes=((1, 16), (3, 24)))
    step = TrainingStep(Pooled, recipe, bank_on(device), CLASSES)
    shapes = train_resized(step)
    if device == "cpu":
        assert shapes == [(size, 3, side, side) for side in (32, 16, 16, 24) for size in (46, 45)]
    else:
        assert set(step._graphs) == {(size, side) for side in (None, 16, 24) for size in (46, 45)}


def test_small_images_are_the_augmented_ones_resized_bilinear_antialiased() -> None:
    seen: list[Tensor] = []
    recipe = replace(PLAIN, epochs=1, batch_size=IMAGES, image_sizes=((0, 16),))
    step = TrainingStep(Pooled, recipe, bank_on("cpu"), CLASSES)
    step.network.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    step.reset(0)
    indices, views = stream(torch.arange(IMAGES), 0, 0)
    with tqdm(disable=True) as progress:
        step.epoch(indices, views, None, 0.0, 1.0, 0, progress)
    views_as_they_are = step.bank.crop(indices, views)
    torch.testing.assert_close(seen[0], resize(views_as_they_are, [16, 16], antialias=True))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


ONE_STEP = """
import sys
import torch
import study.run
from data import ImageBank
from models import StudentCNN
from storage.configuration import Recipe
from study.step import TrainingStep
from tqdm import tqdm

bank = ImageBank(
    torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4), torch.zeros(3), torch.ones(3), torch.device("cpu")
)
step = TrainingStep(lambda: StudentCNN(4), Recipe(epochs=1, batch_size=4, learning_rate=0.1), bank, 4)
with tqdm(disable=True) as progress:
    step.epoch(torch.arange(4), torch.arange(4), None, 0.0, 1.0, 0, progress)
print(*({"torch._dynamo", "triton", "torchvision", "plotly", "pandas", "scipy"} & set(sys.modules)))
"""


def test_the_first_step_does_not_wait_for_imports_that_it_does_not_need() -> None:
    process = subprocess.run([sys.executable, "-c", ONE_STEP], check=True, capture_output=True, text=True)
    assert process.stdout.split() == []
