"""What is taught in the teacher's place, and that nothing else changes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data import VIEWS, Draws, ImageBank, stream
from storage.claims import FileClaims
from storage.configuration import ConfigurationError
from storage.folders import check_study_name
from study.loss import distillation_loss
from study.options import request_of
from study.teacher_logits import ShuffledLogits, SmoothLabels, TeacherLogits, matching_strength, partners
from tests.study.test_teacher_logits import no_teacher, quiet
from tests.study.test_training import teacher

CPU = torch.device("cpu")
LABELS = torch.arange(60) % 5
IMAGES = torch.arange(60)[torch.arange(60) % 4 != 1]


def test_partners_are_other_images_of_the_class_that_are_trained_on() -> None:
    partner = partners(IMAGES, LABELS)
    assert torch.equal(LABELS[partner], LABELS)
    assert torch.equal(partner[IMAGES].sort().values, IMAGES)
    assert not (partner[IMAGES] == IMAGES).any()
    left = torch.arange(60)[torch.arange(60) % 4 == 1]
    assert torch.equal(partner[left], left)
    assert torch.equal(partners(IMAGES.flip(0), LABELS), partner)


class Names:
    """Says of an image in a view which image and view it is."""

    identity = "names"

    def of(self, indices: Tensor, views: Tensor) -> Tensor:
        return torch.stack([indices, views], dim=1)


def test_shuffled_an_image_gets_what_is_said_of_its_partner_in_the_view_in_which_that_is_shown() -> None:
    partner = partners(IMAGES, LABELS)
    for seed, epoch in ((1, 0), (1, 1), (2, 0)):
        indices, views = stream(IMAGES, seed, epoch, Draws(60, 3))
        shown = dict(zip(indices.tolist(), views.tolist(), strict=True))
        said = ShuffledLogits(Names(), IMAGES, LABELS).of(indices, views)
        expected = [[int(partner[index]), shown[int(partner[index])]] for index in indices]
        assert said.tolist() == expected


def test_shuffled_the_teacher_is_asked_for_nothing_new(tiny_bank: ImageBank, tmp_path: Path) -> None:
    train, draws = torch.arange(120), Draws(len(tiny_bank), 2)
    asked = TeacherLogits(tmp_path, tiny_bank, teacher, 8, quiet, FileClaims(tmp_path))
    for epoch in range(2):
        asked.of(*stream(train, 1, epoch, draws))
    again = TeacherLogits(tmp_path, tiny_bank, no_teacher, 8, quiet, FileClaims(tmp_path))
    shuffled = ShuffledLogits(again, train, tiny_bank.labels)
    assert shuffled.identity != again.identity
    for epoch in range(2):
        indices, views = stream(train, 5, epoch, draws)
        assert not torch.equal(shuffled.of(indices, views), again.of(indices, views))


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_smoothing_at_temperature_1_is_torch_s_label_smoothing_up_to_a_constant(alpha: float) -> None:
    strength = 0.3
    said = SmoothLabels(LABELS, 5, strength, 1.0, CPU).of(IMAGES, IMAGES % VIEWS)
    differences = []
    for seed in (0, 1):
        student = torch.randn(len(IMAGES), 5, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        ours = distillation_loss(student, LABELS[IMAGES], said, alpha, 1.0)
        theirs = F.cross_entropy(student, LABELS[IMAGES], label_smoothing=alpha * strength)
        (ours_gradient,), (gradient,) = (torch.autograd.grad(loss, student) for loss in (ours, theirs))
        torch.testing.assert_close(ours_gradient, gradient, rtol=1e-3, atol=1e-6)
        differences.append((ours - theirs).item())
    assert differences[0] == pytest.approx(differences[1], abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_smoothing_is_as_sure_as_the_softened_teacher_on_average(temperature: float) -> None:
    said = (5 * torch.randn(len(IMAGES), 5, generator=torch.Generator().manual_seed(3))).half()
    confidence = (said.double() / temperature).softmax(1).max(1).values.mean().item()
    virtual = SmoothLabels(LABELS, 5, matching_strength(said, temperature), temperature, CPU)
    softened = (virtual.of(IMAGES, IMAGES).double() / temperature).softmax(1)
    assert softened.max(1).values.numpy() == pytest.approx(confidence, abs=1e-3)
    assert torch.equal(softened.argmax(1), LABELS[IMAGES])


def test_a_teacher_that_is_always_sure_is_matched_by_labels() -> None:
    sure = 1000 * F.one_hot(LABELS, 5)
    said = SmoothLabels(LABELS, 5, matching_strength(sure, 1.0), 1.0, CPU).of(IMAGES, IMAGES)
    assert said.isfinite().all()
    assert said.softmax(1).max(1).values.min() > 0.999


def test_controls_without_a_search_and_names_of_their_rates_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="--controls: stand beside the best pair"):
        request_of(["--sampler", "none", "--controls"], None)
    with pytest.raises(ConfigurationError, match="-rates is that of a study's learning rates"):
        check_study_name("mine-rates")
