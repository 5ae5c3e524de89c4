"""One training: a pure function of its configuration and seed that can be stopped after any epoch and goes on."""

import dataclasses
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import Draws, stream
from data.draws import generator_of
from storage.errors import in_one_line, is_out_of_memory
from storage.files import save_whole
from storage.trials import DIVERGED
from study.evaluation import predict
from study.progress import bar, say
from study.step import TrainingStep
from study.teacher_logits import SoftTargets

SECONDS_BETWEEN_CHECKPOINTS = 5.0
CHECKPOINT_FORMAT = 2


class DivergedError(Exception):
    """The loss is no longer finite; the message says in which epoch."""


def epochs_done(checkpoint: Path) -> int:
    """How many epochs a checkpoint holds, whatever it is one of; 0 where there is none that can be read."""
    try:
        return len(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["curve"])
    except Exception:  # what a damaged file raises is of many types; the training says so when it goes on
        return 0


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
    (seed, epoch) and the draws, and what a network draws by itself, such as dropout, from (seed, epoch).

    Args:
        step: the network, how it is trained and on which images; one training at a time may use it.
        seed: of weights, order and views.
        train: indices into the bank to train on, int64 of shape (images,).
        checkpoint: the file to go on from and to write to, removed by ``forget``; where it is of another training, it
            is left as it is, and one beside it is taken.
        name: shown beside the progress bar.
        validation: indices to score on after each epoch; none where None.
        logits: what the teacher says, or what is taught instead; not needed where alpha is 0.
        alpha, temperature: of the distillation loss.
        rate_factor: by which the learning rates of the recipe are multiplied.
        draws: that the runs of a study share; this run draws its own views where None.
        source: of a network of one's own, as ``Architecture.source``: a checkpoint of another is not gone on from.
        data_hash: of the images, in hexadecimal: nor one of others.
        bit_for_bit: whether it is gone on from only where it comes to the same numbers, so that not by other
            convolutions.
    """

    def __init__(
        self,
        step: TrainingStep,
        seed: int,
        train: Tensor,
        checkpoint: Path,
        name: str,
        validation: Tensor | None = None,
        logits: SoftTargets | None = None,
        alpha: float = 0.0,
        temperature: float = 1.0,
        draws: Draws | None = None,
        rate_factor: float = 1.0,
        source: str = "",
        data_hash: str = "",
        bit_for_bit: bool = True,
    ) -> None:
        assert draws is None or draws.epochs == step.recipe.epochs, "the draws are of another number of epochs"
        self.step, self.seed, self.name, self.draws = step, seed, name, draws
        self.alpha, self.temperature, self.logits, self.rate_factor = alpha, temperature, logits, rate_factor
        self.checkpoint, self.source, self.data_hash, self.bit_for_bit = checkpoint, source, data_hash, bit_for_bit
        self.train = train.cpu()
        self.validation = None if validation is None else validation.to(step.bank.device)
        self.curve: list[Epoch] = []
        self._was_there = False
        step.reset(seed)
        self._resume()

    @property
    def network(self) -> nn.Module:
        """The network as trained so far."""
        return self.step.network

    def epochs(self, require_owner: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Yield every epoch from the first: those of an earlier process from the checkpoint, the rest as trained.

        Args:
            require_owner: raises where another process may go on with this training; asked before each write.

        Raises:
            DivergedError: at once when the mean loss of an epoch, or that on validation, is not finite; after the last
                epoch also when a weight is not.
            OSError: where the checkpoint cannot be written.
        """
        yield from list(self.curve)
        last_save = time.monotonic()
        epochs = self.step.recipe.epochs
        while len(self.curve) < epochs:
            try:
                trained = self._train_epoch(len(self.curve))
                # The loss of a step is that before it, so none has seen what the very last step made.
                if len(self.curve) + 1 == epochs and not self._is_finite():
                    raise DivergedError(f"{DIVERGED} nan after epoch {epochs}")
            except DivergedError:
                # Tried again by another version, it has to come to its end by itself, from the first epoch.
                require_owner()
                self.forget()
                raise
            self.curve.append(trained)
            finished = len(self.curve) == epochs
            if finished or time.monotonic() - last_save >= SECONDS_BETWEEN_CHECKPOINTS:
                require_owner()
                self._save()
                last_save = time.monotonic()
            yield self.curve[-1]

    def forget(self) -> None:
        """Remove the checkpoint: the result is stored elsewhere now."""
        self.checkpoint.unlink(missing_ok=True)

    def _is_finite(self) -> bool:
        return all(bool(weight.isfinite().all()) for weight in self.network.parameters())

    def _train_epoch(self, epoch: int) -> Epoch:
        start = time.perf_counter()
        indices, views = stream(self.train, self.seed, epoch, self.draws, self.step.recipe.flip)
        teacher_logits = None
        if self.alpha != 0:
            assert self.logits is not None, "alpha is not 0, so teacher logits are needed"
            teacher_logits = self.logits.of(indices, views)
        shown = bar(len(indices), f"{self.name} epoch {epoch + 1}/{self.step.recipe.epochs}", "image")
        with shown as progress, torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_of(f"network {self.seed} {epoch}").initial_seed())
            mean_loss = self.step.epoch(
                indices, views, teacher_logits, self.alpha, self.temperature, epoch, progress, self.rate_factor
            )
            train_loss = mean_loss.item()
        if not math.isfinite(train_loss):
            raise DivergedError(f"{DIVERGED} {train_loss} in epoch {epoch + 1}")
        validation_loss = validation_accuracy = None
        if self.validation is not None:
            bank = self.step.bank
            logits = predict(self.network, bank, self.validation, self.step.recipe.precision)
            labels = bank.labels[self.validation]
            validation_loss = F.cross_entropy(logits, labels).item()
            if not math.isfinite(validation_loss):
                raise DivergedError(f"{DIVERGED} {validation_loss} on validation after epoch {epoch + 1}")
            validation_accuracy = (logits.argmax(dim=1) == labels).sum().item() / len(labels)
        return Epoch(train_loss, validation_loss, validation_accuracy, time.perf_counter() - start)

    def _save(self) -> None:
        if not self._was_there and self.checkpoint.exists():
            self._find()  # another training has begun to write there since
        self._was_there = True
        content = {
            "identity": self._identity(),
            "data_hash": self.data_hash,
            "step": self.step.state(),
            "curve": [dataclasses.asdict(epoch) for epoch in self.curve],
        }
        save_whole(content, self.checkpoint)

    def _identity(self, convolutions: str | None = None) -> str:
        """What the checkpoint is one of: a study may have been deleted and begun anew under the same name."""
        shapes = [(name, tuple(value.shape)) for name, value in self.network.state_dict().items()]
        settings = (CHECKPOINT_FORMAT, self.step.recipe, self.seed, self.alpha, self.temperature, shapes)
        digest = hashlib.sha256(repr(settings).encode())
        digest.update(b"" if self.logits is None else self.logits.identity.encode())
        for indices in (self.train, self.validation):
            digest.update(b"" if indices is None else indices.cpu().numpy().tobytes())
        digest.update(b"" if self.draws is None else repr(self.draws).encode())
        digest.update(b"" if self.rate_factor == 1 else repr(self.rate_factor).encode())
        computed_by = convolutions or self.step.convolutions
        digest.update(b"" if computed_by == "torch" else computed_by.encode())
        digest.update(self.source.encode())
        return digest.hexdigest()

    def _resume(self) -> None:
        content = self._find()
        self._was_there = self.checkpoint.exists()
        if self._is_own(content):
            self.step.load(content["step"])
            self.curve = [Epoch(**epoch) for epoch in content["curve"]]

    def _find(self) -> Any:
        """What is in the checkpoint, or in one beside it where that is of another training."""
        content, other = self._stored(self.checkpoint), self.checkpoint
        if not self._is_own(content):
            # Days of it may be in there: two storages may have a study of that name in one runs folder.
            key = hashlib.sha256(f"{self._identity()} {self.data_hash}".encode()).hexdigest()[:8]
            beside = other.with_name(f"{key}-{other.name}")
            if content is not None:
                say(f"{other}: left by another study, version or kind of device; {self.name} has {beside.name}")
            if content is not None or beside.exists():
                self.checkpoint, content = beside, self._stored(beside)
        return content

    def _stored(self, checkpoint: Path) -> Any:
        """What is in a checkpoint; None where it is not there or damaged."""
        if not checkpoint.exists():
            return None
        content = checkpoint.read_bytes()  # what cannot be read may be as it should be, and is kept
        try:
            # Whoever loads a checkpoint copies it: the device need not have room for two.
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            say(f"{checkpoint}: damaged ({in_one_line(error)}); {self.name} starts from its first epoch")
            return None

    def _is_own(self, content: Any) -> bool:
        if not isinstance(content, dict):
            return False
        taken = [self._identity()] if self.bit_for_bit else [self._identity("torch"), self._identity("Winograd")]
        # Those of earlier versions have no hash.
        return content.get("identity") in taken and content.get("data_hash", self.data_hash) == self.data_hash
