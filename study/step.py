"""The step of gradient descent, as tensor code that never waits for the device."""

import gc
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd
from tqdm import tqdm

from data import ImageBank
from models import with_winograd
from storage.configuration import Recipe
from storage.errors import PlainError, in_one_line
from study.device import convolutions
from study.loss import distillation_loss

WARM_UP_STEPS = 3
COMPILED_SHAPES = 64


class CompilerError(PlainError):
    """The step of a GPU cannot be compiled or recorded, for want of a compiler or with this network."""


class TrainingStep:
    """One network and the step that trains it, made once and reset for every training of a process.

    What changes from step to step (which images in which views, what the teacher says of them, alpha, T and the
    learning rate) is read from tensors that stay where they are. So on CUDA the step is compiled and recorded as a
    CUDA graph once for each size of batch and images, whatever trial it belongs to, and a step costs the host one call
    (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs; compiled once and reset for each training as in
    https://github.com/KellerJordan/cifar10-airbench). Elsewhere the same code runs as it is written.

    Args:
        build: makes the network, with weights from torch's global generator.
        recipe: how it is trained.
        bank: the images, on the training device.
        classes: number of logits.
    """

    def __init__(self, build: Callable[[], nn.Module], recipe: Recipe, bank: ImageBank, classes: int) -> None:
        self._build, self.recipe, self.bank = build, recipe, bank
        device = bank.device
        with torch.random.fork_rng(devices=[]):
            network = build()
        self.convolutions = convolutions(device, recipe.precision)
        if self.convolutions == "Winograd":
            network = with_winograd(network, frozen=False)
        self.network: nn.Module = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._learning_rate = torch.zeros(1, device=device)
        self._weights = list(self.network.parameters())
        self._momenta = self._no_momenta()

        self._indices = torch.zeros(len(bank), dtype=torch.int64, device=device)
        self._views = torch.zeros_like(self._indices)
        self._teacher_logits = torch.zeros(len(bank), classes, dtype=torch.float16, device=device)
        self._learning_rates = torch.zeros(math.ceil(len(bank) / recipe.batch_size), device=device)
        self._alpha, self._temperature = torch.zeros((), device=device), torch.ones((), device=device)
        self._number = torch.zeros(1, dtype=torch.int64, device=device)
        self._first = torch.zeros_like(self._number)
        self._total_loss = torch.zeros((), device=device)

        self._image_size: int | None = None
        self._loss: Callable[..., Tensor] = self._forward
        if device.type == "cuda":
            # On a CPU the compiled step is slower than the eager one: python -m tests.choices --compile.
            if find_spec("triton") is not None:
                self._loss = compiled(self._forward)
            # The graphs are replayed one after the other and hand nothing on in the memory of their pool.
            self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        self._graphs: dict[tuple[int, int | None], torch.cuda.CUDAGraph] = {}

    def reset(self, seed: int) -> None:
        """Give the network the first weights of a seed, and forget the steps of another training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network.load_state_dict(self._build().state_dict())
        for momentum in self._momenta:
            momentum.zero_()

    def state(self) -> dict[str, Any]:
        """What a training has to keep to go on; tensors that the next step overwrites."""
        return {"network": self.network.state_dict(), "momenta": self._momenta}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.network.load_state_dict(state["network"])
        for momentum, stored in zip(self._momenta, state["momenta"], strict=True):
            momentum.copy_(stored)

    def epoch(
        self,
        indices: Tensor,
        views: Tensor,
        teacher_logits: Tensor | None,
        alpha: float,
        temperature: float,
        epoch: int,
        progress: "tqdm[Any]",
        rate_factor: float = 1.0,
    ) -> Tensor:
        """Take one step for each batch, in order.

        Args:
            indices, views: of the images, int64 of shape (images,), on any device.
            teacher_logits: float16 of shape (images, classes); not needed where alpha is 0.
            alpha, temperature: of the distillation loss.
            epoch: 0 for the first.
            progress: counts images whose step was begun.
            rate_factor: by which every learning rate of the recipe is multiplied.

        Returns:
            The mean loss, a scalar on the device: whoever reads it waits for the epoch to end.

        Raises:
            CompilerError: where the step cannot be compiled or recorded on this device.
        """
        assert teacher_logits is not None or alpha == 0, "alpha is not 0, so teacher logits are needed"
        images = len(indices)
        sizes = self.recipe.batch_sizes(images)
        firsts = [0, *accumulate(sizes[:-1])]
        rates = rate_factor * torch.tensor([self.recipe.learning_rate_at(epoch, first / images) for first in firsts])
        self._indices[:images].copy_(indices)
        self._views[:images].copy_(views)
        if teacher_logits is None:
            self._teacher_logits[:images].zero_()  # weighed by 0, what another training left would still be 0 * inf
        else:
            self._teacher_logits[:images].copy_(teacher_logits)
        self._learning_rates[: len(rates)].copy_(rates)
        self._alpha.fill_(alpha)
        self._temperature.fill_(temperature)
        self._image_size = self.recipe.image_size_at(epoch)
        self._rewind()
        self.network.train()
        for size in sizes:
            self._take(size)
            progress.update(size)
        return self._total_loss / images

    def _forward(self, images: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
        # Each weight is used once a step, so there is nothing to keep a lower-precision copy of it for.
        bfloat16 = self.recipe.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            student_logits = self.network(images)
        return distillation_loss(student_logits.float(), labels, teacher_logits, self._alpha, self._temperature)

    def _step(self, size: int) -> None:
        """The step of the batch whose turn it is: no host value in it, but for its size, changes."""
        rows = self._first + torch.arange(size, device=self._first.device)
        indices = self._indices[rows]
        images, labels = self.bank.crop(indices, self._views[rows]), self.bank.labels[indices]
        if self._image_size not in (None, images.shape[-1]):
            images = F.interpolate(images, size=self._image_size, mode="bilinear", antialias=True)
        loss = self._loss(images, labels, self._teacher_logits[rows])
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self._learning_rate.copy_(self._learning_rates[self._number])
        self._descend()
        self._total_loss += loss.detach() * size
        self._number += 1
        self._first += size

    def _no_momenta(self) -> list[Tensor]:
        """What the optimizer keeps of former steps before the first: of each weight one after the other.

        AdamW's are the means of all gradients, then those of their squares, then the numbers of steps.
        """
        zeros = [torch.zeros_like(weight) for weight in self._weights]
        if self.recipe.optimizer == "adamw":
            squares = [torch.zeros_like(weight) for weight in self._weights]
            return [*zeros, *squares, *(torch.zeros((), device=weight.device) for weight in self._weights)]
        return zeros if self.recipe.momentum != 0 else []

    @torch.no_grad()
    def _descend(self) -> None:
        # The functions behind torch.optim: momenta and learning rate have their place here already, and the classes
        # import the whole of torch's compiler, which a start without it would wait for.
        # A layer that this step left out by chance has no gradient, and stays as it is: as torch.optim has it.
        taken = [index for index, weight in enumerate(self._weights) if weight.grad is not None]
        weights = [self._weights[index] for index in taken]
        gradients = [self._weights[index].grad for index in taken]
        count = len(self._weights)
        kept = [[self._momenta[part + index] for index in taken] for part in range(0, len(self._momenta), count)]
        shared: dict[str, Any] = {
            "lr": self._learning_rate,
            "weight_decay": self.recipe.weight_decay,
            "maximize": False,
            # The others ask the device for the value of a learning rate that is a tensor.
            "fused": True,
        }
        if self.recipe.optimizer == "adamw":
            means, squares, steps = kept
            adamw(
                weights, gradients, means, squares, [], steps, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8, **shared
            )
        else:
            momentum, nesterov = self.recipe.momentum, self.recipe.nesterov
            momenta: list[Tensor | None] = [*kept[0]] if kept else []
            sgd(weights, gradients, momenta, momentum=momentum, dampening=0.0, nesterov=nesterov, **shared)

    def _rewind(self) -> None:
        self._number.zero_()
        self._first.zero_()
        self._total_loss.zero_()

    def _take(self, size: int) -> None:
        if self.bank.device.type != "cuda":
            self._step(size)
            return
        key = (size, self._image_size)
        if key not in self._graphs:
            self._graphs[key] = self._record(size)
        self._graphs[key].replay()

    def _record(self, size: int) -> torch.cuda.CUDAGraph:
        """Record a step and leave everything as it was; see https://docs.pytorch.org/docs/stable/notes/cuda.html."""
        kept = {
            tensor: tensor.clone()
            for tensor in (
                *self.network.state_dict().values(),
                *self._momenta,
                self._number,
                self._first,
                self._total_loss,
            )
        }
        generator = torch.cuda.get_rng_state(self.bank.device)  # of dropout: a recorded epoch draws as any other
        self._stream.wait_stream(torch.cuda.current_stream(self.bank.device))
        with torch.cuda.stream(self._stream):
            places = self._places()
            self._warm_up(size)
            moved = [key for key, place in self._places().items() if place != places[key]]
        if moved:
            raise CompilerError(
                f"the network puts another tensor in the place of {moved[0]!r} in each step, which a CUDA graph would "
                "not see: change it in place, as with copy_"
            )
        torch.cuda.current_stream(self.bank.device).wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # A step that was dropped is collected now or later: the end of its graphs would break this recording
        # (https://github.com/pytorch/pytorch/pull/161037).
        gc.collect()
        gc.disable()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                self._step(size)
        finally:
            gc.enable()
        with torch.no_grad():
            for tensor, value in kept.items():
                tensor.copy_(value)
        torch.cuda.set_rng_state(generator, self.bank.device)
        return graph

    def _places(self) -> dict[str, int]:
        return {key: tensor.data_ptr() for key, tensor in self.network.state_dict().items()}

    def _warm_up(self, size: int) -> None:
        with compiler_at_hand():
            for _ in range(WARM_UP_STEPS):
                self._rewind()
                self._step(size)


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.compile`` for a function of few shapes, which runs compiled or raises an error."""
    # The shapes of all networks of a process count as those of one function. Beyond the limit, 8 if left alone, torch
    # runs it uncompiled and only warns; with ``fullgraph`` that is an error.
    torch._dynamo.config.recompile_limit = COMPILED_SHAPES
    fast: Callable[..., Tensor] = torch.compile(function, dynamic=False, fullgraph=True)
    return fast


@contextmanager
def compiler_at_hand() -> Iterator[None]:
    """Say in one line that compiling failed for want of a C compiler or of Python's headers, or with this network.

    Raises:
        CompilerError: instead of what triton and inductor raise, each of its own type and wrapped by what ran it, and
            of what dynamo raises.
    """
    try:
        yield
    except Exception as error:
        # The second is of gcc itself, which does not find Python.h.
        if re.search(r"C(\+\+)? compiler|returned non-zero exit status", str(error)):
            raise CompilerError(
                "torch.compile finds no C compiler, or that does not find Python.h: install gcc and python3-dev, or "
                "set TORCHDYNAMO_DISABLE=1 for a slower step"
            ) from None
        if type(error).__name__ == "Unsupported":  # of torch._dynamo.exc, which a start without it need not import
            raise CompilerError(
                f"torch.compile does not take this network ({in_one_line(error)}): choose with tensors and not with "
                "if, or give --device cpu"
            ) from None
        raise
