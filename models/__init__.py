"""The student, the teacher family, their checkpoints and what they cost."""

from models.checkpoint import CheckpointError, load_checkpoint, round_to_half, save_checkpoint, weights_hash
from models.cost import count_parameters
from models.resnet import build, fold_batch_norm
from models.student import StudentCNN
from models.teacher_card import Teacher, TeacherCard, find_teacher, find_teachers, stored_teachers, teachers_folder

__all__ = [
    "CheckpointError",
    "StudentCNN",
    "Teacher",
    "TeacherCard",
    "build",
    "count_parameters",
    "find_teacher",
    "find_teachers",
    "fold_batch_norm",
    "load_checkpoint",
    "round_to_half",
    "save_checkpoint",
    "stored_teachers",
    "teachers_folder",
    "weights_hash",
]
