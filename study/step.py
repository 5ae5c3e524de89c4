"""The step of stochastic gradient descent, as tensor code that never waits for the device."""

import gc
import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd
from tqdm import tqdm

from data import ImageBank
from storage.configuration import Recipe
from study.loss import distillation_loss

WARM_UP_STEPS = 3


class TrainingStep:
    """One network and the step that trains it, made once and reset for every training of a process.

    What changes from step to step (which images in which views, what the teacher says of them, alpha, T and the
    learning rate) is read from tensors that stay where they are. So on CUDA the step is compiled and recorded as a
    CUDA graph once for each batch size, whatever trial it belongs to, and a step costs the host one call
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
        self.network: nn.Module = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._learning_rate = torch.zeros(1, device=device)
        self._weights = list(self.network.parameters())
        self._momenta = [torch.zeros_like(weight) for weight in self._weights if recipe.momentum != 0]

        self._indices = torch.zeros(len(bank), dtype=torch.int64, device=device)
        self._views = torch.zeros_like(self._indices)
        self._teacher_logits = torch.zeros(len(bank), classes, dtype=torch.float16, device=device)
        self._learning_rates = torch.zeros(math.ceil(len(bank) / recipe.batch_size), device=device)
        self._alpha, self._temperature = torch.zeros((), device=device), torch.ones((), device=device)
        self._number = torch.zeros(1, dtype=torch.int64, device=device)
        self._total_loss = torch.zeros((), device=device)

        self._loss: Callable[..., Tensor] = self._forward
        if device.type == "cuda" and find_spec("triton") is not None:
            # On a CPU the compiled step is slower than the eager one: python -m tests.choices --compile.
            self._loss = torch.compile(self._forward, dynamic=False)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def reset(self, seed: int) -> None:
        """Give the network the first weights of a seed, and no momentum."""
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
    ) -> Tensor:
        """Take one step for each batch, in order.

        Args:
            indices, views: of the images, int64 of shape (images,), on any device.
            teacher_logits: float16 of shape (images, classes); not needed where alpha is 0.
            alpha, temperature: of the distillation loss.
            epoch: 0 for the first.
            progress: counts images whose step was begun.

        Returns:
            The mean loss, a scalar on the device: whoever reads it waits for the epoch to end.
        """
        assert teacher_logits is not None or alpha == 0, "alpha is not 0, so teacher logits are needed"
        images, batch_size = len(indices), self.recipe.batch_size
        firsts = range(0, images, batch_size)
        rates = torch.tensor([self.recipe.learning_rate_at(epoch, first / images) for first in firsts])
        self._indices[:images].copy_(indices)
        self._views[:images].copy_(views)
        # Weighed by 0, what another training left here would still be 0 * inf.
        self._teacher_logits[:images].copy_(torch.zeros(()) if teacher_logits is None else teacher_logits)
        self._learning_rates[: len(rates)].copy_(rates)
        self._alpha.fill_(alpha)
        self._temperature.fill_(temperature)
        self._rewind()
        self.network.train()
        for first in firsts:
            size = min(batch_size, images - first)
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
        rows = self._number * self.recipe.batch_size + torch.arange(size, device=self._number.device)
        indices = self._indices[rows]
        images, labels = self.bank.crop(indices, self._views[rows]), self.bank.labels[indices]
        loss = self._loss(images, labels, self._teacher_logits[rows])
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self._learning_rate.copy_(self._learning_rates[self._number])
        self._descend()
        self._total_loss += loss.detach() * size
        self._number += 1

    @torch.no_grad()
    def _descend(self) -> None:
        # The function behind torch.optim.SGD: momenta and learning rate have their place here already, and the class
        # imports the whole of torch's compiler, which a start without it would wait for.
        sgd(
            self._weights,
            [weight.grad for weight in self._weights],
            list(self._momenta),
            lr=self._learning_rate,
            momentum=self.recipe.momentum,
            dampening=0.0,
            nesterov=self.recipe.nesterov,
            weight_decay=self.recipe.weight_decay,
            maximize=False,
            # The others ask the device for the value of a learning rate that is a tensor.
            fused=True,
        )

    def _rewind(self) -> None:
        self._number.zero_()
        self._total_loss.zero_()

    def _take(self, size: int) -> None:
        if self.bank.device.type != "cuda":
            self._step(size)
            return
        if size not in self._graphs:
            self._graphs[size] = self._record(size)
        self._graphs[size].replay()

    def _record(self, size: int) -> torch.cuda.CUDAGraph:
        """Record a step and leave everything as it was; see https://docs.pytorch.org/docs/stable/notes/cuda.html."""
        kept = {
            tensor: tensor.clone()
            for tensor in (*self.network.state_dict().values(), *self._momenta, self._number, self._total_loss)
        }
        stream = torch.cuda.Stream(self.bank.device)
        stream.wait_stream(torch.cuda.current_stream(self.bank.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self._rewind()
                self._step(size)
        torch.cuda.current_stream(self.bank.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # A step that was dropped is collected now or later: the end of its graphs would break this recording
        # (https://github.com/pytorch/pytorch/pull/161037).
        gc.collect()
        gc.disable()
        try:
            with torch.cuda.graph(graph, stream=stream):
                self._step(size)
        finally:
            gc.enable()
        with torch.no_grad():
            for tensor, value in kept.items():
                tensor.copy_(value)
        return graph
