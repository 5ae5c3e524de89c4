"""What a trained network says of images it is scored on."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import IDENTITY_VIEW, ImageBank

BATCH_SIZE = 500
CALIBRATION_BINS = 15


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
    """

    accuracy: float
    loss: float
    correct_by_class: list[int]
    images_by_class: list[int]
    calibration: list[tuple[int, float, int]]


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Score logits, float of shape (images, classes), against labels, int64 of shape (images,)."""
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
    )


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
    exact, rounded = (predict(teacher, test, every, precision).double() for precision in ("float32", "bfloat16"))
    of_exact, of_rounded = (F.log_softmax(logits / 4, dim=1) for logits in (exact, rounded))
    return {
        "float32_accuracy": score(exact, test.labels).accuracy,
        "bfloat16_accuracy": score(rounded, test.labels).accuracy,
        "divergence_at_4": F.kl_div(of_rounded, of_exact, reduction="batchmean", log_target=True).item(),
    }
