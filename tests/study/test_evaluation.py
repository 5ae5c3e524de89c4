"""Scores are counts that a person can check."""

import pytest
import torch
import torch.nn.functional as F

from data import IDENTITY_VIEW, ImageBank
from models import build
from study.evaluation import CALIBRATION_BINS, precision_effect, predict, score

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


def test_bfloat16_changes_little_of_what_a_teacher_says_and_how_much_is_told(tiny_bank: ImageBank) -> None:
    torch.manual_seed(0)
    network = build("resnet8", 8)
    network.fc.weight.data.mul_(20)
    effect = precision_effect(network, tiny_bank)
    every = torch.arange(len(tiny_bank))
    said = {precision: predict(network, tiny_bank, every, precision).double() for precision in ("float32", "bfloat16")}
    for precision, logits in said.items():
        correct = int((logits.argmax(dim=1) == tiny_bank.labels).sum())
        assert effect[f"{precision}_accuracy"] == pytest.approx(correct / len(tiny_bank))
    exact, rounded = ((logits / 4).softmax(dim=1) for logits in (said["float32"], said["bfloat16"]))
    divergence = (exact * (exact / rounded).log()).sum(dim=1).mean().item()
    # The other direction gives another number, so it is told apart.
    other = (rounded * (rounded / exact).log()).sum(dim=1).mean().item()
    assert effect["divergence_at_4"] == pytest.approx(divergence, rel=1e-9)
    assert effect["divergence_at_4"] != pytest.approx(other, rel=1e-6)
    assert 1e-7 < divergence < 1e-2


def test_predictions_in_bfloat16_are_those_of_autocast(tiny_bank: ImageBank) -> None:
    torch.manual_seed(0)
    network = build("resnet8", 8).eval()
    indices = torch.arange(20)
    views = torch.full_like(indices, IDENTITY_VIEW)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = network(tiny_bank.crop(indices, views))
    predicted = predict(network, tiny_bank, indices, "bfloat16")
    assert predicted.dtype == torch.float32
    assert torch.equal(predicted, expected.float())
    assert not torch.equal(predicted, predict(network, tiny_bank, indices))
