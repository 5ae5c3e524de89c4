"""The student, the teacher family, their checkpoints and what they cost."""

from models.checkpoint import CheckpointError, load_checkpoint, round_to_half, save_checkpoint, weights_hash
from models.cost import count_parameters
from models.resnet import build, fold_batch_norm
from models.student import StudentCNN

__all__ = [
    "CheckpointError",
    "StudentCNN",
    "build",
    "count_parameters",
    "fold_batch_norm",
    "load_checkpoint",
    "round_to_half",
    "save_checkpoint",
    "weights_hash",
]
