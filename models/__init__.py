"""The student, the teacher family, their checkpoints and what they cost."""

from models.checkpoint import CheckpointError, load_checkpoint, round_to_half, save_checkpoint, weights_hash
from models.cost import count_parameters
from models.resnet import build
from models.student import StudentCNN

__all__ = [
    "CheckpointError",
    "StudentCNN",
    "build",
    "count_parameters",
    "load_checkpoint",
    "round_to_half",
    "save_checkpoint",
    "weights_hash",
]
