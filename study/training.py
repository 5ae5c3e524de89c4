"""One training: a pure function of its configuration and seed that can be stopped after any epoch and goes on."""

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import ImageBank, stream
from storage.files import save_whole
from storage.logits import TeacherLogits
from study.configuration import Recipe
from study.evaluation import predict
from study.loss import distillation_loss
from study.progress import bar, say

SECONDS_BETWEEN_CHECKPOINTS = 5.0


class DivergedError(Exception):
    """The loss is no longer finite; the message says in which epoch."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device or the machine had no memory left; on a CPU torch raises a bare RuntimeError."""
    allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return allocator or isinstance(error, (torch.OutOfMemoryError, MemoryError))


@dataclass(frozen=True)
class Epoch:
    """One point of a training curve; losses in nats, accuracies as shares 0 to 1, time in seconds.

    ``train_loss`` is the mean over the epoch of the loss that is trained on. ``validation_loss`` is the plain
    cross-entropy, whatever alpha. Both validation figures are None where there are no validation images.
    """

    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


class Training:
    """Trains one network; the same arguments give the same network on the same CPU, bit for bit.

    Everything random comes from ``seed``: the first weights from it alone, the order and view of the images from
    (seed, epoch).

    Args:
        build: makes the network, with weights from torch's global generator.
        recipe: how it is trained.
        seed: of weights, order and views.
        bank: the images, on the training device.
        train: indices into the bank to train on, int64 of shape (images,).
        validation: indices to score on after each epoch; none where None.
        logits: what the teacher says; not needed where alpha is 0.
        alpha, temperature: of the distillation loss.
        checkpoint: the file to go on from and to write to, removed by ``forget``.
        name: shown beside the progress bar.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        recipe: Recipe,
        seed: int,
        bank: ImageBank,
        train: Tensor,
        checkpoint: Path,
        name: str,
        validation: Tensor | None = None,
        logits: TeacherLogits | None = None,
        alpha: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        self.recipe, self.seed, self.name = recipe, seed, name
        self.alpha, self.temperature, self.logits = alpha, temperature, logits
        self.bank, self.checkpoint = bank, checkpoint
        self.train, self.train_cpu = train.to(bank.device), train.cpu()
        self.validation = None if validation is None else validation.to(bank.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build()
        self.network = network.to(bank.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self.curve: list[Epoch] = []
        self._resume()

    def epochs(self, require_owner: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Yield every epoch from the first: those of an earlier process from the checkpoint, the rest as trained.

        Args:
            require_owner: raises where another process may go on with this training; asked before each write.

        Raises:
            DivergedError: at once when the mean loss of an epoch is not finite.
            OSError: where the checkpoint cannot be written.
        """
        yield from list(self.curve)
        last_save = time.monotonic()
        while len(self.curve) < self.recipe.epochs:
            self.curve.append(self._train_epoch(len(self.curve)))
            finished = len(self.curve) == self.recipe.epochs
            if finished or time.monotonic() - last_save >= SECONDS_BETWEEN_CHECKPOINTS:
                require_owner()
                self._save()
                last_save = time.monotonic()
            yield self.curve[-1]

    def forget(self) -> None:
        """Remove the checkpoint: the result is stored elsewhere now."""
        self.checkpoint.unlink(missing_ok=True)

    def _train_epoch(self, epoch: int) -> Epoch:
        start = time.perf_counter()
        device = self.bank.device
        order, views = stream(len(self.train), self.seed, epoch)
        teacher_logits = None
        if self.alpha != 0:
            assert self.logits is not None, "alpha is not 0, so teacher logits are needed"
            teacher_logits = self.logits.take(self.train_cpu[order], views).to(device)
        indices, views = self.train[order.to(device)], views.to(device)
        labels = self.bank.labels[indices]

        self.network.train()
        total_loss = torch.zeros((), device=device)
        batch_size = self.recipe.batch_size
        with bar(len(indices), f"{self.name} epoch {epoch + 1}/{self.recipe.epochs}", "image") as progress:
            for first in range(0, len(indices), batch_size):
                batch = slice(first, first + batch_size)
                for group in self.optimizer.param_groups:
                    group["lr"] = self.recipe.learning_rate_at(epoch, first / len(indices))
                with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
                    student_logits = self.network(self.bank.take(indices[batch], views[batch]))
                loss = distillation_loss(
                    student_logits.float(),
                    labels[batch],
                    None if teacher_logits is None else teacher_logits[batch],
                    self.alpha,
                    self.temperature,
                )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                total_loss += loss.detach() * len(indices[batch])
                progress.update(len(indices[batch]))

        train_loss = total_loss.item() / len(indices)
        if not math.isfinite(train_loss):
            raise DivergedError(f"the loss became {train_loss} in epoch {epoch + 1}")
        validation_loss = validation_accuracy = None
        if self.validation is not None:
            logits, labels = predict(self.network, self.bank, self.validation), self.bank.labels[self.validation]
            validation_loss = F.cross_entropy(logits, labels).item()
            validation_accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
        return Epoch(train_loss, validation_loss, validation_accuracy, time.perf_counter() - start)

    def _save(self) -> None:
        content = {
            "identity": self._identity(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": [dataclasses.asdict(epoch) for epoch in self.curve],
        }
        save_whole(content, self.checkpoint)

    def _identity(self) -> str:
        """What the checkpoint is one of: a study may have been deleted and begun anew under the same name."""
        shapes = [(name, tuple(value.shape)) for name, value in self.network.state_dict().items()]
        settings = (self.recipe, self.seed, self.alpha, self.temperature, shapes)
        digest = hashlib.sha256(repr(settings).encode())
        digest.update(b"" if self.logits is None else self.logits.folder.name.encode())
        for indices in (self.train_cpu, self.validation):
            digest.update(b"" if indices is None else indices.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        try:
            content = torch.load(self.checkpoint, map_location=self.bank.device, weights_only=True)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            say(f"{self.checkpoint}: damaged ({reason}); {self.name} starts from its first epoch")
            return
        if content.get("identity") != self._identity():
            say(f"{self.checkpoint}: left by another study; {self.name} starts from its first epoch")
            return
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.curve = [Epoch(**epoch) for epoch in content["curve"]]
