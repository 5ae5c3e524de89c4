"""The distillation loss."""

import torch.nn.functional as F
from torch import Tensor


def distillation_loss(
    student_logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    alpha: float | Tensor,
    temperature: float | Tensor,
) -> Tensor:
    """(1 - alpha) CE(student, label) + alpha T^2 KL(softmax(teacher / T) || softmax(student / T)).

    Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531, with alpha the weight of the teacher. The factor
    T^2 keeps the size of the soft gradient while T changes (their section 2).

    Args:
        student_logits: float of shape (batch, classes).
        labels: int64 of shape (batch,).
        teacher_logits: float of shape (batch, classes), before any temperature; any finite values where alpha is 0.
        alpha: from 0, labels only, to 1, teacher only; as a scalar tensor it is not asked for its value.
        temperature: T, more than 0.

    Returns:
        A scalar: cross-entropy and divergence in nats, summed over classes and averaged over the batch.
    """
    hard = F.cross_entropy(student_logits, labels)
    soft = F.kl_div(
        F.log_softmax(student_logits / temperature, dim=1),
        F.log_softmax(teacher_logits.float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - alpha) * hard + alpha * temperature**2 * soft
