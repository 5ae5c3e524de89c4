"""Loss and calibration error are those of others' code, none of which is copied here."""

import pytest
import torch

from reports.calibration import calibration_error
from study.evaluation import CALIBRATION_BINS, score
from study.loss import distillation_loss

GENERATOR = torch.Generator().manual_seed(0)
STUDENT = 3 * torch.randn(40, 7, generator=GENERATOR, dtype=torch.float64)
TEACHER = 3 * torch.randn(40, 7, generator=GENERATOR)
LABELS = torch.arange(40) % 7


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.25, 0.75, 1.0])
def test_the_loss_is_that_of_torchdistill(alpha: float, temperature: float) -> None:
    losses = pytest.importorskip("torchdistill.losses.mid_level", reason="torchdistill is of the dev extra")
    io = {"network": {"output": STUDENT}}, {"network": {"output": TEACHER.double()}}
    # Its alpha weighs the labels, and where that is 0 it leaves out T^2.
    theirs = losses.KDLoss("network", "output", "network", "output", temperature, alpha=1 - alpha)(*io, targets=LABELS)
    left_out = temperature**2 if alpha == 1 else 1.0
    ours = distillation_loss(STUDENT, LABELS, TEACHER, alpha, temperature)
    assert ours.item() == pytest.approx(left_out * theirs.item())


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is of the dev extra")
    theirs = metrics.multiclass_calibration_error(STUDENT, LABELS, 7, n_bins=CALIBRATION_BINS, norm="l1")
    assert calibration_error(score(STUDENT, LABELS).calibration) == pytest.approx(theirs.item(), abs=1e-6)
