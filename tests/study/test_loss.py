"""The distillation loss is the formula of the protocol, and alpha weighs the teacher."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.loss import distillation_loss

GENERATOR = torch.Generator().manual_seed(0)
STUDENT = 3 * torch.randn(6, 5, dtype=torch.float64, generator=GENERATOR)
TEACHER = 3 * torch.randn(6, 5, dtype=torch.float64, generator=GENERATOR)
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
CASES = [(alpha, temperature) for alpha in (0.0, 0.25, 0.75, 1.0) for temperature in (1.0, 2.5, 4.0, 16.0)]


def softmax(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


def by_the_formula(student: Tensor, teacher: Tensor, alpha: float, temperature: float) -> float:
    total = 0.0
    for own, given, label in zip(student.tolist(), teacher.tolist(), LABELS.tolist(), strict=True):
        cross_entropy = -math.log(softmax(own, 1)[label])
        pairs = zip(softmax(given, temperature), softmax(own, temperature), strict=True)
        divergence = sum(p * (math.log(p) - math.log(q)) for p, q in pairs)
        total += (1 - alpha) * cross_entropy + alpha * temperature**2 * divergence
    return total / len(student)


def gradient(labels: Tensor, teacher: Tensor, alpha: float, temperature: float) -> Tensor:
    student = STUDENT.clone().requires_grad_()
    distillation_loss(student, labels, teacher, alpha, temperature).backward()
    assert student.grad is not None
    return student.grad


@pytest.mark.parametrize(("alpha", "temperature"), CASES)
def test_the_loss_is_the_formula(alpha: float, temperature: float) -> None:
    loss = distillation_loss(STUDENT, LABELS, TEACHER.float(), alpha, temperature)
    assert loss.item() == pytest.approx(by_the_formula(STUDENT, TEACHER.float(), alpha, temperature), rel=1e-6)


@pytest.mark.parametrize(("alpha", "temperature"), CASES)
def test_the_gradient_is_that_of_the_formula(alpha: float, temperature: float) -> None:
    teacher, step = TEACHER.float(), 1e-5
    for row, column in [(0, 0), (1, 4), (5, 2)]:
        nudge = torch.zeros_like(STUDENT)
        nudge[row, column] = step
        above, below = (by_the_formula(STUDENT + s * nudge, teacher, alpha, temperature) for s in (1, -1))
        slope = gradient(LABELS, teacher, alpha, temperature)[row, column].item()
        assert slope == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_alpha_0_is_cross_entropy_whatever_the_teacher_says(temperature: float) -> None:
    student = STUDENT.clone().requires_grad_()
    F.cross_entropy(student, LABELS).backward()
    assert student.grad is not None
    for teacher in (TEACHER, torch.zeros_like(TEACHER)):
        loss = distillation_loss(STUDENT, LABELS, teacher, 0.0, temperature)
        assert torch.equal(loss, F.cross_entropy(STUDENT, LABELS))
        assert torch.equal(gradient(LABELS, teacher, 0.0, temperature), student.grad)


def test_alpha_1_is_the_teacher_alone() -> None:
    other_labels = (LABELS + 1) % 5
    assert torch.equal(gradient(LABELS, TEACHER, 1.0, 4.0), gradient(other_labels, TEACHER, 1.0, 4.0))
    assert not torch.equal(gradient(LABELS, TEACHER, 0.75, 4.0), gradient(other_labels, TEACHER, 0.75, 4.0))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_student_that_agrees_with_its_teacher_loses_nothing_at_alpha_1(temperature: float) -> None:
    assert distillation_loss(TEACHER, LABELS, TEACHER + 7, 1.0, temperature).item() == pytest.approx(0, abs=1e-5)


def test_at_high_temperature_the_gradient_matches_centred_logits() -> None:
    difference = STUDENT - TEACHER
    matching = (difference - difference.mean(dim=1, keepdim=True)) / STUDENT.numel()
    torch.testing.assert_close(gradient(LABELS, TEACHER, 1.0, 1e4), matching, rtol=0.01, atol=1e-4)


def test_half_precision_teacher_logits_are_enough() -> None:
    exact = distillation_loss(STUDENT, LABELS, TEACHER, 0.75, 4.0)
    assert distillation_loss(STUDENT, LABELS, TEACHER.half(), 0.75, 4.0).item() == pytest.approx(exact.item(), rel=1e-3)
