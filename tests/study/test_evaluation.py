"""Scores are counts that a person can check."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr
from torch import nn

from data import IDENTITY_VIEW, ImageBank
from models import build
from study.evaluation import CALIBRATION_BINS, HeldOut, precision_effect, predict, score

LABELS = torch.tensor([0, 0, 1, 2, 2, 2])
LOGITS = F.one_hot(torch.tensor([0, 1, 1, 2, 2, 0]), 4).double() * torch.tensor([1, 2, 3, 4, 5, 30.0])[:, None]


def test_accuracy_is_the_share_of_correct_images() -> None:
    scores = score(LOGITS, LABELS)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.correct_by_class == [1, 1, 2, 0]
    assert scores.images_by_class == [2, 1, 3, 0]
    assert scores.balanced_accuracy == pytest.approx((1 / 2 + 1 / 1 + 2 / 3) / 3)
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


def test_hits_are_the_images_that_are_right_in_their_order() -> None:
    assert score(LOGITS, LABELS).hits == "b8"  # 101110, and two bits to fill the byte
    logits = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(1000) % 4
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(score(logits, labels).hits), np.uint8), count=1000)
    assert bits.tolist() == (logits.argmax(dim=1) == labels).int().tolist()


def test_agreement_and_divergence_are_with_the_teacher() -> None:
    teacher = 3 * torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores = score(LOGITS, LABELS, teacher)
    assert scores.agreement == pytest.approx((teacher.argmax(1) == LOGITS.argmax(1)).double().mean().item())
    assert scores.divergence is not None
    for temperature, found in scores.divergence.items():
        said, own = ((logits / float(temperature)).softmax(1).numpy() for logits in (teacher, LOGITS))
        assert found == pytest.approx(rel_entr(said, own).sum(1).mean().item())
    assert list(scores.divergence) == ["1", "4"]
    assert score(LOGITS, LABELS).agreement is None


def test_a_teacher_is_asked_once_and_agrees_with_itself(tiny_bank: ImageBank) -> None:
    asked: list[nn.Module] = []

    def make_teacher() -> nn.Module:
        torch.manual_seed(0)
        asked.append(build("resnet8", 8))
        return asked[-1]

    held_out = HeldOut(tiny_bank, torch.arange(40, 100), "float32", make_teacher)
    torch.manual_seed(1)
    other = build("resnet8", 8)
    scores = held_out.score(other)
    expected = predict(other, tiny_bank, torch.arange(40, 100)).argmax(1) == tiny_bank.labels[40:100]
    assert scores.accuracy == expected.double().mean().item()
    assert scores.agreement is not None
    assert scores.agreement < 1
    itself = held_out.score(asked[0])
    assert len(asked) == 1
    assert itself.agreement == 1
    assert itself.divergence == pytest.approx({"1": 0, "4": 0}, abs=1e-9)
