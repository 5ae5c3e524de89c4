"""What a trained network says of images it is scored on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import IDENTITY_VIEW, ImageBank

BATCH_SIZE = 500
CALIBRATION_BINS = 15
DIVERGENCE_TEMPERATURES = (1, 4)


def predict(network: nn.Module, bank: ImageBank, indices: Tensor, precision: str = "float32") -> Tensor:
    """Logits of unaugmented images, in evaluation mode.

    Args:
        indices: int64 of shape (images,), on the bank's device.
        precision: of the forward pass, ``float32`` or ``bfloat16``.

    Returns:
        float32 of shape (images, classes), on the bank's device.
    """
    network.eval()
    views = torch.full_like(indices, IDENTITY_VIEW)
    autocast = torch.autocast(bank.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.inference_mode(), autocast:
        parts = [
            network(bank.crop(indices[start : start + BATCH_SIZE], views[start : start + BATCH_SIZE]))
            for start in range(0, len(indices), BATCH_SIZE)
        ]
    return torch.cat(parts).float()


@dataclass(frozen=True)
class Scores:
    """How well logits fit labels.

    Attributes:
        accuracy: share of images classified correctly, 0 to 1.
        loss: mean cross-entropy in nats.
        correct_by_class: images of each class classified correctly.
        images_by_class: images of each class.
        calibration: for each of 15 equal bins of confidence: images, sum of confidence, images correct.
        hits: which images were classified correctly, in their order: the bits of ``numpy.packbits`` in hexadecimal.
        agreement: share of images of which the teacher says the same class, 0 to 1; None without a teacher.
        divergence: mean KL(teacher || student) in nats by temperature, ``"1"`` and ``"4"``; None without a teacher.
    """

    accuracy: float
    loss: float
    correct_by_class: list[int]
    images_by_class: list[int]
    calibration: list[tuple[int, float, int]]
    hits: str
    agreement: float | None = None
    divergence: dict[str, float] | None = None

    @property
    def balanced_accuracy(self) -> float:
        """The mean over all classes that have images of the share classified correctly, 0 to 1."""
        by_class = zip(self.correct_by_class, self.images_by_class, strict=True)
        shares = [correct / images for correct, images in by_class if images > 0]
        return sum(shares) / len(shares)


def score(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Scores:
    """How well logits fit labels, and what the teacher says.

    Args:
        logits, teacher_logits: float of shape (images, classes), before any temperature.
        labels: int64 of shape (images,).
    """
    logits, labels = logits.cpu().double(), labels.cpu()
    classes = logits.shape[1]
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    correct = predicted == labels
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    return Scores(
        accuracy=correct.double().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
        correct_by_class=labels[correct].bincount(minlength=classes).tolist(),
        images_by_class=labels.bincount(minlength=classes).tolist(),
        calibration=[
            (int((bins == b).sum()), float(confidence[bins == b].sum()), int(correct[bins == b].sum()))
            for b in range(CALIBRATION_BINS)
        ],
        hits=np.packbits(correct.numpy()).tobytes().hex(),
        **({} if teacher_logits is None else _beside_teacher(logits, teacher_logits.cpu().double())),
    )


def _beside_teacher(logits: Tensor, teacher_logits: Tensor) -> dict[str, Any]:
    return {
        "agreement": (logits.argmax(dim=1) == teacher_logits.argmax(dim=1)).double().mean().item(),
        "divergence": {str(t): divergence(teacher_logits, logits, t) for t in DIVERGENCE_TEMPERATURES},
    }


def divergence(reference: Tensor, logits: Tensor, temperature: float) -> float:
    """Mean KL(softmax(reference / T) || softmax(logits / T)) in nats; both float64 of shape (images, classes)."""
    said, own = (F.log_softmax(each / temperature, dim=1) for each in (reference, logits))
    return F.kl_div(own, said, reduction="batchmean", log_target=True).item()


@dataclass(frozen=True)
class HeldOut:
    """Images that trained networks are scored on, as they are, and the teacher's word on them.

    Attributes:
        indices: of the images in the bank, int64 of shape (images,), on any device.
        precision: of every forward pass, ``float32`` or ``bfloat16``.
        make_teacher: gives the teacher on the bank's device, called once at most; None where there is none.
    """

    bank: ImageBank
    indices: Tensor
    precision: str
    make_teacher: Callable[[], nn.Module] | None

    def score(self, network: nn.Module) -> Scores:
        """Score a network that is on the bank's device."""
        return score(self._logits(network), self.bank.labels[self.indices.to(self.bank.device)], self._teacher_logits)

    @cached_property
    def _teacher_logits(self) -> Tensor | None:
        return None if self.make_teacher is None else self._logits(self.make_teacher()).cpu()

    def _logits(self, network: nn.Module) -> Tensor:
        return predict(network, self.bank, self.indices.to(self.bank.device), self.precision)


def precision_effect(teacher: nn.Module, test: ImageBank) -> dict[str, float]:
    """What bfloat16 does to a teacher.

    Args:
        test: images of which it has seen none.

    Returns:
        ``float32_accuracy`` and ``bfloat16_accuracy`` as shares 0 to 1, and ``divergence_at_4``: the KL divergence from
        what it says in float32 to what it says in bfloat16, both softened by T = 4, in nats, summed over classes and
        averaged over images.
    """
    every = torch.arange(len(test), device=test.device)
    exact, rounded = (predict(teacher, test, every, precision).cpu().double() for precision in ("float32", "bfloat16"))
    return {
        "float32_accuracy": score(exact, test.labels).accuracy,
        "bfloat16_accuracy": score(rounded, test.labels).accuracy,
        "divergence_at_4": divergence(exact, rounded, 4),
    }
