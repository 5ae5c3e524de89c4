"""Scores are counts that a person can check."""

import pytest
import torch
import torch.nn.functional as F

from data import ImageBank
from models import build
from study.evaluation import CALIBRATION_BINS, predict, score

LABELS = torch.tensor([0, 0, 1, 2, 2, 2])
LOGITS = F.one_hot(torch.tensor([0, 1, 1, 2, 2, 0]), 4).double() * torch.tensor([1, 2, 3, 4, 5, 30.0])[:, None]


def test_accuracy_is_the_share_of_correct_images() -> None:
    scores = score(LOGITS, LABELS)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.correct_by_class == [1, 1, 2, 0]
    assert scores.images_by_class == [2, 1, 3, 0]
    assert scores.loss == pytest.approx(F.cross_entropy(LOGITS, LABELS).item())


def test_calibration_counts_every_image_once() -> None:
    bins = score(LOGITS, LABELS).calibration
    assert len(bins) == CALIBRATION_BINS
    assert sum(images for images, _, _ in bins) == 6
    assert sum(correct for _, _, correct in bins) == 4
    for number, (images, confidence, _) in enumerate(bins):
        assert images * number / CALIBRATION_BINS <= confidence <= images * (number + 1) / CALIBRATION_BINS
    assert bins[-1][0] == 3  # the least confident of them with e^4 / (e^4 + 3) = 0.948, above 14 / 15


def test_predictions_do_not_depend_on_what_is_predicted_together(tiny_bank: ImageBank) -> None:
    torch.manual_seed(0)
    network = build("resnet8", 8)
    together = predict(network, tiny_bank, torch.arange(20))
    alone = torch.cat([predict(network, tiny_bank, torch.tensor([index])) for index in range(20)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    assert not network.training
